/* SPDX-License-Identifier: MIT */

/*
 * A loop whose handler sleeps EARLY_SLEEPS times, and each time is woken at about the moment at which it leaves its CPU: by
 * another thread, on another CPU, which knows when it is about to sleep. EARLY_ROUNDS times. Exit status 77: there is one
 * CPU.
 */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EARLY_ROUNDS 1000
#define EARLY_SLEEPS 8
#define DELAYS       4000 /* the waker's, from none to as many turns: several us */
#define LEAD         2000 /* turns from when the waker is told to the sleep: as long as it needs, about */

static int pipe_ends[2];
static atomic_uint about_to_sleep;
static cpu_set_t all;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* False: there is no such CPU for this process. */
static int run_on(int which)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && which-- == 0)
			CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

static void spin(unsigned turns)
{
	for (volatile unsigned turn = 0; turn < turns; turn = turn + 1)
		;
}

static void *wake(void *unused)
{
	unsigned delay = 0;

	(void)unused;
	for (unsigned i = 1; i <= EARLY_ROUNDS * EARLY_SLEEPS; i++) {
		while (atomic_load(&about_to_sleep) != i)
			;
		spin(delay);
		delay = (delay + 7) % DELAYS;
		if (write(pipe_ends[1], "", 1) != 1)
			die("write");
	}
	return NULL;
}

static void sleep_once(void)
{
	char byte;

	atomic_fetch_add(&about_to_sleep, 1);
	spin(LEAD);
	if (read(pipe_ends[0], &byte, 1) != 1)
		die("read");
}

int main(void)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC), ready = eventfd(1, EFD_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN};
	pthread_t waker;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (epfd < 0 || ready < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, ready, &event) < 0 || pipe(pipe_ends) < 0)
		die("epoll");
	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		die("sched_getaffinity");
	if (!run_on(1))
		return 77;
	if (pthread_create(&waker, NULL, wake, NULL) != 0)
		die("pthread_create");
	if (!run_on(0))
		return 77;
	for (int round = 0; round < EARLY_ROUNDS; round++) {
		if (epoll_wait(epfd, &event, 1, -1) != 1)
			die("epoll_wait");
		for (int i = 0; i < EARLY_SLEEPS; i++)
			sleep_once();
	}
	return 0;
}
