/* SPDX-License-Identifier: MIT */

/*
 * Sends to a peer of its own making, both with the manners that are asked for, and tells what the kernel's TCP_INFO
 * says of it at the end.
 *
 *	write_cases SENDER PEER
 *
 * SENDER, by what it does when a send finds the buffer full:
 *	level      waits for EPOLLOUT, which is always armed
 *	edge       the same, edge-triggered
 *	arming     arms EPOLLOUT only now, and disarms it with the event
 *	oneshot    arms EPOLLOUT for one event
 *	lowat      as level, with TCP_NOTSENT_LOWAT
 *	paced      as level, and SO_MAX_PACING_RATE lets it send no more than PACING_BYTES a second
 *	smoothed   the same with SMOOTH_BYTES, far more than a sipping peer reads
 *	sockmap    as level, while the socket is in a sockmap with a verdict program
 *	unarmed    forgets to arm EPOLLOUT, the first time, and finds out by a timeout after MISTAKE_MS
 *	edge-lost  edge-triggered; passes over the first edge, and waits for another until that timeout
 *	busy       does something else for MISTAKE_MS, the first time
 *	computing  computes for COMPUTE_NS of its CPU clock, the first time
 *	starved    the same, on a CPU that HOGS others want all the time
 *	poll       as busy, but waits in poll(); and does something else for AFTER_MS with each event before it sends
 *	writer     as poll, for that socket alone, and until it can be written to
 *	select     the same in select()
 *	modest     as level, but sends MODEST_BYTES with each event: no send finds the buffer full
 *	modest-poll	the same in poll()
 *	pausing    edge-triggered; sends PAUSING_BYTES at a time, which fit, once all before was acknowledged
 *	retrying   never waits for EPOLLOUT: tries again every millisecond
 *
 * PEER: fast, slow (32 kB a millisecond), sipping (SIP_BYTES each SIP_MS), late (reads nothing for MISTAKE_MS, then fast),
 * silent (drops all segments for SILENT_MS, as if the network were gone), blinking (the same for BLINK_MS, so that one
 * timer of retransmission is in vain).
 */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_writes.h"

#define TOTAL_BYTES   4194304u
#define SEND_BUFFER   262144 /* the kernel doubles it */
#define MODEST_BYTES  32768
#define PAUSING_BYTES 360000
#define LOWAT_BYTES   32768
#define PACING_BYTES  20000000u
#define SMOOTH_BYTES  100000000u
#define MISTAKE_MS    1600
#define AFTER_MS      20
#define SILENT_MS     2500
#define BLINK_MS      300
#define SIP_MS        40
#define SIP_BYTES     262144
#define COMPUTE_NS    60000000u
#define HOGS          4
#define EARLY_BYTES   131072 /* that a peer reads before it misbehaves */
#define LATER_BYTES   524288
#define WIDE_BUFFER   1048576 /* many segments, also on loopback */

static char data[TOTAL_BYTES];
static struct subject_writes account;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pause_ms(unsigned ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&pause, NULL);
}

/* ---- the peer ---- */

/* A filter of the socket's own sees segments before TCP does: what it drops has never arrived. */
static void drop_segments(int fd, unsigned ms)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &drop_all};
	static char buffer[1 << 20];
	int nothing = 0;

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		die("SO_ATTACH_FILTER");
	/* What has arrived is read, so that the sender is given a window, and sends into the void. */
	while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
	pause_ms(ms);
	if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing)) < 0)
		die("SO_DETACH_FILTER");
}

static void misbehave(int fd, const char *manner)
{
	if (strcmp(manner, "late") == 0)
		pause_ms(MISTAKE_MS);
	if (strcmp(manner, "silent") == 0)
		drop_segments(fd, SILENT_MS);
	if (strcmp(manner, "blinking") == 0)
		drop_segments(fd, BLINK_MS);
}

static _Noreturn void be_peer(const struct sockaddr_in *address, const char *manner)
{
	bool sips = strcmp(manner, "sipping") == 0, slow = sips || strcmp(manner, "slow") == 0;
	bool loses = strcmp(manner, "silent") == 0 || strcmp(manner, "blinking") == 0, misbehaved = false;
	int bytes = sips ? SIP_BYTES : slow ? 65536 : WIDE_BUFFER, fd = socket(AF_INET, SOCK_STREAM, 0);
	static char buffer[1 << 20];
	size_t total = 0;
	ssize_t got;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || (slow && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0) ||
	    (loses && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0) ||
	    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		die("connect");
	while ((got = read(fd, buffer, sips ? SIP_BYTES : slow ? 32768 : sizeof(buffer))) > 0) {
		total += (size_t)got;
		if (slow)
			pause_ms(sips ? SIP_MS : 1);
		if (misbehaved || total < (loses ? LATER_BYTES : EARLY_BYTES))
			continue;
		misbehave(fd, manner);
		misbehaved = true;
	}
	_exit(0);
}

