/* SPDX-License-Identifier: MIT */
#include "timer_arm.h"
#include "timer_memory.h"

/* What the loop asks of the timers and timeouts that are armed: when the next is due, and to dispatch those that are. */

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
	loop_end_own_work(loop, loop->due_left);
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
