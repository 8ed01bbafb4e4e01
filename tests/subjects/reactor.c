/* SPDX-License-Identifier: MIT */

/* A loop of libstint that does what it is told on standard input: SPIN, BLOCK and SYNC of subject_command.h. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"

static uint64_t cpu_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static __attribute__((noinline)) void compute(uint64_t ns)
{
	uint64_t end_ns = cpu_clock_ns() + ns;

	while (cpu_clock_ns() < end_ns)
		;
}

static void on_command(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct subject_answer answer = {.tid = getpid()};
	struct subject_command command;
	struct timespec pause;

	(void)events;
	if (read(stint_fd_descriptor(source), &command, sizeof(command)) != sizeof(command)) {
		stint_loop_stop(ctx); /* so that the meter's file goes as well */
		return;
	}
	pause = (struct timespec){.tv_sec = (time_t)(command.arg / 1000000000u),
				  .tv_nsec = (long)(command.arg % 1000000000u)};
	if (command.verb == SUBJECT_SPIN)
		compute(command.arg);
	if (command.verb == SUBJECT_BLOCK)
		nanosleep(&pause, NULL);
	if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
		exit(0);
}

int main(void)
{
	struct stint_loop *loop;
	struct stint_fd *source;
	int error, handler;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0)
		return 1;
	error = stint_loop_new(&loop, NULL);
	if (error < 0)
		return 1;
	handler = stint_loop_handler(loop, "command", 0);
	if (handler < 0 ||
	    stint_fd_new(&source, loop, STDIN_FILENO, STINT_READ, (uint32_t)handler, on_command, loop) < 0)
		return 1;
	error = stint_loop_run(loop);
	stint_fd_free(source);
	stint_loop_free(loop);
	return error < 0;
}
