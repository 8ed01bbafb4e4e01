/* SPDX-License-Identifier: MIT */

/*
 * syscall [wait]: what a system call costs this process now, in ns. The shortest of many short rounds: what else
 * runs on the machine does not get into it. With "wait", a wait in epoll for input comes first, so that the process
 * can be watched, and the calls that are measured are in an iteration.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS  1000
#define ROUNDS 5000

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int wait_for_input(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
		return -1;
	return epoll_wait(epfd, &event, 1, -1) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	uint64_t least_ns = UINT64_MAX;

	if (argc == 2 && strcmp(argv[1], "wait") == 0 && wait_for_input() != 0)
		return 1;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = now_ns(), took_ns;

		for (int i = 0; i < CALLS; i++)
			(void)syscall(SYS_getppid);
		took_ns = now_ns() - start_ns;
		if (took_ns < least_ns)
			least_ns = took_ns;
	}
	printf("%.0f\n", (double)least_ns / CALLS);
	return 0;
}
