/* SPDX-License-Identifier: MIT */

/*
 * Sends on a unix socket to a peer of its own making, which reads only after a known time, and then just as much
 * as makes the sender's end writable.
 *
 *	unix_send pair|server|client|packets|datagrams|logger PATH  chunks|large|busy|dontwait|starved|threads
 *
 * server, client: which end of a connection to PATH (with "@" first: an abstract one) the sender is. packets, datagrams: as
 * pair, of that type. logger: it is connected to a datagram socket at PATH, which is not connected back.
 * chunks: sends of 8 KiB (logger: 256 bytes), until one is refused. large: one send of more than the buffer holds, which is
 * short. busy: as chunks, and the sender sleeps before it waits. dontwait: as chunks, by MSG_DONTWAIT on a blocking
 * descriptor. starved: as chunks, and another process has the sender's CPU as it is woken. threads: as chunks, after
 * some threads have sent on the same socket at once, and were refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_unix.h"

#define ROUNDS       6
#define CHUNK_BYTES  8192u
#define LARGE_BYTES  1048576u
#define READ_BYTES   4096
#define SEND_BUFFER  65536 /* the kernel doubles it */
#define PEER_WAIT_NS 20000000
#define BUSY_NS      60000000
#define SOON_NS      5000000 /* by then the sender sleeps */
#define LOGGED_BYTES 256u
#define THREADS      4
#define REFUSALS     200 /* of each thread: so many stalls as a ring holds that nobody reads meanwhile */

static char data[LARGE_BYTES];
static struct subject_unix *account; /* shared with the peer */
static int sender, receiver;
static int full[2]; /* a byte a round: the sender found its buffer full */
static int hog[2];  /* a byte a round: as `full` */
static int seen[2]; /* a byte a round: the peer has seen that it is not any more, and reads no further */

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

static void pause_ns(long ns)
{
	const struct timespec pause = {.tv_nsec = ns};

	nanosleep(&pause, NULL);
}

static void stay_on(int cpu, int priority)
{
	struct sched_param parameters = {.sched_priority = priority};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0 || sched_setscheduler(0, SCHED_FIFO, &parameters) < 0)
		exit(77); /* it has no second CPU, or no right to */
}

/* Takes the sender's CPU when that sleeps, and has it long after the peer has read. */
static _Noreturn void be_hog(void)
{
	uint64_t end_ns;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(hog[1]);
	close(full[1]); /* the peer ends with the sender's end of it */
	stay_on(0, 20);
	while (read(hog[0], &byte, 1) == 1) {
		pause_ns(SOON_NS);
		end_ns = now_ns() + BUSY_NS;
		while (now_ns() < end_ns)
			;
	}
	_exit(0);
}

static bool is_writable(void)
{
	struct pollfd poller = {.fd = sender, .events = POLLOUT};

	return poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT);
}

static void read_until_writable(void)
{
	static char buffer[READ_BYTES];
	struct subject_read *note;

	do {
		if (account->reads_len == SUBJECT_UNIX_READS)
			die("too many reads");
		note = &account->reads[account->reads_len++];
		note->before_ns = now_ns();
		note->bytes = (uint64_t)read(receiver, buffer, sizeof(buffer));
		note->after_ns = now_ns();
		note->writable = is_writable();
	} while (!note->writable);
}

static _Noreturn void be_peer(bool on_other_cpu)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (on_other_cpu)
		stay_on(1, 20);
	close(full[1]);
	close(hog[1]);
	while (read(full[0], &byte, 1) == 1) {
		pause_ns(PEER_WAIT_NS);
		read_until_writable();
		if (write(seen[1], "x", 1) != 1)
			die("write");
	}
	_exit(0);
}

static void connect_by_path(const char *path, bool sender_is_server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), server;

	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path)));
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, bytes) < 0 ||
	    listen(listener, 1) < 0 || connect(client, (struct sockaddr *)&address, bytes) < 0)
		die("connect");
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept");
	close(listener);
	sender = sender_is_server ? server : client;
	receiver = sender_is_server ? client : server;
}

