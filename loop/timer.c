/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Timers, armed in the loop's wheel. They come from chunks that the loop keeps till its end, and that say whose
 * they are. Chunks come in blocks, of one, then two, four, ..., as an allocation that is aligned to so much dirties two
 * pages more than it needs: 7 bytes a timer if each chunk were one.
 */

#define CHUNK_BYTES  65536u
#define BLOCK_CHUNKS 16u /* at most */
#define CHUNK_TIMERS ((CHUNK_BYTES - 2 * sizeof(void *)) / sizeof(struct stint_timer))

/* Aligned to its size, so a timer finds its loop without a pointer of its own. */
struct timer_chunk {
	struct stint_loop *loop;
	struct timer_chunk *next; /* of the first in a block: the block before */
	struct stint_timer timer[CHUNK_TIMERS];
};

_Static_assert(sizeof(struct timer_chunk) <= CHUNK_BYTES, "a chunk is as large as it is aligned");

static struct stint_loop *timer_loop(const struct stint_timer *timer)
{
	return ((const struct timer_chunk *)((uintptr_t)timer & ~(uintptr_t)(CHUNK_BYTES - 1)))->loop;
}

/* ---- timers ---- */

static int add_block(struct stint_loop *loop)
{
	uint32_t chunks = loop->timer_block_chunks ? 2 * loop->timer_block_chunks : 1;
	struct timer_chunk *block;

	if (chunks > BLOCK_CHUNKS)
		chunks = BLOCK_CHUNKS;
	block = aligned_alloc(CHUNK_BYTES, (size_t)chunks * CHUNK_BYTES);
	if (!block)
		return -ENOMEM;
	block->next = loop->timer_blocks;
	loop->timer_blocks = block;
	loop->timer_block_chunks = loop->timer_chunks_left = chunks;
	return 0;
}

/* The next chunk of the newest block. */
static int add_chunk(struct stint_loop *loop)
{
	struct timer_chunk *chunk;
	int error = loop->timer_chunks_left ? 0 : add_block(loop);

	if (error < 0)
		return error;
	chunk = (struct timer_chunk *)((uint8_t *)loop->timer_blocks +
				       (size_t)(loop->timer_block_chunks - loop->timer_chunks_left) *
					       CHUNK_BYTES);
	loop->timer_chunks_left--;
	chunk->loop = loop;
	for (size_t i = CHUNK_TIMERS; i-- > 0;) {
		chunk->timer[i] =
			(struct stint_timer){.next_free = loop->timer_free, .place = WHEEL_NO_PLACE};
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
	timer->handler = handler;
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
static void forget_due(struct stint_loop *loop, const struct stint_timer *timer)
{
	if (!loop->due_left || timer->place == WHEEL_NO_PLACE || timer->due_ns > loop->batch_ns)
		return;
	loop->due_left--;
	if (loop->account)
		meter_account_disturb(loop->account);
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
	timer->period_ns = period_ns;
	if (timer->place != WHEEL_NO_PLACE) {
		wheel_move(&loop->wheel, timer, due_ns);
		return 0;
	}
	/* An empty wheel has not turned: it need not go through the time since. */
	if (loop->timers_armed++ == 0 && wheel_tick(loop->clock->now_ns) > loop->wheel.tick)
		loop->wheel.tick = wheel_tick(loop->clock->now_ns);
	timer->due_ns = due_ns;
	wheel_add(&loop->wheel, timer);
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
	if (timer->place == WHEEL_NO_PLACE)
		return 0;
	loop = timer_loop(timer);
	/* A loop that was freed in this very callback has no wheel any more. */
	if (loop->dead)
		return 0;
	forget_due(loop, timer);
	wheel_remove(&loop->wheel, timer);
	loop->timers_armed--;
	return 0;
}

uint64_t stint_timer_due_ns(const struct stint_timer *timer)
{
	if (!timer || !timer->callback || timer->place == WHEEL_NO_PLACE)
		return 0;
	return timer_loop(timer)->dead ? 0 : timer->due_ns;
}

/* ---- what the loop asks ---- */

uint64_t timer_next_due(const struct stint_loop *loop)
{
	return wheel_next_ns(&loop->wheel);
}

void timer_count_due(struct stint_loop *loop)
{
	loop->due_left = 0;
	if (!loop->timers_armed || wheel_next_ns(&loop->wheel) > loop->batch_ns)
		return;
	loop->due_left = wheel_count_due(&loop->wheel, loop->batch_ns);
	if (!loop->due_left) /* woken for a timer that is gone: the wheel comes to its slot, not to wake again */
		(void)wheel_first_due(&loop->wheel, loop->batch_ns);
}

/* The next point of the grid that has not passed. */
static uint64_t next_tick(uint64_t due_ns, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t next_ns = due_ns + period_ns;

	if (next_ns <= now_ns)
		next_ns += (now_ns - next_ns) / period_ns * period_ns + period_ns;
	return next_ns;
}

/* Disarms the timer, or sets it to its next tick, before the callback can free it. */
static void dispatch_due(struct stint_loop *loop, struct stint_timer *timer)
{
	uint64_t due_ns = timer->due_ns, now_ns = loop->clock->now_ns;
	struct dispatch dispatch;

	if (timer->period_ns) {
		wheel_move(&loop->wheel, timer, next_tick(due_ns, timer->period_ns, now_ns));
	} else {
		wheel_remove(&loop->wheel, timer);
		loop->timers_armed--;
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
	struct stint_timer *timer;

	loop->timer_iteration = loop->iteration;
	while (loop->due_left > 0 && (timer = wheel_first_due(&loop->wheel, loop->batch_ns))) {
		loop->due_left--;
		dispatch_due(loop, timer);
	}
	loop->due_left = 0;
}

void timer_free_memory(struct stint_loop *loop)
{
	while (loop->timer_blocks) {
		struct timer_chunk *block = loop->timer_blocks;

		loop->timer_blocks = block->next;
		free(block);
	}
}
