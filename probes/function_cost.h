/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FUNCTION_COST_H
#define STINT_PROBES_FUNCTION_COST_H

/* What it costs to time a call, measured on this machine with the very programs that do it. */

#include <stdbool.h>
#include <stdint.h>

#include "probes/bpf_object.h"

/* By what the kernel has to do for a function's first instruction, which the probe takes the place of. */
enum stint_function_kind {
	STINT_FUNCTION_PUSH = 0, /* "push REGISTER", which it does by itself */
	STINT_FUNCTION_ENDBR,    /* "endbr64" */
	STINT_FUNCTION_OTHER,    /* any other: mostly, the processor steps through a copy of it */
	STINT_FUNCTION_KINDS
};

struct stint_function_cost {
	uint64_t call_ns;   /* by which a call is longer than without probes; 0: it could not be measured */
	uint64_t within_ns; /* of that: in its own duration, as it is shown */
};

enum stint_function_kind stint_function_kind(const uint8_t *code);

/*
 * Times functions of its own that do nothing, of each kind, in a child process with and without the probes: some 30 ms.
 * `table` is the mapped table of counters; those from slot `first` on are used, one for each kind, whose number is the
 * slot. What cannot be measured is 0.
 */
void stint_function_cost_measure(struct stint_function_cost ret[STINT_FUNCTION_KINDS], struct stint_bpf *bpf,
				 struct function_counters *table, uint32_t first);

/*
 * Whether a probe at a return ends a process with a seccomp filter, as in a container, that refuses system calls that it
 * does not know: where the kernel returns from such probes by one (since 6.11), and lets filters see it (until 6.14). Tried
 * on a child process, with `slot` of the table. False also if it cannot be tried.
 */
bool stint_function_ends_filtered(struct stint_bpf *bpf, struct function_counters *table, uint32_t slot);

#endif
