/* SPDX-License-Identifier: MIT */

/*
 * Sends 2 MB into 1 MB of write buffer, to a peer that reads slowly, and tells of each send.
 *
 *	bulk_send METHOD  once|until-full  4|6|mapped
 *
 * METHOD: write, sendto, sendmsg, sendmmsg, writev, pwritev2, sendfile, sendfile-eof, splice; dontwait (sendto with
 * MSG_DONTWAIT, on a blocking descriptor), nowait (the same with pwritev2 and RWF_NOWAIT); uring (IORING_OP_SEND with
 * MSG_DONTWAIT).
 * once: one send a write event. until-full: sends of 100 kB, until one finds the buffer full.
 * sendfile-eof: asks for more than the file has left, which is short though there is room.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_sends.h"

#define TOTAL_BYTES     2097152u
#define CHUNK_BYTES     100000u
#define SEND_BUFFER     524288 /* the kernel doubles it */
#define RECEIVE_BUFFER  131072
#define PEER_READ_BYTES 32768
#define PEER_PAUSE_NS   1000000
#define SENDS_MAX       4096

static char data[TOTAL_BYTES];
static struct subject_send sends[SENDS_MAX];
static size_t sends_len;
static int file;
static int ends[2] = {-1, -1}; /* of the pipe for splice() */
static size_t held;            /* in there */

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

static int listen_on_loopback(const char *family, struct sockaddr_in6 *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	socklen_t bytes = sizeof(*address);
	int fd;

	memset(address, 0, sizeof(*address));
	if (strcmp(family, "4") == 0) {
		*v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		bytes = sizeof(*v4);
	} else {
		address->sin6_family = AF_INET6;
		if (strcmp(family, "6") == 0)
			address->sin6_addr = in6addr_loopback;
		else if (inet_pton(AF_INET6, "::ffff:127.0.0.1", &address->sin6_addr) != 1)
			die("inet_pton");
	}
	fd = socket(address->sin6_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)address, bytes) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &bytes) < 0)
		die("listen");
	return fd;
}

static _Noreturn void be_peer(const struct sockaddr_in6 *address)
{
	static char read_data[PEER_READ_BYTES];
	const struct timespec pause = {.tv_nsec = PEER_PAUSE_NS};
	int bytes = RECEIVE_BUFFER, fd = socket(address->sin6_family, SOCK_STREAM, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ||
	    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		die("connect");
	while (read(fd, read_data, sizeof(read_data)) > 0)
		nanosleep(&pause, NULL);
	_exit(0);
}

static int open_connection(const char *family)
{
	struct sockaddr_in6 address;
	int bytes = SEND_BUFFER, listener = listen_on_loopback(family, &address), fd;
	pid_t peer = fork();

	if (peer < 0)
		die("fork");
	if (peer == 0)
		be_peer(&address);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
		die("accept");
	close(listener);
	return fd;
}

/* In two messages, of two vectors each. What it returns is bytes, as with the others. */
static ssize_t send_messages(int fd, const char *from, size_t bytes)
{
	struct iovec parts[4];
	struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = parts, .msg_iovlen = 2}},
				      {.msg_hdr = {.msg_iov = parts + 2, .msg_iovlen = 2}}};
	ssize_t sum = 0;
	int sent;

	for (size_t i = 0; i < 4; i++)
		parts[i] = (struct iovec){(void *)(uintptr_t)(from + bytes / 4 * i),
					  i < 3 ? bytes / 4 : bytes - bytes / 4 * 3};
	sent = sendmmsg(fd, messages, 2, MSG_NOSIGNAL);
	for (int i = 0; i < sent; i++)
		sum += messages[i].msg_len;
	return sent < 0 ? sent : sum;
}

/* What is in the pipe that splice() sends from: the file's next bytes. Returns how many. */
static size_t fill_pipe(size_t at, size_t bytes)
{
	if (ends[0] < 0 &&
	    (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0 || fcntl(ends[1], F_SETPIPE_SZ, 1048576) < 0))
		die("pipe");
	while (held < bytes) {
		off_t offset = (off_t)(at + held);
		ssize_t filled = splice(file, &offset, ends[1], NULL, bytes - held, SPLICE_F_NONBLOCK);

		if (filled <= 0)
			break;
		held += (size_t)filled;
	}
	return held;
}

static ssize_t send_from_pipe(int fd)
{
	ssize_t sent = splice(ends[0], NULL, fd, NULL, held, SPLICE_F_NONBLOCK);

	if (sent > 0)
		held -= (size_t)sent;
	return sent;
}

