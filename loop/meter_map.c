/* SPDX-License-Identifier: MIT */
#include "meter_map.h"

#include "clock.h"
#include "meter_sweep.h"
#include "runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE          4096u
#define RESERVE_BYTES (64 * 1024)
#define STACK_SLOTS   64 /* of 16 KiB; backed when a watchdog takes the first */
#define METRICS       (STINT_METER_LOOP_METRICS + STINT_METER_HANDLER_METRICS)

/* A handler block fills whole pages, so that one that was never used is never backed. */
#define BLOCK_BYTES \
	(sizeof(struct stint_meter_file_block) + STINT_METER_HANDLER_METRICS * sizeof(struct stint_histogram))

_Static_assert(sizeof(struct stint_meter_file_header) <= PAGE, "the header fits into one page");
_Static_assert(sizeof(struct stint_meter_file_block) % 64 == 0, "histograms begin on a cache line");

static const struct stint_meter_file_metric metrics[METRICS] = {
	{"busy", STINT_METER_SCOPE_LOOP, STINT_METER_UNIT_NS, STINT_METER_LOOP_BUSY, 0},
	{"poll", STINT_METER_SCOPE_LOOP, STINT_METER_UNIT_NS, STINT_METER_LOOP_POLL, 0},
	{"batch", STINT_METER_SCOPE_LOOP, STINT_METER_UNIT_COUNT, STINT_METER_LOOP_BATCH, 0},
	{"lateness", STINT_METER_SCOPE_LOOP, STINT_METER_UNIT_NS, STINT_METER_LOOP_LATENESS, 0},
	{"service", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_SERVICE, 0},
	{"wait", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_WAIT, 0},
	{"write_stall", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_WRITE_STALL, 0},
	{"work_queue", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_WORK_QUEUE, 0},
	{"work_run", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_WORK_RUN, 0},
	{"work_return", STINT_METER_SCOPE_HANDLER, STINT_METER_UNIT_NS, STINT_METER_HANDLER_WORK_RETURN, 0},
};

