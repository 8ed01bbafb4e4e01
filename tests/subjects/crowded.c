/* SPDX-License-Identifier: MIT */

/*
 * A loop of libstint, each of whose iterations has three dispatches that compute 3 ms each and one that sleeps 12 ms. After
 * ROUNDS of them it exits, from within a handler that has computed 5 ms. Usage: crowded ROUNDS
 */

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SOURCES 4

static int eventfds[SOURCES];
static long rounds;

static uint64_t cpu_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Mostly in user space: each look at the clock is a system call. */
static void compute(uint64_t ns)
{
	uint64_t end_ns = cpu_clock_ns() + ns;

	while (cpu_clock_ns() < end_ns)
		for (volatile int i = 0; i < 20000; i++)
			;
}

static void take(struct stint_fd *source)
{
	uint64_t count;

	if (read(stint_fd_descriptor(source), &count, sizeof(count)) != sizeof(count))
		exit(1);
}

static void on_compute(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events, (void)ctx;
	take(source);
	compute(3000000);
}

static void on_sleep(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events, (void)ctx;
	take(source);
	nanosleep(&(struct timespec){.tv_nsec = 12000000}, NULL);
}

static void on_round(struct stint_timer *timer, void *ctx)
{
	static const uint64_t one = 1;

	(void)timer, (void)ctx;
	if (rounds-- == 0) {
		compute(5000000);
		_exit(0);
	}
	for (int i = 0; i < SOURCES; i++)
		if (write(eventfds[i], &one, sizeof(one)) != sizeof(one))
			exit(1);
}

static int add(struct stint_loop *loop, int i)
{
	bool sleeps = i == SOURCES - 1;
	int handler = stint_loop_handler(loop, sleeps ? "sleeps" : "computes", 0);
	struct stint_fd *source;

	eventfds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (eventfds[i] < 0 || handler < 0)
		return -1;
	return stint_fd_new(&source, loop, eventfds[i], STINT_READ, (uint32_t)handler,
			    sleeps ? on_sleep : on_compute, NULL);
}

int main(int argc, char **argv)
{
	struct stint_loop *loop;
	struct stint_timer *timer;
	int handler;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rounds = argc > 1 ? atol(argv[1]) : 0;
	if (stint_loop_new(&loop, NULL) < 0)
		return 1;
	for (int i = 0; i < SOURCES; i++)
		if (add(loop, i) < 0)
			return 1;
	handler = stint_loop_handler(loop, "exits", 0);
	if (handler < 0 || stint_timer_new(&timer, loop, (uint32_t)handler, on_round, NULL) < 0 ||
	    stint_timer_start(timer, 0, 30000000) < 0)
		return 1;
	return stint_loop_run(loop) < 0;
}
