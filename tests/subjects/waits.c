/* SPDX-License-Identifier: MIT */

/*
 * A loop of one thread on standard input and three pipes, in the wait that it is told. One command an iteration.
 *
 *	waits poll | ppoll | select | pselect | io_uring | poll_grows | sets | sessions | writes | beside | worker | asks |
 *		begins
 *
 * poll_grows: the array is on the stack and has another length at each call. sets: two epoll sets, waited in by turns
 * at the same depth. sessions: a pipe for each command, polled alone; what blocks does so after that is closed, and so does
 * what computes inside: after polls deeper in the stack. writes:
 * polls a pipe that it could write to, three times for each command, and nothing else. beside: the same, beside a thread
 * that waits in an epoll set. worker: beside such a thread, another is given each command on a condition variable, asks
 * whether a pipe is ready, polls it twice, and answers; what blocks does so before the command is given and then before the
 * pipe is filled, and what computes, or waits inside, which is for a mutex that is held, does so before the answer; a burst
 * computes before it asks. asks: whether there is a command, time and again, and sleeps between; what waits inside polls
 * another pipe for that. begins: the first wait in the set is of another function than all others. Exits with 77 where the
 * kernel refuses a ring.
 */

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"
#include "../helpers/subject_ring.h"

#define FDS   4 /* standard input, three pipes */
#define PIPES (FDS - 1)
#define GROW  40

static int pipes[PIPES][2];
static int never[2];
static uint64_t burst_ns;
static int object_fd = -1; /* the ring, or the first set */
static int other_epfd = -1;

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

static void spin_on_cpu(uint64_t ns)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	volatile unsigned counter = 0;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
		for (unsigned i = 0; i < 20000; i++)
			counter = counter + i;
}

static int fd_at(int index)
{
	return index == 0 ? STDIN_FILENO : pipes[index - 1][0];
}

static void answer(int fd)
{
	struct subject_answer answer = {.tid = gettid(), .epfd = object_fd, .fd = fd};

	if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
		exit(0); /* the test is gone */
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

/* As client libraries do that block: a poll of one descriptor, and of another kind than the loop's. */
static __attribute__((noinline)) void block_inside(uint64_t ns)
{
	struct pollfd one = {.fd = never[0], .events = POLLIN};
	struct epoll_event event;
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (poll(&one, 1, (int)(ns / 2000000)) != 0 || poll(&one, 1, 0) != 0)
		die("poll inside");
	if (epfd < 0 || epoll_wait(epfd, &event, 1, 0) != 0)
		die("epoll_wait inside");
	close(epfd);
	if (poll(&one, 1, (int)(ns / 2000000)) != 0)
		die("poll inside");
}

/* That nobody wakes: for `ns`. Its arguments are, but for their kinds, those of a poll(). */
static void wait_for_word(uint64_t ns)
{
	const struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000u),
				       .tv_nsec = (long)(ns % 1000000000u)};
	static uint32_t word;

	syscall(SYS_futex, &word, FUTEX_WAIT, 0, &limit, NULL, 0);
}

static __attribute__((noinline)) void on_command(void)
{
	struct subject_command command;
	struct timespec ts;

	if (read(STDIN_FILENO, &command, sizeof(command)) != sizeof(command))
		exit(0);
	ts = (struct timespec){(time_t)(command.arg / 1000000000u), (long)(command.arg % 1000000000u)};
	switch (command.verb) {
	case SUBJECT_SPIN:
		spin_on_cpu(command.arg);
		break;
	case SUBJECT_LOCK:
		wait_for_word(command.arg);
		break;
	case SUBJECT_BLOCK:
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		break;
	case SUBJECT_INSIDE:
		block_inside(command.arg);
		break;
	case SUBJECT_BURST: /* answered in the iteration that follows */
		burst_ns = command.arg;
		for (int i = 0; i < PIPES; i++)
			fill(pipes[i][1]);
		return;
	default:
		break;
	}
	answer(-1);
}

static __attribute__((noinline)) void on_ready(int fd)
{
	uint64_t ns = burst_ns;

	if (fd == STDIN_FILENO) {
		on_command();
		return;
	}
	drain(fd);
	burst_ns = 0;
	if (!ns)
		return;
	spin_on_cpu(ns);
	answer(fd);
}

