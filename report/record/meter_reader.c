/* SPDX-License-Identifier: MIT */
#include "report/record/meter_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/proc_status.h"
#include "report/record/clock_ns.h"
#include "stint/meter.h"

#define LOOPS_MAX    1024
#define HANDLERS_MAX 65536
#define METRICS_MAX  64
#define SLOTS_MAX    65536

/*
 * Tables that lie over each other make a small file say that it is huge. So a visit ends with -EPROTO after that much CPU
 * time, with that of who is visited, or at more histograms than these, each of which takes 19 KB in the series: 16 loops
 * with 128 handlers, as a meter has them unless it is told otherwise, have 12,352. Entries of rings that are more are lost.
 */
#define VISIT_NS       3000000000u
#define VISIT_READS    256 /* after so many it is looked how long it has taken */
#define HISTOGRAMS_MAX 65536
#define ENTRIES_MAX    131072

struct meter_reader {
	int fd;
	struct stint_meter_file_header header;
	uint32_t metric_count;
	struct stint_meter_file_metric metrics[METRICS_MAX];
	uint64_t overruns_read[LOOPS_MAX];
	uint64_t sockets_read[LOOPS_MAX];
	uint64_t stacks_read[LOOPS_MAX];
	uint64_t lost;
	/* Of the visit under way. */
	uint64_t until_ns; /* UINT64_MAX: there is none */
	uint64_t reads;
	uint32_t histograms_left;
	uint32_t entries_left;
	/* Room for what is being visited: too large for a stack. */
	struct stint_histogram histogram;
	struct stint_meter_file_stack stack;
};

static bool is_overdue(struct meter_reader *reader)
{
	return ++reader->reads % VISIT_READS == 0 && clock_ns(CLOCK_THREAD_CPUTIME_ID) > reader->until_ns;
}

static int read_at(struct meter_reader *reader, void *ret, size_t bytes, uint64_t offset)
{
	ssize_t taken;

	if (offset > reader->header.file_bytes || bytes > reader->header.file_bytes - offset ||
	    is_overdue(reader))
		return -EPROTO;
	taken = pread(reader->fd, ret, bytes, (off_t)offset);
	return taken == (ssize_t)bytes ? 0 : -EPROTO;
}

/* Entry `index` of a table; false if that would be beyond 64 bits. */
static bool entry_offset(uint64_t *ret, uint64_t base, uint64_t stride, uint64_t index)
{
	uint64_t product;

	return !__builtin_mul_overflow(stride, index, &product) &&
	       !__builtin_add_overflow(base, product, ret);
}

static int read_entry(struct meter_reader *reader, void *ret, size_t bytes, uint64_t base, uint64_t stride,
		      uint64_t index)
{
	uint64_t offset;

	if (stride < bytes || !entry_offset(&offset, base, stride, index))
		return -EPROTO;
	return read_at(reader, ret, bytes, offset);
}

/* ---- opening ---- */

static const char *header_fault(const struct stint_meter_file_header *header, uint64_t file_bytes)
{
	if (header->magic != STINT_METER_MAGIC)
		return "it is not a meter's file";
	if (header->version != STINT_METER_VERSION)
		return "it is of a version that this stint does not know";
	if (header->ready != 1)
		return "it is not ready";
	if (header->file_bytes > file_bytes)
		return "it is shorter than its header says";
	if (header->histogram_bytes != sizeof(struct stint_histogram) ||
	    header->histogram_buckets != STINT_HISTOGRAM_BUCKETS)
		return "its histograms are of another size";
	if (header->metric_count > METRICS_MAX || header->handler_limit > HANDLERS_MAX ||
	    header->loop_limit > LOOPS_MAX || header->handler_count > header->handler_limit ||
	    header->loop_count > header->loop_limit)
		return "its tables are out of bounds";
	return NULL;
}

