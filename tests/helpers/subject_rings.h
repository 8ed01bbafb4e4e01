/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_RINGS_H
#define SUBJECT_RINGS_H

/* What the subject `rings` does, and tells of itself on its standard output. */

#include <stdint.h>

#define SUBJECT_RINGS_ROUNDS  7
#define SUBJECT_RINGS_SPIN_NS 2000000u /* of each handler */

enum subject_rings_role {
	SUBJECT_RINGS_LISTENER = 0, /* once */
	SUBJECT_RINGS_CLIENT,
	SUBJECT_RINGS_PIPE,
	SUBJECT_RINGS_EVENT,
	SUBJECT_RINGS_TIMEOUT,
	SUBJECT_RINGS_ROLES
};

struct subject_rings {
	uint64_t served_ns[SUBJECT_RINGS_ROLES]; /* by its own clock, from the wait's return on */
	uint64_t start_ns, end_ns;               /* of its sends */
	uint32_t short_sends; /* completions with less than what was asked for, or EAGAIN */
	uint16_t port;        /* the listener's */
	uint16_t reserved;
};

#endif
