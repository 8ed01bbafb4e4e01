/* SPDX-License-Identifier: MIT */
#include "timer_arm.h"

#include <errno.h>

#include "timer_memory.h"

void timer_forget_due(struct stint_loop *loop, uint64_t count)
{
	loop->due_left -= count;
	if (loop->account)
		meter_account_disturb(loop->account);
}

/* Is it one of those that this iteration would still have dispatched? */
static bool is_due(const struct stint_loop *loop, const struct stint_timer *timer)
{
	return loop->due_left && wheel_armed(timer) && timer->due_ns <= loop->batch_ns &&
	       !(timer->periodic & WHEEL_WAITS);
}

static void count_armed(struct stint_loop *loop, const struct stint_timer *timer)
{
	if (loop->timers_armed++ == 0)
		wheel_begin(&loop->wheel, loop->clock->now_ns);
	loop->timers_background += timer->background;
}

int timer_arm_any(struct stint_loop *loop, struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns)
{
	bool waits = loop->dispatching && due_ns <= loop->batch_ns;

	if (loop->dead)
		return -EINVAL;
	if (is_due(loop, timer))
		timer_forget_due(loop, 1);
	timer->periodic = period_ns ? WHEEL_PERIODIC : 0;
	if (period_ns)
		timer_call(timer)->period_ns = period_ns;
	if (wheel_armed(timer))
		wheel_remove(&loop->wheel, timer);
	else
		count_armed(loop, timer);
	/*
	 * What is started during an iteration is not due in it (step 4 of the contract). One that is periodic keeps its
	 * deadline all the same, as its grid is counted from there.
	 */
	timer->due_ns = waits && !period_ns ? loop->batch_ns + 1 : due_ns;
	if (waits && period_ns) {
		timer->periodic |= WHEEL_WAITS;
		wheel_add_to_inbox(&loop->wheel, timer);
		return 0;
	}
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
