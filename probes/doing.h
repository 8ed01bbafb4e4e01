/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DOING_H
#define STINT_PROBES_DOING_H

/* What /proc tells of what the threads of a process do at the moment. */

#include <stdint.h>

enum stint_doing {
	STINT_DOING_NOTHING,    /* it is over */
	STINT_DOING_WAIT,       /* in epoll */
	STINT_DOING_OTHER_WAIT, /* in poll(), select() or a ring */
	STINT_DOING_LOCK,       /* in a futex */
	STINT_DOING_SOMETHING,  /* in any other system call */
	STINT_DOING_COMPUTE
};

/*
 * Calls `visit` for each thread, with the first argument of its system call as a descriptor: of a wait in epoll that is its
 * set. Nobody, if there is no such process, or it is not to be inspected.
 */
void stint_doing_read(uint32_t pid,
		      void (*visit)(void *ctx, uint32_t tid, enum stint_doing doing, int32_t fd), void *ctx);

#endif
