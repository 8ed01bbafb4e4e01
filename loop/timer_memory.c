/* SPDX-License-Identifier: MIT */
#include "timer_memory.h"

#include <stdlib.h>
#include <sys/mman.h>

/*
 * Chunks come in blocks, of one, then two, four, ..., as an allocation that is aligned to so much dirties two
 * pages more than it needs: 7 bytes a timer if each chunk were one. Blocks grow to the size of a huge page, and are one
 * from then on, if there is one to be had: of 37,000 timers and more, each in a page of its own, a processor does not know
 * all pages at once. At most 2 MiB of that are there for nothing, and the kernel takes 0.3 ms to clear one, at one timer
 * in 37,000.
 */

#define BLOCK_CHUNKS 32u /* at most */

_Static_assert(BLOCK_CHUNKS *TIMER_CHUNK_BYTES == 2u << 20, "the largest block is a huge page");

static bool add_block(struct stint_loop *loop)
{
	uint32_t chunks = loop->timer_block_chunks ? 2 * loop->timer_block_chunks : 1;
	struct timer_chunk *block;
	size_t bytes;

	if (chunks > BLOCK_CHUNKS)
		chunks = BLOCK_CHUNKS;
	bytes = (size_t)chunks * TIMER_CHUNK_BYTES;
	block = aligned_alloc(chunks == BLOCK_CHUNKS ? bytes : TIMER_CHUNK_BYTES, bytes);
	if (!block)
		return false;
	if (chunks == BLOCK_CHUNKS)
		(void)madvise(block, bytes, MADV_HUGEPAGE); /* small ones will do */
	timer_owner(block)->next = loop->timer_blocks;
	loop->timer_blocks = block;
	loop->timer_block_chunks = loop->timer_chunks_left = chunks;
	return true;
}

/* The next chunk of the newest block. */
static bool add_chunk(struct stint_loop *loop)
{
	struct timer_chunk *chunk;
	struct timer_owner *owner;

	if (!loop->timer_chunks_left && !add_block(loop))
		return false;
	chunk = (struct timer_chunk *)((uint8_t *)loop->timer_blocks +
				       (size_t)(loop->timer_block_chunks - loop->timer_chunks_left) *
					       TIMER_CHUNK_BYTES);
	loop->timer_chunks_left--;
	owner = timer_owner(chunk);
	owner->loop = loop;
	for (size_t i = TIMER_CHUNK_ENTRIES; i-- > 0;) {
		struct stint_timer *timer = &chunk->entry[i].timer;

		if (&chunk->entry[i].owner == owner)
			continue;
		*timer = (struct stint_timer){.next = loop->timer_free};
		loop->timer_free = timer;
	}
	return true;
}

struct stint_timer *timer_allocate(struct stint_loop *loop)
{
	struct stint_timer *timer;

	if (!loop->timer_free && !add_chunk(loop))
		return NULL;
	timer = loop->timer_free;
	loop->timer_free = timer->next;
	timer->periodic = timer->background = false;
	timer->used = true;
	return timer;
}

void timer_release(struct stint_timer *timer)
{
	struct stint_loop *loop = timer_loop(timer);

	timer->used = false;
	timer->next = loop->timer_free;
	loop->timer_free = timer;
}

void timer_free_memory(struct stint_loop *loop)
{
	while (loop->timer_blocks) {
		struct timer_chunk *block = loop->timer_blocks;

		loop->timer_blocks = timer_owner(block)->next;
		free(block);
	}
}
