/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_SENDS_H
#define SUBJECT_SENDS_H

/* What the subject bulk_send writes to its standard output at its end: its sends, as it saw them itself. */

#include <stdint.h>

struct subject_send {
	uint64_t waited_ns; /* the wait before it returned; 0: no wait since the last send */
	uint64_t before_ns;
	uint64_t after_ns;
	uint64_t requested;
	int64_t result; /* negative errno on failure */
};

#endif
