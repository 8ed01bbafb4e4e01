/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_LAST_H
#define SUBJECT_LAST_H

/* What the subject last_stall tells of each of its stalls, by its own clock. */

#include <stdint.h>

#define LAST_ROUNDS 3

struct subject_last {
	uint64_t full_before_ns; /* these two: around the send that was refused */
	uint64_t full_after_ns;
	uint64_t end_before_ns; /* and around what was done then */
	uint64_t end_after_ns;
	uint64_t told_ns; /* told: when the write event had come */
};

#endif
