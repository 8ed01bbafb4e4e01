/* SPDX-License-Identifier: MIT */
#include "probes/perf_map.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/java_names.h"
#include "probes/live_thread.h"
#include "probes/now.h"
#include "probes/proc_status.h"

#define ENTRIES_MAX 262144
#define NAMES_MAX   (16u << 20)
#define NAME_BYTES  128
#define TOLD_BYTES  1024 /* of a name with its types */
#define TAIL_BYTES  64
#define LINE_BYTES  4096       /* of longer ones the rest is passed over */
#define TURN_BYTES  (16 << 20) /* most that is read at a time: the recorder has other things to do */
#define LOOK_BACK   16         /* entries that overlap: code is moved, and its place used again */
#define REREAD_NS   100000000u /* how often it is looked whether the file has grown */

struct entry {
	uint64_t start;
	uint64_t end;
	uint32_t name;  /* where it begins in `names` */
	uint32_t order; /* of two that overlap, the later line is true */
};

struct stint_perf_map {
	uint32_t pid;
	long read_bytes;       /* of the file */
	char tail[TAIL_BYTES]; /* of those the last, as many as there are */
	bool in_long_line;
	uint64_t looked_ns;
	struct entry *entries; /* by start, then order */
	uint32_t len;
	uint32_t capacity;
	char *names;
	uint32_t names_len;
	uint32_t names_capacity;
};

int stint_perf_map_new(struct stint_perf_map **ret, uint32_t pid)
{
	struct stint_perf_map *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->pid = pid;
	*ret = map;
	return 0;
}

struct stint_perf_map *stint_perf_map_free(struct stint_perf_map *map)
{
	if (!map)
		return NULL;
	free(map->entries);
	free(map->names);
	free(map);
	return NULL;
}

bool stint_perf_map_parse(const char *line, uint64_t *start, uint64_t *bytes, char *name, size_t name_bytes)
{
	int at = 0;
	size_t len;

	if (sscanf(line, "%" SCNx64 " %" SCNx64 " %n", start, bytes, &at) < 2 || !at || !*bytes)
		return false;
	if (*start + *bytes < *start)
		return false;
	len = strcspn(line + at, "\n");
	while (len > 0 && isspace((unsigned char)line[at + (int)len - 1]))
		len--;
	if (!len)
		return false;
	snprintf(name, name_bytes, "%.*s", (int)(len < name_bytes ? len : name_bytes), line + at);
	return true;
}

/*
 * No link in there may lead out of the process's root, nor be the file itself; and it has to be a file, of the process's
 * user or of root: anybody may make one of that name.
 */
static FILE *open_map(uint32_t pid)
{
	struct stint_proc_status is;
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	char path[64];
	struct stat status;
	FILE *file = NULL;
	int root, fd;

	if (!stint_proc_status(pid, &is))
		return NULL;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/root", stint_live_thread(pid));
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return NULL;
	snprintf(path, sizeof(path), "tmp/perf-%" PRIu32 ".map", is.inside_pid);
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	close(root);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    (status.st_uid == is.uid || status.st_uid == 0))
		file = fdopen(fd, "r");
	if (!file)
		close(fd);
	return file;
}

static bool make_room(struct stint_perf_map *map, size_t name_bytes)
{
	if (map->len == map->capacity) {
		uint32_t capacity = map->capacity ? 2 * map->capacity : 1024;
		struct entry *larger = realloc(map->entries, capacity * sizeof(*larger));

		if (!larger)
			return false;
		map->entries = larger;
		map->capacity = capacity;
	}
	if (map->names_len + name_bytes > map->names_capacity) {
		uint32_t capacity = map->names_capacity ? 2 * map->names_capacity : 65536;
		char *larger = realloc(map->names, capacity);

		if (!larger)
			return false;
		map->names = larger;
		map->names_capacity = capacity;
	}
	return true;
}

