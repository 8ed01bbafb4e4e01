/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <stint/slice.h>

/*
 * Slices, in a ring that is sorted by rank: the time that each has used, but no less than the others had when it
 * was started. The first is the next to run; with a turn added to its rank it goes back in from the end, which is
 * mostly where it belongs. A slice is out of the ring during its turn.
 *
 * Price: a dispatch each turn, and a division to know the turn's end in ticks.
 */

#define TURN_MIN_NS 50000u

struct stint_slice {
	struct object object;
	struct slice_link link;
	stint_slice_callback callback;
	void *ctx;
	uint64_t deadline_ns, deadline_ticks; /* of the turn; ticks: 0 without a TSC */
	uint64_t used_ns, calls;
	uint64_t rank_ns;
	uint16_t handler;
	bool started, linked, in_turn, freed;
};

static struct stint_slice *slice_of(struct slice_link *link)
{
	return (struct stint_slice *)((char *)link - offsetof(struct stint_slice, link));
}

static void insert(struct stint_loop *loop, struct stint_slice *slice)
{
	struct slice_link *after = loop->slices.previous;

	while (after != &loop->slices && slice_of(after)->rank_ns > slice->rank_ns)
		after = after->previous;
	slice->link.previous = after;
	slice->link.next = after->next;
	slice->link.next->previous = &slice->link;
	after->next = &slice->link;
	slice->linked = true;
}

static void take_out(struct stint_slice *slice)
{
	if (!slice->linked)
		return;
	slice->link.next->previous = slice->link.previous;
	slice->link.previous->next = slice->link.next;
	slice->linked = false;
}

int stint_slice_start(struct stint_slice *slice)
{
	struct stint_loop *loop;

	if (!slice || slice->freed)
		return -EINVAL;
	if (slice->started)
		return 0;
	loop = slice->object.loop;
	slice->started = true;
	loop->slice_count++;
	loop->urgent++;
	if (slice->in_turn) /* goes back in when the turn has ended */
		return 0;
	if (slice->rank_ns < loop->slice_rank_ns)
		slice->rank_ns = loop->slice_rank_ns;
	insert(loop, slice);
	return 0;
}

int stint_slice_stop(struct stint_slice *slice)
{
	if (!slice || slice->freed)
		return -EINVAL;
	if (!slice->started)
		return 0;
	slice->started = false;
	slice->object.loop->slice_count--;
	slice->object.loop->urgent--;
	take_out(slice);
	return 0;
}

bool stint_slice_over(const struct stint_slice *slice)
{
	if (!slice)
		return true;
	if (slice->deadline_ticks)
		return clock_ticks() >= slice->deadline_ticks;
	return clock_gettime_ns(CLOCK_MONOTONIC) >= slice->deadline_ns;
}

/* Runs one until `until_ns`, or, if there are more, for its part of the share. */
static void run_turn(struct stint_loop *loop, struct stint_slice *slice, uint64_t until_ns)
{
	uint64_t turn_ns = loop->slice_share_ns / loop->slice_count, start_ns = loop->clock->now_ns, took_ns;
	struct dispatch dispatch;

	if (turn_ns < TURN_MIN_NS)
		turn_ns = TURN_MIN_NS;
	slice->deadline_ns = until_ns - start_ns < turn_ns ? until_ns : start_ns + turn_ns;
	slice->deadline_ticks = clock_to_ticks(loop->clock, slice->deadline_ns);
	slice->in_turn = true;
	if (loop->account)
		loop->account->behind = 0;
	dispatch = dispatch_open(loop, slice->handler, 0);
	slice->callback(slice, slice->ctx);
	dispatch_close(loop, &dispatch);
	took_ns = (loop->account ? loop->clock->now_ns : clock_read(loop->clock)) - start_ns;
	slice->in_turn = false;
	slice->used_ns += took_ns;
	slice->rank_ns += took_ns;
	slice->calls++;
	slice->deadline_ns = 0;
	slice->deadline_ticks = slice->deadline_ticks ? 1 : 0; /* in the past */
}

void slice_dispatch(struct stint_loop *loop)
{
	uint64_t until_ns;

	if (!loop->account) /* with one, the last dispatch has left its end there */
		clock_read(loop->clock);
	until_ns = loop->clock->now_ns + loop->slice_share_ns;
	while (loop->slice_count && loop->clock->now_ns < until_ns) {
		struct stint_slice *slice = slice_of(loop->slices.next);

		if (slice->rank_ns > loop->slice_rank_ns)
			loop->slice_rank_ns = slice->rank_ns;
		take_out(slice);
		run_turn(loop, slice, until_ns);
		if (slice->started && !slice->freed)
			insert(loop, slice);
	}
}

static void destroy(struct object *object)
{
	struct stint_slice *slice = (struct stint_slice *)object;

	stint_slice_stop(slice);
	slice->freed = true;
	loop_bury(object);
}

int stint_slice_new(struct stint_slice **ret, struct stint_loop *loop, uint32_t handler,
		    stint_slice_callback callback, void *ctx)
{
	struct stint_slice *slice;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	slice = calloc(1, sizeof(*slice));
	if (!slice)
		return -ENOMEM;
	slice->callback = callback;
	slice->ctx = ctx;
	slice->handler = (uint16_t)handler;
	slice->deadline_ticks = loop->clock->tsc; /* in the past */
	loop_add_object(loop, &slice->object, destroy);
	*ret = slice;
	return 0;
}

struct stint_slice *stint_slice_free(struct stint_slice *slice)
{
	if (slice && !slice->freed)
		destroy(&slice->object);
	return NULL;
}

uint64_t stint_slice_used_ns(const struct stint_slice *slice)
{
	return slice ? slice->used_ns : 0;
}

uint64_t stint_slice_calls(const struct stint_slice *slice)
{
	return slice ? slice->calls : 0;
}

int stint_loop_set_slice_share(struct stint_loop *loop, uint64_t share_ns)
{
	if (!loop || loop->dead || share_ns > STINT_SLICE_SHARE_MAX_NS)
		return -EINVAL;
	loop->slice_share_ns = share_ns ? share_ns : STINT_SLICE_SHARE_DEFAULT_NS;
	return 0;
}
