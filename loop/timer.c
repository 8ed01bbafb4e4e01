/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Timers: a heap of four children a node, with the deadlines in the array itself, so that a comparison needs
 * no visit to a timer. And the heap is lazy:
 *
 *  - A timer that is armed anew for later (the common fate of a timeout) leaves its entry where it is. When
 *    the entry comes to the top, too early, it is moved to the timer's deadline of then.
 *  - A timer that is stopped leaves its entry, too, and takes it up again if it is armed for later.
 *  - One that is armed for earlier gets a new entry; the old one is stale.
 *
 * So an armed timer has an entry that is never later than its deadline, and no timer needs to know where its
 * entry is: moving one touches the array alone. Entries without an armed timer are thrown out when they come
 * to the top, and all at once when there are more of them than of others, so they cost O(1) a timer.
 *
 * Price: 40 bytes for a timer and 16 for its entry in the heap, which is doubled when full. Timers come from
 * chunks that the loop keeps till its end, and that say whose they are.
 */

struct stint_timer {
	stint_timer_callback callback; /* NULL: free */
	union {
		void *ctx;
		struct stint_timer *next_free;
	};
	uint64_t period_ns;
	uint64_t due_ns;
	uint32_t handler : 16;
	uint32_t armed : 1;
	uint32_t has_entry : 1; /* one of the present sequence, not later than due_ns */
	uint16_t sequence;      /* what tells its entry from stale ones */
};

_Static_assert(sizeof(struct stint_timer) == 40, "as the price above says");

/* What one in 65536 stale entries may be taken for is a good one: then it is found to be early, or a second one. */
#define SEQUENCE_BITS 16

#define CHUNK_BYTES  65536u
#define CHUNK_TIMERS ((CHUNK_BYTES - 32) / sizeof(struct stint_timer))

/* Entries without an armed timer that are put up with, whatever the number of others. */
#define IDLE_ENTRIES 1024u

/* Aligned to its size, so a timer finds its loop without a pointer of its own. */
struct timer_chunk {
	struct stint_loop *loop;
	struct timer_chunk *next;
	uint64_t reserved[2];
	struct stint_timer timer[CHUNK_TIMERS];
};

_Static_assert(sizeof(struct timer_chunk) <= CHUNK_BYTES, "a chunk is as large as it is aligned");

static struct stint_loop *timer_loop(const struct stint_timer *timer)
{
	return ((const struct timer_chunk *)((uintptr_t)timer & ~(uintptr_t)(CHUNK_BYTES - 1)))->loop;
}

/* ---- entries ---- */

static struct heap_entry make_entry(const struct stint_timer *timer)
{
	return (struct heap_entry){.due_ns = timer->due_ns,
				   .timer = (uint64_t)(uintptr_t)timer << SEQUENCE_BITS | timer->sequence};
}

static struct stint_timer *entry_timer(struct heap_entry entry)
{
	return (struct stint_timer *)(uintptr_t)(entry.timer >> SEQUENCE_BITS);
}

static bool is_current(struct heap_entry entry, const struct stint_timer *timer)
{
	return timer->has_entry && timer->sequence == (uint16_t)entry.timer;
}

/* ---- the heap ---- */

static void sift_up(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 4;

		if (loop->heap[parent].due_ns <= entry.due_ns)
			break;
		loop->heap[i] = loop->heap[parent];
		i = parent;
	}
	loop->heap[i] = entry;
}

static uint32_t earliest_child(const struct stint_loop *loop, uint32_t first)
{
	const struct heap_entry *heap = loop->heap;
	uint32_t best = first, other = first + 2;

	if (__builtin_expect(loop->heap_count - first < 4, 0)) {
		for (uint32_t i = first + 1; i < loop->heap_count; i++)
			if (heap[i].due_ns < heap[best].due_ns)
				best = i;
		return best;
	}
	best += heap[first + 1].due_ns < heap[first].due_ns;
	other += heap[first + 3].due_ns < heap[first + 2].due_ns;
	return heap[other].due_ns < heap[best].due_ns ? other : best;
}

