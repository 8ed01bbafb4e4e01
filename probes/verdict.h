/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_VERDICT_H
#define STINT_PROBES_VERDICT_H

/*
 * From what was measured of an overrun to the word for it: one of six for the time, one of three for the iteration.
 * Pure functions.
 */

#include <linux/types.h>
#include <stdbool.h>

#include "probes/probes.h"
#include "probes/records.h"

/* The six parts. They add up to the duration, whatever the record says. */
void stint_verdict_parts(struct stint_probes_parts *ret, const struct record_overrun *record);

/* The same of any sums; whether throttled and stolen time are known is not set. */
void stint_verdict_split(struct stint_probes_parts *ret, uint64_t duration_ns,
			 const struct stint_probes_mark *sums);

/* What of it was on a CPU, and in no system call: in user space, and in page faults and interrupts, as far as is known. */
uint64_t stint_verdict_outside_ns(const struct stint_probes_parts *parts);

/*
 * Whether page faults may be much of the time outside of system calls, by how many they were. Their time is known where
 * they were timed; else a few samples have to do.
 */
bool stint_verdict_has_faults(uint64_t faults, uint64_t outside_ns);

/* Whether those of its thread are to be timed from now on: by how many there were, by their time, or by samples in them. */
bool stint_verdict_wants_faults(const struct stint_probes_overrun *overrun);

/* All that was summed of an iteration, at its end. */
struct stint_probes_mark stint_verdict_sums(const struct record_overrun *record);

/* The largest part; of equal ones the one that stands first in the struct. UNKNOWN if all are 0. */
enum stint_probes_verdict stint_verdict(const struct stint_probes_parts *parts);

/* The length of the part that a verdict stands for; 0 for UNKNOWN. */
uint64_t stint_verdict_ns(const struct stint_probes_parts *parts, enum stint_probes_verdict verdict);

/*
 * SYSTEM: the thread was kept from a CPU for more than half of the time (runnable, throttled, stolen). Else ONE_HANDLER:
 * one turn took more than half, or there was just one event. Else MANY_HANDLERS. UNKNOWN where no turns are known:
 * `turns` 0, as no ready descriptor was seen to be used. A turn: from the first system call on a ready descriptor to the
 * first one on another.
 */
enum stint_probes_iteration stint_verdict_iteration(const struct stint_probes_parts *parts,
						    uint32_t ready_events, uint32_t turns,
						    uint64_t longest_turn_ns);

#endif