/* One submission and its completion, by hand: the whole of it is one system call. */
static ssize_t send_by_ring(int fd, const char *from, size_t bytes)
{
	static struct io_uring_params params;
	static struct io_uring_sqe *entries;
	static char *rings;
	static int ring = -1;
	struct io_uring_cqe *done;

	if (ring < 0) {
		ring = (int)syscall(SYS_io_uring_setup, 2, &params);
		if (ring < 0 || !(params.features & IORING_FEAT_SINGLE_MMAP))
			exit(77);
		rings = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*done),
			     PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
		entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED,
			       ring, IORING_OFF_SQES);
		if (rings == MAP_FAILED || entries == MAP_FAILED)
			die("mmap");
	}
	entries[0] = (struct io_uring_sqe){.opcode = IORING_OP_SEND,
					   .fd = fd,
					   .addr = (uintptr_t)from,
					   .len = (uint32_t)bytes,
					   .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL};
	*(uint32_t *)(void *)(rings + params.sq_off.array) = 0;
	*(uint32_t *)(void *)(rings + params.sq_off.array + 4) = 0;
	__atomic_add_fetch((uint32_t *)(void *)(rings + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		die("io_uring_enter");
	done = (struct io_uring_cqe *)(void *)(rings + params.cq_off.cqes);
	done += *(uint32_t *)(void *)(rings + params.cq_off.head) & (params.cq_entries - 1);
	__atomic_add_fetch((uint32_t *)(void *)(rings + params.cq_off.head), 1, __ATOMIC_RELEASE);
	if (done->res >= 0)
		return done->res;
	errno = -done->res;
	return -1;
}

static ssize_t send_by(const char *method, int fd, size_t at, size_t bytes)
{
	struct iovec parts[2] = {{data + at, bytes / 2}, {data + at + bytes / 2, bytes - bytes / 2}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	off_t offset = (off_t)at;

	if (strcmp(method, "write") == 0)
		return write(fd, data + at, bytes);
	if (strcmp(method, "sendto") == 0)
		return send(fd, data + at, bytes, MSG_NOSIGNAL);
	if (strcmp(method, "sendmsg") == 0)
		return sendmsg(fd, &message, MSG_NOSIGNAL);
	if (strcmp(method, "sendmmsg") == 0)
		return send_messages(fd, data + at, bytes);
	if (strcmp(method, "writev") == 0)
		return writev(fd, parts, 2);
	if (strcmp(method, "pwritev2") == 0)
		return pwritev2(fd, parts, 2, -1, 0);
	if (strcmp(method, "nowait") == 0)
		return pwritev2(fd, parts, 2, -1, RWF_NOWAIT);
	if (strcmp(method, "dontwait") == 0)
		return send(fd, data + at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (strcmp(method, "splice") == 0)
		return send_from_pipe(fd);
	if (strcmp(method, "uring") == 0)
		return send_by_ring(fd, data + at, bytes);
	return sendfile(fd, file, &offset, bytes);
}

static int64_t note_send(const char *method, int fd, size_t at, size_t bytes, uint64_t waited_ns)
{
	struct subject_send *send = &sends[sends_len++];

	if (sends_len == SENDS_MAX)
		die("too many sends");
	send->waited_ns = waited_ns;
	send->requested = strcmp(method, "splice") == 0 ? fill_pipe(at, bytes) : bytes;
	send->before_ns = now_ns();
	send->result = send_by(method, fd, at, bytes);
	if (send->result < 0)
		send->result = -errno;
	send->after_ns = now_ns();
	return send->result;
}

/* Sends what is to be sent upon one write event. */
static size_t send_some(const char *method, int fd, size_t at, size_t chunk, uint64_t waited_ns)
{
	int64_t result;

	do {
		size_t bytes = TOTAL_BYTES - at < chunk ? TOTAL_BYTES - at : chunk;

		result = note_send(method, fd, at, bytes, waited_ns);
		if (result == -EOPNOTSUPP)
			exit(77); /* RWF_NOWAIT is for sockets since Linux 6.4 */
		if (result < 0 && result != -EAGAIN)
			die("send");
		at += result > 0 ? (size_t)result : 0;
		waited_ns = 0;
	} while (chunk < TOTAL_BYTES && result > 0 && at < TOTAL_BYTES);
	return at;
}

static void send_all(const char *method, int fd, size_t chunk)
{
	struct epoll_event event = {.events = EPOLLOUT};
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	size_t at = 0;

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll");
	while (at < TOTAL_BYTES) {
		if (epoll_wait(epfd, &event, 1, -1) != 1)
			die("epoll_wait");
		at = send_some(method, fd, at, chunk, now_ns());
	}
}

/* The file ends long before what is asked for; the buffer has room for it many times. */
static void send_to_the_end_of_the_file(int fd)
{
	for (int i = 0; i < 3; i++)
		if (note_send("sendfile", fd, TOTAL_BYTES - 4096, TOTAL_BYTES, 0) != 4096)
			die("sendfile");
}

int main(int argc, char **argv)
{
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 4)
		return 2;
	file = memfd_create("bulk", MFD_CLOEXEC);
	if (file < 0 || write(file, data, sizeof(data)) != sizeof(data))
		die("memfd");
	fd = open_connection(argv[3]);
	if ((strcmp(argv[1], "dontwait") == 0 || strcmp(argv[1], "nowait") == 0) && fcntl(fd, F_SETFL, 0) < 0)
		die("F_SETFL");
	if (strcmp(argv[1], "sendfile-eof") == 0)
		send_to_the_end_of_the_file(fd);
	else
		send_all(argv[1], fd, strcmp(argv[2], "once") == 0 ? TOTAL_BYTES : CHUNK_BYTES);
	if (write(STDOUT_FILENO, sends, sends_len * sizeof(sends[0])) < 0)
		die("write");
	close(fd);
	wait(NULL);
	return 0;
}
