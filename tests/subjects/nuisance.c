/* SPDX-License-Identifier: MIT */

/*
 * A program that nobody would like to watch.
 *
 *	nuisance names         calls itself, its threads and its command line what no terminal should be sent
 *	nuisance storm COUNT   so many children, ten at a time, each of which waits once, is late, and ends
 *	nuisance replace FILE  runs from FILE, which it deletes, and leaves a fifo of that name
 *
 * Each then has some iterations beyond a millisecond.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LATE_NS  3000000
#define PAUSE_MS 2000 /* in which a recorder looks at what there is */

static void be_late(int times)
{
	const struct timespec late = {.tv_nsec = LATE_NS};
	int epoll = epoll_create1(EPOLL_CLOEXEC), ready = eventfd(1, EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll < 0 || ready < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ready, &event) < 0)
		exit(1);
	while (times-- > 0 && epoll_wait(epoll, &event, 1, -1) == 1)
		nanosleep(&late, NULL);
	epoll_wait(epoll, &event, 1, 0);
	close(ready);
	close(epoll);
}

static void *run_thread(void *ctx)
{
	prctl(PR_SET_NAME, ctx);
	be_late(20);
	return NULL;
}

static int take_names(char **argv)
{
	static const char nasty[] = "\x1b[31m<zq>\n\r\"'&";
	static char thread_name[] = "\x1b]0;<zq>\a\n`\\";
	pthread_t thread;

	prctl(PR_SET_NAME, nasty);
	/* The memory that /proc shows as the command line. */
	memset(argv[0], '\x1b', strlen(argv[0]));
	memset(argv[1], '<', strlen(argv[1]));
	if (pthread_create(&thread, NULL, run_thread, thread_name) != 0)
		return 1;
	be_late(20);
	pthread_join(thread, NULL);
	return 0;
}

static void pause_once(void)
{
	poll(NULL, 0, PAUSE_MS);
}

/* The last child comes when things are quiet again. */
static int storm(int count)
{
	pid_t last;

	for (int made = 0; made < count;) {
		for (int i = 0; i < 10; i++, made++) {
			pid_t pid = fork();

			if (pid < 0)
				return 1;
			if (pid == 0) {
				be_late(1);
				_exit(0);
			}
		}
		while (waitpid(-1, NULL, 0) > 0)
			continue;
	}
	be_late(20);
	pause_once();
	last = fork();
	if (last == 0) {
		be_late(20);
		pause_once();
		_exit(0);
	}
	return last > 0 && waitpid(last, NULL, 0) == last ? 0 : 1;
}

static int replace(const char *file)
{
	if (unlink(file) < 0 || mkfifo(file, 0600) < 0)
		return 1;
	be_late(20);
	pause_once();
	return 0;
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc > 1 && strcmp(argv[1], "names") == 0)
		return take_names(argv);
	if (argc == 3 && strcmp(argv[1], "storm") == 0)
		return storm(atoi(argv[2]));
	if (argc == 3 && strcmp(argv[1], "replace") == 0)
		return replace(argv[2]);
	return 2;
}
