/* SPDX-License-Identifier: MIT */

/*
 * Loops with one bad habit each, or, with `sound`, without it; all else is the same.
 *
 *	habits NAME [sound]
 *
 * It starts when a byte is there on its standard input, runs the loop for a fixed number of rounds, writes its
 * standard output a byte, and waits for the end of its input: so that what the probes know can be read meanwhile.
 *
 *	idle_out     EPOLLOUT stays armed with nothing to write; sound: only until the answer is sent
 *	not_drained  edge-triggered, and read in part, then waited for more; sound: read until EAGAIN
 *	overtaken    the same, but more has come before it waits
 *	full         maxevents 1 with eight ready; sound: 64
 *	alone        maxevents 1 with one that is always ready: as sound as any
 *	ctl          a registration taken out and put back around each read; sound: put in once
 *	ctl_other    the same, a byte, and after another byte the same around more reads of another descriptor; sound: the
 *		     latter's stays in
 *	spin         a timeout of 0 while nothing is ready; sound: it waits
 *	blocking     a blocking socket in the set; sound: it is not
 *	lying        edge-triggered, read in part, and nothing more comes; sound: read until EAGAIN
 *	lay          the same, and the rest is read at last, for no event of it
 *	no_room      accepts, a millisecond apart, with a connection in the queue and no descriptor left, then with one; sound:
 *		     there is one at once
 *	room_by_turns the same, but another set is waited in as there is one again
 *	never_room   the same, and there never is one
 *	no_queue     no descriptor is left, and nobody in the queue: as sound as any
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 400
#define PAIRS  8
#define ROOM   64

static int epfd;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* A TCP connection of the process with itself: [0] is in the set. */
static void connect_pair(int *pair, bool blocking)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || pair[1] < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &len) < 0 ||
	    connect(pair[1], (struct sockaddr *)&address, len) < 0)
		die("connect_pair");
	pair[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK));
	if (pair[0] < 0)
		die("accept");
	close(listener);
}

static void control(int op, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	if (epoll_ctl(epfd, op, fd, &event) < 0)
		die("epoll_ctl");
}

static int wait_for(struct epoll_event *events, int max, int timeout_ms)
{
	int len = epoll_wait(epfd, events, max, timeout_ms);

	if (len < 0)
		die("epoll_wait");
	return len;
}

static void put(int fd, size_t bytes)
{
	static const char data[4096];

	if (write(fd, data, bytes) != (ssize_t)bytes)
		die("write");
}

static ssize_t take(int fd, size_t bytes)
{
	char data[4096];
	ssize_t taken = read(fd, data, bytes);

	if (taken < 0 && errno != EAGAIN)
		die("read");
	return taken;
}

/* A request comes and is answered; then EPOLLOUT goes, or stays. */
static void idle_out(bool sound)
{
	struct epoll_event events[ROOM];
	int pair[2];

	connect_pair(pair, false);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	put(pair[1], 1);
	wait_for(events, ROOM, -1);
	take(pair[0], 1);
	control(EPOLL_CTL_MOD, pair[0], EPOLLIN | EPOLLOUT);
	wait_for(events, ROOM, -1);
	put(pair[0], 1);
	if (sound)
		control(EPOLL_CTL_MOD, pair[0], EPOLLIN);
	for (int i = 0; i < ROUNDS; i++)
		wait_for(events, ROOM, 1);
}

/* Half of each round's data is left; with `waits`, for a millisecond in which there is no more. */
static void read_in_part(bool sound, bool waits)
{
	struct epoll_event events[ROOM];
	int pair[2], at_once = 1;

	connect_pair(pair, false);
	if (setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once)) < 0)
		die("TCP_NODELAY");
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLET);
	for (int i = 0; i < ROUNDS; i++) {
		put(pair[1], 100);
		wait_for(events, ROOM, -1);
		while (take(pair[0], 50) == 50 && sound)
			;
		if (waits)
			wait_for(events, ROOM, 1);
	}
}

static void not_drained(bool sound)
{
	read_in_part(sound, true);
}

static void overtaken(bool sound)
{
	read_in_part(sound, false);
}

static void let_lie(bool sound, bool reads_at_last)
{
	struct epoll_event events[ROOM];
	int pair[2];

	connect_pair(pair, false);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLET);
	put(pair[1], 100);
	wait_for(events, ROOM, -1);
	while (take(pair[0], 50) == 50 && sound)
		;
	for (int i = 0; i < 15; i++)
		wait_for(events, ROOM, 100);
	if (!reads_at_last)
		return;
	take(pair[0], 50);
	wait_for(events, ROOM, 1);
}

static void lying(bool sound)
{
	let_lie(sound, false);
}

static void lay(bool sound)
{
	let_lie(sound, true);
}

static void full(bool sound)
{
	struct epoll_event events[ROOM];
	int pair[PAIRS][2];

	for (int i = 0; i < PAIRS; i++) {
		connect_pair(pair[i], false);
		control(EPOLL_CTL_ADD, pair[i][0], EPOLLIN);
	}
	for (int round = 0; round < ROUNDS; round++) {
		int left = PAIRS;

		for (int i = 0; i < PAIRS; i++)
			put(pair[i][1], 1);
		while (left > 0) {
			int len = wait_for(events, sound ? ROOM : 1, -1);

			for (int i = 0; i < len; i++)
				take(events[i].data.fd, 1);
			left -= len;
		}
	}
}