static int open_connection(const char *manner)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sndbuf = SEND_BUFFER, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	socklen_t bytes = sizeof(address);
	pid_t peer;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, bytes) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &bytes) < 0)
		die("listen");
	peer = fork();
	if (peer < 0)
		die("fork");
	if (peer == 0)
		be_peer(&address, manner);
	account.sender_port = ntohs(address.sin_port);
	fd = accept4(listener, (struct sockaddr *)&address, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)) < 0)
		die("accept");
	account.peer_port = ntohs(address.sin_port);
	close(listener);
	return fd;
}

/* ---- the sender ---- */

static int bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

/* Exit status 77: this kernel or user may not have a sockmap. */
static void enter_sockmap(int fd)
{
	struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1}, /* SK_PASS */
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_SOCKMAP,
			      .key_size = 4,
			      .value_size = 4,
			      .max_entries = 1};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_SK_SKB,
			       .insn_cnt = 2,
			       .insns = (uint64_t)(uintptr_t)pass,
			       .license = (uint64_t)(uintptr_t) "GPL"};
	union bpf_attr attach = {0}, update = {0};
	uint32_t key = 0, value = (uint32_t)fd;
	int map_fd = bpf(BPF_MAP_CREATE, &map), program = bpf(BPF_PROG_LOAD, &load);

	if (map_fd < 0 || program < 0)
		exit(77);
	attach.target_fd = (uint32_t)map_fd;
	attach.attach_bpf_fd = (uint32_t)program;
	attach.attach_type = BPF_SK_SKB_VERDICT;
	update.map_fd = (uint32_t)map_fd;
	update.key = (uint64_t)(uintptr_t)&key;
	update.value = (uint64_t)(uintptr_t)&value;
	if (bpf(BPF_PROG_ATTACH, &attach) < 0)
		exit(77);
	if (bpf(BPF_MAP_UPDATE_ELEM, &update) < 0)
		die("sockmap");
}

static bool is(const char *manner, const char *what)
{
	return strcmp(manner, what) == 0;
}

static void control(int epfd, int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	if (epoll_ctl(epfd, operation, fd, &event) < 0)
		die("epoll_ctl");
}

static uint32_t events_at_start(const char *manner)
{
	if (is(manner, "edge") || is(manner, "edge-lost") || is(manner, "pausing"))
		return EPOLLIN | EPOLLOUT | EPOLLET;
	if (is(manner, "arming") || is(manner, "oneshot") || is(manner, "unarmed") || is(manner, "retrying"))
		return EPOLLIN;
	return EPOLLOUT;
}

static bool is_modest(const char *manner)
{
	return is(manner, "modest") || is(manner, "modest-poll");
}

/* For loops without epoll. */
static void poll_for_space(const char *manner, int fd)
{
	struct pollfd polled[2] = {{.fd = STDIN_FILENO}, {.fd = fd, .events = POLLIN | POLLOUT}};
	fd_set readable, writable;
	int len;

	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_SET(fd, &readable);
	FD_SET(fd, &writable);
	if (is(manner, "writer"))
		polled[1].events = POLLOUT;
	if (is(manner, "select"))
		len = select(fd + 1, &readable, &writable, NULL, NULL);
	else
		len = is(manner, "poll") ? poll(polled, 2, -1) : poll(&polled[1], 1, -1);
	if (len < 1)
		die(manner);
	account.events++;
	if (!is_modest(manner))
		pause_ms(AFTER_MS);
}

static bool is_polling(const char *manner)
{
	return is(manner, "poll") || is(manner, "modest-poll") || is(manner, "select") ||
	       is(manner, "writer");
}

/* True if epoll told EPOLLOUT within the time. */
static bool wait_for_space(int epfd, int timeout_ms)
{
	struct epoll_event event;
	int len;

	do {
		len = epoll_wait(epfd, &event, 1, timeout_ms);
	} while (len < 0 && errno == EINTR);
	if (len < 0 || (len == 1 && !(event.events & EPOLLOUT)))
		die("epoll_wait");
	account.events += (uint64_t)len;
	return len == 1;
}

/* How long it has wanted a CPU, ever; 0 where the kernel does not tell. */
static uint64_t run_delay_ns(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "re");
	uint64_t on_cpu_ns, delay_ns = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &on_cpu_ns, &delay_ns) != 2)
		delay_ns = 0;
	fclose(file);
	return delay_ns;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void compute(void)
{
	uint64_t end_ns = cpu_ns() + COMPUTE_NS, before_ns = run_delay_ns();

	while (cpu_ns() < end_ns)
		;
	account.run_delay_ns = run_delay_ns() - before_ns;
}

