/* SPDX-License-Identifier: MIT */

/*
 * A loop with a descriptor that is ready, level-triggered, and stays so until it is served.
 *
 *	left_ready WHAT SERVED
 *
 * It starts when a byte is there on its standard input, waits ROUNDS times, writes its standard output a byte, and waits
 * for the end of its input: so that what the probes know can be read meanwhile. Exits with 77 where the kernel refuses a
 * ring.
 *
 * WHAT: socket (with 4,000 bytes in it), pipe (the same), half_closed (a socket whose peer sends no more), listener (with a
 * connection in its queue), timer (expired), event.
 *
 * SERVED, by whom:
 *
 *	nobody       the loop sleeps for a millisecond in each iteration
 *	inherited    the same, and a child process has all descriptors, and does nothing
 *	loop         at once, all there is; from then on a wait is over after a millisecond
 *	rarely       the loop takes a byte every 50 rounds
 *	thread       another thread takes a byte each round
 *	copy         the loop takes a byte each round by another descriptor of the same file
 *	child        a child process takes a byte each round
 *	ring         the loop has a ring take a byte each round
 *	thread_ring  another thread has one do so
 *	edge         nobody, but it is edge-triggered, and more comes each round
 *	again        nobody, but it is asked for anew each round, with EPOLLONESHOT
 *	replaced     closed each round, and another one is there under its number
 *	busy         nobody, but each wait returns another socket that is served
 *	half_busy    nobody, but each second wait does
 *	mistaken     nobody, but another descriptor, that is not ready, is registered with its data after it
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "../helpers/subject_ring.h"

#define ROUNDS     400
#define BYTES      4000
#define RARELY     50
#define OTHER_DATA 1000000

static int epfd;

struct source {
	int fd;
	int peer; /* -1: it has none */
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int must(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

/* ---- what is ready ---- */

static int listen_somewhere(struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(bind(fd, (struct sockaddr *)address, len), "bind");
	must(listen(fd, 1), "listen");
	must(getsockname(fd, (struct sockaddr *)address, &len), "getsockname");
	return fd;
}

static struct source open_listener(void)
{
	struct sockaddr_in address;
	int fd = listen_somewhere(&address), peer = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	must(connect(peer, (struct sockaddr *)&address, sizeof(address)), "connect");
	return (struct source){fd, peer};
}

static struct source open_connection(void)
{
	struct source listener = open_listener();
	int fd = must(accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), "accept");

	close(listener.fd);
	return (struct source){fd, listener.peer};
}

static void put(int fd, size_t bytes)
{
	static const char data[BYTES];

	if (write(fd, data, bytes) != (ssize_t)bytes)
		die("write");
}

static struct source open_socket(void)
{
	struct source source = open_connection();

	put(source.peer, BYTES);
	return source;
}

static struct source open_half_closed(void)
{
	struct source source = open_connection();

	must(shutdown(source.peer, SHUT_WR), "shutdown");
	return source;
}

static struct source open_pipe(void)
{
	int ends[2];

	must(pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe");
	put(ends[1], BYTES);
	return (struct source){ends[0], ends[1]};
}

static struct source open_timer(void)
{
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	int fd = must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd");

	must(timerfd_settime(fd, 0, &soon, NULL), "timerfd_settime");
	return (struct source){fd, -1};
}

static struct source open_event(void)
{
	return (struct source){must(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"), -1};
}

/* ---- the loop ---- */

static void control(int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};

	must(epoll_ctl(epfd, op, fd, &event), "epoll_ctl");
}

/* Returns how many events. */
static int wait_for(int timeout_ms)
{
	struct epoll_event events[8];

	return must(epoll_wait(epfd, events, 8, timeout_ms), "epoll_wait");
}

static void take(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		die("read");
}

static void nobody(struct source *source)
{
	const struct timespec millisecond = {.tv_nsec = 1000000};

	(void)source;
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		nanosleep(&millisecond, NULL);
	}
}

static void inherited(struct source *source)
{
	pid_t child = must(fork(), "fork");

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	nobody(source);
}

/* All kinds of what is ready are served so: as a socket or a pipe, else as a listener, else it is closed. */
static void serve_all(int fd)
{
	char data[BYTES];
	ssize_t bytes = read(fd, data, sizeof(data));

	if (bytes > 0)
		return;
	if (bytes < 0 && accept4(fd, NULL, NULL, SOCK_CLOEXEC) >= 0)
		return;
	close(fd);
}

static void loop(struct source *source)
{
	wait_for(-1);
	serve_all(source->fd);
	for (int i = 1; i < ROUNDS; i++)
		wait_for(1);
}

static void rarely(struct source *source)
{
	for (int i = 1; i <= ROUNDS; i++) {
		wait_for(-1);
		if (i % RARELY == 0)
			take(source->fd);
	}
}

static void copy(struct source *source)
{
	int other = must(dup(source->fd), "dup");

	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		take(other);
	}
}

