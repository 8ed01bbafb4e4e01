/* SPDX-License-Identifier: MIT */

/*
 * Fills several sockets, has their peers read all, and only then waits for what is ready, and sends a byte on each.
 *
 *	one_by_one one | all | behind | many
 *
 * one: each wait has room for one event. all: for all of them. behind: the same, and before them in the array are events of
 * TURNS_OTHERS other descriptors. many: as all, of TURNS_MANY sockets. It writes a struct subject_turn of each socket to
 * its standard output.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_turns.h"

#define SEND_BUFFER 65536
#define ROOM        128
#define DATA        0xfeed00000000u /* and the descriptor: so all of it counts */

static int epfd, listener, far[TURNS_MANY], near[TURNS_MANY];
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct subject_turn turns[TURNS_MANY];
static int sockets = TURNS_SOCKETS;
static size_t turns_len;
static char data[1 << 16];

static int checked(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_ms(unsigned ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

static void add(int fd, uint32_t events)
{
	struct epoll_event registration = {.events = events, .data.u64 = DATA + (uint64_t)fd};

	checked(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &registration), "epoll_ctl");
}

static void open_all(void)
{
	socklen_t len = sizeof(address);
	int bytes = SEND_BUFFER;

	epfd = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	checked(bind(listener, (struct sockaddr *)&address, len), "bind");
	checked(listen(listener, sockets), "listen");
	checked(getsockname(listener, (struct sockaddr *)&address, &len), "getsockname");
	for (int i = 0; i < sockets; i++) {
		far[i] = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		checked(connect(far[i], (struct sockaddr *)&address, sizeof(address)), "connect");
		near[i] = checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept");
		checked(setsockopt(near[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), "SO_SNDBUF");
		add(near[i], EPOLLOUT | EPOLLET);
	}
}

/* Returns how many bytes the buffers of both ends took. */
static size_t fill(int fd)
{
	size_t sum = 0;
	ssize_t done;

	while ((done = send(fd, data, sizeof(data), MSG_NOSIGNAL)) > 0)
		sum += (size_t)done;
	if (errno != EAGAIN)
		checked(-1, "send");
	return sum;
}

/* Until all was read, and the sender knows that. */
static void drain(int from, int sender, size_t bytes)
{
	int left = 1;

	while (bytes > 0)
		bytes -= (size_t)checked((int)recv(from, data, sizeof(data), 0), "recv");
	while (checked(ioctl(sender, SIOCOUTQ, &left), "SIOCOUTQ") == 0 && left > 0)
		pause_ms(1);
}

static void take_turn(int fd, uint64_t before_ns, uint64_t after_ns)
{
	struct subject_turn *turn = &turns[turns_len++];

	*turn = (struct subject_turn){
		.fd = fd,
		.wait_before_ns = before_ns,
		.wait_after_ns = after_ns,
		.send_before_ns = now_ns(),
	};
	if (send(fd, "", 1, MSG_NOSIGNAL) != 1)
		checked(-1, "send");
	turn->send_after_ns = now_ns();
}

static void handle_all(int room)
{
	struct epoll_event events[ROOM];

	while (turns_len < (size_t)sockets) {
		uint64_t before_ns = now_ns(), after_ns;
		int len = checked(epoll_wait(epfd, events, room, -1), "epoll_wait");

		after_ns = now_ns();
		for (int i = 0; i < len; i++)
			if (events[i].events & EPOLLOUT)
				take_turn((int)(events[i].data.u64 - DATA), before_ns, after_ns);
		pause_ms(2);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[ROOM];
	size_t bytes[TURNS_MANY];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "many") == 0)
		sockets = TURNS_MANY;
	open_all();
	checked(epoll_wait(epfd, events, ROOM, -1),
		"epoll_wait"); /* all of them, which is their first edge */
	for (int i = 0; strcmp(argv[1], "behind") == 0 && i < TURNS_OTHERS; i++)
		add(checked(eventfd(1, 0), "eventfd"), EPOLLIN);
	for (int i = 0; i < sockets; i++)
		bytes[i] = fill(near[i]);
	pause_ms(2);
	for (int i = 0; i < sockets; i++)
		drain(far[i], near[i], bytes[i]);
	handle_all(strcmp(argv[1], "one") == 0 ? 1 : ROOM);
	if (write(STDOUT_FILENO, turns, sizeof(turns)) != sizeof(turns)) /* the rest is 0 */
		return 1;
	return 0;
}
