/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_LOOPS_H
#define STINT_PROBES_LOOPS_H

/*
 * The loops that the eBPF programs have seen, and what they have counted of each: tables of theirs, mapped. They are read
 * here, and written to only where a loop is over or no program looks.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "probes/before.h"
#include "probes/bpf_object.h"
#include "probes/probes.h"

struct stint_loops;

/* `limit`: as many as `bpf` was made for; that and `maps` stay the caller's. -ENOMEM, or what mmap() said. */
int stint_loops_new(struct stint_loops **ret, struct stint_bpf *bpf, const struct stint_bpf_role_maps *maps,
		    uint32_t limit);
struct stint_loops *stint_loops_free(struct stint_loops *loops);

/* The tables themselves, of `limit` entries each; a loop whose `wait` is 0 is none. */
const struct loop_counters *stint_loops_counters(const struct stint_loops *loops);
const struct loop_habits *stint_loops_habits(const struct stint_loops *loops);

/* Forgets what the last look has found under way, as before another, and at the end: it is counted by now, or is none. */
void stint_loops_forget_under_way(struct stint_loops *loops);

/* Calls `visit` for each loop, with its figures as they are. What it returned, if that was not 0. */
int stint_loops_read(struct stint_loops *loops, stint_probes_loop_visit visit, void *ctx);

/*
 * Makes room: the slots of those that were over as they were read last are given back, and `before` is told that they had
 * come to their wait. A negative errno.
 */
int stint_loops_release(struct stint_loops *loops, struct stint_before *before);

/* Tells `before` in which sets the process' loops have waited. */
void stint_loops_tell_waited(const struct stint_loops *loops, uint32_t pid, struct stint_before *before);

/* Does another thread of the process wait in that set; in any, if `epfd` is -1? */
bool stint_loops_has_set_beside(const struct stint_loops *loops, uint32_t pid, uint32_t tid, int32_t epfd);

/* Of all loops ever. */
void stint_loops_attribution(const struct stint_loops *loops, struct stint_probes_attribution *ret);

#endif
