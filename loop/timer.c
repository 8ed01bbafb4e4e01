/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "timer_arm.h"
#include "timer_memory.h"

/* Timers, armed in the loop's wheel. */

int stint_timer_new(struct stint_timer **ret, struct stint_loop *loop, uint32_t handler,
		    stint_timer_callback callback, void *ctx)
{
	struct stint_timer *timer;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	timer = timer_allocate(loop);
	if (!timer)
		return -ENOMEM;
	*timer_call(timer) = (struct timer_call){.callback = callback, .ctx = ctx};
	timer->handler = handler;
	*ret = timer;
	return 0;
}

struct stint_timer *stint_timer_free(struct stint_timer *timer)
{
	if (!timer || !timer->used)
		return NULL;
	stint_timer_stop(timer);
	timer_release(timer);
	return NULL;
}

int stint_timer_start_at(struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns)
{
	if (!timer || !timer->used)
		return -EINVAL;
	return timer_arm(timer_loop(timer), timer, due_ns, period_ns);
}

int stint_timer_start(struct stint_timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	if (!timer || !timer->used)
		return -EINVAL;
	return timer_start(timer_loop(timer), timer, delay_ns, period_ns);
}

int stint_timer_stop(struct stint_timer *timer)
{
	struct stint_loop *loop;

	if (!timer || !timer->used)
		return -EINVAL;
	if (!wheel_armed(timer))
		return 0;
	loop = timer_loop(timer);
	/* A loop that was freed in this very callback has no wheel any more. */
	if (loop->dead)
		return 0;
	timer_disarm(loop, timer);
	return 0;
}

int stint_timer_set_background(struct stint_timer *timer, bool background)
{
	struct stint_loop *loop;

	if (!timer || !timer->used)
		return -EINVAL;
	loop = timer_loop(timer);
	if (wheel_armed(timer) && !loop->dead)
		loop->timers_background += (uint64_t)background - timer->background;
	timer->background = background;
	return 0;
}

uint64_t stint_timer_due_ns(const struct stint_timer *timer)
{
	if (!timer || !timer->used || !wheel_armed(timer))
		return 0;
	if (timer_loop(timer)->dead)
		return 0;
	return timer->due_ns ? timer->due_ns : 1;
}

struct stint_loop *stint_timer_loop(const struct stint_timer *timer)
{
	return timer && timer->used && !timer_loop(timer)->dead ? timer_loop(timer) : NULL;
}

void *stint_timer_ctx(const struct stint_timer *timer)
{
	return stint_timer_loop(timer) ? timer_call(timer)->ctx : NULL;
}
