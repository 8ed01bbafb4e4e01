/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FUNCTION_H
#define STINT_PROBES_FUNCTION_H

/* The functions that are timed on request: found in each process, given their probes, and read. */

#include "probes/bpf_object.h"
#include "probes/probes.h"

struct stint_functions;

/*
 * The names in `options` must outlive it, and so must `bpf`, which was made with them. Measures what a call costs. -ENOMEM,
 * or what mmap() said.
 */
int stint_functions_new(struct stint_functions **ret, struct stint_bpf *bpf,
			const struct stint_probes_options *options);

/*
 * Takes all probes away: nothing is left in the kernel. Each may take a tenth of a second: `lingers` is as that of
 * stint_closer_free(). NULL is allowed, of both. Returns NULL.
 */
struct stint_functions *stint_functions_free(struct stint_functions *functions,
					     void (*lingers)(void *ctx, uint32_t uprobes), void *ctx);

/*
 * Gives those functions their probes that process `pid` has, and that have none in it yet. That it has them not is
 * no error: stint_functions_missing() tells. NULL is allowed, and does nothing, here and below.
 */
void stint_functions_add(struct stint_functions *functions, uint32_t pid);

/* The process has exited, or is another program now. What was counted of it stays until it is released. */
void stint_functions_drop(struct stint_functions *functions, uint32_t pid);

/* Calls are counted no more, and no more functions timed. */
void stint_functions_stop(struct stint_functions *functions);

/* Why a function, by its place among the names, is timed in no process so far; NULL: it is in one. */
const char *stint_functions_missing(const struct stint_functions *functions, uint32_t function);

/* Calls `visit` for each function of each process. What `visit` returned if that was not 0. */
int stint_functions_read(struct stint_functions *functions, stint_probes_function_visit visit, void *ctx);

/*
 * Gives the room of those that are over to others, once stint_functions_read() has told their last figures: to those first
 * that have found none.
 */
void stint_functions_release(struct stint_functions *functions);

/*
 * Calls that were not timed, and functions that have found no room so far, or could not be given their probes: each once.
 */
uint64_t stint_functions_lost(const struct stint_functions *functions);

/* Functions that found no room at first, and are timed since there is some. */
uint64_t stint_functions_late(const struct stint_functions *functions);

#endif