static void connect_to_logger(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(receiver, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    connect(sender, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
}

static void open_pair(int type)
{
	int pair[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	sender = pair[0];
	receiver = pair[1];
}

static void open_connection(const char *kind, const char *path)
{
	int bytes = SEND_BUFFER;
	socklen_t size = sizeof(bytes);

	if (strcmp(kind, "pair") == 0) {
		open_pair(SOCK_STREAM);
	} else if (strcmp(kind, "packets") == 0) {
		open_pair(SOCK_SEQPACKET);
	} else if (strcmp(kind, "datagrams") == 0) {
		open_pair(SOCK_DGRAM);
	} else if (strcmp(kind, "logger") == 0) {
		connect_to_logger(path);
	} else {
		connect_by_path(path, strcmp(kind, "server") == 0);
	}
	if (setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &bytes, size) < 0 ||
	    getsockopt(sender, SOL_SOCKET, SO_SNDBUF, &bytes, &size) < 0)
		die("SO_SNDBUF");
	account->sndbuf_bytes = (uint64_t)bytes;
}

static int64_t note_send(size_t bytes, int flags, uint64_t waited_ns)
{
	struct subject_send *note = &account->sends[account->sends_len++];

	if (account->sends_len == SUBJECT_UNIX_SENDS)
		die("too many sends");
	note->waited_ns = waited_ns;
	note->requested = bytes;
	note->before_ns = now_ns();
	note->result = send(sender, data, bytes, MSG_NOSIGNAL | flags);
	if (note->result < 0)
		note->result = -errno;
	note->after_ns = now_ns();
	return note->result;
}

/* Returns when it came. The peer is left the time to look what it has done. */
static uint64_t wait_for_event(int epfd, bool by_peer)
{
	struct epoll_event event;
	uint64_t waited_ns;
	char byte;

	if (epoll_wait(epfd, &event, 1, -1) != 1)
		die("epoll_wait");
	waited_ns = now_ns();
	if (by_peer && read(seen[0], &byte, 1) != 1)
		die("read");
	return waited_ns;
}

static void *send_at_once(void *ctx)
{
	int refusals = 0;

	(void)ctx;
	while (refusals < REFUSALS)
		if (send(sender, data, CHUNK_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			refusals++;
	return NULL;
}

static void *read_all(void *stop)
{
	static char buffer[LARGE_BYTES];

	while (!__atomic_load_n((bool *)stop, __ATOMIC_ACQUIRE))
		while (recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
			;
	return NULL;
}

/* The last of these sends is not refused, so no stall is open after it. */
static void send_in_threads(void)
{
	pthread_t threads[THREADS], reader;
	bool stop = false;

	if (pthread_create(&reader, NULL, read_all, &stop) != 0)
		die("pthread_create");
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, send_at_once, NULL) != 0)
			die("pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	while (send(sender, data, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		;
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(reader, NULL);
}

static void send_rounds(const char *manner, size_t bytes)
{
	int flags = strcmp(manner, "dontwait") == 0 ? MSG_DONTWAIT : 0, epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLOUT};

	if (!flags && fcntl(sender, F_SETFL, O_NONBLOCK) < 0)
		die("O_NONBLOCK");
	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, sender, &event) < 0)
		die("epoll");
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t waited_ns = wait_for_event(epfd, round > 0);
		while (note_send(bytes, flags, waited_ns) == (int64_t)bytes)
			waited_ns = 0;
		if (write(full[1], "x", 1) != 1 || write(hog[1], "x", 1) != 1)
			die("write");
		if (strcmp(manner, "busy") == 0)
			pause_ns(BUSY_NS);
	}
	note_send(1, flags, wait_for_event(epfd, true));
}

static size_t bytes_of(const char *kind, const char *manner)
{
	if (strcmp(kind, "logger") == 0)
		return LOGGED_BYTES;
	return strcmp(manner, "large") == 0 ? LARGE_BYTES : CHUNK_BYTES;
}

int main(int argc, char **argv)
{
	bool starved = argc == 4 && strcmp(argv[3], "starved") == 0;
	pid_t peer;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 4)
		return 2;
	account = mmap(NULL, sizeof(*account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (account == MAP_FAILED || pipe(full) < 0 || pipe(seen) < 0 || pipe(hog) < 0)
		die("start");
	open_connection(argv[1], argv[2]);
	if (strcmp(argv[3], "threads") == 0)
		send_in_threads();
	peer = fork();
	if (peer < 0)
		die("fork");
	if (peer == 0)
		be_peer(starved);
	if (starved && fork() == 0)
		be_hog();
	if (starved)
		stay_on(0, 10);
	account->peer_pid = (uint64_t)peer;
	close(receiver);
	send_rounds(argv[3], bytes_of(argv[1], argv[3]));
	close(full[1]);
	waitpid(peer, NULL, 0);
	for (size_t at = 0; at < sizeof(*account);) {
		ssize_t done = write(STDOUT_FILENO, (const char *)account + at, sizeof(*account) - at);

		if (done < 0)
			die("write");
		at += (size_t)done;
	}
	return 0;
}
