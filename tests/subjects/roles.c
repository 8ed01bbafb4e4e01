/* SPDX-License-Identifier: MIT */

/*
 * A loop with a descriptor of each role, whose handlers compute for a known time.
 *
 *	roles each   ROUNDS times, one after the other: each role becomes ready and is handled
 *	roles batch  two clients are ready at once: both are read, then both are answered
 *	roles busy   data arrives for a client while another handler computes for BUSY_NS
 *	roles left   data arrives for a client that is not asked for until a timer has gone off, BUSY_NS later
 *	roles single as busy, but that data had arrived before the wait, which had room for one event
 *	roles helped another thread reads what arrived for a client, and after BUSY_NS the loop reads what comes then
 *	roles parts  one read takes what arrived for a client, and waits for what comes BUSY_NS after it has taken that
 *	roles poll | ppoll | select | pselect	as each, the loop being in that, and with one event of the eventfd before
 *	roles reused	a pipe is taken out of the set in its turn, and closed in that of the third event after it; its
 *			number has another descriptor from the turn of the last one on, which is written to there
 *	roles again	what a client has sent, and was read, it sends once more, after other data that is read in two parts
 *	roles many   MANY clients, each of which sends once and is read from
 *	roles crowd  the same, CROWD of them
 *	roles duplicate	ROUNDS clients, one after the other, that are put in the set by another number than it is waited in by
 *	roles ports  it listens on PORTS ports more, and a client sends once and is read from
 *	roles deferred	clients whose first data ends the handshake, and is read in two parts after BUSY_NS
 *	roles reset  clients that reset their connections before they have sent anything
 *	roles ctl    a handler does nothing but to take its descriptor out of the set, and it is put in again
 *
 * With one more argument the descriptors are registered first of all, else when it starts. It writes its port to its
 * standard output, starts when a byte is there on its standard input, writes a struct subject_served when it is done,
 * and waits for the end of its input.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_roles.h"

static int epfd, listener, far[2], near[2], timer, event, ends[2], unix_ends[2], signals, notify;
static char folder[] = "/tmp/stint-roles-XXXXXX";
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct subject_served served;
static struct pollfd polled[10];

#define POLLED (sizeof(polled) / sizeof(polled[0]))

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

static void spin(uint64_t ns)
{
	uint64_t end_ns = now_ns() + ns;

	while (now_ns() < end_ns)
		;
}

static void add(int fd)
{
	struct epoll_event registration = {.events = EPOLLIN, .data.u64 = 0xfeed00000000 + (uint64_t)fd};

	checked(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &registration), "epoll_ctl");
}

static void put(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("write");
}

static void take(int fd)
{
	char data[512];

	if (read(fd, data, sizeof(data)) <= 0)
		die("read");
}

/* A connection of the process with itself, whose ends are not in the set yet. */
static void connect_to_self(int *far_end, int *near_end)
{
	*far_end = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	checked(connect(*far_end, (struct sockaddr *)&address, sizeof(address)), "connect");
	checked(fcntl(*far_end, F_SETFL, O_NONBLOCK), "fcntl");
	*near_end = checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept");
}

static void open_all(void)
{
	socklen_t len = sizeof(address);
	sigset_t set;

	epfd = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	listener = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	checked(bind(listener, (struct sockaddr *)&address, len), "bind");
	checked(listen(listener, 16), "listen");
	checked(getsockname(listener, (struct sockaddr *)&address, &len), "getsockname");
	for (int i = 0; i < 2; i++)
		connect_to_self(&far[i], &near[i]);
	timer = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
	event = checked(eventfd(0, EFD_NONBLOCK), "eventfd");
	checked(pipe2(ends, O_NONBLOCK), "pipe2");
	checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, unix_ends), "socketpair");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = checked(signalfd(-1, &set, SFD_NONBLOCK), "signalfd");
	notify = checked(inotify_init1(IN_NONBLOCK), "inotify_init1");
	if (!mkdtemp(folder))
		die("mkdtemp");
	checked(inotify_add_watch(notify, folder, IN_ATTRIB), "inotify_add_watch");
}

