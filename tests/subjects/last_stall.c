/* SPDX-License-Identifier: MIT */

/*
 * Sends until it is refused, to a peer that does not read, and sends no more.
 *
 *	last_stall tcp|unix close|shutdown|exit|reset|told|stay
 *
 * close, shutdown, exit: what it does then. reset: the peer does that. told: the peer reads all, and the sender
 * closes its end once it was told so. stay: nothing, until its input ends. That is LAST_ROUNDS times, on a connection
 * each, but for exit and stay. Each time it waits for a byte on its standard input before the end. It writes a struct
 * subject_last a round to its standard output: exit before the end, and the others after it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_last.h"

#define SEND_BUFFER 65536

static char data[1 << 20];
static struct subject_last last;
static int epfd;
static bool is_told; /* a late ACK may make room by itself */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void open_tcp(int ends[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(address);

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, bytes) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) < 0 ||
	    connect(ends[0], (struct sockaddr *)&address, bytes) < 0)
		die("connect");
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ends[1] < 0)
		die("accept");
	close(listener);
}

static void control(int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	if (epoll_ctl(epfd, operation, fd, &event) < 0)
		die("epoll_ctl");
}

static void wait_for(int fd)
{
	struct epoll_event event;

	do {
		if (epoll_wait(epfd, &event, 1, -1) != 1)
			die("epoll_wait");
		is_told = is_told || event.data.fd != STDIN_FILENO;
	} while (event.data.fd != fd);
}

static void fill(int fd)
{
	ssize_t done;

	do {
		last.full_before_ns = now_ns();
		done = send(fd, data, 8192, MSG_NOSIGNAL | MSG_DONTWAIT);
		last.full_after_ns = now_ns();
	} while (done > 0);
	if (errno != EAGAIN)
		die("send");
}

/* The peer's end is closed with what it has not read, so it resets the connection. */
static void be_told(int ends[2], bool by_reset)
{
	if (by_reset) {
		close(ends[1]);
		return;
	}
	while (recv(ends[1], data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	if (!is_told)
		wait_for(ends[0]);
}

static void end(const char *how, int ends[2])
{
	last.end_before_ns = now_ns();
	if (strcmp(how, "exit") == 0) {
		if (write(STDOUT_FILENO, &last, sizeof(last)) != sizeof(last))
			die("write");
		_exit(0);
	}
	if (strcmp(how, "reset") == 0) {
		be_told(ends, true);
	} else if (strcmp(how, "shutdown") == 0) {
		shutdown(ends[0], SHUT_WR);
	} else {
		if (strcmp(how, "told") == 0)
			be_told(ends, false);
		last.told_ns = now_ns();
		close(ends[0]);
	}
	last.end_after_ns = now_ns();
}

static void do_round(const char *kind, const char *how)
{
	int ends[2], bytes = SEND_BUFFER;
	char byte;

	if (strcmp(kind, "tcp") == 0)
		open_tcp(ends);
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair");
	if (setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
		die("SO_SNDBUF");
	control(EPOLL_CTL_ADD, ends[0], EPOLLOUT | EPOLLET);
	wait_for(ends[0]);
	fill(ends[0]);
	is_told = false;
	if (write(STDOUT_FILENO, "", 1) != 1)
		die("write");
	wait_for(STDIN_FILENO);
	if (read(STDIN_FILENO, &byte, 1) != 1)
		exit(0);
	end(how, ends);
	if (write(STDOUT_FILENO, &last, sizeof(last)) != sizeof(last))
		die("write");
	/* What remains of them is closed in no hurry: by then it is told. */
	close(ends[1]);
	close(ends[0]);
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 3)
		return 2;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	control(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN);
	for (int i = 0; i < LAST_ROUNDS; i++)
		do_round(argv[1], argv[2]);
	return 0;
}
