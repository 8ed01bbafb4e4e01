/* SPDX-License-Identifier: MIT */

/*
 * Loops on raw epoll that do what they are told, one command an iteration.
 *
 *	epoll_loop [wait | pwait | pwait2] [LOOPS [leave]]
 *
 * One loop runs in the main thread and reads the commands from standard input itself. More than one run in
 * threads of their own, and the main thread, which then has no epoll, hands the commands on by pipes. With
 * `leave`, the one loop runs in a thread of its own, and the main thread exits.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"

#define LOOPS_MAX 96
#define BURST     3
#define ROOM \
	1024 /* as libuv has it: most of that is never touched, and of a thread's stack no memory is there */

enum wait_call { WAIT, PWAIT, PWAIT2 };

struct loop {
	uint32_t index;
	int epfd;
	int commands;
	int burst[BURST][2]; /* pipes */
	uint64_t burst_ns;   /* what the first of them computes */
	int inner_epfd;
	int inner[2];
	int other_epfd;
	int other[2];
	uint64_t inner_ns;
};

static enum wait_call wait_call;
static pthread_barrier_t meeting;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The address of a static function is taken so that it is not inlined: tests look for it in stacks. */
static __attribute__((noinline)) void spin_on_cpu(uint64_t ns)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	volatile unsigned counter = 0;

	/* Without a system call, most of the time: the thread's CPU clock is one. */
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
		for (unsigned i = 0; i < 20000; i++)
			counter = counter + i;
}