static bool add(struct stint_perf_map *map, const char *line)
{
	char name[TOLD_BYTES];
	uint64_t start, bytes;
	size_t name_bytes;

	if (!stint_perf_map_parse(line, &start, &bytes, name, sizeof(name)))
		return true;
	stint_java_shorten(name);
	name[NAME_BYTES - 1] = '\0';
	name_bytes = strlen(name) + 1;
	if (map->len >= ENTRIES_MAX || map->names_len + name_bytes > NAMES_MAX || !make_room(map, name_bytes))
		return false;
	memcpy(map->names + map->names_len, name, name_bytes);
	map->entries[map->len] = (struct entry){start, start + bytes, map->names_len, map->len};
	map->len++;
	map->names_len += (uint32_t)name_bytes;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;

	if (left->start != right->start)
		return left->start < right->start ? -1 : 1;
	return (left->order > right->order) - (left->order < right->order);
}

/* Returns false when there is no room for more. */
static bool take_line(struct stint_perf_map *map, const char *line, bool whole)
{
	bool begins = !map->in_long_line;

	map->in_long_line = !whole;
	return !begins || add(map, line);
}

/* How many bytes of the file before that place are kept. */
static size_t tail_len(long read_bytes)
{
	return read_bytes < TAIL_BYTES ? (size_t)read_bytes : TAIL_BYTES;
}

static bool read_tail(FILE *file, long read_bytes, char *ret)
{
	size_t len = tail_len(read_bytes);

	return fseek(file, read_bytes - (long)len, SEEK_SET) == 0 && fread(ret, 1, len, file) == len;
}

/* HotSpot writes all of it anew each time that it is told to: what was read is no beginning of what is there then. */
static bool is_another(const struct stint_perf_map *map, FILE *file)
{
	char tail[TAIL_BYTES];

	return !read_tail(file, map->read_bytes, tail) ||
	       memcmp(tail, map->tail, tail_len(map->read_bytes)) != 0;
}

static void forget(struct stint_perf_map *map)
{
	map->read_bytes = 0;
	map->in_long_line = false;
	map->len = 0;
	map->names_len = 0;
}

/* What was added since the last time; a line that is not whole yet is left for the next. */
static void read_on(struct stint_perf_map *map)
{
	FILE *file = open_map(map->pid);
	char line[LINE_BYTES];
	uint32_t before;
	long end_bytes;

	if (!file)
		return;
	if (is_another(map, file))
		forget(map);
	before = map->len;
	end_bytes = map->read_bytes + TURN_BYTES;
	if (fseek(file, map->read_bytes, SEEK_SET) < 0)
		goto out;
	while (map->read_bytes < end_bytes && fgets(line, sizeof(line), file)) {
		long next = ftell(file); /* a line may hold a NUL */
		bool whole = next > map->read_bytes &&
			     memchr(line, '\n', (size_t)(next - map->read_bytes)) != NULL;

		if (next < 0 || (!whole && next - map->read_bytes < (long)sizeof(line) - 1))
			break;
		map->read_bytes = next;
		if (!take_line(map, line, whole))
			break;
	}
	if (map->len > before)
		qsort(map->entries, map->len, sizeof(*map->entries), compare);
	if (!read_tail(file, map->read_bytes, map->tail))
		forget(map);
out:
	fclose(file);
}

static const struct entry *find(const struct stint_perf_map *map, uint64_t address)
{
	const struct entry *best = NULL;
	uint32_t low = 0, high = map->len;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (map->entries[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (uint32_t back = 0; back < LOOK_BACK && back < low; back++) {
		const struct entry *entry = &map->entries[low - 1 - back];

		if (address < entry->end && (!best || entry->order > best->order))
			best = entry;
	}
	return best;
}

const char *stint_perf_map_find(struct stint_perf_map *map, uint64_t address, uint64_t *start)
{
	const struct entry *found = find(map, address);
	uint64_t at_ns;

	if (!found) {
		at_ns = stint_now_ns();
		if (at_ns - map->looked_ns < REREAD_NS)
			return NULL;
		map->looked_ns = at_ns;
		read_on(map);
		found = find(map, address);
	}
	if (!found)
		return NULL;
	*start = found->start;
	return map->names + found->name;
}
