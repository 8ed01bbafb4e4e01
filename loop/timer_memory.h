/* SPDX-License-Identifier: MIT */
#ifndef TIMER_MEMORY_H
#define TIMER_MEMORY_H

/*
 * Where timers live: in chunks that the loop keeps till its end, and that say whose they are. A timer is in two parts:
 * the one that the wheel has, two in a cache line, and the one that is needed only when it fires. So arming and
 * disarming touch one line of it.
 */

#include "reactor.h"

#define TIMER_CHUNK_BYTES 65536u

struct timer_call {
	stint_timer_callback callback;
	void *ctx;
	uint64_t period_ns; /* of a periodic timer */
};

struct timer_chunk;

struct timer_owner {
	struct stint_loop *loop;
	struct timer_chunk *next; /* of the first chunk in a block: the block before */
};

union timer_entry {
	struct stint_timer timer;
	struct timer_owner owner;
};

#define TIMER_CHUNK_ENTRIES (TIMER_CHUNK_BYTES / (sizeof(union timer_entry) + sizeof(struct timer_call)))

/* Aligned to its size, so a timer finds its loop and its other part without pointers of its own. */
struct timer_chunk {
	union timer_entry entry[TIMER_CHUNK_ENTRIES]; /* one of them is the owner */
	struct timer_call call[TIMER_CHUNK_ENTRIES];
};

_Static_assert(sizeof(struct timer_chunk) <= TIMER_CHUNK_BYTES, "a chunk is as large as it is aligned");

/*
 * Arming reads the owner. Were it at the same place in each chunk, caches could hold few of them: lines that are a
 * multiple of 64 KiB apart are of the same set. So it is in another line of each of 512 chunks.
 */
#define TIMER_OWNER_LINES 512u

_Static_assert(TIMER_OWNER_LINES * 64 <= TIMER_CHUNK_ENTRIES * sizeof(union timer_entry),
	       "it is among the entries");

static inline struct timer_owner *timer_owner(const struct timer_chunk *chunk)
{
	uintptr_t line = (uintptr_t)chunk / TIMER_CHUNK_BYTES % TIMER_OWNER_LINES;

	return (struct timer_owner *)((uintptr_t)chunk + line * 64);
}

static inline struct timer_chunk *timer_chunk(const struct stint_timer *timer)
{
	return (struct timer_chunk *)((uintptr_t)timer & ~(uintptr_t)(TIMER_CHUNK_BYTES - 1));
}

static inline struct stint_loop *timer_loop(const struct stint_timer *timer)
{
	return timer_owner(timer_chunk(timer))->loop;
}

static inline struct timer_call *timer_call(const struct stint_timer *timer)
{
	struct timer_chunk *chunk = timer_chunk(timer);

	return &chunk->call[(const union timer_entry *)timer - chunk->entry];
}

/* A timer that is not armed, whose call and handler are the caller's to fill in. NULL: no memory. */
struct stint_timer *timer_allocate(struct stint_loop *loop);

/* Back to those that are free; it must not be armed. */
void timer_release(struct stint_timer *timer);

#endif
