/* SPDX-License-Identifier: MIT */

/*
 * A loop of libstint that comes to its timer ten times; and so once more for each signal: SIGUSR1: with a meter made anew,
 * as the last one goes with the loop; SIGUSR2: as a program executed anew, which has no time to free anything. SIGHUP:
 * BRIEF times, each with a meter of its own that goes at once. SIGQUIT: it becomes `sleep`, which has no meter, in the
 * timer's handler. SIGTERM ends it.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stint/stint.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TICKS 10
#define BRIEF 100

static bool becomes_sleep;

static void on_tick(struct stint_timer *timer, void *ctx)
{
	int *ticks = ctx;

	if (becomes_sleep)
		execlp("sleep", "sleep", "1000", NULL);
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

static int run_anew(struct stint_loop **ret)
{
	int error = stint_loop_new(ret, NULL);

	return error < 0 ? error : run(*ret, 0);
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
	struct stint_loop *loop = NULL;
	sigset_t signals;
	int signal = 0, error = 0;

	(void)argc;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGQUIT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	do {
		if (signal == SIGQUIT) {
			becomes_sleep = true;
			error = run(loop, 0);
		} else {
			loop = stint_loop_free(loop);
			error = signal == SIGHUP ? run_briefly() : run_anew(&loop);
		}
		if (error < 0)
			return 1;
		puts("ran");
		fflush(stdout);
		sigwait(&signals, &signal);
		if (signal == SIGUSR2)
			execv("/proc/self/exe", argv);
	} while (signal != SIGTERM);
	stint_loop_free(loop);
	return 0;
}