/* ---- the loops ---- */

static void fill_slots(struct pollfd *slots, int len)
{
	for (int i = 0; i < len; i++)
		slots[i] = (struct pollfd){.fd = i < FDS ? fd_at(i) : -1, .events = POLLIN};
}

static void handle_slots(const struct pollfd *slots)
{
	for (int i = 0; i < FDS; i++)
		if (slots[i].revents)
			on_ready(slots[i].fd);
}

static void loop_in_poll(int signals_too)
{
	struct pollfd slots[FDS];
	int len;

	for (;;) {
		fill_slots(slots, FDS);
		len = signals_too ? ppoll(slots, FDS, NULL, NULL) : poll(slots, FDS, -1);
		if (len < 0 && errno != EINTR)
			die("poll");
		if (len > 0)
			handle_slots(slots);
	}
}

static __attribute__((noinline)) void poll_once(int len)
{
	struct pollfd *slots = __builtin_alloca((size_t)len * sizeof(*slots));

	fill_slots(slots, len);
	if (poll(slots, (nfds_t)len, -1) < 0 && errno != EINTR)
		die("poll");
	handle_slots(slots);
}

static void loop_in_growing_poll(void)
{
	for (int turn = 0;; turn++)
		poll_once(FDS + turn * 7 % GROW);
}

static void loop_in_select(int signals_too)
{
	fd_set set;
	int len;

	for (;;) {
		FD_ZERO(&set);
		for (int i = 0; i < FDS; i++)
			FD_SET(fd_at(i), &set);
		len = signals_too ? pselect(FD_SETSIZE, &set, NULL, NULL, NULL, NULL)
				  : select(FD_SETSIZE, &set, NULL, NULL, NULL);
		if (len < 0 && errno != EINTR)
			die("select");
		for (int i = 0; len > 0 && i < FDS; i++)
			if (FD_ISSET(fd_at(i), &set))
				on_ready(fd_at(i));
	}
}

static void arm(struct ring *ring, int fd)
{
	const struct io_uring_sqe poll = {.opcode = IORING_OP_POLL_ADD,
					  .fd = fd,
					  .poll_events = POLLIN,
					  .user_data = (uint64_t)fd};

	ring_prepare(ring, &poll);
}

static void loop_in_ring(void)
{
	struct ring_answer completion;
	struct ring ring;

	ring_open(&ring);
	object_fd = ring.fd;
	for (int i = 0; i < FDS; i++)
		arm(&ring, fd_at(i));
	for (;;) {
		ring_wait(&ring);
		while (ring_take(&ring, &completion)) {
			on_ready((int)completion.user_data);
			arm(&ring, (int)completion.user_data);
		}
	}
}

static int new_set(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll");
	return epfd;
}

/* As a server does that reads what begins a session before it serves it. */
static __attribute__((noinline)) void begin_session(void)
{
	volatile char packet[512];
	struct epoll_event event;

	packet[0] = 'x';
	if (epoll_wait(object_fd, &event, 1, -1) != 1)
		die("epoll_wait");
	on_command();
	packet[1] = packet[0];
}

static __attribute__((noinline)) void serve_session(void)
{
	struct epoll_event event;

	for (;;) {
		if (epoll_wait(object_fd, &event, 1, -1) != 1)
			die("epoll_wait");
		on_command();
	}
}

/* A command, then a byte that it made in the other set: that is what its time is spent on. */
static void loop_in_two_sets(void)
{
	struct subject_command command;
	struct epoll_event event;

	object_fd = new_set(STDIN_FILENO);
	other_epfd = new_set(pipes[0][0]);
	for (;;) {
		if (epoll_wait(object_fd, &event, 1, -1) != 1 ||
		    read(STDIN_FILENO, &command, sizeof(command)) != sizeof(command))
			exit(0);
		fill(pipes[0][1]);
		if (epoll_wait(other_epfd, &event, 1, -1) != 1)
			die("epoll_wait");
		drain(pipes[0][0]);
		spin_on_cpu(command.arg);
		answer(other_epfd);
	}
}

