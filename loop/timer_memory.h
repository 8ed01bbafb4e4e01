/* SPDX-License-Identifier: MIT */
#ifndef TIMER_MEMORY_H
#define TIMER_MEMORY_H

/*
 * Where timers live: in chunks that the loop keeps till its end, and that say whose they are.
 */

#include "reactor.h"

#define TIMER_CHUNK_BYTES  65536u
#define TIMER_CHUNK_TIMERS ((TIMER_CHUNK_BYTES - 2 * sizeof(void *)) / sizeof(struct stint_timer))

/* Aligned to its size, so a timer finds its loop without a pointer of its own. */
struct timer_chunk {
	struct stint_loop *loop;
	struct timer_chunk *next; /* of the first in a block: the block before */
	struct stint_timer timer[TIMER_CHUNK_TIMERS];
};

_Static_assert(sizeof(struct timer_chunk) <= TIMER_CHUNK_BYTES, "a chunk is as large as it is aligned");

static inline struct stint_loop *timer_loop(const struct stint_timer *timer)
{
	return ((const struct timer_chunk *)((uintptr_t)timer & ~(uintptr_t)(TIMER_CHUNK_BYTES - 1)))->loop;
}

/* A timer that is not armed, whose callback, handler and so on are the caller's to fill in. NULL: no memory. */
struct stint_timer *timer_allocate(struct stint_loop *loop);

/* Back to those that are free; it must not be armed. */
void timer_release(struct stint_timer *timer);

#endif
