/* SPDX-License-Identifier: MIT */
#ifndef STALL_TRUTH_H
#define STALL_TRUTH_H

/* What random_stalls knows of its own iterations, as it writes them into its file. */

#include <stdint.h>

enum stall_cause {
	STALL_NONE = 0, /* none of its own: the machine's, if it is long */
	STALL_COMPUTES,
	STALL_SLEEPS,     /* clock_nanosleep() */
	STALL_READS_PIPE, /* that another process writes to later */
	STALL_WANTS_LOCK, /* that another process holds: flock() */
	STALL_CAUSES,
};

#define STALL_LOGGED_NS 500000 /* shorter iterations are not in the file */

struct stall_truth {
	uint64_t start_ns; /* after the wait returned, CLOCK_MONOTONIC */
	uint64_t end_ns;   /* before the next one */
	uint64_t cpu_ns;   /* of the thread, in between */
	int32_t fd;        /* that it blocked on; else -1 */
	uint32_t cause;    /* enum stall_cause */
};

#endif