static void sift_down(struct stint_loop *loop, uint32_t i, struct heap_entry entry)
{
	for (;;) {
		uint32_t child = 4 * i + 1;

		if (child >= loop->heap_count)
			break;
		/* All grandchildren are side by side: fetched while their parents are compared. */
		for (uint32_t line = 0; line < 4; line++)
			__builtin_prefetch(&loop->heap[4 * (child + line) + 1]);
		child = earliest_child(loop, child);
		if (loop->heap[child].due_ns >= entry.due_ns)
			break;
		loop->heap[i] = loop->heap[child];
		i = child;
	}
	loop->heap[i] = entry;
}

static void remove_first(struct stint_loop *loop)
{
	struct heap_entry last = loop->heap[--loop->heap_count];

	if (loop->heap_count > 0)
		sift_down(loop, 0, last);
}

/*
 * Entry 0 is the last of its cache line, so that the four children of any entry share one.
 */
static int heap_reserve(struct stint_loop *loop)
{
	uint32_t size = loop->heap_size ? loop->heap_size * 2 : 64;
	struct heap_entry *memory;

	if (loop->heap_count < loop->heap_size)
		return 0;
	memory = aligned_alloc(64, (size_t)(size + 4) * sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	if (loop->heap_count)
		memcpy(memory + 3, loop->heap, loop->heap_count * sizeof(*memory));
	free(loop->heap_memory);
	loop->heap_memory = memory;
	loop->heap = memory + 3;
	loop->heap_size = size;
	return 0;
}

/* Throws out all entries without an armed timer, and makes a heap of the others. */
static void sweep(struct stint_loop *loop)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < loop->heap_count; i++) {
		struct stint_timer *timer = entry_timer(loop->heap[i]);

		if (!is_current(loop->heap[i], timer))
			continue;
		if (timer->armed)
			loop->heap[kept++] = make_entry(timer);
		else
			timer->has_entry = false;
	}
	loop->heap_count = kept;
	for (uint32_t i = kept / 4 + 1; i-- > 0;)
		if (i < kept)
			sift_down(loop, i, loop->heap[i]);
}

/* A new entry; the old one, if there is one, is stale from now on. */
static int add_entry(struct stint_loop *loop, struct stint_timer *timer, uint64_t due_ns)
{
	int error;

	if (loop->heap_count > 2 * loop->timers_armed + IDLE_ENTRIES)
		sweep(loop);
	error = heap_reserve(loop);
	if (error < 0)
		return error;
	timer->due_ns = due_ns;
	timer->sequence++;
	timer->has_entry = true;
	sift_up(loop, loop->heap_count++, make_entry(timer));
	return 0;
}

/* Makes the first entry that of the timer which is due first. */
static void settle(struct stint_loop *loop)
{
	while (loop->heap_count > 0) {
		struct stint_timer *timer = entry_timer(loop->heap[0]);

		if (!is_current(loop->heap[0], timer)) {
			remove_first(loop);
		} else if (!timer->armed) {
			timer->has_entry = false;
			remove_first(loop);
		} else if (timer->due_ns > loop->heap[0].due_ns) {
			sift_down(loop, 0, make_entry(timer));
		} else {
			return;
		}
	}
}

/* ---- timers ---- */

static int add_chunk(struct stint_loop *loop)
{
	struct timer_chunk *chunk = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);

	if (!chunk)
		return -ENOMEM;
	chunk->loop = loop;
	chunk->next = loop->timer_chunks;
	loop->timer_chunks = chunk;
	for (size_t i = CHUNK_TIMERS; i-- > 0;) {
		chunk->timer[i] = (struct stint_timer){.next_free = loop->timer_free};
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
	timer->callback = callback;
	timer->ctx = ctx;
	timer->period_ns = 0;
	timer->handler = handler & UINT16_MAX;
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
	/* The next timer in this place takes no entry over. */
	timer->has_entry = false;
	timer->sequence++;
	timer->callback = NULL;
	timer->next_free = loop->timer_free;
	loop->timer_free = timer;
	return NULL;
}