static void add_all(void)
{
	const int all[] = {listener, near[0], near[1],      far[0],  timer,
			   event,    ends[0], unix_ends[0], signals, notify};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		add(all[i]);
		polled[i] = (struct pollfd){.fd = all[i], .events = POLLIN};
	}
}

static void make_ready(enum subject_role role)
{
	struct itimerspec soon = {.it_value.tv_nsec = 1000};

	switch (role) {
	case SUBJECT_ROLE_LISTENER:
		checked(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address,
				sizeof(address)),
			"connect");
		return;
	case SUBJECT_ROLE_CLIENT:
		put(far[0]);
		return;
	case SUBJECT_ROLE_UPSTREAM:
		put(near[0]);
		return;
	case SUBJECT_ROLE_TIMER:
		checked(timerfd_settime(timer, 0, &soon, NULL), "timerfd_settime");
		return;
	case SUBJECT_ROLE_EVENT:
		put(event);
		return;
	case SUBJECT_ROLE_PIPE:
		put(ends[1]);
		return;
	case SUBJECT_ROLE_UNIX:
		put(unix_ends[1]);
		return;
	case SUBJECT_ROLE_SIGNAL:
		kill(getpid(), SIGUSR1);
		return;
	default:
		checked(chmod(folder, 0700), "chmod");
	}
}

static int wait_for(struct epoll_event *events)
{
	return checked(epoll_wait(epfd, events, 16, -1), "epoll_wait");
}

static int wait_in_epoll(int timeout_ms)
{
	struct epoll_event events[16];

	return checked(epoll_wait(epfd, events, 16, timeout_ms), "epoll_wait");
}

static int wait_in_poll(int timeout_ms)
{
	return checked((int)syscall(SYS_poll, polled, POLLED, timeout_ms), "poll");
}

static int wait_in_ppoll(int timeout_ms)
{
	const struct timespec now = {0};

	return checked(ppoll(polled, POLLED, timeout_ms ? NULL : &now, NULL), "ppoll");
}

/* With the sets anew each time, and one that nothing is ready in. */
static int wait_in_sets(int timeout_ms, bool pselect_call)
{
	struct timespec spec = {0};
	struct timeval value = {0};
	fd_set in, out;
	int most = 0;

	FD_ZERO(&in);
	FD_ZERO(&out);
	for (size_t i = 0; i < POLLED; i++) {
		FD_SET(polled[i].fd, &in);
		most = polled[i].fd > most ? polled[i].fd : most;
	}
	if (pselect_call)
		return checked(pselect(most + 1, &in, &out, NULL, timeout_ms ? NULL : &spec, NULL),
			       "pselect");
	return checked((int)syscall(SYS_select, most + 1, &in, &out, NULL, timeout_ms ? NULL : &value),
		       "select");
}

static int wait_in_select(int timeout_ms)
{
	return wait_in_sets(timeout_ms, false);
}

static int wait_in_pselect(int timeout_ms)
{
	return wait_in_sets(timeout_ms, true);
}

static int (*wait_for_all)(int timeout_ms) = wait_in_epoll;

/* How long a role was served this time; `most` only when the next wait has returned. */
static void note(enum subject_role role, uint64_t least_ns, uint64_t most_ns)
{
	served.least_ns[role] += least_ns;
	served.most_ns[role] += most_ns;
}

