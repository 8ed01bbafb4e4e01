/* SPDX-License-Identifier: MIT */
#ifndef METER_MAP_H
#define METER_MAP_H

/* The memory that the figures live in: the mapped file of meter_file.h, or anonymous memory. */

#include <stdbool.h>
#include <stint/meter.h>
#include <stint/meter_file.h>
#include <sys/types.h>

struct meter_map {
	uint8_t *base;
	size_t bytes;
	int fd; /* -1: anonymous */
	bool locked;
	int error; /* why there is no file */
	char *path;
	pid_t pid; /* who made it, and so who removes it */
	uint64_t region_bytes;
	uint64_t regions_offset;
};

int meter_map_open(struct meter_map *map, const struct stint_meter_options *options);
void meter_map_close(struct meter_map *map);

/* Turns the mapping into a private copy, in a child that came by fork. */
void meter_map_detach(struct meter_map *map);

/* What a handler needs from its first dispatch on: its block without the histograms of offloaded work. */
#define METER_MAP_BLOCK_BASE_BYTES               \
	(sizeof(struct stint_meter_file_block) + \
	 STINT_METER_HANDLER_WORK_QUEUE * sizeof(struct stint_histogram))

/* Reserves file space for a part of the mapping, so that a full file system is an error and no SIGBUS. */
int meter_map_back(struct meter_map *map, const void *start, size_t bytes);

/* Sets the offsets in `loop` for a region that begins at `offset`. */
void meter_map_layout_region(const struct stint_meter_options *options, uint64_t offset,
			     struct stint_meter_file_loop *loop);

static inline struct stint_meter_file_header *meter_map_header(const struct meter_map *map)
{
	return (struct stint_meter_file_header *)map->base;
}

static inline struct stint_meter_file_handler *meter_map_handler(const struct meter_map *map, uint32_t i)
{
	return (struct stint_meter_file_handler *)(map->base + meter_map_header(map)->handlers_offset) + i;
}

static inline struct stint_meter_file_loop *meter_map_loop(const struct meter_map *map, uint32_t i)
{
	return (struct stint_meter_file_loop *)(map->base + meter_map_header(map)->loops_offset) + i;
}

/* Copies a name into a fixed field: cut, terminated, the rest zero. */
void meter_map_copy_name(char *field, size_t bytes, const char *name);

#endif
