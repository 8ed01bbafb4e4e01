/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <stint/timeout.h>

#include "timer_arm.h"

/* Timeouts: entries of the same wheel as timers, in memory of the user's. */

#define KINDS_MAX 4096u

struct stint_timeouts {
	struct object object; /* first: it is what is freed */
	stint_timeout_callback callback;
	void *ctx;
	uint32_t handler;
	uint32_t number; /* its place in the loop's table, by which its timeouts name it */
	bool freed;
	bool background;
};

_Static_assert(sizeof(struct stint_timeout) == sizeof(struct stint_timer) &&
		       _Alignof(struct stint_timeout) == _Alignof(struct stint_timer),
	       "a timeout is one of the wheel's entries");

static struct stint_timer *entry_of(struct stint_timeout *timeout)
{
	return (struct stint_timer *)timeout;
}

/* The first place that is free; the table grows by half. */
static int take_number(struct stint_loop *loop, struct stint_timeouts *kind)
{
	uint32_t number = 0, size;
	struct stint_timeouts **kinds;

	while (number < loop->timeout_kinds_size && loop->timeout_kinds[number])
		number++;
	if (number == KINDS_MAX)
		return -ENOMEM;
	if (number == loop->timeout_kinds_size) {
		size = number + number / 2 + 4;
		kinds = reallocarray(loop->timeout_kinds, size, sizeof(*kinds));
		if (!kinds)
			return -ENOMEM;
		for (uint32_t i = number; i < size; i++)
			kinds[i] = NULL;
		loop->timeout_kinds = kinds;
		loop->timeout_kinds_size = size;
	}
	loop->timeout_kinds[number] = kind;
	kind->number = number;
	return 0;
}

static void destroy(struct object *object)
{
	struct stint_timeouts *kind = (struct stint_timeouts *)object;
	struct stint_loop *loop = object->loop;
	struct wheel_removed removed = wheel_remove_timeouts(&loop->wheel, kind->number, loop->batch_ns);

	loop->timers_armed -= removed.count;
	loop->timers_background -= removed.background;
	if (loop->due_left && removed.due)
		timer_forget_due(loop, removed.due);
	loop->timeout_kinds[kind->number] = NULL;
	kind->freed = true;
	loop_bury(object);
}

int stint_timeouts_new(struct stint_timeouts **ret, struct stint_loop *loop, uint32_t handler,
		       stint_timeout_callback callback, void *ctx)
{
	struct stint_timeouts *kind;
	int error;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	kind = calloc(1, sizeof(*kind));
	if (!kind)
		return -ENOMEM;
	error = take_number(loop, kind);
	if (error < 0) {
		free(kind);
		return error;
	}
	kind->callback = callback;
	kind->ctx = ctx;
	kind->handler = handler;
	loop_add_object(loop, &kind->object, destroy);
	*ret = kind;
	return 0;
}

struct stint_timeouts *stint_timeouts_free(struct stint_timeouts *kind)
{
	if (kind && !kind->freed)
		destroy(&kind->object);
	return NULL;
}

int stint_timeouts_set_background(struct stint_timeouts *kind, bool background)
{
	if (!kind || kind->freed)
		return -EINVAL;
	kind->background = background;
	return 0;
}

/* Rare: with its first start, or where it comes from another kind. */
__attribute__((cold, noinline)) static void set_background(struct stint_loop *loop, struct stint_timer *timer,
							   bool background)
{
	if (wheel_armed(timer))
		loop->timers_background += (uint64_t)background - timer->background;
	timer->background = background;
}

int stint_timeout_start(struct stint_timeouts *kind, struct stint_timeout *timeout, uint64_t delay_ns)
{
	struct stint_timer *timer = entry_of(timeout);

	if (!kind || kind->freed || !timeout)
		return -EINVAL;
	timer->is_timeout = true;
	timer->handler = kind->number;
	if (__builtin_expect(timer->background != kind->background, false))
		set_background(kind->object.loop, timer, kind->background);
	return timer_start(kind->object.loop, timer, delay_ns, 0);
}

int stint_timeout_stop(struct stint_timeouts *kind, struct stint_timeout *timeout)
{
	if (!kind || !timeout)
		return -EINVAL;
	/* A kind that was freed has left none armed. */
	if (wheel_armed(entry_of(timeout)))
		timer_disarm(kind->object.loop, entry_of(timeout));
	return 0;
}

uint64_t stint_timeout_due_ns(const struct stint_timeout *timeout)
{
	const struct stint_timer *timer = (const struct stint_timer *)timeout;

	return timer && wheel_armed(timer) ? timer->due_ns : 0;
}

void timeout_dispatch(struct stint_loop *loop, struct stint_timer *timer)
{
	const struct stint_timeouts *kind = loop->timeout_kinds[timer->handler];
	struct dispatch dispatch = dispatch_open(loop, kind->handler, timer->due_ns);

	kind->callback((struct stint_timeout *)timer, kind->ctx);
	dispatch_close(loop, &dispatch);
}

void timeout_free_memory(struct stint_loop *loop)
{
	free(loop->timeout_kinds);
}
