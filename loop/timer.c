/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Timers: a heap of four children a node with the deadlines in the array itself, so that a comparison needs
 * no visit to the timer, and a level is one cache line.
 *
 * Price: 32 bytes for a timer and 16 for its place in the heap, which is doubled when full: 48 to 64 bytes
 * a timer, the user's pointer included. Arming anew moves the entry from where it is. Timers come from
 * chunks that the loop keeps till its end, and that say whose they are.
 */

struct stint_timer {
	stint_timer_callback callback; /* NULL: free */
	union {
		void *ctx;
		struct stint_timer *next_free;
	};
	uint64_t period_ns;
	uint32_t place; /* in the heap; NO_INDEX: not armed */
	uint16_t handler;
	uint16_t reserved;
};

_Static_assert(sizeof(struct stint_timer) == 32, "half a cache line");

#define CHUNK_BYTES  65536u
#define CHUNK_TIMERS (CHUNK_BYTES / sizeof(struct stint_timer) - 1)

/* Aligned to its size, so a timer finds its loop without a pointer of its own. */
struct timer_chunk {
	struct stint_loop *loop;
	struct timer_chunk *next;
	uint64_t reserved[2];
	struct stint_timer timer[CHUNK_TIMERS];
};

_Static_assert(sizeof(struct timer_chunk) == CHUNK_BYTES, "a chunk is as large as it is aligned");

static struct stint_loop *timer_loop(const struct stint_timer *timer)
{
	return ((const struct timer_chunk *)((uintptr_t)timer & ~(uintptr_t)(CHUNK_BYTES - 1)))->loop;
}

static void place(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	loop->heap[i] = entry;
	entry.timer->place = i;
}

static void sift_up(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 4;

		if (loop->heap[parent].due_ns <= entry.due_ns)
			break;
		place(loop, i, loop->heap[parent]);
		i = parent;
	}
	place(loop, i, entry);
}

static uint32_t earliest_child(const struct stint_loop *loop, uint32_t first)
{
	uint32_t end = loop->heap_count - first < 4 ? loop->heap_count : first + 4, best = first;

	for (uint32_t i = first + 1; i < end; i++)
		if (loop->heap[i].due_ns < loop->heap[best].due_ns)
			best = i;
	return best;
}

static void sift_down(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	for (;;) {
		uint32_t child = 4 * i + 1;

		if (child >= loop->heap_count)
			break;
		child = earliest_child(loop, child);
		if (loop->heap[child].due_ns >= entry.due_ns)
			break;
		place(loop, i, loop->heap[child]);
		i = child;
	}
	place(loop, i, entry);
}

static void sift(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	if (i > 0 && loop->heap[(i - 1) / 4].due_ns > entry.due_ns)
		sift_up(loop, i, entry);
	else
		sift_down(loop, i, entry);
}

static int heap_reserve(struct stint_loop *loop)
{
	uint32_t size = loop->heap_size ? loop->heap_size * 2 : 64;
	struct heap_entry *heap;

	if (loop->heap_count < loop->heap_size)
		return 0;
	heap = reallocarray(loop->heap, size, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	loop->heap = heap;
	loop->heap_size = size;
	return 0;
}

static void heap_remove(struct stint_loop *loop, struct stint_timer *timer)
{
	uint32_t i = timer->place;
	struct heap_entry last = loop->heap[--loop->heap_count];

	if (i < loop->heap_count)
		sift(loop, i, last);
	timer->place = NO_INDEX;
}

static int add_chunk(struct stint_loop *loop)
{
	struct timer_chunk *chunk = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);

	if (!chunk)
		return -ENOMEM;
	chunk->loop = loop;
	chunk->next = loop->timer_chunks;
	loop->timer_chunks = chunk;
	for (size_t i = CHUNK_TIMERS; i-- > 0;) {
		chunk->timer[i] = (struct stint_timer){.next_free = loop->timer_free, .place = NO_INDEX};
		loop->timer_free = &chunk->timer[i];
	}
	return 0;
}

int stint_timer_new(struct stint_timer **ret, struct stint_loop *loop, uint32_t handler,
		    stint_timer_callback callback, void *ctx)
{
	struct stint_timer *timer;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	if (!loop->timer_free) {
		int error = add_chunk(loop);

		if (error < 0)
			return error;
	}
	timer = loop->timer_free;
	loop->timer_free = timer->next_free;
	*timer = (struct stint_timer){.callback = callback,
				      .ctx = ctx,
				      .place = NO_INDEX,
				      .handler = (uint16_t)handler};
	*ret = timer;
	return 0;
}

struct stint_timer *stint_timer_free(struct stint_timer *timer)
{
	struct stint_loop *loop;

	if (!timer || !timer->callback)
		return NULL;
	loop = timer_loop(timer);
	stint_timer_stop(timer);
	timer->callback = NULL;
	timer->next_free = loop->timer_free;
	loop->timer_free = timer;
	return NULL;
}

