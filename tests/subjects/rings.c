/* SPDX-License-Identifier: MIT */

/*
 * A program that does all by io_uring, and makes no other system calls on its descriptors but where that is said.
 *
 *	rings roles            serves what enum subject_rings_role says, one completion an iteration
 *	rings repeating        waits for a pipe by one request that completes again and again, and reads it by read()
 *	rings exec             becomes another program, which has no ring, and waits for the end of its input
 *	rings MANNER tcp|unix|seqpacket
 *	                       sends to a peer of its own making, which reads slowly; in messages where these have an end
 *
 * MANNER, by how it sends: whole (MSG_WAITALL: the kernel goes on until all is taken), parts (it takes what it can, and the
 * rest is asked for again), polling (the socket is non-blocking: after EAGAIN, or less than all, a request waits for
 * POLLOUT). Tells of itself on standard output. Exits with 77 where the kernel refuses a ring.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "../helpers/subject_ring.h"
#include "../helpers/subject_rings.h"

#define TOTAL_BYTES   4194304u
#define SEND_BUFFER   131072 /* the kernel doubles it */
#define SMALL_BUFFER  65536
#define READ_BYTES    32768
#define MESSAGE_BYTES 16384

static char data[TOTAL_BYTES];
static struct ring ring;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void compute(uint64_t ns)
{
	uint64_t end_ns = now_ns() + ns;

	while (now_ns() < end_ns)
		;
}

static struct ring_answer complete_one(void)
{
	struct ring_answer completion;

	do {
		ring_wait(&ring); /* also where there is one already, so that it is one an iteration */
	} while (!ring_take(&ring, &completion));
	return completion;
}

/* ---- roles ---- */

static int listen_somewhere(struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(*address);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)address, bytes) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &bytes) < 0)
		die("listen");
	return fd;
}

/* Another process: one connection, and a byte on it when it is told to. */
static void start_client(const struct sockaddr_in *address, const int go[2])
{
	pid_t pid = fork();
	int fd;
	char byte;

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		die("connect");
	close(go[1]);
	while (read(go[0], &byte, 1) == 1)
		if (write(fd, &byte, 1) != 1)
			die("write");
	_exit(0);
}

/* Waits for the completion of one request and handles it: what is served of it is between the two times. */
static int serve(const struct io_uring_sqe *sqe, struct subject_rings *account, enum subject_rings_role role)
{
	struct ring_answer completion;
	uint64_t start_ns;

	ring_prepare(&ring, sqe);
	completion = complete_one();
	start_ns = now_ns();
	if (completion.res < 0 && completion.res != -ETIME)
		die("completion");
	compute(SUBJECT_RINGS_SPIN_NS);
	account->served_ns[role] += now_ns() - start_ns;
	return completion.res;
}

static int serve_accept(int listener, struct subject_rings *account)
{
	const struct io_uring_sqe sqe = {.opcode = IORING_OP_ACCEPT, .fd = listener};

	return serve(&sqe, account, SUBJECT_RINGS_LISTENER);
}

static void serve_read(unsigned char opcode, int fd, unsigned bytes, struct subject_rings *account,
		       enum subject_rings_role role)
{
	const struct io_uring_sqe sqe = {.opcode = opcode,
					 .fd = fd,
					 .addr = (uint64_t)(uintptr_t)data,
					 .len = bytes};

	(void)serve(&sqe, account, role);
}

static void serve_timeout(struct subject_rings *account)
{
	const struct __kernel_timespec soon = {.tv_nsec = 1000000};
	const struct io_uring_sqe sqe = {.opcode = IORING_OP_TIMEOUT,
					 .fd = -1,
					 .addr = (uint64_t)(uintptr_t)&soon,
					 .len = 1};

	(void)serve(&sqe, account, SUBJECT_RINGS_TIMEOUT);
}

/* What each round's bytes come from, so that none is there before its request. */
static void poke(int fd, const void *what, size_t bytes)
{
	if (write(fd, what, bytes) != (ssize_t)bytes)
		die("write");
}

static void serve_roles(struct subject_rings *account)
{
	int listener = listen_somewhere(&(struct sockaddr_in){0}), client, event = eventfd(0, EFD_CLOEXEC);
	struct sockaddr_in address;
	socklen_t bytes = sizeof(address);
	const uint64_t one = 1;
	int go[2], pipes[2];

	if (event < 0 || pipe(go) < 0 || pipe(pipes) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) < 0)
		die("pipe");
	account->port = ntohs(address.sin_port);
	start_client(&address, go);
	client = serve_accept(listener, account);
	for (int i = 0; i < SUBJECT_RINGS_ROUNDS; i++) {
		poke(go[1], "x", 1);
		serve_read(IORING_OP_RECV, client, 1, account, SUBJECT_RINGS_CLIENT);
		poke(pipes[1], "x", 1);
		serve_read(IORING_OP_READ, pipes[0], 1, account, SUBJECT_RINGS_PIPE);
		poke(event, &one, sizeof(one));
		serve_read(IORING_OP_READ, event, sizeof(one), account, SUBJECT_RINGS_EVENT);
		serve_timeout(account);
	}
	serve_timeout(account); /* its wait ends the iteration before it */
	close(go[1]);
}