static uint64_t page_up(uint64_t bytes)
{
	return (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

void meter_map_copy_name(char *field, size_t bytes, const char *name)
{
	size_t length = strnlen(name, bytes - 1);

	memset(field, 0, bytes);
	memcpy(field, name, length);
}

void meter_map_layout_region(const struct stint_meter_options *options, uint64_t offset,
			     struct stint_meter_file_loop *loop)
{
	loop->histograms_offset = offset;
	offset += page_up(STINT_METER_LOOP_METRICS * sizeof(struct stint_histogram));
	loop->overruns_offset = offset;
	loop->overrun_slots = options->overrun_slots;
	loop->overrun_stride = sizeof(struct stint_meter_file_overrun);
	offset += page_up((uint64_t)loop->overrun_slots * loop->overrun_stride);
	loop->sockets_offset = offset;
	loop->socket_slots = options->socket_slots;
	loop->socket_stride = sizeof(struct stint_meter_file_socket);
	offset += page_up((uint64_t)loop->socket_slots * loop->socket_stride);
	loop->stacks_offset = offset;
	loop->stack_slots = STACK_SLOTS;
	loop->stack_stride = sizeof(struct stint_meter_file_stack);
	offset += page_up((uint64_t)loop->stack_slots * loop->stack_stride);
	loop->blocks_offset = offset;
	loop->block_stride = page_up(BLOCK_BYTES);
}

/* Lays out tables and regions; the header tells all of it but `ready`. */
static void layout(struct meter_map *map, const struct stint_meter_options *options,
		   struct stint_meter_file_header *header)
{
	struct stint_meter_file_loop region = {0};
	uint64_t offset = page_up(sizeof(*header));

	header->metric_count = METRICS;
	header->metric_stride = sizeof(struct stint_meter_file_metric);
	header->metrics_offset = offset;
	offset += sizeof(metrics);
	header->handler_limit = options->handler_limit;
	header->handler_stride = sizeof(struct stint_meter_file_handler);
	header->handlers_offset = offset;
	offset += (uint64_t)header->handler_limit * header->handler_stride;
	header->loop_limit = options->loop_limit;
	header->loop_stride = sizeof(struct stint_meter_file_loop);
	header->loops_offset = offset;
	offset += (uint64_t)header->loop_limit * header->loop_stride;
	map->regions_offset = page_up(offset);
	meter_map_layout_region(options, 0, &region);
	map->region_bytes = region.blocks_offset + region.block_stride * header->handler_limit;
	map->bytes = map->regions_offset + map->region_bytes * header->loop_limit;
	header->file_bytes = map->bytes;
}

static void describe_process(struct stint_meter_file_header *header)
{
	struct clock clock;
	char command[32] = "";
	int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, command, sizeof(command) - 1);

	if (fd >= 0)
		close(fd);
	if (length > 0 && command[length - 1] == '\n')
		command[length - 1] = '\0';
	clock_init(&clock);
	memcpy(header->command, command, sizeof(header->command));
	header->pid = (uint32_t)getpid();
	header->process_start_ticks = meter_sweep_start_ticks(0);
	header->clock = clock.tsc ? STINT_METER_CLOCK_TSC : STINT_METER_CLOCK_GETTIME;
	header->created_ns = clock_gettime_ns(CLOCK_MONOTONIC);
	header->created_realtime_ns = clock_gettime_ns(CLOCK_REALTIME);
	header->histogram_bytes = sizeof(struct stint_histogram);
	header->histogram_buckets = STINT_HISTOGRAM_BUCKETS;
}

static void fill(struct meter_map *map, const struct stint_meter_file_header *header)
{
	struct stint_meter_file_header *place = meter_map_header(map);

	*place = *header;
	place->locked = map->locked;
	memcpy(map->base + header->metrics_offset, metrics, sizeof(metrics));
	place->magic = STINT_METER_MAGIC;
	place->version = STINT_METER_VERSION;
	__atomic_store_n(&place->ready, 1, __ATOMIC_RELEASE);
}

/* A file larger than the process may write would be a SIGXFSZ, and we live in somebody else's process. */
static int check_file_limit(size_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return -errno;
	return limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur ? -EFBIG : 0;
}

/*
 * Has blocks reserved, so that no write to the mapping finds the disk full. Older kernels give up a memory file's for any
 * signal, and with it what they had: in short steps there is always some that ends before the next.
 */
static int reserve(int fd, uint64_t offset, uint64_t bytes)
{
	while (bytes > 0) {
		uint64_t step = bytes < RESERVE_BYTES ? bytes : RESERVE_BYTES;
		int error = posix_fallocate(fd, (off_t)offset, (off_t)step);

		if (error == EINTR)
			continue;
		if (error)
			return -error;
		offset += step;
		bytes -= step;
	}
	return 0;
}

/* Makes the file of the right size and maps it; on failure nothing is left. */
static int make_file(struct meter_map *map, int directory, const char *name)
{
	void *base;
	int error, fd;

	error = check_file_limit(map->bytes);
	if (error < 0)
		return error;
	/* A leftover of that name is from a dead process that had our pid. */
	if (unlinkat(directory, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	map->locked = meter_sweep_lock(fd);
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)map->bytes) < 0)
		goto fail;
	error = reserve(fd, 0, map->regions_offset);
	if (error < 0) {
		errno = -error;
		goto fail;
	}
	base = mmap(NULL, map->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		goto fail;
	map->base = base;
	map->fd = fd;
	return 0;
fail:
	error = -errno;
	unlinkat(directory, name, 0);
	close(fd);
	return error;
}

static void unmake_file(struct meter_map *map, int directory, const char *name)
{
	unlinkat(directory, name, 0);
	munmap(map->base, map->bytes);
	close(map->fd);
	map->base = NULL;
	map->fd = -1;
}

/* Filled under a temporary name, then renamed: nobody opens a half-written header. */
static int open_file(struct meter_map *map, const char *path, const struct stint_meter_file_header *header)
{
	char name[48], temporary[48];
	int directory, error;

	directory = runtime_dir_open(path);
	if (directory < 0)
		return directory;
	snprintf(name, sizeof(name), "%u" STINT_METER_FILE_SUFFIX, header->pid);
	snprintf(temporary, sizeof(temporary), ".%u.new", header->pid);
	error = make_file(map, directory, temporary);
	if (error < 0)
		goto out;
	fill(map, header);
	if (asprintf(&map->path, "%s/%s", path, name) < 0) {
		map->path = NULL;
		error = -ENOMEM;
	} else if (renameat(directory, temporary, directory, name) < 0) {
		error = -errno;
	}
	if (error < 0) {
		free(map->path);
		map->path = NULL;
		unmake_file(map, directory, temporary);
	} else {
		meter_sweep(directory, name);
	}
out:
	close(directory);
	return error;
}

static int open_anonymous(struct meter_map *map, const struct stint_meter_file_header *header)
{
	void *base = mmap(NULL, map->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	map->base = base;
	fill(map, header);
	return 0;
}

int meter_map_open(struct meter_map *map, const struct stint_meter_options *options)
{
	struct stint_meter_file_header header = {0};
	char path[PATH_MAX];

	*map = (struct meter_map){.fd = -1, .pid = getpid()};
	describe_process(&header);
	layout(map, options, &header);
	if (options->directory)
		map->error = snprintf(path, sizeof(path), "%s", options->directory) >= (int)sizeof(path)
				     ? -ENAMETOOLONG
				     : 0;
	else
		map->error = stint_runtime_dir(path, sizeof(path));
	if (map->error == 0)
		map->error = open_file(map, path, &header);
	return map->error == 0 ? 0 : open_anonymous(map, &header);
}

void meter_map_close(struct meter_map *map)
{
	if (map->path && map->pid == getpid())
		unlink(map->path);
	if (map->base)
		munmap(map->base, map->bytes);
	if (map->fd >= 0)
		close(map->fd);
	free(map->path);
	*map = (struct meter_map){.fd = -1};
}

void meter_map_detach(struct meter_map *map)
{
	void *base;

	if (map->fd < 0)
		return;
	base = mmap(map->base, map->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		    map->fd, 0);
	if (base != map->base) /* what a failing MAP_FIXED leaves is the old mapping, or none */
		return;
	close(map->fd);
	map->fd = -1;
	map->error = -ECHILD;
}

int meter_map_back(struct meter_map *map, const void *start, size_t bytes)
{
	const uint8_t *place = start;

	if (map->fd < 0 || place < map->base || place >= map->base + map->bytes)
		return 0;
	return reserve(map->fd, (uint64_t)(place - map->base), bytes);
}
