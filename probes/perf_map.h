/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_PERF_MAP_H
#define STINT_PROBES_PERF_MAP_H

/*
 * Names for code that was made at run time, from the file that its program writes for perf: /tmp/perf-PID.map, of lines
 * "START SIZE name" in hexadecimal (node --perf-basic-prof, java with perf-map-agent, ...). PID and /tmp are those of
 * the process's own namespaces. The file is the process's: it is read up to a limit, and nothing in it is believed but
 * that the process calls its own code so.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stint_perf_map;

/* -ENOMEM. That there is no file is no failure. */
int stint_perf_map_new(struct stint_perf_map **ret, uint32_t pid);
struct stint_perf_map *stint_perf_map_free(struct stint_perf_map *map);

/*
 * The name of what is at `address`, and where that begins. NULL if it is not known. Reads what the file has grown by if
 * the address is not known yet. Valid until the next call.
 */
const char *stint_perf_map_find(struct stint_perf_map *map, uint64_t address, uint64_t *start);

/* Parses one line; false if it is none. `name` is cut to `name_bytes`. */
bool stint_perf_map_parse(const char *line, uint64_t *start, uint64_t *bytes, char *name, size_t name_bytes);

#endif
