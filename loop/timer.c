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

void timer_forget_due(struct stint_loop *loop, uint64_t count)
{
	loop->due_left -= count;
	if (loop->account)
		meter_account_disturb(loop->account);
}

/* Is it one of those that this iteration would still have dispatched? */
static bool is_due(const struct stint_loop *loop, const struct stint_timer *timer)
{
	return loop->due_left && wheel_armed(timer) && timer->due_ns <= loop->batch_ns;
}

static void count_armed(struct stint_loop *loop, const struct stint_timer *timer)
{
	if (loop->timers_armed++ == 0)
		wheel_begin(&loop->wheel, loop->clock->now_ns);
	loop->timers_background += timer->background;
}

int timer_arm_any(struct stint_loop *loop, struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns)
{
	if (loop->dead)
		return -EINVAL;
	/* What is started during an iteration is not due in it (step 4 of the contract). */
	if (loop->dispatching && due_ns <= loop->batch_ns)
		due_ns = loop->batch_ns + 1;
	if (is_due(loop, timer))
		timer_forget_due(loop, 1);
	timer->periodic = period_ns != 0;
	if (period_ns)
		timer_call(timer)->period_ns = period_ns;
	if (wheel_armed(timer))
		wheel_remove(&loop->wheel, timer);
	else
		count_armed(loop, timer);
	timer->due_ns = due_ns;
	wheel_add(&loop->wheel, timer);
	return 0;
}

void timer_disarm_due(struct stint_loop *loop, struct stint_timer *timer)
{
	if (is_due(loop, timer))
		timer_forget_due(loop, 1);
	wheel_remove(&loop->wheel, timer);
	timer_count_disarmed(loop, timer);
}

__attribute__((noinline)) int timer_start_outside(struct stint_loop *loop, struct stint_timer *timer,
						  uint64_t delay_ns, uint64_t period_ns)
{
	return timer_arm_any(loop, timer, timer_time_after(stint_loop_now_ns(loop), delay_ns), period_ns);
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
	return timer_loop(timer)->dead ? 0 : timer->due_ns;
}

/* ---- what the loop asks ---- */

uint64_t timer_next_due(struct stint_loop *loop)
{
	return wheel_next_ns(&loop->wheel);
}

void timer_count_due(struct stint_loop *loop)
{
	loop->due_left = 0;
	if (!loop->timers_armed || wheel_next_ns(&loop->wheel) > loop->batch_ns)
		return;
	loop->due_left = wheel_take_due(&loop->wheel, loop->batch_ns);
}

/* The next point of the grid that has not passed. */
static uint64_t next_tick(uint64_t due_ns, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t next_ns;

	if (__builtin_add_overflow(due_ns, period_ns, &next_ns))
		return UINT64_MAX - 1;
	if (next_ns <= now_ns)
		next_ns += (now_ns - next_ns) / period_ns * period_ns + period_ns;
	return next_ns;
}

/* Behind it are those that are due and not yet dispatched; late it is since its deadline. */
static void account_due(struct stint_loop *loop, uint64_t due_ns)
{
	uint64_t now_ns = loop->clock->now_ns;

	if (!loop->account)
		return;
	loop->account->behind = loop->due_left;
	histogram_record(&loop->account->metric[STINT_METER_LOOP_LATENESS],
			 now_ns > due_ns ? now_ns - due_ns : 0);
}

/* Disarms the timer, or sets it to its next tick, before the callback can free it. */
static void dispatch_due(struct stint_loop *loop, struct stint_timer *timer)
{
	uint64_t due_ns = timer->due_ns;
	struct timer_call call;
	struct dispatch dispatch;

	account_due(loop, due_ns);
	wheel_remove(&loop->wheel, timer);
	if (!timer->periodic)
		timer_count_disarmed(loop, timer);
	if (timer->is_timeout) {
		timeout_dispatch(loop, timer);
		return;
	}
	call = *timer_call(timer);
	if (timer->periodic) {
		timer->due_ns = next_tick(due_ns, call.period_ns, loop->clock->now_ns);
		wheel_add(&loop->wheel, timer);
	}
	dispatch = dispatch_open(loop, timer->handler, due_ns);
	call.callback(timer, call.ctx);
	dispatch_close(loop, &dispatch);
}

/* Among many that are due, each would be a cache miss. */
static void prefetch_ahead(const struct timer_wheel *wheel)
{
	const struct stint_timer *far = wheel_ahead(wheel, WHEEL_AHEAD);
	const struct stint_timer *near = wheel_ahead(wheel, WHEEL_AHEAD / 2);

	if (far) {
		__builtin_prefetch(far, 1);
		__builtin_prefetch(far + 1, 1); /* a timeout may lie in two lines */
	}
	if (near && !near->is_timeout)
		__builtin_prefetch(timer_call(near));
}

void timer_dispatch_due(struct stint_loop *loop)
{
	struct stint_timer *timer;

	loop->timer_iteration = loop->iteration;
	while (loop->due_left > 0 && (timer = wheel_first_due(&loop->wheel, loop->batch_ns))) {
		prefetch_ahead(&loop->wheel);
		loop->due_left--;
		dispatch_due(loop, timer);
	}
	loop->due_left = 0;
}