static void take_by_ring(struct ring *ring, int fd)
{
	static char byte;
	struct ring_answer answer;

	ring_prepare(ring, &(struct io_uring_sqe){.opcode = IORING_OP_READ,
						  .fd = fd,
						  .addr = (uint64_t)(uintptr_t)&byte,
						  .len = 1});
	ring_wait(ring);
	if (!ring_take(ring, &answer) || answer.res != 1)
		die("ring");
}

static void ring(struct source *source)
{
	struct ring own;

	ring_open(&own);
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		take_by_ring(&own, source->fd);
	}
}

/* ---- another thread, or a child ---- */

static struct {
	int fd;
	bool has_ring;
	sem_t wanted, done;
} work;

static void *work_on(void *unused)
{
	struct ring own;

	(void)unused;
	if (work.has_ring)
		ring_open(&own);
	for (int i = 0; i < ROUNDS; i++) {
		sem_wait(&work.wanted);
		if (work.has_ring)
			take_by_ring(&own, work.fd);
		else
			take(work.fd);
		sem_post(&work.done);
	}
	return NULL;
}

static void have_worked(struct source *source, bool has_ring)
{
	pthread_t thread;

	work.fd = source->fd;
	work.has_ring = has_ring;
	sem_init(&work.wanted, 0, 0);
	sem_init(&work.done, 0, 0);
	if (pthread_create(&thread, NULL, work_on, NULL) != 0)
		die("pthread_create");
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		sem_post(&work.wanted);
		sem_wait(&work.done);
	}
	pthread_join(thread, NULL);
}

static void thread(struct source *source)
{
	have_worked(source, false);
}

static void thread_ring(struct source *source)
{
	have_worked(source, true);
}

static void child(struct source *source)
{
	int wanted[2], done[2];

	must(pipe(wanted), "pipe");
	must(pipe(done), "pipe");
	if (must(fork(), "fork") == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			take(wanted[0]);
			take(source->fd);
			put(done[1], 1);
		}
	}
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		put(wanted[1], 1);
		take(done[0]);
	}
}

/* ---- not level-triggered, not the same, not alone ---- */

static void edge(struct source *source)
{
	control(EPOLL_CTL_MOD, source->fd, EPOLLIN | EPOLLET, (uint64_t)source->fd);
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		put(source->peer, 1);
	}
}

static void again(struct source *source)
{
	for (int i = 0; i < ROUNDS; i++) {
		control(EPOLL_CTL_MOD, source->fd, EPOLLIN | EPOLLONESHOT, (uint64_t)source->fd);
		wait_for(-1);
	}
}

static void replaced(struct source *source)
{
	for (int i = 0; i < ROUNDS; i++) {
		wait_for(-1);
		close(source->fd);
		close(source->peer);
		*source = open_pipe();
		control(EPOLL_CTL_ADD, source->fd, EPOLLIN, (uint64_t)source->fd);
	}
}

static void be_busy(int every)
{
	struct source other = open_connection();

	control(EPOLL_CTL_ADD, other.fd, EPOLLIN, OTHER_DATA);
	for (int i = 0; i < ROUNDS; i++) {
		bool with_other = i % every == 0;

		if (with_other)
			put(other.peer, 1);
		if (wait_for(-1) != 1 + with_other)
			die("what is ready");
		if (with_other)
			take(other.fd);
	}
}

static void busy(struct source *source)
{
	(void)source;
	be_busy(1);
}

static void half_busy(struct source *source)
{
	(void)source;
	be_busy(2);
}

static void mistaken(struct source *source)
{
	struct source other = open_connection();

	control(EPOLL_CTL_ADD, other.fd, EPOLLIN, (uint64_t)source->fd);
	nobody(source);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		struct source (*open)(void);
	} kinds[] = {{"socket", open_socket},     {"pipe", open_pipe},   {"half_closed", open_half_closed},
		     {"listener", open_listener}, {"timer", open_timer}, {"event", open_event}};
	static const struct {
		const char *name;
		void (*run)(struct source *source);
	} manners[] = {{"nobody", nobody}, {"inherited", inherited}, {"loop", loop},
		       {"rarely", rarely}, {"thread", thread},       {"copy", copy},
		       {"child", child},   {"ring", ring},           {"thread_ring", thread_ring},
		       {"edge", edge},     {"again", again},         {"replaced", replaced},
		       {"busy", busy},     {"half_busy", half_busy}, {"mistaken", mistaken}};
	struct source source = {-1, -1};
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 3 || read(STDIN_FILENO, &byte, 1) != 1)
		return 2;
	epfd = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, argv[1]) == 0)
			source = kinds[i].open();
	control(EPOLL_CTL_ADD, source.fd, EPOLLIN | EPOLLRDHUP, (uint64_t)source.fd);
	for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++)
		if (strcmp(manners[i].name, argv[2]) == 0)
			manners[i].run(&source);
	if (write(STDOUT_FILENO, "", 1) != 1)
		return 1;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