static void each(void)
{
	const int fds[SUBJECT_ROLES] = {listener, near[0],      far[0],  timer, event,
					ends[0],  unix_ends[0], signals, notify};

	/* Others are known as loops only when they come to their wait for the second time, from the same place. */
	if (wait_for_all != wait_in_epoll) {
		put(event);
		if (wait_for_all(-1) != 1)
			die("more than the event");
		take(event);
	}
	make_ready(SUBJECT_ROLE_LISTENER);
	if (wait_for_all(-1) != 1)
		die("more than one");
	for (int i = 0; i < SUBJECT_ROUNDS * SUBJECT_ROLES; i++) {
		enum subject_role role = (enum subject_role)(i % SUBJECT_ROLES);
		uint64_t before_ns = now_ns(), began_ns, ended_ns;

		if (role == SUBJECT_ROLE_LISTENER)
			checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK), "accept");
		else
			take(fds[role]);
		began_ns = now_ns();
		spin(role % 2 ? 2 * SUBJECT_SPIN_NS : SUBJECT_SPIN_NS);
		ended_ns = now_ns();
		if (i + 1 < SUBJECT_ROUNDS * SUBJECT_ROLES) {
			make_ready((enum subject_role)((i + 1) % SUBJECT_ROLES));
			if (wait_for_all(-1) != 1)
				die("more than one");
		} else {
			wait_for_all(0);
		}
		note(role, ended_ns - began_ns, now_ns() - before_ns);
	}
}

/* Each client is read from, and answered: but both are read from before one is answered. */
static void batch(void)
{
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns;

		put(far[0]);
		put(far[1]);
		if (wait_for(events) != 2)
			die("not both");
		before_ns = now_ns();
		for (int at = 0; at < 2; at++) {
			take(near[at]);
			spin(SUBJECT_SPIN_NS);
		}
		for (int at = 0; at < 2; at++) {
			if (send(near[at], "", 1, 0) != 1)
				die("send");
			spin(2 * SUBJECT_SPIN_NS);
		}
		/* The answers are not in the way: read before the next wait, by descriptors that are not ready. */
		for (int at = 0; at < 2; at++)
			take(far[at]);
		epoll_wait(epfd, events, 16, 0);
		note(SUBJECT_ROLE_CLIENT, 2 * 3 * SUBJECT_SPIN_NS, now_ns() - before_ns);
	}
}

/* What is noted of the client is how old its data was when it was read. */
static void busy(void)
{
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns;

		put(event);
		if (wait_for(events) != 1)
			die("more than the event");
		take(event);
		before_ns = now_ns();
		put(far[0]);
		spin(SUBJECT_BUSY_NS);
		if (wait_for(events) != 1)
			die("more than the client");
		take(near[0]);
		note(SUBJECT_ROLE_CLIENT, SUBJECT_BUSY_NS, now_ns() - before_ns);
	}
}

static void ask_for(int fd, uint32_t events)
{
	struct epoll_event registration = {.events = events, .data.u64 = 0xfeed00000000 + (uint64_t)fd};

	checked(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &registration), "epoll_ctl");
}

/* What is noted of the client is how old its data was when it was read. */
static void left(void)
{
	const struct itimerspec later = {.it_value.tv_nsec = SUBJECT_BUSY_NS};
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns = now_ns();

		ask_for(near[0], 0);
		put(far[0]);
		checked(timerfd_settime(timer, 0, &later, NULL), "timerfd_settime");
		if (wait_for(events) != 1)
			die("more than the timer");
		take(timer);
		ask_for(near[0], EPOLLIN);
		if (wait_for(events) != 1)
			die("more than the client");
		take(near[0]);
		note(SUBJECT_ROLE_CLIENT, SUBJECT_BUSY_NS, now_ns() - before_ns);
	}
}

/* As above. */
static void single(void)
{
	struct epoll_event ready;

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns = now_ns();

		put(event);
		put(far[0]);
		if (epoll_wait(epfd, &ready, 1, -1) != 1 || (int)ready.data.u64 != event)
			die("not the event");
		take(event);
		spin(SUBJECT_BUSY_NS);
		if (epoll_wait(epfd, &ready, 1, -1) != 1 || (int)ready.data.u64 != near[0])
			die("not the client");
		take(near[0]);
		note(SUBJECT_ROLE_CLIENT, SUBJECT_BUSY_NS, now_ns() - before_ns);
	}
}

