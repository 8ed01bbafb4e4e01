/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FUNCTION_RECORDS_H
#define STINT_PROBES_FUNCTION_RECORDS_H

/*
 * What the eBPF programs keep of functions that are timed, in a map that user space reads as it is. As records.h:
 * included by both sides, fixed widths, no holes.
 */

#include "probes/records.h"

#define FUNCTION_SLOTS  256  /* functions at a time, each once in each process */
#define FUNCTION_FRAMES 64   /* calls under way in a thread: the kernel follows no more returns */
#define FUNCTION_PLACES 1024 /* threads that were in such a function */

/*
 * One function in one process. Threads share it, so it is changed by atomic operations only. A call is the outermost
 * of its function in its thread: what it calls of itself is a part of it.
 *
 * `number` is user space's to set once both probes are there, and to take away as the process is over: then what was
 * noted of calls of that number is counted no more, whoever has the slot by then.
 */
struct function_counters {
	__u32 pid;
	__u32 function; /* its number among those that were asked for */
	__u32 number;   /* as in its probes' cookie, and never given again; 0: nothing is counted */
	__u32 reserved;
	__u64 begun;
	__u64 ended;     /* the calls that the histogram has */
	__u64 nested;    /* begun within a call of it in the same thread */
	__u64 left;      /* of those begun: left by longjmp() or the like, without a return */
	__u64 unmatched; /* returned, and the beginning was not seen */
	__u64 not_kept;  /* begun where a table was full, and so not timed */
	__u64 sum_ns;
	__u64 min_inverse_ns; /* ~ of the least: 0 while there is none */
	__u64 max_ns;
	__u64 overflow;
	__u64 bucket[RECORD_BUCKETS];
};

_Static_assert(sizeof(struct function_counters) == 96 + 8 * RECORD_BUCKETS, "no holes");

#endif
