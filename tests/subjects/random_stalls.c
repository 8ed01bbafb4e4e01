/* SPDX-License-Identifier: MIT */

/*
 * A loop under load that stalls for 1 to 50 ms at random, in four ways, and writes down the truth.
 *
 *	random_stalls SEED STALLS FILE
 *
 * The load is a peer that talks to it over TCP all the time, and a timer each millisecond. Another process writes to
 * the pipe that a handler reads, and holds the lock that a handler wants.
 */

#include "../helpers/stall_truth.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS        UINT64_C(1000000)
#define TRUTH_MAX 65536

struct order {
	uint32_t cause;
	uint32_t reserved;
	uint64_t duration_ns;
};

static struct {
	int epfd, timer, peer;
	int orders[2], bytes[2], lock;
	uint64_t random;
	uint64_t next_ns;
	unsigned stalls_left;
	enum stall_cause cause; /* of the present iteration */
	struct stall_truth truth[TRUTH_MAX];
	size_t truth_len;
} self;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void check(bool holds, const char *what)
{
	if (!holds)
		die(what);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* xorshift64*: the same everywhere for the same seed. */
static uint64_t draw(uint64_t below)
{
	self.random ^= self.random >> 12;
	self.random ^= self.random << 25;
	self.random ^= self.random >> 27;
	return self.random * UINT64_C(2685821657736338717) % below;
}

static void sleep_ns(uint64_t duration_ns)
{
	struct timespec duration = {.tv_sec = (time_t)(duration_ns / 1000000000u),
				    .tv_nsec = (long)(duration_ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &duration, &duration) != 0)
		;
}

/* ---- the other processes ---- */

static void become_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		_exit(0);
}

static _Noreturn void talk(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = (in_port_t)port};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char text[64] = {0};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connect");
	while (write(fd, text, sizeof(text)) > 0 && read(fd, text, sizeof(text)) > 0)
		sleep_ns(200000);
	_exit(0);
}

static _Noreturn void keep_lock(const char *path, int orders, int bytes)
{
	int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct order order;
	char byte = 0;

	check(lock >= 0 && flock(lock, LOCK_EX) == 0, "flock");
	check(write(bytes, &byte, 1) == 1, "write");
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		if (order.cause == STALL_NONE) {
			flock(lock, LOCK_EX);
			continue;
		}
		sleep_ns(order.duration_ns);
		if (order.cause == STALL_WANTS_LOCK)
			flock(lock, LOCK_UN);
		else
			check(write(bytes, &byte, 1) == 1, "write");
	}
	_exit(0);
}

/* ---- stalls ---- */

/* By the thread's own clock, but without a system call more often than each 100 us. */
static void compute(uint64_t duration_ns)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + duration_ns, now_ns;

	while ((now_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID)) < end_ns) {
		uint64_t part_ns = end_ns - now_ns < 100000 ? end_ns - now_ns : 100000;
		uint64_t until_ns = clock_ns(CLOCK_MONOTONIC) + part_ns;

		while (clock_ns(CLOCK_MONOTONIC) < until_ns)
			;
	}
}

static void give_order(enum stall_cause cause, uint64_t duration_ns)
{
	struct order order = {.cause = cause, .duration_ns = duration_ns};

	check(write(self.orders[1], &order, sizeof(order)) == sizeof(order), "write");
}

static void stall(enum stall_cause cause, uint64_t duration_ns)
{
	char byte;

	switch (cause) {
	case STALL_COMPUTES:
		compute(duration_ns);
		break;
	case STALL_SLEEPS:
		sleep_ns(duration_ns);
		break;
	case STALL_READS_PIPE:
		give_order(cause, duration_ns);
		check(read(self.bytes[0], &byte, 1) == 1, "read");
		break;
	default:
		give_order(cause, duration_ns);
		check(flock(self.lock, LOCK_EX) == 0 && flock(self.lock, LOCK_UN) == 0, "flock");
		give_order(STALL_NONE, 0); /* take it again */
		break;
	}
	self.cause = cause;
	self.stalls_left--;
}

