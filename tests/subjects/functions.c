/* SPDX-License-Identifier: MIT */

/*
 * A loop whose handler calls functions that are known by name, so often and so long as it is told.
 *
 *	functions             by its standard input
 *	functions alone N     known_spin() for 1 ms, in N iterations with 5 ms between them
 */

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_functions.h"

#define IS_ITSELF __attribute__((noinline, noclone, used))

static _Atomic uint64_t least_ns, most_ns, longest_ns;
static jmp_buf before_jump;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note_inside(uint64_t start_ns)
{
	atomic_fetch_add(&least_ns, now_ns() - start_ns);
}

static void note_outside(uint64_t start_ns)
{
	uint64_t ns = now_ns() - start_ns;

	atomic_fetch_add(&most_ns, ns);
	if (ns > longest_ns)
		longest_ns = ns;
}

/* ---- the functions ---- */

void known_spin(uint64_t ns);
void known_sleep(uint64_t ns);
void known_recursion(uint64_t ns, uint32_t deeper);
void known_jump(uint64_t ns);
void known_fork(void);
void known_forever(void);
void known_tail(uint64_t ns);

IS_ITSELF void known_spin(uint64_t ns)
{
	uint64_t start_ns = now_ns();

	while (now_ns() - start_ns < ns)
		;
	note_inside(start_ns);
}

IS_ITSELF void known_sleep(uint64_t ns)
{
	uint64_t start_ns = now_ns();
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	note_inside(start_ns);
}

IS_ITSELF void known_recursion(uint64_t ns, uint32_t deeper)
{
	uint64_t start_ns = now_ns();

	if (deeper > 0)
		known_recursion(ns, deeper - 1);
	while (deeper == 0 && now_ns() - start_ns < ns)
		;
	/* What follows the call keeps it one. */
	__asm__ volatile("" ::: "memory");
}

IS_ITSELF void known_jump(uint64_t ns)
{
	uint64_t start_ns = now_ns();

	while (now_ns() - start_ns < ns)
		;
	longjmp(before_jump, 1);
}

IS_ITSELF void known_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0 && waitpid(pid, NULL, 0) != pid)
		die("waitpid");
	if (pid == 0)
		least_ns = UINT64_MAX; /* tells the caller */
}

IS_ITSELF void known_forever(void)
{
	for (;;)
		pause();
}

/* Compilers may or may not make a jump of a call: this is one. The other two have a name in common. */
__asm__(".text\n"
	".globl known_tail\n"
	".type known_tail, @function\n"
	"known_tail:\n"
	"	push %rbp\n"
	"	pop %rbp\n"
	"	jmp known_spin\n"
	".size known_tail, . - known_tail\n"
	".type \"known_twice@ONE\", @function\n"
	"\"known_twice@ONE\":\n"
	"	ret\n"
	".size \"known_twice@ONE\", . - \"known_twice@ONE\"\n"
	".type \"known_twice@TWO\", @function\n"
	"\"known_twice@TWO\":\n"
	"	ret\n"
	".size \"known_twice@TWO\", . - \"known_twice@TWO\"\n");

/* ---- what is asked for ---- */

/* The frame of known_jump() is this far down. */
IS_ITSELF static void jump_deep(uint64_t ns)
{
	volatile char room[16384];

	room[0] = 0;
	room[sizeof(room) - 1] = room[0];
	known_jump(ns);
}

static void call_jump(uint64_t ns, bool deep)
{
	if (setjmp(before_jump))
		return;
	if (deep)
		jump_deep(ns);
	else
		known_jump(ns);
}

static void *call_often(void *ctx)
{
	const struct subject_call *call = ctx;

	for (uint32_t i = 0; i < SUBJECT_THREAD_CALLS; i++) {
		uint64_t start_ns = now_ns();

		known_spin(call->ns);
		note_outside(start_ns);
	}
	return NULL;
}

static void *stay_forever(void *ctx)
{
	(void)ctx;
	known_forever();
	return NULL;
}

static void call_threads(struct subject_call *call)
{
	pthread_t threads[SUBJECT_THREADS];

	for (int i = 0; i < SUBJECT_THREADS; i++)
		if (pthread_create(&threads[i], NULL, call_often, call) != 0)
			die("pthread_create");
	for (int i = 0; i < SUBJECT_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void call_fork(const struct subject_call *call)
{
	known_fork();
	if (least_ns != UINT64_MAX)
		return;
	known_spin(call->ns);
	_exit(0);
}

static void call_once(struct subject_call *call)
{
	pthread_t thread;

	switch (call->what) {
	case SUBJECT_CALL_SPIN:
		known_spin(call->ns);
		break;
	case SUBJECT_CALL_SLEEP:
		known_sleep(call->ns);
		break;
	case SUBJECT_CALL_RECURSE:
		known_recursion(call->ns, call->count);
		break;
	case SUBJECT_CALL_JUMP:
	case SUBJECT_CALL_JUMP_DEEP:
		call_jump(call->ns, call->what == SUBJECT_CALL_JUMP_DEEP);
		break;
	case SUBJECT_CALL_TAIL:
		known_tail(call->ns);
		break;
	case SUBJECT_CALL_THREADS:
		call_threads(call);
		break;
	case SUBJECT_CALL_FORK:
		call_fork(call);
		break;
	case SUBJECT_CALL_FOREVER:
		if (pthread_create(&thread, NULL, stay_forever, NULL) != 0)
			die("pthread_create");
		break;
	}
}

static void call_all(struct subject_call *call)
{
	bool many = call->what != SUBJECT_CALL_RECURSE && call->count > 0;
	struct subject_called called;

	least_ns = most_ns = longest_ns = 0;
	for (uint32_t i = 0; i < (many ? call->count : 1); i++) {
		uint64_t start_ns = now_ns();

		call_once(call);
		if (call->what != SUBJECT_CALL_THREADS)
			note_outside(start_ns);
	}
	called = (struct subject_called){least_ns, most_ns, longest_ns};
	if (write(STDOUT_FILENO, &called, sizeof(called)) != sizeof(called))
		die("answer");
}

static int run_alone(int epfd, int count)
{
	struct epoll_event event;

	for (int i = 0; i < count; i++) {
		epoll_wait(epfd, &event, 1, 5);
		known_spin(1000000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	struct subject_call call;

	if (argc == 3 && strcmp(argv[1], "alone") == 0)
		return run_alone(epfd, atoi(argv[2]));
	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
		die("epoll");
	for (;;) {
		if (epoll_wait(epfd, &event, 1, -1) != 1)
			continue;
		if (read(STDIN_FILENO, &call, sizeof(call)) != sizeof(call))
			return 0;
		call_all(&call);
	}
}