/* As threads of a pool do that serve one connection at a time: once that is closed, the thread is wanted no more. */
/* As a resolver does. */
static __attribute__((noinline)) void ask_elsewhere(uint64_t ns)
{
	volatile char deeper[512];
	struct pollfd one = {.fd = never[0], .events = POLLIN};

	deeper[0] = 'x';
	for (int i = 0; i < 2; i++) {
		fill(never[1]);
		if (poll(&one, 1, -1) != 1)
			die("poll");
		drain(never[0]);
		spin_on_cpu(ns);
	}
	deeper[1] = deeper[0];
}

static void serve_sessions(void)
{
	struct subject_command command;
	struct timespec ts;
	int ends[2];

	while (read(STDIN_FILENO, &command, sizeof(command)) == sizeof(command)) {
		if (pipe(ends) != 0)
			die("pipe");
		for (int i = 0; i < 3; i++) {
			struct pollfd one = {.fd = ends[0], .events = POLLIN};

			fill(ends[1]);
			if (poll(&one, 1, -1) != 1)
				die("poll");
			drain(ends[0]);
		}
		if (command.verb == SUBJECT_SPIN)
			spin_on_cpu(command.arg);
		close(ends[0]);
		ts = (struct timespec){.tv_nsec = (long)command.arg};
		if (command.verb == SUBJECT_BLOCK)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		if (command.verb == SUBJECT_INSIDE)
			ask_elsewhere(command.arg);
		close(ends[1]);
		answer(-1);
	}
}

static void *wait_beside(void *round)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, pipes[1][0], &event) < 0)
		die("epoll");
	for (int rounds = 0;; rounds++) {
		if (epoll_wait(epfd, &event, 1, 1) < 0)
			die("epoll_wait");
		if (rounds == 3)
			sem_post(round);
	}
	return NULL;
}

/* Once that is a loop. */
static void start_beside(void)
{
	static sem_t round;
	pthread_t thread;

	if (sem_init(&round, 0, 0) < 0 || pthread_create(&thread, NULL, wait_beside, &round) != 0)
		die("thread");
	while (sem_wait(&round) < 0)
		;
}

static pthread_mutex_t work_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_there = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;
static struct subject_command work;
static bool has_work;

/* From deeper in the stack than it is asked for. */
static __attribute__((noinline)) void poll_upstream(void)
{
	volatile char deeper[512];
	struct pollfd one = {.fd = pipes[0][0], .events = POLLIN};

	deeper[0] = 'x';
	if (poll(&one, 1, -1) != 1)
		die("poll");
	drain(pipes[0][0]);
	deeper[1] = deeper[0];
}

static __attribute__((noinline)) void do_work(const struct subject_command *command)
{
	struct pollfd one = {.fd = pipes[0][0], .events = POLLIN};

	if (command->verb == SUBJECT_BURST)
		spin_on_cpu(command->arg);
	if (poll(&one, 1, 0) < 0)
		die("poll");
	fill(pipes[0][1]);
	poll_upstream();
	if (command->verb != SUBJECT_BLOCK)
		fill(pipes[0][1]);
	poll_upstream();
	if (command->verb == SUBJECT_SPIN)
		spin_on_cpu(command->arg);
	if (command->verb == SUBJECT_INSIDE) {
		pthread_mutex_lock(&held_lock);
		pthread_mutex_unlock(&held_lock);
	}
	answer(-1);
}

/* As threads of a pool do that ask another server. */
static void *be_worker(void *tid)
{
	struct subject_command command;

	__atomic_store_n((pid_t *)tid, gettid(), __ATOMIC_RELEASE);
	for (;;) {
		pthread_mutex_lock(&work_lock);
		while (!has_work)
			pthread_cond_wait(&work_there, &work_lock);
		command = work;
		has_work = false;
		pthread_mutex_unlock(&work_lock);
		do_work(&command);
	}
	return NULL;
}

static void give_work(const struct subject_command *command)
{
	pthread_mutex_lock(&work_lock);
	work = *command;
	has_work = true;
	pthread_cond_signal(&work_there);
	pthread_mutex_unlock(&work_lock);
}

