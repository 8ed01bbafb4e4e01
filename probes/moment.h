/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_MOMENT_H
#define STINT_PROBES_MOMENT_H

/*
 * What an overrun was doing at the moment at which one of its stacks was taken. The user's and the kernel's half of a
 * stack come by different ways, and are told together only where both are of one moment. Pure functions.
 */

#include <linux/types.h>
#include <stdbool.h>

#include "probes/probes.h"
#include "probes/records.h"

/* The system call that was under way then, its ends included, if it was long enough to be listed. */
const struct stint_probes_syscall *stint_moment_call(const struct stint_probes_overrun *overrun,
						     uint64_t time_ns);

/*
 * Whether a stack of `kind`, of that time, is of the longest block: whether the kernel's stack of that is its
 * continuation.
 */
bool stint_moment_in_block(const struct stint_probes_overrun *overrun, enum record_stack_kind kind,
			   uint64_t time_ns);

/*
 * Whether a stack of `kind`, of that time, shows where the thread was blocked. One from the end of a system call does
 * if the thread was blocked in that call for longer than it was on a CPU; else the call computed, or waited for a
 * CPU.
 */
bool stint_moment_blocked(const struct stint_probes_overrun *overrun, enum record_stack_kind kind,
			  uint64_t time_ns);

#endif
