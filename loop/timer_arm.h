/* SPDX-License-Identifier: MIT */
#ifndef TIMER_ARM_H
#define TIMER_ARM_H

/* What timers and timeouts have in common: how they are armed and disarmed. */

#include "reactor.h"

/* Whatever is asked of it. -EINVAL: the loop is dead. */
int timer_arm_any(struct stint_loop *loop, struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns);

/* One that is armed, on a loop that is not dead; while timers are due. */
void timer_disarm_due(struct stint_loop *loop, struct stint_timer *timer);

static inline void timer_count_disarmed(struct stint_loop *loop, const struct stint_timer *timer)
{
	loop->timers_armed--;
	if (timer->background) /* no sum: what comes after would wait for the timer to come from memory */
		loop->timers_background--;
}

static inline void timer_disarm(struct stint_loop *loop, struct stint_timer *timer)
{
	if (__builtin_expect(loop->due_left != 0, 0)) {
		timer_disarm_due(loop, timer);
		return;
	}
	wheel_remove(&loop->wheel, timer);
	timer_count_disarmed(loop, timer);
}

/* Of `count` of those that this iteration would still have dispatched: it does so no more. */
void timer_forget_due(struct stint_loop *loop, uint64_t count);

static inline uint64_t timer_time_after(uint64_t now_ns, uint64_t delay_ns)
{
	return delay_ns < WHEEL_NEVER - now_ns ? now_ns + delay_ns : WHEEL_NEVER - 1;
}

/*
 * Is timer_arm_any(), and does by itself what is asked for most: while no timer is due, one that is not periodic, nor was
 * (it may wait for the next iteration), is armed for a time beyond this tick. Among many timers each comes from memory, and
 * the next ones meanwhile, as far ahead as a processor looks, which is a few hundred instructions: so here are few, and no
 * calls except in last place, as others make it save registers.
 */
static inline int timer_arm(struct stint_loop *loop, struct stint_timer *timer, uint64_t due_ns,
			    uint64_t period_ns)
{
	/* A loop that is dead has no timers armed. */
	if (!loop->timers_armed || loop->due_left || period_ns || timer->periodic ||
	    due_ns <= loop->batch_ns || wheel_tick(due_ns) <= loop->wheel.tick)
		return timer_arm_any(loop, timer, due_ns, period_ns);
	timer->periodic = false;
	if (wheel_armed(timer)) {
		wheel_move(&loop->wheel, timer, due_ns);
		return 0;
	}
	loop->timers_armed++;
	if (timer->background)
		loop->timers_background++;
	timer->due_ns = due_ns;
	wheel_add(&loop->wheel, timer);
	return 0;
}

/* timer_start() where no callback runs: the clock is read. As a call of its own, see timer_arm(). */
int timer_start_outside(struct stint_loop *loop, struct stint_timer *timer, uint64_t delay_ns,
			uint64_t period_ns);

/* Arms it for `delay_ns` after stint_loop_now_ns(). */
static inline int timer_start(struct stint_loop *loop, struct stint_timer *timer, uint64_t delay_ns,
			      uint64_t period_ns)
{
	if (!loop->dispatching)
		return timer_start_outside(loop, timer, delay_ns, period_ns);
	return timer_arm(loop, timer, timer_time_after(loop->clock->now_ns, delay_ns), period_ns);
}

#endif
