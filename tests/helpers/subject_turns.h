/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_TURNS_H
#define SUBJECT_TURNS_H

/* What the subject one_by_one writes to its standard output at its end: for each of its sockets, as it saw it itself. */

#include <stdint.h>

#define TURNS_SOCKETS 8
#define TURNS_MANY    100 /* more than the probes keep of a thread's events */
#define TURNS_OTHERS  70  /* more than are looked at at once */

struct subject_turn {
	int32_t fd;
	int32_t reserved;
	uint64_t wait_before_ns; /* of the wait that returned its write event */
	uint64_t wait_after_ns;
	uint64_t send_before_ns; /* of the send after that */
	uint64_t send_after_ns;
};

#endif