/* ---- the loop ---- */

static int listen_on_loopback(int *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0 &&
		      getsockname(fd, (struct sockaddr *)&at, &len) == 0,
	      "listen");
	*port = at.sin_port;
	return fd;
}

static void add(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	check(epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void prepare(const char *path)
{
	struct itimerspec period = {{0, 1000000}, {0, 1000000}};
	int port, listener = listen_on_loopback(&port);
	char lock_path[4096], byte;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	check(pipe2(self.orders, O_CLOEXEC) == 0 && pipe2(self.bytes, O_CLOEXEC) == 0, "pipe2");
	if (fork() == 0) {
		become_child();
		talk(port);
	}
	if (fork() == 0) {
		become_child();
		keep_lock(lock_path, self.orders[0], self.bytes[1]);
	}
	check(read(self.bytes[0], &byte, 1) == 1, "read");
	self.lock = open(lock_path, O_RDWR | O_CLOEXEC);
	self.peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	self.epfd = epoll_create1(EPOLL_CLOEXEC);
	check(self.lock >= 0 && self.peer >= 0 && self.timer >= 0 && self.epfd >= 0, "prepare");
	check(timerfd_settime(self.timer, 0, &period, NULL) == 0, "timerfd_settime");
	add(self.peer);
	add(self.timer);
}

static void echo(void)
{
	char text[256];
	ssize_t bytes = read(self.peer, text, sizeof(text));

	if (bytes > 0)
		check(write(self.peer, text, (size_t)bytes) == bytes, "write");
}

static void tick(void)
{
	uint64_t times, now_ns;

	if (read(self.timer, &times, sizeof(times)) < 0)
		return;
	now_ns = clock_ns(CLOCK_MONOTONIC);
	if (now_ns < self.next_ns)
		return;
	stall(1 + (enum stall_cause)draw(STALL_CAUSES - 1), MS + draw(49 * MS));
	self.next_ns = clock_ns(CLOCK_MONOTONIC) + MS + draw(4 * MS);
}

static void note(uint64_t start_ns, uint64_t end_ns, uint64_t cpu_ns)
{
	struct stall_truth *truth = &self.truth[self.truth_len];

	if (end_ns - start_ns < STALL_LOGGED_NS && self.cause == STALL_NONE)
		return;
	check(self.truth_len++ < TRUTH_MAX - 1, "too many iterations to note");
	truth->start_ns = start_ns;
	truth->end_ns = end_ns;
	truth->cpu_ns = cpu_ns;
	truth->cause = self.cause;
	truth->fd = self.cause == STALL_READS_PIPE   ? self.bytes[0]
		    : self.cause == STALL_WANTS_LOCK ? self.lock
						     : -1;
}

static void iterate(void)
{
	struct epoll_event events[8];
	int count = epoll_wait(self.epfd, events, 8, -1);
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC), cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	self.cause = STALL_NONE;
	for (int i = 0; i < count; i++)
		events[i].data.fd == self.timer ? tick() : echo();
	cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	note(start_ns, clock_ns(CLOCK_MONOTONIC), cpu_ns);
}

int main(int argc, char **argv)
{
	FILE *file;

	if (argc != 4)
		return 2;
	self.random = strtoull(argv[1], NULL, 10) * 2 + 1;
	self.stalls_left = (unsigned)strtoul(argv[2], NULL, 10);
	prepare(argv[3]);
	while (self.stalls_left > 0)
		iterate();
	epoll_wait(self.epfd, &(struct epoll_event){0}, 1, 0); /* the last iteration ends as the others do */
	file = fopen(argv[3], "w");
	check(file && fwrite(self.truth, sizeof(self.truth[0]), self.truth_len, file) == self.truth_len &&
		      fclose(file) == 0,
	      argv[3]);
	return 0;
}