static void compute_beside_others(void)
{
	pid_t hogs[HOGS];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
	for (int i = 0; i < HOGS; i++) {
		hogs[i] = fork();
		if (hogs[i] < 0)
			die("fork");
		if (hogs[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}
	compute();
	for (int i = 0; i < HOGS; i++) {
		kill(hogs[i], SIGKILL);
		waitpid(hogs[i], NULL, 0);
	}
}

/* Returns when the sender has found out by itself what it got wrong. */
static void make_mistake(const char *manner, int epfd)
{
	if (is(manner, "busy") || (is_polling(manner) && !is_modest(manner)))
		pause_ms(MISTAKE_MS);
	if (is(manner, "computing"))
		compute();
	if (is(manner, "starved"))
		compute_beside_others();
	if (is(manner, "unarmed"))
		wait_for_space(epfd, MISTAKE_MS);
	if (is(manner, "edge-lost") && wait_for_space(epfd, -1))
		wait_for_space(epfd, MISTAKE_MS);
}

/* The edge may have come as all but the rest was acknowledged, or not at all if the queue was never so long. */
static void await_acks(int epfd, int fd)
{
	int unacknowledged;

	do {
		wait_for_space(epfd, 1);
		if (ioctl(fd, SIOCOUTQ, &unacknowledged) < 0)
			die("SIOCOUTQ");
	} while (unacknowledged > 0);
}

static void await_space(const char *manner, int epfd, int fd)
{
	static bool mistaken;
	bool arms = is(manner, "arming") || is(manner, "unarmed");

	if (!mistaken)
		make_mistake(manner, epfd);
	if (!mistaken && is(manner, "edge-lost")) {
		mistaken = true;
		return;
	}
	mistaken = true;
	if (is_polling(manner)) {
		poll_for_space(manner, fd);
		return;
	}
	if (is(manner, "pausing")) {
		await_acks(epfd, fd);
		return;
	}
	if (is(manner, "retrying")) {
		wait_for_space(epfd, 1);
		return;
	}
	if (arms || is(manner, "oneshot"))
		control(epfd, EPOLL_CTL_MOD, fd, arms ? EPOLLIN | EPOLLOUT : EPOLLOUT | EPOLLONESHOT);
	wait_for_space(epfd, -1);
	if (arms)
		control(epfd, EPOLL_CTL_MOD, fd, EPOLLIN);
}

static size_t at_most(const char *manner, size_t left)
{
	size_t most = is_modest(manner) ? MODEST_BYTES : is(manner, "pausing") ? PAUSING_BYTES : left;

	return most < left ? most : left;
}

static void send_all(const char *manner, int fd)
{
	int lowat = LOWAT_BYTES, epfd = epoll_create1(EPOLL_CLOEXEC);
	unsigned rate = is(manner, "smoothed") ? SMOOTH_BYTES : PACING_BYTES;
	size_t sent = 0;

	if (is(manner, "lowat") && setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) < 0)
		die("TCP_NOTSENT_LOWAT");
	if ((is(manner, "paced") || is(manner, "smoothed")) &&
	    setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)) < 0)
		die("SO_MAX_PACING_RATE");
	if (is(manner, "sockmap"))
		enter_sockmap(fd);
	if (is_polling(manner))
		poll_for_space(manner, fd);
	else
		control(epfd, EPOLL_CTL_ADD, fd, events_at_start(manner));
	if (!is_polling(manner) && events_at_start(manner) & EPOLLOUT)
		wait_for_space(epfd, -1);
	account.events = 0;
	while (sent < TOTAL_BYTES) {
		size_t bytes = at_most(manner, TOTAL_BYTES - sent);
		ssize_t done = send(fd, data + sent, bytes, MSG_NOSIGNAL);

		if (done < 0 && errno != EAGAIN)
			die("send");
		sent += done > 0 ? (size_t)done : 0;
		if (sent == TOTAL_BYTES)
			break;
		account.short_sends += done < (ssize_t)bytes && (done > 0 || sent == 0);
		await_space(manner, epfd, fd);
	}
}

/* struct tcp_info as of Linux 6.7; headers are older. */
struct longer_tcp_info {
	_Alignas(8) char until_rehash[240];
	uint16_t total_rto;
	uint16_t total_rto_recoveries;
	uint32_t total_rto_time_ms;
};

static int64_t rto_ms(int fd)
{
	struct longer_tcp_info info;
	socklen_t bytes = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0)
		die("TCP_INFO");
	return bytes == sizeof(info) ? (int64_t)info.total_rto_time_ms : -1;
}

static void ask_kernel(int fd)
{
	struct tcp_info info;
	socklen_t bytes = sizeof(info);
	int sndbuf = 0;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0)
		die("TCP_INFO");
	account.rto_ms = rto_ms(fd);
	account.run_delay_ever_ns = run_delay_ns();
	account.rwnd_limited_us = info.tcpi_rwnd_limited;
	account.sndbuf_limited_us = info.tcpi_sndbuf_limited;
	account.retransmits = info.tcpi_total_retrans;
	bytes = sizeof(sndbuf);
	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, &bytes) < 0)
		die("SO_SNDBUF");
	account.sndbuf_bytes = (uint64_t)sndbuf;
}

int main(int argc, char **argv)
{
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc != 3)
		return 2;
	fd = open_connection(argv[2]);
	send_all(argv[1], fd);
	ask_kernel(fd);
	if (write(STDOUT_FILENO, &account, sizeof(account)) != sizeof(account))
		die("write");
	close(fd);
	wait(NULL);
	return 0;
}
