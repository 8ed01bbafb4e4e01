/* SPDX-License-Identifier: MIT */

/*
 * A loop of libstint that comes to its timer ten times; and so once more for each signal: SIGUSR1: with a meter made anew,
 * as the last one goes with the loop; SIGUSR2: as a program executed anew, which has no time to free anything. SIGHUP:
 * BRIEF times, each with a meter of its own that goes at once. SIGTERM ends it.
 */

#include <signal.h>
#include <stdio.h>
#include <stint/stint.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TICKS 10
#define BRIEF 100

static void on_tick(struct stint_timer *timer, void *ctx)
{
	int *ticks = ctx;

	if (++*ticks == TICKS)
		stint_timer_free(timer);
}

static int run(struct stint_loop *loop, int ticks)
{
	struct stint_timer *timer;
	int error =
		stint_timer_new(&timer, loop, (uint32_t)stint_loop_handler(loop, "tick", 0), on_tick, &ticks);

	if (error == 0)
		error = stint_timer_start(timer, 0, 1000000);
	return error < 0 ? error : stint_loop_run(loop);
}

static int run_briefly(void)
{
	struct stint_loop *loop;
	int error = 0;

	for (int i = 0; i < BRIEF && error == 0; i++) {
		error = stint_loop_new(&loop, NULL);
		if (error == 0)
			error = run(loop, TICKS - 1);
		stint_loop_free(loop);
	}
	return error;
}

int main(int argc, char **argv)
{
	struct stint_loop *loop;
	sigset_t signals;
	int signal = 0, error = 0;

	(void)argc;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	do {
		loop = NULL;
		if (signal == SIGHUP)
			error = run_briefly();
		else if (stint_loop_new(&loop, NULL) < 0 || run(loop, 0) < 0)
			return 1;
		if (error < 0)
			return 1;
		puts("ran");
		fflush(stdout);
		sigwait(&signals, &signal);
		if (signal == SIGUSR2)
			execv("/proc/self/exe", argv);
		stint_loop_free(loop);
	} while (signal == SIGUSR1 || signal == SIGHUP);
	return signal != SIGTERM;
}
