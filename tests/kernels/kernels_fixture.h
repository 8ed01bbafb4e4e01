/* SPDX-License-Identifier: MIT */
#ifndef KERNELS_FIXTURE_H
#define KERNELS_FIXTURE_H

/*
 * What the tests of write events share: a writer that fills its buffer again and again, a reader that takes
 * its time, and the oracle. Both are processes of their own, in a network of the test's own.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/types.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "oracle.h"

#include "tests/kernels/oracle.skel.h"

#define FIXTURE_SNDBUF    131072 /* the kernel doubles it */
#define FIXTURE_MAX_SENDS 256

/* What the writer does. */
struct fixture_plan {
	unsigned rounds;
	size_t round_bytes;
	int sndbuf_bytes;  /* 0: FIXTURE_SNDBUF */
	unsigned spin_us;  /* computes this long after every second short send, before it waits */
	bool drain;        /* waits for all to be acknowledged after each round */
	size_t read_bytes; /* the reader's */
	unsigned pause_us; /* between two of its reads */
};

/* What the writer saw; in memory that both share. */
struct fixture_account {
	unsigned edges;  /* write events that epoll_wait returned, the first one at registration left out */
	unsigned shorts; /* sends that took less than they were given, or nothing */
	unsigned failed; /* errno of a call that was not to fail */
	uint64_t round_start_ns[FIXTURE_MAX_SENDS];
};

struct fixture_writing {
	struct fixture_plan plan;
	struct fixture_account *account;
	uint16_t port;
	int listener;
	int go[2];    /* closed by the test: start */
	int done[2];  /* closed by the writer's end of the work */
	int leave[2]; /* closed by the test: exit */
	pid_t writer, reader;
};

static inline uint64_t fixture_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static inline void fixture_pause_us(unsigned us)
{
	const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L};

	nanosleep(&pause, NULL);
}

static inline void fixture_spin_us(unsigned us)
{
	uint64_t start_ns = fixture_now_ns();

	while (fixture_now_ns() - start_ns < us * UINT64_C(1000))
		;
}

/* ---- reader and writer ---- */

static inline void fixture_read_all(const struct fixture_writing *writing)
{
	static char data[1 << 20];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(writing->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		_exit(1);
	while (read(fd, data, writing->plan.read_bytes) > 0)
		if (writing->plan.pause_us)
			fixture_pause_us(writing->plan.pause_us);
	_exit(0);
}

/* Returns once epoll has told a write event. */
static inline int fixture_wait_edge(int epfd, unsigned *edges)
{
	struct epoll_event event;
	int len;

	do {
		len = epoll_wait(epfd, &event, 1, -1);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return errno;
	if (event.events != EPOLLOUT)
		return EPROTO;
	++*edges;
	return 0;
}

/* A short send is left at once: the bit that it set is to be there for the kernel to clear. */
static inline int fixture_write_round(struct fixture_writing *writing, int fd, int epfd, const char *data)
{
	struct fixture_account *account = writing->account;
	size_t sent = 0;
	ssize_t done;
	int error;

	while (sent < writing->plan.round_bytes) {
		done = send(fd, data + sent, writing->plan.round_bytes - sent, MSG_NOSIGNAL);
		if (done < 0 && errno != EAGAIN)
			return errno;
		sent += done > 0 ? (size_t)done : 0;
		if (sent == writing->plan.round_bytes)
			break;
		if (++account->shorts % 2 == 0)
			fixture_spin_us(writing->plan.spin_us);
		error = fixture_wait_edge(epfd, &account->edges);
		if (error)
			return error;
	}
	return 0;
}

static inline int fixture_drain(int fd)
{
	int unacked = 1;

	while (unacked > 0) {
		if (ioctl(fd, TIOCOUTQ, &unacked) < 0)
			return errno;
		fixture_pause_us(1000);
	}
	return 0;
}

/* Edge-triggered, so that each event of the kernel is told once; the one of the registration is taken here. */
static inline int fixture_write_all(struct fixture_writing *writing, int fd, const char *data)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
	int epfd = epoll_create1(EPOLL_CLOEXEC), error;
	unsigned first = 0;

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0)
		return errno;
	error = fixture_wait_edge(epfd, &first);
	for (unsigned i = 0; i < writing->plan.rounds && !error; i++) {
		writing->account->round_start_ns[i] = fixture_now_ns();
		error = fixture_write_round(writing, fd, epfd, data);
		if (!error && writing->plan.drain)
			error = fixture_drain(fd);
	}
	return error;
}