static void *take_one(void *client)
{
	take(*(int *)client);
	return NULL;
}

/* What is noted of the client is how old its data was when the loop read it. */
static void helped(void)
{
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns;
		pthread_t helper;

		put(far[0]);
		if (wait_for(events) != 1 || pthread_create(&helper, NULL, take_one, &near[0]) != 0)
			die("no helper");
		pthread_join(helper, NULL);
		spin(SUBJECT_BUSY_NS);
		before_ns = now_ns();
		put(far[0]);
		if (wait_for(events) != 1)
			die("more than the client");
		take(near[0]);
		note(SUBJECT_ROLE_CLIENT, 0, now_ns() - before_ns);
	}
}

/* Once the reader has taken what there is. */
static void *put_rest(void *unused)
{
	int unread;

	(void)unused;
	do
		checked(ioctl(near[0], FIONREAD, &unread), "FIONREAD");
	while (unread > 0);
	spin(SUBJECT_BUSY_NS);
	put(far[0]);
	return NULL;
}

/* What is noted of the client is how old the first part was when both had been read. */
static void parts(void)
{
	struct epoll_event events[16];
	uint64_t both[2];

	checked(fcntl(near[0], F_SETFL, 0), "fcntl");
	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns = now_ns();
		pthread_t other;

		put(far[0]);
		if (wait_for(events) != 1 || pthread_create(&other, NULL, put_rest, NULL) != 0)
			die("no other thread");
		if (recv(near[0], both, sizeof(both), MSG_WAITALL) != sizeof(both))
			die("recv");
		note(SUBJECT_ROLE_CLIENT, SUBJECT_BUSY_NS, now_ns() - before_ns);
		pthread_join(other, NULL);
	}
}

/* Whatever the client is sent from now on, it never gets: so it sends again what it has sent. */
static void lose_acks(int fd)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = {.len = 1, .filter = &drop_all};

	checked(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), "SO_ATTACH_FILTER");
}

static struct tcp_info ask_kernel(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	checked(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
	return info;
}

/* Until a timer of the client has gone off, and all that it has sent is there. */
static void wait_for_retransmission(uint32_t sent_before, uint32_t got_before)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (!ask_kernel(far[0]).tcpi_retransmits ||
	       ask_kernel(far[0]).tcpi_segs_out - sent_before > ask_kernel(near[0]).tcpi_segs_in - got_before)
		nanosleep(&pause, NULL);
}

static void put_apart(int fd)
{
	uint64_t one = 1;

	if (send(fd, &one, sizeof(one), MSG_EOR) !=
	    sizeof(one)) /* is not made one segment with what follows */
		die("send");
}