/* One of those that this iteration would still have dispatched is so no more. */
static void forget_due(struct stint_loop *loop, uint64_t due_ns)
{
	if (loop->due_left && due_ns <= loop->batch_ns)
		loop->due_left--;
}

int stint_timer_start_at(struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns)
{
	struct stint_loop *loop;
	struct heap_entry entry;
	int error;

	if (!timer || !timer->callback)
		return -EINVAL;
	loop = timer_loop(timer);
	if (loop->dead)
		return -EINVAL;
	/* What is started during an iteration is not due in it (step 4 of the contract). */
	if (loop->dispatching && due_ns <= loop->batch_ns)
		due_ns = loop->batch_ns + 1;
	entry = (struct heap_entry){.due_ns = due_ns, .timer = timer};
	if (timer->place != NO_INDEX) {
		forget_due(loop, loop->heap[timer->place].due_ns);
		timer->period_ns = period_ns;
		sift(loop, timer->place, entry);
		return 0;
	}
	error = heap_reserve(loop);
	if (error < 0)
		return error;
	timer->period_ns = period_ns;
	sift_up(loop, loop->heap_count++, entry);
	return 0;
}

int stint_timer_start(struct stint_timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	uint64_t now_ns;

	if (!timer || !timer->callback)
		return -EINVAL;
	now_ns = stint_loop_now_ns(timer_loop(timer));
	return stint_timer_start_at(timer,
				    delay_ns > UINT64_MAX - 1 - now_ns ? UINT64_MAX - 1 : now_ns + delay_ns,
				    period_ns);
}

int stint_timer_stop(struct stint_timer *timer)
{
	struct stint_loop *loop;

	if (!timer || !timer->callback)
		return -EINVAL;
	if (timer->place == NO_INDEX)
		return 0;
	loop = timer_loop(timer);
	/* A loop that was freed in this very callback has no heap any more. */
	if (loop->dead)
		return 0;
	forget_due(loop, loop->heap[timer->place].due_ns);
	heap_remove(loop, timer);
	return 0;
}

uint64_t stint_timer_due_ns(const struct stint_timer *timer)
{
	const struct stint_loop *loop;

	if (!timer || !timer->callback || timer->place == NO_INDEX)
		return 0;
	loop = timer_loop(timer);
	return loop->dead ? 0 : loop->heap[timer->place].due_ns;
}

uint64_t timer_next_due(const struct stint_loop *loop)
{
	return loop->heap_count ? loop->heap[0].due_ns : UINT64_MAX;
}

/* Goes only where deadlines have passed: a node that is not due has no child that is. */
static uint32_t count_due(const struct stint_loop *loop, uint32_t i)
{
	uint32_t count = 1, first = 4 * i + 1;

	for (uint32_t child = first; child < first + 4 && child < loop->heap_count; child++)
		if (loop->heap[child].due_ns <= loop->batch_ns)
			count += count_due(loop, child);
	return count;
}

void timer_count_due(struct stint_loop *loop)
{
	loop->due_left = timer_next_due(loop) <= loop->batch_ns ? count_due(loop, 0) : 0;
}

/* The next point of the grid that has not passed. */
static uint64_t next_tick(uint64_t due_ns, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t next_ns = due_ns + period_ns;

	if (next_ns <= now_ns)
		next_ns += (now_ns - next_ns) / period_ns * period_ns + period_ns;
	return next_ns;
}

/* Takes the first timer off the heap, or sets it to its next tick, before the callback can free it. */
static void dispatch_first(struct stint_loop *loop)
{
	struct stint_timer *timer = loop->heap[0].timer;
	uint64_t due_ns = loop->heap[0].due_ns, now_ns = loop->clock->now_ns;
	struct dispatch dispatch;

	if (timer->period_ns)
		sift_down(loop, 0,
			  (struct heap_entry){.due_ns = next_tick(due_ns, timer->period_ns, now_ns),
					      .timer = timer});
	else
		heap_remove(loop, timer);
	if (loop->account) {
		loop->account->behind = loop->due_left;
		histogram_record(&loop->account->metric[STINT_METER_LOOP_LATENESS],
				 now_ns > due_ns ? now_ns - due_ns : 0);
	}
	dispatch = dispatch_open(loop, timer->handler, due_ns);
	timer->callback(timer, timer->ctx);
	dispatch_close(loop, &dispatch);
}

void timer_dispatch_due(struct stint_loop *loop)
{
	while (loop->due_left > 0 && loop->heap_count > 0 && loop->heap[0].due_ns <= loop->batch_ns) {
		loop->due_left--;
		dispatch_first(loop);
	}
	loop->due_left = 0;
}

void timer_free_memory(struct stint_loop *loop)
{
	while (loop->timer_chunks) {
		struct timer_chunk *chunk = loop->timer_chunks;

		loop->timer_chunks = chunk->next;
		free(chunk);
	}
	free(loop->heap);
}
