/* SPDX-License-Identifier: MIT */

/*
 * A loop in which two connections wait behind a slow handler, and whose numbers stand for another connection soon after.
 *
 *	identities closed    each is read and closed in its turn, and its number is another one's at once
 *	identities unread    each is closed unread, which is its turn, and its number is registered anew with the same data
 *	identities left      they are not seen to in that iteration; in the next one they are closed, as above
 *	identities replaced  each is read, and then replaced by dup2()
 *	identities swapped   they are eventfds, which have an inode in common with timerfds, and replaced by one by dup2()
 *	identities usurped   the same, with no turn before
 *	identities blocked   the slow handler does not compute, but reads from a connection that nothing comes on, which is
 *			closed then, and its number is another one's
 *	identities shared    the same, in a process of two threads
 *	identities reset     both were reset by their peers; they are read in their turn, and closed later
 *
 * As a second argument the wait: epoll, poll or select. It writes a struct subject_identities for each round to its
 * standard output when it is done, and waits for the end of its input.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_identities.h"

#define SLOW_NS 5000000u

static int epfd, listener, slow, timer, other, other_far, far[IDENTITIES], near[IDENTITIES];
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct subject_identities rounds[IDENTITIES_ROUNDS];
static const char *mode, *wait_name;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int checked(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_mode(const char *name)
{
	return strcmp(mode, name) == 0;
}

static bool is_event(void)
{
	return is_mode("swapped") || is_mode("usurped");
}

static void put(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("write");
}

static void connect_to_self(int *far_end, int *near_end)
{
	*far_end = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
	checked(connect(*far_end, (struct sockaddr *)&address, sizeof(address)), "connect");
	*near_end = checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK), "accept");
}

static void add(int fd)
{
	struct epoll_event registration = {.events = EPOLLIN, .data.u64 = 0xfeed00000000 + (uint64_t)fd};

	if (strcmp(wait_name, "epoll") == 0)
		checked(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &registration), "epoll_ctl");
}

static int wait_in_poll(int timeout_ms)
{
	struct pollfd polled[1 + IDENTITIES] = {{.fd = slow, .events = POLLIN}};

	for (int i = 0; i < IDENTITIES; i++)
		polled[1 + i] = (struct pollfd){.fd = near[i], .events = POLLIN};
	return (int)syscall(SYS_poll, polled, 1 + IDENTITIES, timeout_ms);
}

static int wait_in_select(int timeout_ms)
{
	struct timeval value = {0};
	int most = slow;
	fd_set in;

	FD_ZERO(&in);
	FD_SET(slow, &in);
	for (int i = 0; i < IDENTITIES; i++) {
		if (near[i] < 0)
			continue;
		FD_SET(near[i], &in);
		most = near[i] > most ? near[i] : most;
	}
	return (int)syscall(SYS_select, most + 1, &in, NULL, NULL, timeout_ms ? NULL : &value);
}

/* From one place, as a loop does. */
__attribute__((noinline)) static int wait_for(int timeout_ms)
{
	struct epoll_event events[8];

	if (strcmp(wait_name, "poll") == 0)
		return checked(wait_in_poll(timeout_ms), "poll");
	if (strcmp(wait_name, "select") == 0)
		return checked(wait_in_select(timeout_ms), "select");
	return checked(epoll_wait(epfd, events, 8, timeout_ms), "epoll_wait");
}

static void take(int fd)
{
	char data[512];

	if (read(fd, data, sizeof(data)) < 0 && !is_mode("reset"))
		die("read");
}

static void take_slow(uint64_t ns)
{
	uint64_t end_ns;

	take(slow);
	for (end_ns = now_ns() + ns; now_ns() < end_ns;)
		;
}

static void tell_name(char *ret, size_t bytes, int far_end)
{
	struct sockaddr_in far_address;
	socklen_t len = sizeof(far_address);

	checked(getsockname(far_end, (struct sockaddr *)&far_address, &len), "getsockname");
	snprintf(ret, bytes, "tcp 127.0.0.1:%u > 127.0.0.1:%u", ntohs(address.sin_port),
		 ntohs(far_address.sin_port));
}

static void open_one(int i, struct subject_identities *round)
{
	if (is_event()) {
		far[i] = -1;
		near[i] = checked(eventfd(0, EFD_NONBLOCK), "eventfd");
		snprintf(round->name[i], sizeof(round->name[i]), "eventfd");
		return;
	}
	connect_to_self(&far[i], &near[i]);
	tell_name(round->name[i], sizeof(round->name[i]), far[i]);
}