/* Until that thread waits for the mutex. */
static void await_contender(pid_t tid)
{
	char path[64], line[256], expected[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	snprintf(expected, sizeof(expected), "%d %p ", SYS_futex, (void *)&held_lock);
	do {
		file = fopen(path, "r");
		if (!file || !fgets(line, sizeof(line), file))
			die(path);
		fclose(file);
	} while (strncmp(line, expected, strlen(expected)) != 0);
}

static void serve_by_worker(void)
{
	struct subject_command command;
	pid_t tid = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, be_worker, &tid) != 0)
		die("thread");
	while (!__atomic_load_n(&tid, __ATOMIC_ACQUIRE))
		sched_yield();
	while (read(STDIN_FILENO, &command, sizeof(command)) == sizeof(command)) {
		struct timespec ts = {.tv_nsec = (long)command.arg};

		if (command.verb == SUBJECT_BLOCK)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		if (command.verb == SUBJECT_INSIDE)
			pthread_mutex_lock(&held_lock);
		give_work(&command);
		if (command.verb == SUBJECT_BLOCK) {
			clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
			fill(pipes[0][1]);
		}
		if (command.verb != SUBJECT_INSIDE)
			continue;
		await_contender(tid);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		pthread_mutex_unlock(&held_lock);
	}
	exit(0);
}

/* As memcached's thread does that lists all items: its client is polled to be written to, and given back at the end. */
static void serve_by_writing(void)
{
	struct subject_command command;

	while (read(STDIN_FILENO, &command, sizeof(command)) == sizeof(command)) {
		struct timespec ts = {.tv_nsec = (long)command.arg};

		for (int i = 0; i < 3; i++) {
			struct pollfd one = {.fd = pipes[0][1], .events = POLLOUT};

			if (poll(&one, 1, 1000) != 1)
				die("poll");
		}
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		answer(-1);
	}
	exit(0);
}

struct later {
	pthread_t thread;
	uint64_t ns;
};

static void *fill_later(void *ctx)
{
	const struct later *later = ctx;
	struct timespec ts = {.tv_nsec = (long)later->ns};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	fill(pipes[0][1]);
	return NULL;
}

static void serve_by_asking(void)
{
	struct pollfd one = {.fd = STDIN_FILENO, .events = POLLIN};
	struct subject_command command;

	for (;;) {
		struct timespec nap = {.tv_nsec = 500000};

		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		if (poll(&one, 1, 0) <= 0)
			continue;
		if (read(STDIN_FILENO, &command, sizeof(command)) != sizeof(command))
			exit(0);
		if (command.verb == SUBJECT_INSIDE) {
			struct later later = {.ns = command.arg};

			if (pthread_create(&later.thread, NULL, fill_later, &later) != 0)
				die("thread");
			poll_upstream();
			pthread_join(later.thread, NULL);
		}
		answer(-1);
	}
}

int main(int argc, char **argv)
{
	const char *wait = argc > 1 ? argv[1] : "";

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < PIPES; i++)
		if (pipe(pipes[i]) != 0)
			die("pipe");
	if (pipe(never) != 0)
		die("pipe");
	if (strcmp(wait, "poll") == 0 || strcmp(wait, "ppoll") == 0)
		loop_in_poll(wait[1] == 'p');
	else if (strcmp(wait, "select") == 0 || strcmp(wait, "pselect") == 0)
		loop_in_select(wait[0] == 'p');
	else if (strcmp(wait, "poll_grows") == 0)
		loop_in_growing_poll();
	else if (strcmp(wait, "io_uring") == 0)
		loop_in_ring();
	else if (strcmp(wait, "sets") == 0)
		loop_in_two_sets();
	else if (strcmp(wait, "sessions") == 0)
		serve_sessions();
	else if (strcmp(wait, "beside") == 0)
		start_beside();
	if (strcmp(wait, "begins") == 0) {
		object_fd = new_set(STDIN_FILENO);
		begin_session();
		serve_session();
	}
	if (strcmp(wait, "worker") == 0) {
		start_beside();
		serve_by_worker();
	}
	if (strcmp(wait, "asks") == 0)
		serve_by_asking();
	if (strcmp(wait, "writes") == 0 || strcmp(wait, "beside") == 0)
		serve_by_writing();
	return 2;
}
