/* SPDX-License-Identifier: MIT */
#include "probes/modules.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/live_thread.h"

#define MAPPING_BYTES (PATH_MAX + 128)

/* What /proc tells of the mapping that starts there: its end and its path, "" of none. False: there is none. */
static bool find_mapping(uint32_t pid, uint64_t start, uint64_t *end, char *ret_path)
{
	char path[64], line[MAPPING_BYTES];
	bool found = false;
	uint64_t from;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", stint_live_thread(pid));
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		int at = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*x %*s %*u %n", &from, end, &at) < 2 ||
		    from != start)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret_path, PATH_MAX, "%s", at ? line + at : "");
		found = true;
	}
	fclose(file);
	return found;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		return fd;
	close(fd);
	return -EINVAL;
}

const char *stint_module_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

size_t stint_module_path_len(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(path), deleted_len = sizeof(deleted) - 1;

	return len > deleted_len && strcmp(path + len - deleted_len, deleted) == 0 ? len - deleted_len : len;
}

bool stint_module_is_own(uint32_t pid)
{
	struct stat own, other;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/exe", stint_live_thread(pid));
	return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
	       own.st_ino == other.st_ino;
}

/*
 * The program's own file, which needs no capability, also where it was deleted or replaced, before `path` was read or
 * after.
 */
static int open_program(uint32_t pid, const char *path)
{
	char exe[64], target[PATH_MAX];
	bool same;
	ssize_t len;

	snprintf(exe, sizeof(exe), "/proc/%" PRIu32 "/exe", stint_live_thread(pid));
	len = readlink(exe, target, sizeof(target) - 1);
	target[len > 0 ? len : 0] = '\0';
	same = stint_module_path_len(target) == stint_module_path_len(path) &&
	       strncmp(target, path, stint_module_path_len(path)) == 0;
	return same ? open_file(exe) : -ENOENT;
}

static int open_mapped(uint32_t pid, uint64_t start)
{
	char mapped[96], path[PATH_MAX];
	uint64_t end;

	if (!find_mapping(pid, start, &end, path))
		return -ENOENT;
	snprintf(mapped, sizeof(mapped), "/proc/%" PRIu32 "/map_files/%" PRIx64 "-%" PRIx64,
		 stint_live_thread(pid), start, end);
	return open_file(mapped);
}

bool stint_module_in_our_mounts(uint32_t pid)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/ns/mnt", stint_live_thread(pid));
	return stat("/proc/self/ns/mnt", &ours) == 0 && stat(path, &theirs) == 0 &&
	       ours.st_ino == theirs.st_ino;
}

/*
 * Another file may have come to that path since it was read, as by an upgrade under a running server: then the mapping,
 * once the file is open, is of one that has another path, or of one that is deleted.
 */
static int open_by_path(uint32_t pid, uint64_t start, const char *path, const char *from_here)
{
	int fd = open_file(from_here);
	char now[PATH_MAX];
	uint64_t end;

	if (fd < 0 || (find_mapping(pid, start, &end, now) && strcmp(now, path) == 0))
		return fd;
	close(fd);
	return -ESTALE;
}

/* By what is mapped, which is right also where the file was replaced; that needs a capability. Else by its path. */
int stint_module_open(uint32_t pid, uint64_t start, const char *path, char *ret, size_t ret_bytes)
{
	int fd = open_mapped(pid, start);

	/* A path that can be seen from here is told as from here, whatever the process has made its root since. */
	if (stint_module_in_our_mounts(pid))
		snprintf(ret, ret_bytes, "%s", path);
	else
		snprintf(ret, ret_bytes, "/proc/%" PRIu32 "/root%s", stint_live_thread(pid), path);
	if (fd < 0)
		fd = open_program(pid, path);
	return fd >= 0 ? fd : open_by_path(pid, start, path, ret);
}

/* The path that was given to execve(), which the kernel leaves in the process's memory. */
static bool read_exec_name(uint32_t pid, char *ret, size_t ret_bytes)
{
	uint64_t pair[2] = {0}, address = 0;
	char path[64];
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/auxv", stint_live_thread(pid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (!address && read(fd, pair, sizeof(pair)) == sizeof(pair) && pair[0] != AT_NULL)
		if (pair[0] == AT_EXECFN)
			address = pair[1];
	close(fd);
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/mem", stint_live_thread(pid));
	fd = address ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		len = pread(fd, ret, ret_bytes - 1, (off_t)address);
		close(fd);
	}
	if (len <= 0)
		return false;
	ret[len] = '\0';
	return memchr(ret, '\0', (size_t)len) != NULL;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat left, right;

	return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev &&
	       left.st_ino == right.st_ino;
}

void stint_module_alias(uint32_t pid, char *file, size_t file_bytes, char *ret, size_t ret_bytes)
{
	char exe[64], name[256], path[PATH_MAX];
	const char *slash;
	ssize_t len;

	*ret = '\0';
	snprintf(exe, sizeof(exe), "/proc/%" PRIu32 "/exe", stint_live_thread(pid));
	len = readlink(exe, file, file_bytes - 1);
	file[len > 0 ? len : 0] = '\0';
	if (len <= 0 || !read_exec_name(pid, name, sizeof(name)))
		return;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/%s/%s", stint_live_thread(pid),
		 *name == '/' ? "root" : "cwd", name);
	slash = strrchr(name, '/');
	/* The process may have changed its folder, or that memory: then its file's name has to do. */
	if (is_same_file(path, exe))
		snprintf(ret, ret_bytes, "%s", slash ? slash + 1 : name);
}