/* What was sent has arrived: on loopback too it may take a while. */
static void send_and_wait(int i)
{
	struct linger reset = {.l_onoff = 1};
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	int bytes = 0;

	if (is_event()) {
		put(near[i]);
		return;
	}
	if (!is_mode("reset")) {
		put(far[i]);
		while (!bytes)
			checked(ioctl(near[i], FIONREAD, &bytes), "FIONREAD");
		return;
	}
	checked(setsockopt(far[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), "SO_LINGER");
	close(far[i]);
	far[i] = -1;
	do
		checked(getsockopt(near[i], IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
	while (info.tcpi_state != TCP_CLOSE);
}

static void close_and_reuse(int fd)
{
	close(fd);
	if (checked(fcntl(other, F_DUPFD, fd), "F_DUPFD") != fd)
		die("another number");
}

static bool is_blocked(void)
{
	return is_mode("blocked") || is_mode("shared");
}

static void block_slow(struct subject_identities *round)
{
	struct timeval enough = {.tv_usec = SLOW_NS / 1000};
	int far_end, near_end;
	char byte;

	connect_to_self(&far_end, &near_end);
	tell_name(round->blocked_on, sizeof(round->blocked_on), far_end);
	checked(fcntl(near_end, F_SETFL, 0), "fcntl");
	checked(setsockopt(near_end, SOL_SOCKET, SO_RCVTIMEO, &enough, sizeof(enough)), "SO_RCVTIMEO");
	take(slow);
	if (recv(near_end, &byte, 1, 0) >= 0)
		die("data");
	close_and_reuse(near_end);
	close(far_end);
}

static void *sleep_on(void *ctx)
{
	pause();
	return ctx;
}

static void handle(int fd)
{
	if (is_mode("unread")) {
		close_and_reuse(fd);
		add(fd);
		return;
	}
	if (!is_mode("usurped"))
		take(fd);
	if (is_mode("closed"))
		close_and_reuse(fd);
	else if (is_mode("replaced"))
		checked(dup2(other, fd), "dup2");
	else if (is_event())
		checked(dup2(timer, fd), "dup2");
}

static void run_round(struct subject_identities *round)
{
	for (int i = 0; i < IDENTITIES; i++) {
		open_one(i, round);
		add(near[i]);
		round->fd[i] = near[i];
	}
	for (int i = 0; i < 2; i++) {
		put(slow);
		wait_for(-1);
		take_slow(0);
	}
	put(slow);
	for (int i = 0; i < IDENTITIES; i++)
		send_and_wait(i);
	round->before_ns = now_ns();
	if (wait_for(-1) != 1 + IDENTITIES)
		die("not all");
	if (is_blocked())
		block_slow(round);
	else
		take_slow(SLOW_NS);
	for (int i = 0; i < IDENTITIES && !is_mode("left"); i++)
		handle(near[i]);
	wait_for(0);
	round->after_ns = now_ns();
	for (int i = 0; i < IDENTITIES; i++) {
		if (is_mode("left") || is_mode("reset") || is_blocked())
			close_and_reuse(near[i]);
		if (far[i] >= 0)
			close(far[i]);
	}
}

int main(int argc, char **argv)
{
	socklen_t len = sizeof(address);
	pthread_t thread;
	char byte;

	mode = argc > 1 ? argv[1] : "closed";
	wait_name = argc > 2 ? argv[2] : "epoll";
	epfd = checked(epoll_create1(0), "epoll_create1");
	slow = checked(eventfd(0, EFD_NONBLOCK), "eventfd");
	timer = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
	listener = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	checked(bind(listener, (struct sockaddr *)&address, len), "bind");
	checked(listen(listener, 16), "listen");
	checked(getsockname(listener, (struct sockaddr *)&address, &len), "getsockname");
	connect_to_self(&other_far, &other);
	if (is_mode("shared") && pthread_create(&thread, NULL, sleep_on, NULL))
		die("pthread_create");
	add(slow);
	/* What has a number at the end of a round keeps it: so each round has numbers of its own. */
	for (int i = 0; i < IDENTITIES_ROUNDS; i++)
		run_round(&rounds[i]);
	if (write(STDOUT_FILENO, rounds, sizeof(rounds)) != sizeof(rounds))
		die("write");
	return read(STDIN_FILENO, &byte, 1) < 0;
}
