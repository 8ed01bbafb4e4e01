/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_ROLES_H
#define SUBJECT_ROLES_H

/* What the subject `roles` does, and how long its handlers compute. */

#include <stdint.h>

#define SUBJECT_ROUNDS  7
#define SUBJECT_MANY    1000 /* clients at once */
#define SUBJECT_CROWD   9900 /* the same: for some sets of the table of arrivals that is too many */
#define SUBJECT_PORTS   1100 /* more that are listened on */
#define SUBJECT_BUSY_NS 20000000u
#define SUBJECT_SPIN_NS 2000000u /* of each handler, and twice that of every second */

enum subject_role {
	SUBJECT_ROLE_LISTENER = 0,
	SUBJECT_ROLE_CLIENT,
	SUBJECT_ROLE_UPSTREAM,
	SUBJECT_ROLE_TIMER,
	SUBJECT_ROLE_EVENT,
	SUBJECT_ROLE_PIPE,
	SUBJECT_ROLE_UNIX,
	SUBJECT_ROLE_SIGNAL,
	SUBJECT_ROLE_INOTIFY,
	SUBJECT_ROLES
};

/*
 * What it writes to its standard output when it is done: for each role, how long its events were served, by its own
 * clock. What the kernel sees lies between the two sums, however often the program loses its CPU: `least` is from
 * the return of the first system call to before the last one, `most` is from before the first one to the return of the
 * next wait.
 */
struct subject_served {
	uint64_t least_ns[SUBJECT_ROLES];
	uint64_t most_ns[SUBJECT_ROLES];
};

#endif
