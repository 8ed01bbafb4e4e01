/* SPDX-License-Identifier: MIT */
#ifndef REPORT_LATE_STACKS_H
#define REPORT_LATE_STACKS_H

/*
 * Stacks that a process's watchdog took of handlers past their budget, unwound as they are read, and kept until
 * the overrun that they belong to is: the copies are gone from the meter's file after a few more.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stint/meter_file.h"

struct late_stacks;

struct late_stack {
	bool blocked;              /* in the kernel when it was taken; else it computed */
	const char *const *frames; /* outermost first */
	uint32_t frames_len;
};

/* -ENOMEM. */
int late_stacks_new(struct late_stacks **ret, uint32_t pid);
struct late_stacks *late_stacks_free(struct late_stacks *stacks);

/* Unwinds a stack of loop `loop`; what cannot be is counted as cut. -ENOMEM. */
int late_stacks_add(struct late_stacks *stacks, uint32_t loop, const struct stint_meter_file_stack *stack);

/* The last stack that was taken in the dispatch that began at `begin_ns`; false if there is none. */
bool late_stacks_find(const struct late_stacks *stacks, uint32_t loop, uint64_t begin_ns,
		      struct late_stack *ret);

/* How many could not be unwound, or not to their beginning. */
uint64_t late_stacks_cut(const struct late_stacks *stacks);

#endif