/* What is noted of the client is how old the first data and, twice, the other was when it was read. */
static void again(void)
{
	uint32_t sent = ask_kernel(far[0]).tcpi_segs_out, got = ask_kernel(near[0]).tcpi_segs_in;
	uint64_t before_ns, after_ns, both[2] = {0}, one_ns = now_ns();
	struct epoll_event events[16];
	int on = 1;

	checked(setsockopt(far[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
	lose_acks(far[0]);
	put_apart(far[0]);
	if (wait_for(events) != 1)
		die("more than the client");
	take(near[0]);
	note(SUBJECT_ROLE_CLIENT, 0, now_ns() - one_ns);
	before_ns = now_ns();
	if (write(far[0], both, sizeof(both)) != sizeof(both))
		die("write");
	after_ns = now_ns();
	wait_for_retransmission(sent, got);
	for (int i = 0; i < 2; i++) {
		uint64_t read_ns = now_ns();

		if (wait_for(events) != 1 || read(near[0], both, sizeof(both[0])) != sizeof(both[0]))
			die("read");
		note(SUBJECT_ROLE_CLIENT, read_ns - after_ns, now_ns() - before_ns);
	}
}

/* What is noted of the client is, twice, how old that data was when it was read. */
static void deferred(void)
{
	int far_end, near_end, patience_s = 600;
	struct epoll_event events[16];
	uint64_t both[2] = {0};

	checked(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &patience_s, sizeof(patience_s)),
		"TCP_DEFER_ACCEPT");
	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns = now_ns();

		far_end = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		checked(connect(far_end, (struct sockaddr *)&address, sizeof(address)), "connect");
		if (write(far_end, both, sizeof(both)) != sizeof(both))
			die("write");
		spin(SUBJECT_BUSY_NS);
		if (wait_for(events) != 1)
			die("more than the listener");
		near_end = checked(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept");
		add(near_end);
		for (int half = 0; half < 2; half++) {
			if (wait_for(events) != 1 || read(near_end, both, sizeof(both[0])) != sizeof(both[0]))
				die("read");
			note(SUBJECT_ROLE_CLIENT, SUBJECT_BUSY_NS, now_ns() - before_ns);
		}
		close(near_end);
		close(far_end);
	}
}

/* The first that is seen of each is that it is over: its port was given back. */
static void reset(void)
{
	const struct linger at_once = {.l_onoff = 1};
	struct epoll_event events[16];
	int far_end, near_end;
	char byte;

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		connect_to_self(&far_end, &near_end);
		add(near_end);
		checked(setsockopt(far_end, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "SO_LINGER");
		close(far_end);
		if (wait_for(events) != 1 || read(near_end, &byte, 1) >= 0)
			die("not reset");
		close(near_end);
	}
	epoll_wait(epfd, events, 16, 0);
}

static void ctl(void)
{
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t before_ns, began_ns, ended_ns;

		put(event);
		if (wait_for(events) != 1)
			die("more than the event");
		before_ns = now_ns();
		checked(epoll_ctl(epfd, EPOLL_CTL_DEL, event, NULL), "epoll_ctl");
		began_ns = now_ns();
		spin(SUBJECT_SPIN_NS);
		ended_ns = now_ns();
		epoll_wait(epfd, events, 16, 0);
		note(SUBJECT_ROLE_EVENT, ended_ns - began_ns, now_ns() - before_ns);
		take(event);
		add(event);
		epoll_wait(epfd, events, 16, 0);
	}
}

/* What the pipe was served ends with the turn after its own; the last turn goes on whatever is written to then. */
static void reused(void)
{
	int again, other = checked(eventfd(0, EFD_NONBLOCK), "eventfd");
	struct epoll_event events[16];

	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		uint64_t pipe_ns, event_ns, began_ns;

		put(ends[1]);
		put(event);
		put(far[0]);
		put(unix_ends[1]);
		if (wait_for(events) != 4)
			die("not all four");
		pipe_ns = now_ns();
		take(ends[0]);
		checked(epoll_ctl(epfd, EPOLL_CTL_DEL, ends[0], NULL), "epoll_ctl");
		event_ns = now_ns();
		take(event);
		note(SUBJECT_ROLE_PIPE, 0, now_ns() - pipe_ns);
		take(near[0]);
		close(ends[0]);
		began_ns = now_ns();
		take(unix_ends[0]);
		again = checked(fcntl(other, F_DUPFD_CLOEXEC, ends[0]), "F_DUPFD");
		if (again != ends[0])
			die("another number");
		put(again);
		spin(SUBJECT_SPIN_NS);
		note(SUBJECT_ROLE_UNIX, SUBJECT_SPIN_NS, 0);
		epoll_wait(epfd, events, 16, 0);
		note(SUBJECT_ROLE_UNIX, 0, now_ns() - began_ns);
		note(SUBJECT_ROLE_EVENT, 0, now_ns() - event_ns);
		close(again);
		close(ends[1]);
		checked(pipe2(ends, O_NONBLOCK), "pipe2");
		add(ends[0]);
		epoll_wait(epfd, events, 16, 0);
	}
}

