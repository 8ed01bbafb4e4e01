/* SPDX-License-Identifier: MIT */

/* A timer with a name and a budget: `stint` shows how long it ran and how late it was. */

#include <stdio.h>
#include <stint/stint.h>

static void on_tick(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	puts("tick");
	if (++*(int *)ctx == 3)
		stint_timer_free(timer);
}

int main(void)
{
	struct stint_loop *loop;
	struct stint_timer *timer;
	int ticks = 0, error = stint_loop_new(&loop, NULL);

	if (error < 0)
		return 1;
	error = stint_timer_new(&timer, loop, (uint32_t)stint_loop_handler(loop, "tick", 500000), on_tick,
				&ticks);
	if (error == 0)
		error = stint_timer_start(timer, 0, 100000000);
	if (error == 0)
		error = stint_loop_run(loop); /* returns when nothing is left to wait for */
	stint_loop_free(loop);
	return error < 0;
}
