/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_IDENTITIES_H
#define SUBJECT_IDENTITIES_H

/* What the subject `identities` tells of each of its rounds: which descriptors waited behind the slow one. */

#include <stdint.h>

#define IDENTITIES_ROUNDS 5
#define IDENTITIES        2

struct subject_identities {
	uint64_t before_ns; /* these two: around the iteration */
	uint64_t after_ns;
	int32_t fd[IDENTITIES];
	char name[IDENTITIES][96]; /* what they were as they waited */
	char blocked_on[96];       /* what the slow one was blocked on; "": it computed */
};

#endif