static void raise_limit(void)
{
	struct rlimit limit;

	checked(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	checked(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

static void serve(int clients)
{
	static int far_ends[SUBJECT_CROWD], near_ends[SUBJECT_CROWD];
	struct epoll_event ready;

	raise_limit();
	for (int i = 0; i < clients; i++) {
		connect_to_self(&far_ends[i], &near_ends[i]);
		add(near_ends[i]);
	}
	for (int i = 0; i < clients; i++) {
		put(far_ends[i]);
		if (epoll_wait(epfd, &ready, 1, -1) != 1 || (int)ready.data.u64 != near_ends[i])
			die("another one");
		take(near_ends[i]);
	}
	epoll_wait(epfd, &ready, 1, 0);
}

static void many(void)
{
	serve(SUBJECT_MANY);
}

static void crowd(void)
{
	serve(SUBJECT_CROWD);
}

/* Once it is known by which number it waits. */
static void duplicate(void)
{
	int waited = epfd, far_end, near_end;
	struct epoll_event ready;

	put(event);
	checked(epoll_wait(waited, &ready, 1, -1), "epoll_wait");
	take(event);
	epfd = checked(fcntl(waited, F_DUPFD_CLOEXEC, 0), "fcntl");
	for (int i = 0; i < SUBJECT_ROUNDS; i++) {
		connect_to_self(&far_end, &near_end);
		add(near_end);
		put(far_end);
		if (epoll_wait(waited, &ready, 1, -1) != 1 || (int)ready.data.u64 != near_end)
			die("another one");
		take(near_end);
		close(near_end);
		close(far_end);
	}
	epoll_wait(waited, &ready, 1, 0);
}

/* Those before the listener that the client comes to. */
static void listen_on_more(void)
{
	raise_limit();
	for (int i = 0; i < SUBJECT_PORTS; i++) {
		int other = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");

		checked(listen(other, 1), "listen");
		add(other);
	}
}

static void one(void)
{
	serve(1);
}

static void each_in(int (*wait)(int timeout_ms))
{
	wait_for_all = wait;
	each();
}

static void each_in_poll(void)
{
	each_in(wait_in_poll);
}

static void each_in_ppoll(void)
{
	each_in(wait_in_ppoll);
}

static void each_in_select(void)
{
	each_in(wait_in_select);
}

static void each_in_pselect(void)
{
	each_in(wait_in_pselect);
}

static void run(const char *what)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {{"each", each},
		     {"batch", batch},
		     {"busy", busy},
		     {"left", left},
		     {"single", single},
		     {"helped", helped},
		     {"parts", parts},
		     {"again", again},
		     {"deferred", deferred},
		     {"reset", reset},
		     {"ctl", ctl},
		     {"reused", reused},
		     {"many", many},
		     {"crowd", crowd},
		     {"duplicate", duplicate},
		     {"ports", one},
		     {"poll", each_in_poll},
		     {"ppoll", each_in_ppoll},
		     {"select", each_in_select},
		     {"pselect", each_in_pselect}};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(what, modes[i].name) == 0)
			modes[i].run();
}

int main(int argc, char **argv)
{
	uint16_t port;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc < 2)
		return 2;
	open_all();
	if (argc > 2) /* registered before anybody watches */
		add_all();
	port = ntohs(address.sin_port);
	if (write(STDOUT_FILENO, &port, sizeof(port)) != sizeof(port) || read(STDIN_FILENO, &byte, 1) != 1)
		return 1;
	if (strcmp(argv[1], "ports") == 0)
		listen_on_more();
	if (argc == 2)
		add_all();
	run(argv[1]);
	if (write(STDOUT_FILENO, &served, sizeof(served)) != sizeof(served))
		return 1;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	rmdir(folder);
	return 0;
}
