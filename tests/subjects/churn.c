/* SPDX-License-Identifier: MIT */

/*
 * Loops that come and go: one for each byte on standard input.
 *
 *	churn thread	in a thread that ends after it, with a set of its own
 *	churn set	in the main thread, which closes its set after it: each has another number
 *	churn same	the same, and all have one number
 *	churn poll	in a thread that ends after it, by poll()
 *	churn fork	in a process that ends after it
 *	churn workers	in a process that stays until a SUBJECT_CHURN_END comes, and calls itself SUBJECT_CHURN_TITLE
 *			at one of that, as a server's worker does that has begun as a copy of its master
 *	churn kept	in the main thread, which keeps all of its sets
 *
 * Each handles CHURN_EVENTS events of a pipe (poll: CHURN_EVENTS and one before), one in an iteration; then a byte is
 * written to standard output. The last of its iterations ends as it is closed, or as the thread or the process ends.
 */

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../helpers/subject_churn.h"

static char **arguments;
static int ends[2], set = -1;
static int stay[2]; /* closed at one end once the processes that wait at the other are to end */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void take(void)
{
	char byte;

	if (read(ends[0], &byte, 1) != 1)
		die("read");
}

static void put(void)
{
	if (write(ends[1], "", 1) != 1)
		die("write");
}

static void open_set(void)
{
	struct epoll_event event = {.events = EPOLLIN};

	set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) < 0)
		die("epoll");
}

static void run_in_set(void)
{
	struct epoll_event event;

	open_set();
	for (int i = 0; i < CHURN_EVENTS; i++) {
		put();
		if (epoll_wait(set, &event, 1, -1) != 1)
			die("epoll_wait");
		take();
	}
}

static void *in_thread(void *ctx)
{
	(void)ctx;
	run_in_set();
	return NULL;
}

/* The first event is but to be known as a loop: by the second wait from the same place. */
static void *in_poll(void *ctx)
{
	struct pollfd polled = {.fd = ends[0], .events = POLLIN};

	(void)ctx;
	for (int i = 0; i <= CHURN_EVENTS; i++) {
		put();
		if (syscall(SYS_poll, &polled, 1, -1) != 1)
			die("poll");
		take();
	}
	return NULL;
}

static void in_a_thread(void *(*run)(void *ctx))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL) != 0 || pthread_join(thread, NULL) != 0)
		die("thread");
	close(set);
}

/* As ps shows it: over the arguments that it was started with. */
static void take_title(void)
{
	size_t room = (size_t)(arguments[1] + strlen(arguments[1]) - arguments[0]);

	memset(arguments[0], 0, room);
	memcpy(arguments[0], SUBJECT_CHURN_TITLE, strnlen(SUBJECT_CHURN_TITLE, room));
}

static void in_a_process(bool stays)
{
	int done[2];
	pid_t child;
	char byte;

	if (pipe(done) < 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		close(stay[1]);
		run_in_set();
		close(done[1]);
		while (stays && read(stay[0], &byte, 1) == 1)
			take_title();
		_exit(0);
	}
	close(done[1]);
	if (read(done[0], &byte, 1) != 0 || (!stays && waitpid(child, NULL, 0) != child))
		die("child");
	close(done[0]);
}

static void end_processes(void)
{
	close(stay[0]);
	close(stay[1]);
	while (waitpid(-1, NULL, 0) > 0)
		;
	if (pipe(stay) < 0)
		die("pipe");
}

/* The number that the set had is given to something else. */
static void close_set(bool same_number)
{
	close(set);
	if (!same_number && dup(ends[0]) != set)
		die("dup");
}

static void round_of(const char *what)
{
	if (strcmp(what, "thread") == 0)
		in_a_thread(in_thread);
	else if (strcmp(what, "poll") == 0)
		in_a_thread(in_poll);
	else if (strcmp(what, "fork") == 0 || strcmp(what, "workers") == 0)
		in_a_process(what[0] == 'w');
	else
		run_in_set();
	if (strcmp(what, "set") == 0 || strcmp(what, "same") == 0)
		close_set(what[1] == 'a');
}

int main(int argc, char **argv)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 2)
		return 2;
	arguments = argv;
	if (pipe(ends) < 0 || pipe(stay) < 0)
		die("pipe");
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		if (byte == SUBJECT_CHURN_END[0])
			end_processes();
		else if (byte == SUBJECT_CHURN_TITLE[0] && write(stay[1], "", 1) != 1)
			die("write");
		else if (byte != SUBJECT_CHURN_TITLE[0])
			round_of(argv[1]);
		if (write(STDOUT_FILENO, "", 1) != 1)
			return 0;
	}
	return 0;
}