static void alone(bool sound)
{
	struct epoll_event events[ROOM];
	int pair[2];

	(void)sound;
	connect_pair(pair, false);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	put(pair[1], 8 * ROUNDS);
	for (int i = 0; i < 8 * ROUNDS; i++) {
		wait_for(events, 1, -1);
		take(pair[0], 1);
	}
}

static void read_rounds(int rounds, bool sound)
{
	struct epoll_event events[ROOM];
	int pair[2];

	connect_pair(pair, false);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	for (int i = 0; i < rounds; i++) {
		put(pair[1], 1);
		wait_for(events, ROOM, -1);
		if (!sound)
			control(EPOLL_CTL_DEL, pair[0], 0);
		take(pair[0], 1);
		if (!sound)
			control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	}
}

static void ctl(bool sound)
{
	read_rounds(ROUNDS, sound);
}

static void ctl_other(bool sound)
{
	char byte;

	read_rounds(ROUNDS, false);
	if (write(STDOUT_FILENO, "", 1) != 1 || read(STDIN_FILENO, &byte, 1) != 1)
		die("ctl_other");
	read_rounds(3 * ROUNDS, sound);
}

static void spin(bool sound)
{
	struct epoll_event events[ROOM];
	int pair[2];

	connect_pair(pair, false);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	for (int i = 0; i < (sound ? ROUNDS : 10 * ROUNDS); i++)
		wait_for(events, ROOM, sound ? 1 : 0);
}

static void blocking(bool sound)
{
	struct epoll_event events[ROOM];
	int pair[2];

	connect_pair(pair, !sound);
	control(EPOLL_CTL_ADD, pair[0], EPOLLIN);
	for (int i = 0; i < ROUNDS; i++) {
		put(pair[1], 1);
		wait_for(events, ROOM, -1);
		take(pair[0], 1);
	}
}

static void limit_descriptors(rlim_t limit)
{
	struct rlimit limits;

	if (getrlimit(RLIMIT_NOFILE, &limits) < 0)
		die("getrlimit");
	limits.rlim_cur = limit;
	if (setrlimit(RLIMIT_NOFILE, &limits) < 0)
		die("setrlimit");
}

static int listen_somewhere(struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (listener < 0 || bind(listener, (struct sockaddr *)address, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)address, &len) < 0)
		die("listen_somewhere");
	return listener;
}

/* A millisecond apart, until one is accepted. */
static void accept_rounds(int listener)
{
	struct epoll_event events[ROOM];

	for (int i = 0; i < ROUNDS; i++) {
		wait_for(events, ROOM, 0);
		if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) >= 0)
			return;
		if (errno != EMFILE && errno != EAGAIN)
			die("accept");
		usleep(1000);
	}
}

static int listen_without_room(bool has_room, bool has_client)
{
	struct sockaddr_in address;
	int listener = listen_somewhere(&address), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (client < 0 || (has_client && connect(client, (struct sockaddr *)&address, sizeof(address)) < 0))
		die("connect");
	control(EPOLL_CTL_ADD, listener, EPOLLIN);
	if (!has_room)
		limit_descriptors((rlim_t)client + 1);
	return listener;
}

static void no_room(bool sound)
{
	int listener = listen_without_room(sound, true);

	accept_rounds(listener);
	limit_descriptors(ROOM);
	accept_rounds(listener);
}

static void room_by_turns(bool sound)
{
	struct epoll_event events[ROOM];
	int other = epoll_create1(EPOLL_CLOEXEC), listener;

	if (other < 0)
		die("epoll_create1");
	listener = listen_without_room(sound, true);
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(events, ROOM, 1);
		if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) >= 0)
			return;
		if (epoll_wait(other, events, ROOM, 1) < 0)
			die("epoll_wait");
	}
	limit_descriptors(ROOM);
	if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
		die("accept");
}

static void never_room(bool sound)
{
	accept_rounds(listen_without_room(sound, true));
}

static void no_queue(bool sound)
{
	(void)sound;
	accept_rounds(listen_without_room(false, false));
}

static void signalled(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(bool sound);
	} habits[] = {{"idle_out", idle_out},
		      {"not_drained", not_drained},
		      {"overtaken", overtaken},
		      {"lying", lying},
		      {"lay", lay},
		      {"no_room", no_room},
		      {"room_by_turns", room_by_turns},
		      {"never_room", never_room},
		      {"no_queue", no_queue},
		      {"full", full},
		      {"alone", alone},
		      {"ctl", ctl},
		      {"ctl_other", ctl_other},
		      {"spin", spin},
		      {"blocking", blocking}};
	bool sound = argc > 2 && strcmp(argv[2], "sound") == 0;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, signalled);
	if (argc < 2 || read(STDIN_FILENO, &byte, 1) != 1)
		return 2;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0)
		die("epoll_create1");
	for (size_t i = 0; i < sizeof(habits) / sizeof(habits[0]); i++)
		if (strcmp(habits[i].name, argv[1]) == 0)
			habits[i].run(sound);
	if (write(STDOUT_FILENO, "", 1) != 1)
		return 1;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