static inline _Noreturn void fixture_be_writer(struct fixture_writing *writing)
{
	int bytes = writing->plan.sndbuf_bytes ? writing->plan.sndbuf_bytes : FIXTURE_SNDBUF;
	char *data = calloc(1, writing->plan.round_bytes), nothing;
	int fd = accept4(writing->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (!data || fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
		_exit(1);
	close(writing->go[1]);
	close(writing->done[0]);
	close(writing->leave[1]);
	if (read(writing->go[0], &nothing, 1) != 0)
		_exit(1);
	writing->account->failed = (unsigned)fixture_write_all(writing, fd, data);
	close(writing->done[1]);
	_exit(read(writing->leave[0], &nothing, 1) != 0);
}

static inline pid_t fixture_fork(void)
{
	pid_t pid = fork();

	assert_return_code(pid, errno);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static inline void fixture_listen(struct fixture_writing *writing)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(fd, errno);
	assert_return_code(bind(fd, (struct sockaddr *)&address, bytes), errno);
	assert_return_code(listen(fd, 1), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&address, &bytes), errno);
	writing->listener = fd;
	writing->port = ntohs(address.sin_port);
}

/* Connected, and waiting for fixture_go(). */
static inline void fixture_open(struct fixture_writing *writing, const struct fixture_plan *plan)
{
	*writing = (struct fixture_writing){.plan = *plan};
	writing->account = mmap(NULL, sizeof(*writing->account), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(writing->account != MAP_FAILED && plan->rounds <= FIXTURE_MAX_SENDS);
	fixture_listen(writing);
	assert_return_code(pipe(writing->go) | pipe(writing->done) | pipe(writing->leave), errno);
	writing->writer = fixture_fork();
	if (writing->writer == 0)
		fixture_be_writer(writing);
	writing->reader = fixture_fork();
	if (writing->reader == 0) {
		/* Or the writer would wait for an end that is held open here. */
		close(writing->go[1]);
		close(writing->done[1]);
		close(writing->leave[1]);
		fixture_read_all(writing);
	}
	close(writing->go[0]);
	close(writing->done[1]);
	close(writing->leave[0]);
}

static inline void fixture_go(struct fixture_writing *writing)
{
	close(writing->go[1]);
}

/* The descriptor that reads as ended once the writer has done its work; it stays alive until the close. */
static inline int fixture_done_fd(const struct fixture_writing *writing)
{
	return writing->done[0];
}

static inline void fixture_close(struct fixture_writing *writing)
{
	int writer_status = -1, reader_status = -1;

	close(writing->leave[1]);
	waitpid(writing->writer, &writer_status, 0);
	waitpid(writing->reader, &reader_status, 0);
	close(writing->done[0]);
	close(writing->listener);
	assert_int_equal(writing->account->failed, 0);
	assert_int_equal(writer_status, 0);
	assert_int_equal(reader_status, 0);
	munmap(writing->account, sizeof(*writing->account));
}

/* ---- the network and the oracle ---- */

/* In the machines of check-kernels everything is there, so a test that cannot run there has failed. */
static inline void fixture_cannot(const char *why)
{
	if (getenv("STINT_KERNELS"))
		fail_msg("%s", why);
	printf("skipped: %s\n", why);
	skip();
}

/* A loopback of the test's own, which no other traffic uses and whose delay may be set. */
static inline void fixture_enter_network(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) < 0) {
		fixture_cannot("no network namespace can be made (needs root)");
		return;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_return_code(fd, errno);
	assert_return_code(ioctl(fd, SIOCSIFFLAGS, &request), errno);
	close(fd);
}

static inline int fixture_say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* Watches sockets bound to `port`. Where the kernel does not allow it, the test ends as skipped. */
static inline struct oracle_skeleton *fixture_open_oracle(uint16_t port)
{
	libbpf_print_fn_t print = libbpf_set_print(getenv("STINT_KERNELS") ? NULL : fixture_say_nothing);
	struct oracle_skeleton *oracle = oracle_skeleton__open();
	int error;

	assert_non_null(oracle);
	oracle->rodata->sender_port = port;
	error = oracle_skeleton__load(oracle);
	if (error == 0)
		error = oracle_skeleton__attach(oracle);
	libbpf_set_print(print);
	if (error == 0)
		return oracle;
	oracle_skeleton__destroy(oracle);
	fixture_cannot("this kernel does not allow fentry to this user; make check-kernels has some that do");
	return NULL;
}

#endif
