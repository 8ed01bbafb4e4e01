/* SPDX-License-Identifier: MIT */
#include "timer_memory.h"

#include <stdlib.h>

/*
 * Chunks come in blocks, of one, then two, four, ..., as an allocation that is aligned to so much dirties two
 * pages more than it needs: 7 bytes a timer if each chunk were one.
 */

#define BLOCK_CHUNKS 16u /* at most */

static bool add_block(struct stint_loop *loop)
{
	uint32_t chunks = loop->timer_block_chunks ? 2 * loop->timer_block_chunks : 1;
	struct timer_chunk *block;

	if (chunks > BLOCK_CHUNKS)
		chunks = BLOCK_CHUNKS;
	block = aligned_alloc(TIMER_CHUNK_BYTES, (size_t)chunks * TIMER_CHUNK_BYTES);
	if (!block)
		return false;
	block->next = loop->timer_blocks;
	loop->timer_blocks = block;
	loop->timer_block_chunks = loop->timer_chunks_left = chunks;
	return true;
}

/* The next chunk of the newest block. */
static bool add_chunk(struct stint_loop *loop)
{
	struct timer_chunk *chunk;

	if (!loop->timer_chunks_left && !add_block(loop))
		return false;
	chunk = (struct timer_chunk *)((uint8_t *)loop->timer_blocks +
				       (size_t)(loop->timer_block_chunks - loop->timer_chunks_left) *
					       TIMER_CHUNK_BYTES);
	loop->timer_chunks_left--;
	chunk->loop = loop;
	for (size_t i = TIMER_CHUNK_TIMERS; i-- > 0;) {
		chunk->timer[i] =
			(struct stint_timer){.next_free = loop->timer_free, .place = WHEEL_NO_PLACE};
		loop->timer_free = &chunk->timer[i];
	}
	return true;
}

struct stint_timer *timer_allocate(struct stint_loop *loop)
{
	struct stint_timer *timer;

	if (!loop->timer_free && !add_chunk(loop))
		return NULL;
	timer = loop->timer_free;
	loop->timer_free = timer->next_free;
	return timer;
}

void timer_release(struct stint_timer *timer)
{
	struct stint_loop *loop = timer_loop(timer);

	timer->callback = NULL;
	timer->next_free = loop->timer_free;
	loop->timer_free = timer;
}

void timer_free_memory(struct stint_loop *loop)
{
	while (loop->timer_blocks) {
		struct timer_chunk *block = loop->timer_blocks;

		loop->timer_blocks = block->next;
		free(block);
	}
}
