/* SPDX-License-Identifier: MIT */

/*
 * A loop of libstint with a watchdog, whose handlers end when their stacks were taken, and not after a time.
 *
 *	stuck compute|block|forever
 *
 * The handler "stuck" computes in a function of its own, or is blocked in a read, until its stack was taken, and
 * the program ends; forever: it prints "late" then, and never returns. Prints "ready", begins upon SIGUSR1, prints
 * "stuck" from within the handler.
 */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/meter_file.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

static struct stint_meter *meter;
static const char *mode;
static int gate[2];

static uint64_t stacks(void)
{
	size_t bytes;
	const struct stint_meter_file_header *header = stint_meter_data(meter, &bytes);
	const struct stint_meter_file_loop *loop =
		(const struct stint_meter_file_loop *)((const char *)header + header->loops_offset);

	return __atomic_load_n(&loop->stacks_written, __ATOMIC_ACQUIRE);
}

__attribute__((noinline)) static void compute_until_seen(void)
{
	while (stacks() == 0)
		__asm__ volatile("" ::: "memory");
	if (strcmp(mode, "forever") != 0)
		return;
	puts("late");
	fflush(stdout);
	for (;;)
		__asm__ volatile("" ::: "memory");
}

static void *open_gate_when_seen(void *ctx)
{
	while (stacks() == 0)
		sched_yield();
	if (write(gate[1], "x", 1) != 1)
		abort();
	return ctx;
}

__attribute__((noinline)) static void block_until_seen(void)
{
	pthread_t opener;
	char byte;

	if (pipe(gate) < 0 || pthread_create(&opener, NULL, open_gate_when_seen, NULL) != 0 ||
	    read(gate[0], &byte, 1) != 1)
		abort();
	pthread_join(opener, NULL);
}

static void on_time(struct stint_timer *timer, void *loop)
{
	(void)timer;
	puts("stuck");
	fflush(stdout);
	if (strcmp(mode, "block") == 0)
		block_until_seen();
	else
		compute_until_seen();
	stint_loop_stop(loop);
}

static bool wait_for_go(void)
{
	sigset_t go;
	int number;

	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	puts("ready");
	fflush(stdout);
	return sigwait(&go, &number) == 0;
}

int main(int argc, char **argv)
{
	struct stint_watchdog *watchdog = NULL;
	struct stint_loop *loop = NULL;
	struct stint_timer *timer;
	bool good;

	if (argc != 2)
		return 2;
	mode = argv[1];
	good = stint_meter_new(&meter, NULL) == 0 && stint_loop_new(&loop, NULL) == 0 &&
	       stint_watchdog_start(&watchdog, meter, NULL) == 0 && wait_for_go() &&
	       stint_timer_new(&timer, loop, (uint32_t)stint_loop_handler(loop, "stuck", 20000000), on_time,
			       loop) == 0 &&
	       stint_timer_start(timer, 1000000, 0) == 0 && stint_loop_run(loop) == 0;
	stint_watchdog_stop(watchdog);
	stint_loop_free(loop);
	stint_meter_free(meter);
	return good ? 0 : 1;
}