static __attribute__((noinline)) void sleep_in_handler(uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* Most of it is written, so it is there to be copied. */
static __attribute__((noinline)) void spin_and_sleep_deep_down(uint64_t ns)
{
	char room[65536];

	memset(room, (int)ns, sizeof(room));
	__asm__ volatile("" : : "r"(room) : "memory");
	spin_on_cpu(ns);
	sleep_in_handler(ns);
}

static int wait_for_events(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
	struct timespec zero = {0};

	if (wait_call == PWAIT)
		return epoll_pwait(epfd, events, max, timeout_ms, NULL);
	if (wait_call == PWAIT2)
		return epoll_pwait2(epfd, events, max, timeout_ms == 0 ? &zero : NULL, NULL);
	return epoll_wait(epfd, events, max, timeout_ms);
}

static void add(int epfd, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void fill(int fd)
{
	if (write(fd, "x", 1) != 1)
		die("write");
}

static void drain(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		die("read");
}

static void open_loop(struct loop *loop, uint32_t index, int commands)
{
	loop->index = index;
	loop->commands = commands;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	loop->inner_epfd = epoll_create1(EPOLL_CLOEXEC);
	loop->other_epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0 || loop->inner_epfd < 0 || loop->other_epfd < 0 || pipe(loop->inner) < 0 ||
	    pipe(loop->other) < 0)
		die("open_loop");
	add(loop->epfd, commands);
	add(loop->inner_epfd, loop->inner[0]);
	add(loop->epfd, loop->inner_epfd);
	add(loop->other_epfd, loop->other[0]);
	for (int i = 0; i < BURST; i++) {
		if (pipe(loop->burst[i]) < 0)
			die("pipe");
		add(loop->epfd, loop->burst[i][0]);
	}
}

static void answer(const struct loop *loop, int fd, uint64_t cpu_ns)
{
	struct subject_answer answer = {
		.loop = loop->index, .tid = gettid(), .epfd = loop->epfd, .fd = fd, .cpu_ns = cpu_ns};

	if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
		exit(0); /* the test is gone */
}

static void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((int)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static void wait_in_other(struct loop *loop, uint64_t ns)
{
	struct epoll_event event;

	fill(loop->other[1]);
	if (wait_for_events(loop->other_epfd, &event, 1, -1) != 1)
		die("wait in the other");
	drain(loop->other[0]);
	spin_on_cpu(ns);
}

static void poll_in_vain(struct loop *loop, uint64_t times)
{
	struct epoll_event event;

	while (times--)
		if (wait_for_events(loop->epfd, &event, 1, 0) != 0)
			die("poll");
}

/* The verbs that are answered when they are carried out, which is in a later iteration. */
static int is_put_off(struct loop *loop, const struct subject_command *command)
{
	if (command->verb == SUBJECT_BURST) {
		loop->burst_ns = command->arg;
		for (int i = 0; i < BURST; i++)
			fill(loop->burst[i][1]);
		return 1;
	}
	if (command->verb == SUBJECT_NESTED) {
		loop->inner_ns = command->arg;
		fill(loop->inner[1]);
		return 1;
	}
	return 0;
}

static void carry_out(struct loop *loop, const struct subject_command *command)
{
	uint64_t start_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	if (is_put_off(loop, command))
		return;
	if (command->verb == SUBJECT_MEET)
		pthread_barrier_wait(&meeting);
	if (command->verb == SUBJECT_SPIN || command->verb == SUBJECT_MEET)
		spin_on_cpu(command->arg);
	if (command->verb == SUBJECT_BLOCK)
		sleep_in_handler(command->arg);
	if (command->verb == SUBJECT_DEEP)
		spin_and_sleep_deep_down(command->arg);
	if (command->verb == SUBJECT_PIN)
		pin(command->arg);
	if (command->verb == SUBJECT_OTHER)
		wait_in_other(loop, command->arg);
	if (command->verb == SUBJECT_POLLS)
		poll_in_vain(loop, command->arg);
	answer(loop, loop->other_epfd, clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns);
}

static __attribute__((noinline)) void on_command(struct loop *loop)
{
	struct subject_command command;

	if (read(loop->commands, &command, sizeof(command)) != sizeof(command))
		exit(0);
	carry_out(loop, &command);
}

static __attribute__((noinline)) void on_burst(struct loop *loop, int fd)
{
	uint64_t ns = loop->burst_ns;

	drain(fd);
	loop->burst_ns = 0;
	if (!ns)
		return;
	spin_on_cpu(ns);
	answer(loop, fd, ns);
}

static __attribute__((noinline)) void on_inner(struct loop *loop)
{
	struct epoll_event event;

	while (wait_for_events(loop->inner_epfd, &event, 1, 0) == 1)
		drain(event.data.fd);
	spin_on_cpu(loop->inner_ns);
	answer(loop, loop->inner_epfd, loop->inner_ns);
}

static void *run(void *ctx)
{
	struct loop *loop = ctx;
	struct epoll_event events[ROOM];

	for (;;) {
		int len = wait_for_events(loop->epfd, events, ROOM, -1);

		if (len < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < len; i++) {
			if (events[i].data.fd == loop->commands)
				on_command(loop);
			else if (events[i].data.fd == loop->inner_epfd)
				on_inner(loop);
			else
				on_burst(loop, events[i].data.fd);
		}
	}
	return NULL;
}

static void hand_on(const int *pipes, uint32_t loops)
{
	struct subject_command command;

	while (read(STDIN_FILENO, &command, sizeof(command)) == sizeof(command))
		if (command.loop < loops &&
		    write(pipes[command.loop], &command, sizeof(command)) != sizeof(command))
			die("hand on");
}

static void run_in_threads(struct loop *loops, uint32_t count)
{
	int pipes[LOOPS_MAX], ends[2];
	pthread_t thread;

	for (uint32_t i = 0; i < count; i++) {
		if (pipe(ends) < 0)
			die("pipe");
		pipes[i] = ends[1];
		open_loop(&loops[i], i, ends[0]);
		if (pthread_create(&thread, NULL, run, &loops[i]) != 0)
			die("pthread_create");
	}
	hand_on(pipes, count);
}

int main(int argc, char **argv)
{
	static struct loop loops[LOOPS_MAX];
	const char *call = argc > 1 ? argv[1] : "wait";
	int count = argc > 2 ? atoi(argv[2]) : 1;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	wait_call = strcmp(call, "pwait2") == 0 ? PWAIT2 : strcmp(call, "pwait") == 0 ? PWAIT : WAIT;
	if (count < 1 || count > LOOPS_MAX)
		return 2;
	pthread_barrier_init(&meeting, NULL, (unsigned)count);
	if (count > 1) {
		run_in_threads(loops, (uint32_t)count);
		return 0;
	}
	open_loop(&loops[0], 0, STDIN_FILENO);
	if (argc > 3) {
		if (pthread_create(&thread, NULL, run, &loops[0]) != 0)
			die("pthread_create");
		pthread_exit(NULL);
	}
	run(&loops[0]);
	return 0;
}