static void serve_repeating(struct subject_rings *account)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_ADD,
				   .len = IORING_POLL_ADD_MULTI,
				   .poll_events = POLLIN};
	uint64_t start_ns;
	int pipes[2];

	if (pipe(pipes) < 0)
		die("pipe");
	sqe.fd = pipes[0];
	ring_prepare(&ring, &sqe);
	for (int i = 0; i < SUBJECT_RINGS_ROUNDS; i++) {
		poke(pipes[1], "x", 1);
		if (!(complete_one().res & POLLIN))
			die("poll");
		start_ns = now_ns();
		if (read(pipes[0], data, 1) != 1)
			die("read");
		compute(SUBJECT_RINGS_SPIN_NS);
		account->served_ns[SUBJECT_RINGS_PIPE] += now_ns() - start_ns;
	}
	serve_timeout(account); /* its wait ends the last one's iteration */
}

/* ---- sends ---- */

static _Noreturn void be_peer(int fd)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, data, READ_BYTES) > 0)
		nanosleep(&pause, NULL);
	_exit(0);
}

static int connect_tcp(struct subject_rings *account)
{
	struct sockaddr_in address;
	int listener = listen_somewhere(&address), small = SMALL_BUFFER, fd;
	socklen_t bytes = sizeof(address);
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) < 0 ||
		    connect(fd, (struct sockaddr *)&address, bytes) < 0)
			die("connect");
		be_peer(fd);
	}
	account->port = ntohs(address.sin_port);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return fd;
}

static int connect_unix(int type)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(fds[0]);
		be_peer(fds[1]);
	}
	close(fds[1]);
	return fds[0];
}

static void wait_for_space(int fd)
{
	const struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_ADD, .fd = fd, .poll_events = POLLOUT};

	ring_prepare(&ring, &sqe);
	if (!(complete_one().res & POLLOUT))
		die("poll");
}

static void send_all(int fd, const char *manner, uint32_t most_bytes, struct subject_rings *account)
{
	bool whole = strcmp(manner, "whole") == 0, polling = strcmp(manner, "polling") == 0;
	uint32_t sent = 0;

	if (polling && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		die("O_NONBLOCK");
	account->start_ns = now_ns();
	while (sent < TOTAL_BYTES) {
		uint32_t left = TOTAL_BYTES - sent;
		const struct io_uring_sqe sqe = {.opcode = IORING_OP_SEND,
						 .fd = fd,
						 .addr = (uint64_t)(uintptr_t)(data + sent),
						 .len = left < most_bytes ? left : most_bytes,
						 .msg_flags = MSG_NOSIGNAL | (whole ? MSG_WAITALL : 0)};
		int done;

		ring_prepare(&ring, &sqe);
		done = complete_one().res;
		if (done < 0 && done != -EAGAIN)
			die("send");
		sent += done > 0 ? (uint32_t)done : 0;
		if (done == (int)sqe.len)
			continue;
		account->short_sends++;
		if (polling)
			wait_for_space(fd);
	}
	account->end_ns = now_ns();
}

int main(int argc, char **argv)
{
	struct subject_rings account = {0};
	char go = 'x';
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc < 2)
		return 2;
	ring_open(&ring);
	/* Who watches knows of the ring from its first wait on; a byte to and fro, and it begins. */
	serve_timeout(&account);
	memset(&account, 0, sizeof(account));
	if (write(STDOUT_FILENO, &go, 1) != 1 || read(STDIN_FILENO, &go, 1) != 1)
		return 0;
	if (argc == 2 && strcmp(argv[1], "exec") == 0) {
		execlp("cat", "cat", NULL);
		die("cat");
	} else if (argc == 2 && strcmp(argv[1], "repeating") == 0) {
		serve_repeating(&account);
	} else if (argc == 2) {
		serve_roles(&account);
	} else {
		bool messages = strcmp(argv[2], "seqpacket") == 0;

		if (messages || strcmp(argv[2], "unix") == 0)
			fd = connect_unix(messages ? SOCK_SEQPACKET : SOCK_STREAM);
		else
			fd = connect_tcp(&account);
		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int)) < 0)
			die("SO_SNDBUF");
		send_all(fd, argv[1], messages ? MESSAGE_BYTES : TOTAL_BYTES, &account);
		close(fd);
	}
	if (write(STDOUT_FILENO, &account, sizeof(account)) != sizeof(account))
		die("write");
	while (wait(NULL) > 0)
		;
	return 0;
}