static int read_metrics(struct meter_reader *reader)
{
	const struct stint_meter_file_header *header = &reader->header;

	for (uint32_t i = 0; i < header->metric_count; i++) {
		struct stint_meter_file_metric *metric = &reader->metrics[i];
		int err = read_entry(reader, metric, sizeof(*metric), header->metrics_offset,
				     header->metric_stride, i);

		if (err)
			return err;
		metric->name[sizeof(metric->name) - 1] = '\0';
		if (metric->scope > STINT_METER_SCOPE_HANDLER || metric->unit > STINT_METER_UNIT_BYTES ||
		    metric->index >= METRICS_MAX)
			return -EPROTO;
	}
	reader->metric_count = header->metric_count;
	return 0;
}

static int read_header(struct meter_reader *reader, const char **why)
{
	struct stat status;
	const char *fault;
	ssize_t taken;
	int err;

	*why = "it cannot be read";
	if (fstat(reader->fd, &status) != 0)
		return -errno;
	taken = pread(reader->fd, &reader->header, sizeof(reader->header), 0);
	if (taken < 0)
		return -errno;
	*why = "it is too short";
	if (!S_ISREG(status.st_mode) || taken != sizeof(reader->header))
		return -EPROTO;
	fault = header_fault(&reader->header, (uint64_t)status.st_size);
	if (fault) {
		*why = fault;
		return -EPROTO;
	}
	reader->header.command[sizeof(reader->header.command) - 1] = '\0';
	*why = "its table of metrics is out of bounds";
	err = read_metrics(reader);
	if (!err)
		*why = NULL;
	return err;
}

static int open_file(struct meter_reader **ret, const char *path)
{
	struct meter_reader *reader = calloc(1, sizeof(*reader));
	int err;

	if (!reader)
		return -ENOMEM;
	reader->until_ns = UINT64_MAX;
	/* Without O_NONBLOCK a fifo put in the file's place would hold us up. */
	reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (reader->fd < 0) {
		err = -errno;
		free(reader);
		return err;
	}
	*ret = reader;
	return 0;
}

int meter_reader_open(struct meter_reader **ret, const char *path, const char **why)
{
	struct meter_reader *reader;
	const char *ignored;
	int err = open_file(&reader, path);

	if (err)
		return err;
	err = read_header(reader, why ? why : &ignored);
	if (err) {
		meter_reader_free(reader);
		return err;
	}
	*ret = reader;
	return 0;
}

struct meter_reader *meter_reader_free(struct meter_reader *reader)
{
	if (!reader)
		return NULL;
	if (reader->fd >= 0)
		close(reader->fd);
	free(reader);
	return NULL;
}

const struct stint_meter_file_header *meter_reader_header(const struct meter_reader *reader)
{
	return &reader->header;
}

bool meter_reader_is_over(const struct meter_reader *reader)
{
	struct stat status;

	return fstat(reader->fd, &status) == 0 && status.st_nlink == 0;
}

