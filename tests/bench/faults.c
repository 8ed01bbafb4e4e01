/* SPDX-License-Identifier: MIT */

/*
 * faults [wait]: what a page fault costs this process now, and what it costs to be switched from and back to, in ns. The
 * shortest of many short rounds: what else runs on the machine does not get into it. Some rounds are an iteration of its
 * loop. With "wait", it waits for input first, so that it can be watched, and before it measures it goes on for long enough
 * to have its faults timed, if whoever watches does that to a thread with many of them.
 */

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES  4096u
#define PAGES       64u
#define SWITCHES    64
#define ROUNDS      64 /* of an iteration: some ms */
#define BEFORE_NS   UINT64_C(500000000)
#define MEASURED_NS UINT64_C(700000000)
#define PAGES_BYTES ((size_t)PAGES * PAGE_BYTES)

struct least {
	uint64_t fault_ns; /* these two: of a round */
	uint64_t switch_ns;
};

static volatile char *pages;
static int to_other[2], from_other[2];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* On the same CPU, so that each byte that goes to it and comes back is a switch to it and back. */
static int start_other(void)
{
	cpu_set_t set;
	char byte;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0 || pipe(to_other) != 0 || pipe(from_other) != 0)
		return -1;
	switch (fork()) {
	case -1:
		return -1;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (read(to_other[0], &byte, 1) == 1 && write(from_other[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	return 0;
}

static uint64_t make_faults(void)
{
	uint64_t start_ns = now_ns(), took_ns;

	for (size_t at = 0; at < PAGES_BYTES; at += PAGE_BYTES)
		pages[at] = 1;
	took_ns = now_ns() - start_ns;
	madvise((void *)(uintptr_t)pages, PAGES_BYTES, MADV_DONTNEED);
	return took_ns;
}

static uint64_t make_switches(void)
{
	uint64_t start_ns = now_ns();
	char byte = 0;

	for (int i = 0; i < SWITCHES; i++)
		if (write(to_other[1], &byte, 1) != 1 || read(from_other[0], &byte, 1) != 1)
			return UINT64_MAX;
	return now_ns() - start_ns;
}

static void take_least(uint64_t *least_ns, uint64_t ns)
{
	*least_ns = ns < *least_ns ? ns : *least_ns;
}

/* Its loop: an event is always ready. */
static void iterate(int epfd, uint64_t end_ns, struct least *least)
{
	struct epoll_event event;

	*least = (struct least){UINT64_MAX, UINT64_MAX};
	while (now_ns() < end_ns && epoll_wait(epfd, &event, 1, -1) == 1) {
		for (int round = 0; round < ROUNDS; round++)
			take_least(&least->fault_ns, make_faults());
		take_least(&least->switch_ns, make_switches());
	}
}

static bool wait_for_input(int epfd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0 &&
	       epoll_wait(epfd, &event, 1, -1) == 1 &&
	       epoll_ctl(epfd, EPOLL_CTL_DEL, STDIN_FILENO, NULL) == 0;
}

int main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC), ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	struct least least;

	pages = mmap(NULL, PAGES_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (epfd < 0 || ready < 0 || pages == MAP_FAILED || start_other() != 0)
		return 1;
	madvise((void *)(uintptr_t)pages, PAGES_BYTES, MADV_NOHUGEPAGE);
	if (argc == 2 && strcmp(argv[1], "wait") == 0 && !wait_for_input(epfd))
		return 1;
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, ready, &event) != 0)
		return 1;
	iterate(epfd, now_ns() + BEFORE_NS, &least);
	iterate(epfd, now_ns() + MEASURED_NS, &least);
	printf("%.0f %.0f\n", (double)least.fault_ns / PAGES, (double)least.switch_ns / SWITCHES);
	return 0;
}
