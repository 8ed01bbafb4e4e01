/* SPDX-License-Identifier: MIT */

/* A loop of libstint with more handlers than its meter has room for, which comes to its timer ten times. */

#include <signal.h>
#include <stdio.h>
#include <stint/stint.h>
#include <sys/prctl.h>

#define HANDLERS 1000
#define TICKS    10

static void on_tick(struct stint_timer *timer, void *ctx)
{
	int *ticks = ctx;

	if (++*ticks == TICKS)
		stint_timer_free(timer);
}

int main(void)
{
	struct stint_loop *loop;
	struct stint_timer *timer;
	int ticks = 0, handler = 0, error;
	char name[32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (stint_loop_new(&loop, NULL) < 0)
		return 1;
	for (int i = 0; i < HANDLERS && handler >= 0; i++) {
		snprintf(name, sizeof(name), "handler %d", i);
		handler = stint_loop_handler(loop, name, 0);
	}
	error = handler < 0 ? handler : stint_timer_new(&timer, loop, (uint32_t)handler, on_tick, &ticks);
	if (error == 0)
		error = stint_timer_start(timer, 0, 100000000);
	if (error == 0)
		error = stint_loop_run(loop);
	stint_loop_free(loop);
	return error < 0;
}