/* /proc/PID/stat, field 22; the command in field 2 may hold brackets, so it is left behind from the right. */
static uint64_t start_ticks(uint32_t pid)
{
	char path[64], text[1024];
	const char *at;
	size_t taken;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	taken = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[taken] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

/* Or of root, as which it may have begun: anybody may make a directory in /tmp, and a file of that name in it. */
static bool is_of_its_user(const struct meter_reader *reader, uint32_t pid)
{
	struct stint_proc_status is;
	struct stat status;

	return stint_proc_status(pid, &is) && fstat(reader->fd, &status) == 0 &&
	       (status.st_uid == is.uid || status.st_uid == 0);
}

/* Its process holds the lock for as long as it has the file open; or a child that came by a fork. */
static bool is_locked(const struct meter_reader *reader)
{
	if (flock(reader->fd, LOCK_SH | LOCK_NB) < 0)
		return true;
	flock(reader->fd, LOCK_UN);
	return false;
}

/* By its name, as not every file system tells the same number of it here and there. */
static bool is_mapped(uint32_t pid)
{
	char path[64], present[64], removed[80], *line = NULL;
	bool is_mapped = false, is_known = false;
	size_t capacity = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", pid);
	snprintf(present, sizeof(present), "/%" PRIu32 STINT_METER_FILE_SUFFIX "\n", pid);
	snprintf(removed, sizeof(removed), "/%" PRIu32 STINT_METER_FILE_SUFFIX " (deleted)\n", pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	while (!is_mapped && getline(&line, &capacity, file) > 0) {
		is_known = true;
		is_mapped = strstr(line, present) || strstr(line, removed);
	}
	is_known = is_known && !ferror(file);
	free(line);
	fclose(file);
	return is_mapped || !is_known;
}

/* A program that closes descriptors which are not its own loses the lock, and writes on. */
bool meter_reader_is_left(const struct meter_reader *reader)
{
	return !is_locked(reader) && !is_mapped(reader->header.pid);
}

static bool is_of_process(const struct meter_reader *reader, uint32_t pid)
{
	return reader->header.pid == pid && reader->header.process_start_ticks == start_ticks(pid) &&
	       !meter_reader_is_left(reader);
}

static int open_in(struct meter_reader **ret, uint32_t pid, const char *directory,
		   struct meter_births *births)
{
	uint64_t watched_ns = meter_births_watch(births, directory);
	struct meter_reader *reader;
	char path[PATH_MAX];
	const char *why;
	int err;

	if (snprintf(path, sizeof(path), "%s/%" PRIu32 STINT_METER_FILE_SUFFIX, directory, pid) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	err = open_file(&reader, path);
	if (err)
		return err;
	/* What another user put there, or an earlier process of that pid left: its own may be elsewhere, or yet to come. */
	err = is_of_its_user(reader, pid) ? read_header(reader, &why) : -ENOENT;
	if (!err && !is_of_process(reader, pid))
		err = -ENOENT;
	if (err) {
		meter_reader_free(reader);
		return err;
	}
	meter_births_read(births, pid);
	meter_births_taken(births, pid, reader->header.created_ns >= watched_ns,
			   !meter_reader_is_over(reader));
	*ret = reader;
	return 0;
}

/* Where a process of another user would have put its file: root looks there too. */
static int open_of_owner(struct meter_reader **ret, uint32_t pid, struct meter_births *births)
{
	char path[PATH_MAX];
	struct stat status;
	int err;

	snprintf(path, sizeof(path), "/proc/%" PRIu32, pid);
	if (stat(path, &status) != 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "/run/user/%u/stint", status.st_uid);
	err = open_in(ret, pid, path, births);
	if (err != -ENOENT)
		return err;
	if (status.st_uid == 0)
		return open_in(ret, pid, "/run/stint", births);
	snprintf(path, sizeof(path), "/tmp/stint-%u", status.st_uid);
	return open_in(ret, pid, path, births);
}

int meter_reader_new(struct meter_reader **ret, uint32_t pid, struct meter_births *births)
{
	char directory[PATH_MAX];
	int err = stint_runtime_dir(directory, sizeof(directory));

	if (err)
		return err;
	meter_births_read(births, pid);
	err = open_in(ret, pid, directory, births);
	if (err == -ENOENT)
		err = open_of_owner(ret, pid, births);
	if (err == -ENOENT)
		meter_births_none(births, pid);
	return err;
}

/* ---- visiting ---- */

static int visit_histograms(struct meter_reader *reader, const struct meter_reader_visitor *visitor,
			    void *ctx, uint32_t loop, int64_t handler, uint64_t base)
{
	uint32_t scope = handler < 0 ? STINT_METER_SCOPE_LOOP : STINT_METER_SCOPE_HANDLER;

	for (uint32_t i = 0; i < reader->metric_count; i++) {
		const struct stint_meter_file_metric *metric = &reader->metrics[i];
		int err;

		if (metric->scope != scope)
			continue;
		err = read_entry(reader, &reader->histogram, sizeof(reader->histogram), base,
				 sizeof(struct stint_histogram), metric->index);
		if (err)
			return err;
		if (!reader->histogram.count)
			continue;
		if (!reader->histograms_left--)
			return -EPROTO;
		visitor->histogram(ctx, loop, handler, metric, &reader->histogram);
	}
	return 0;
}

static int read_handler(struct meter_reader *reader, struct stint_meter_file_handler *ret, uint32_t handler)
{
	const struct stint_meter_file_header *header = &reader->header;
	int err = read_entry(reader, ret, sizeof(*ret), header->handlers_offset, header->handler_stride,
			     handler);

	ret->name[sizeof(ret->name) - 1] = '\0';
	return err;
}

static int visit_blocks(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx,
			uint32_t loop, const struct stint_meter_file_loop *entry)
{
	for (uint32_t i = 0; i < reader->header.handler_count; i++) {
		struct stint_meter_file_handler handler;
		struct stint_meter_file_block block;
		uint64_t offset;
		int err;

		if (!entry_offset(&offset, entry->blocks_offset, entry->block_stride, i))
			return -EPROTO;
		err = read_at(reader, &block, sizeof(block), offset);
		if (!err && !block.used)
			continue;
		if (!err)
			err = read_handler(reader, &handler, i);
		if (err)
			return err;
		visitor->block(ctx, loop, i, &handler,
			       &(struct meter_reader_block){
				       .overruns = block.overruns,
				       .over_ns = block.over_ns,
				       .blame_ns = block.blame_ns,
				       .victims = block.victims,
				       .jobs_refused = block.jobs_refused,
				       .file_reads_cached = block.file_reads_cached,
				       .file_reads_missed = block.file_reads_missed,
			       });
		err = visit_histograms(reader, visitor, ctx, loop, i, offset + sizeof(block));
		if (err)
			return err;
	}
	return 0;
}

/* One of a loop's rings, as the loop's entry has it. */
struct ring {
	uint64_t *read; /* so many of its entries were */
	uint64_t written;
	uint64_t written_at; /* where in the file that stands */
	uint64_t offset;
	uint32_t slots;
	uint32_t stride;
};

/* Passes over what is not there any more, or is more than is read, and counts it as lost. */
static int ring_begin(struct meter_reader *reader, const struct ring *ring)
{
	uint32_t most = ring->slots < reader->entries_left ? ring->slots : reader->entries_left;
	uint64_t oldest = ring->written > most ? ring->written - most : 0;

	if (!ring->slots || ring->slots > SLOTS_MAX)
		return -EPROTO;
	if (*ring->read > ring->written) /* the file says that time ran backwards: it is not to be believed */
		*ring->read = ring->written;
	if (*ring->read < oldest) {
		reader->lost += oldest - *ring->read;
		*ring->read = oldest;
	}
	return 0;
}

/* Whether an entry that was just read has been overwritten meanwhile; it is lost then. */
static bool overtaken(struct meter_reader *reader, const struct ring *ring, uint64_t entry)
{
	uint64_t written;

	if (read_at(reader, &written, sizeof(written), ring->written_at) == 0 &&
	    written < entry + ring->slots)
		return false;
	reader->lost++;
	return true;
}

/* The next entry that is whole. False: there is none, or *err is not 0. */
static bool ring_next(struct meter_reader *reader, const struct ring *ring, void *ret, size_t bytes, int *err)
{
	while (!*err && *ring->read < ring->written) {
		uint64_t i = *ring->read;

		*err = read_entry(reader, ret, bytes, ring->offset, ring->stride, i % ring->slots);
		if (*err)
			return false;
		*ring->read = i + 1;
		reader->entries_left--;
		if (!overtaken(reader, ring, i))
			return true;
	}
	return false;
}

static int visit_overruns(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx,
			  uint32_t loop, const struct stint_meter_file_loop *entry, uint64_t entry_at)
{
	const struct ring ring = {
		&reader->overruns_read[loop],
		entry->overruns_written,
		entry_at + offsetof(struct stint_meter_file_loop, overruns_written),
		entry->overruns_offset,
		entry->overrun_slots,
		entry->overrun_stride,
	};
	struct stint_meter_file_overrun overrun;
	int err = ring_begin(reader, &ring);

	while (ring_next(reader, &ring, &overrun, sizeof(overrun), &err)) {
		struct stint_meter_file_handler handler;

		if (overrun.handler >= reader->header.handler_count ||
		    read_handler(reader, &handler, overrun.handler))
			return -EPROTO;
		visitor->overrun(ctx, loop, handler.name, &overrun);
	}
	return err;
}

static int visit_stacks(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx,
			uint32_t loop, const struct stint_meter_file_loop *entry, uint64_t entry_at)
{
	const struct ring ring = {
		&reader->stacks_read[loop],
		entry->stacks_written,
		entry_at + offsetof(struct stint_meter_file_loop, stacks_written),
		entry->stacks_offset,
		entry->stack_slots,
		entry->stack_stride,
	};
	struct stint_meter_file_stack *stack = &reader->stack;
	int err = ring_begin(reader, &ring);

	while (ring_next(reader, &ring, stack, sizeof(*stack), &err)) {
		if (stack->stack_bytes > STINT_METER_STACK_BYTES)
			stack->stack_bytes = STINT_METER_STACK_BYTES;
		visitor->stack(ctx, loop, stack);
	}
	return err;
}

static int visit_sockets(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx,
			 uint32_t loop, const struct stint_meter_file_loop *entry, uint64_t entry_at)
{
	const struct ring ring = {
		&reader->sockets_read[loop],
		entry->sockets_written,
		entry_at + offsetof(struct stint_meter_file_loop, sockets_written),
		entry->sockets_offset,
		entry->socket_slots,
		entry->socket_stride,
	};
	struct stint_meter_file_socket moment;
	int err = ring_begin(reader, &ring);

	while (ring_next(reader, &ring, &moment, sizeof(moment), &err))
		visitor->socket(ctx, loop, &moment);
	return err;
}

/* Counts that grow while the program runs: its handlers and loops. */
static int refresh_counts(struct meter_reader *reader)
{
	struct stint_meter_file_header header;
	int err = read_at(reader, &header, sizeof(header), 0);

	if (err)
		return err;
	if (header.handler_count > reader->header.handler_limit ||
	    header.loop_count > reader->header.loop_limit)
		return -EPROTO;
	reader->header.handler_count = header.handler_count;
	reader->header.loop_count = header.loop_count;
	reader->header.handlers_refused = header.handlers_refused;
	reader->header.loops_refused = header.loops_refused;
	return 0;
}

static int read_loop(struct meter_reader *reader, struct stint_meter_file_loop *ret, uint64_t *ret_offset,
		     uint32_t loop)
{
	const struct stint_meter_file_header *header = &reader->header;
	int err = read_entry(reader, ret, sizeof(*ret), header->loops_offset, header->loop_stride, loop);

	ret->name[sizeof(ret->name) - 1] = '\0';
	*ret_offset = header->loops_offset + (uint64_t)header->loop_stride * loop;
	return err;
}

static int visit_loop(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx,
		      uint32_t loop)
{
	struct stint_meter_file_loop entry;
	uint64_t entry_at;
	int err = read_loop(reader, &entry, &entry_at, loop);

	if (err)
		return err;
	visitor->loop(ctx, loop, &entry);
	err = visit_histograms(reader, visitor, ctx, loop, -1, entry.histograms_offset);
	if (!err)
		err = visit_blocks(reader, visitor, ctx, loop, &entry);
	if (!err)
		err = visit_stacks(reader, visitor, ctx, loop, &entry, entry_at);
	if (!err)
		err = visit_overruns(reader, visitor, ctx, loop, &entry, entry_at);
	return err ? err : visit_sockets(reader, visitor, ctx, loop, &entry, entry_at);
}

int meter_reader_visit(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx)
{
	int err = refresh_counts(reader);

	reader->until_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + VISIT_NS;
	reader->histograms_left = HISTOGRAMS_MAX;
	reader->entries_left = ENTRIES_MAX;
	for (uint32_t i = 0; !err && i < reader->header.loop_count; i++)
		err = visit_loop(reader, visitor, ctx, i);
	reader->until_ns = UINT64_MAX;
	return err;
}

int meter_reader_skip_rings(struct meter_reader *reader)
{
	int err = refresh_counts(reader);

	for (uint32_t i = 0; !err && i < reader->header.loop_count; i++) {
		struct stint_meter_file_loop entry;
		uint64_t entry_at;

		err = read_loop(reader, &entry, &entry_at, i);
		if (err)
			break;
		reader->overruns_read[i] = entry.overruns_written;
		reader->sockets_read[i] = entry.sockets_written;
		reader->stacks_read[i] = entry.stacks_written;
	}
	return err;
}

uint64_t meter_reader_lost(const struct meter_reader *reader)
{
	return reader->lost;
}