/* One of those that this iteration would still have dispatched is so no more. */
static void forget_due(struct stint_loop *loop, const struct stint_timer *timer)
{
	if (loop->due_left && timer->armed && timer->due_ns <= loop->batch_ns)
		loop->due_left--;
}

int stint_timer_start_at(struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns)
{
	struct stint_loop *loop;

	if (!timer || !timer->callback)
		return -EINVAL;
	loop = timer_loop(timer);
	if (loop->dead)
		return -EINVAL;
	/* What is started during an iteration is not due in it (step 4 of the contract). */
	if (loop->dispatching && due_ns <= loop->batch_ns)
		due_ns = loop->batch_ns + 1;
	forget_due(loop, timer);
	/* What the entry is known not to be later than is the deadline of before. */
	if (timer->has_entry && due_ns >= timer->due_ns) {
		timer->due_ns = due_ns;
	} else {
		int error = add_entry(loop, timer, due_ns);

		if (error < 0)
			return error;
	}
	timer->period_ns = period_ns;
	loop->timers_armed += !timer->armed;
	timer->armed = true;
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
	if (!timer->armed)
		return 0;
	loop = timer_loop(timer);
	forget_due(loop, timer);
	timer->armed = false;
	loop->timers_armed--;
	return 0;
}

uint64_t stint_timer_due_ns(const struct stint_timer *timer)
{
	if (!timer || !timer->callback || !timer->armed)
		return 0;
	return timer_loop(timer)->dead ? 0 : timer->due_ns;
}

/* ---- what the loop asks ---- */

uint64_t timer_next_due(struct stint_loop *loop)
{
	settle(loop);
	return loop->heap_count ? loop->heap[0].due_ns : UINT64_MAX;
}

/* Goes only where deadlines have passed: an entry that is not due has no child that is. */
static uint32_t count_due(const struct stint_loop *loop, uint32_t i)
{
	const struct stint_timer *timer = entry_timer(loop->heap[i]);
	uint32_t count = is_current(loop->heap[i], timer) && timer->armed && timer->due_ns <= loop->batch_ns;
	uint32_t first = 4 * i + 1;

	for (uint32_t child = first; child < first + 4 && child < loop->heap_count; child++)
		if (loop->heap[child].due_ns <= loop->batch_ns)
			count += count_due(loop, child);
	return count;
}

void timer_count_due(struct stint_loop *loop)
{
	loop->due_left = loop->heap_count && loop->heap[0].due_ns <= loop->batch_ns ? count_due(loop, 0) : 0;
}

/* The next point of the grid that has not passed. */
static uint64_t next_tick(uint64_t due_ns, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t next_ns = due_ns + period_ns;

	if (next_ns <= now_ns)
		next_ns += (now_ns - next_ns) / period_ns * period_ns + period_ns;
	return next_ns;
}

/* Disarms the first timer, or sets it to its next tick, before the callback can free it. */
static void dispatch_first(struct stint_loop *loop)
{
	struct stint_timer *timer = entry_timer(loop->heap[0]);
	uint64_t due_ns = timer->due_ns, now_ns = loop->clock->now_ns;
	struct dispatch dispatch;

	if (timer->period_ns) {
		timer->due_ns = next_tick(due_ns, timer->period_ns, now_ns);
	} else {
		timer->armed = timer->has_entry = false;
		loop->timers_armed--;
		remove_first(loop);
	}
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
	while (loop->due_left > 0 && timer_next_due(loop) <= loop->batch_ns) {
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
	free(loop->heap_memory);
}
