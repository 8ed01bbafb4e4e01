/* SPDX-License-Identifier: MIT */

/*
 * What happens to 2 MB that are sent into 1 MB of write buffer, to a peer that reads slowly.
 *
 *	write_buffer [--repeat N] [--seconds N] [--quiet]
 *
 * The send takes about 1 MB and comes back short: the buffer is full. Nothing more can be done until the
 * kernel reports a write event, which it does not do at every ACK, but at the one that brings the memory of
 * the queue to 2/3 of the buffer or below. Then the rest is sent.
 *
 * The table shows this as the process itself can see it, without privileges: its sends, the buffer's fill
 * sampled twice a millisecond, and the time of the ACK that covers the last byte of each send. That is one
 * ACK per send, not every ACK: for those, record this program with `stint record` as root.
 *
 * Exits with 0 only if every round saw the short write and the write event that ended it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEND_BYTES      2097152u
#define SEND_BUFFER     524288 /* the kernel doubles it, to leave room for its own bookkeeping */
#define RECEIVE_BUFFER  131072 /* small, so that ACKs come in steps */
#define PEER_READ_BYTES 32768
#define PEER_PAUSE_NS   2000000
#define SAMPLE_NS       500000u
#define ROUND_LIMIT_NS  UINT64_C(20000000000)
#define NOTHING         UINT64_MAX

struct round {
	struct stint_loop *loop;
	int fd; /* -1: not connected yet */
	struct stint_fd *accepting, *source;
	struct stint_timer *sampler, *limit;
	struct stint_socket_trace *trace;
	const char *data;
	size_t sent;
	uint64_t start_ns;
	uint64_t queued_bytes;
	uint64_t unacked_bytes;
	bool quiet, saw_short_write, saw_write_event, finished;
	int error;
};

/* ---- the peer: a plain blocking program that takes its time ---- */

static int connect_slow_reader(const struct sockaddr_in *address)
{
	int bytes = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ||
	    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		close(fd);
		return -ECONNREFUSED;
	}
	return fd;
}

/* One connection after the other, until nobody listens any more. */
static _Noreturn void be_peer(const struct sockaddr_in *address)
{
	static char data[PEER_READ_BYTES];
	const struct timespec pause = {.tv_nsec = PEER_PAUSE_NS};
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((fd = connect_slow_reader(address)) >= 0) {
		while (read(fd, data, sizeof(data)) > 0)
			nanosleep(&pause, NULL);
		close(fd);
	}
	_exit(0);
}

/* ---- the sender ---- */

static const char *const kind_names[] = {
	[STINT_METER_SOCKET_OPEN] = "tracing begins",     [STINT_METER_SOCKET_SEND] = "send, all taken",
	[STINT_METER_SOCKET_SEND_SHORT] = "send, SHORT",  [STINT_METER_SOCKET_ACK] = "ACK of a send's end",
	[STINT_METER_SOCKET_WRITE_EVENT] = "WRITE EVENT", [STINT_METER_SOCKET_SAMPLE] = "sample",
	[STINT_METER_SOCKET_CLOSE] = "closing",
};

static void show_number(uint64_t value)
{
	if (value == NOTHING)
		printf(" %10s", "");
	else
		printf(" %10llu", (unsigned long long)value);
}

/* Samples that tell nothing new are left out of the table; the recording has them. */
static void show(const struct stint_meter_file_socket *moment, void *ctx)
{
	struct round *round = ctx;
	bool sends = moment->kind == STINT_METER_SOCKET_SEND || moment->kind == STINT_METER_SOCKET_SEND_SHORT;
	bool counts = sends || moment->kind == STINT_METER_SOCKET_ACK;

	bool news = moment->kind != STINT_METER_SOCKET_SAMPLE || moment->queued_bytes != round->queued_bytes;

	round->queued_bytes = moment->queued_bytes;
	round->unacked_bytes = moment->unacked_bytes;
	if (round->quiet || !news)
		return;
	printf("%10.3f  %-20s", (double)(int64_t)(moment->time_ns - round->start_ns) / 1e6,
	       kind_names[moment->kind]);
	show_number(sends ? moment->requested_bytes : NOTHING);
	show_number(counts ? moment->done_bytes : NOTHING);
	show_number(moment->unacked_bytes);
	show_number(moment->queued_bytes);
	show_number(moment->sndbuf_bytes);
	printf(" %5.1f%%\n", 100.0 * (double)moment->queued_bytes / (double)moment->sndbuf_bytes);
}

static void show_heading(void)
{
	printf("%10s  %-20s %10s %10s %10s %10s %10s %6s\n", "ms", "what", "to send", "taken/ACKed",
	       "unacked", "queue mem", "buffer", "fill");
}

static void end_round(struct round *round, int error)
{
	round->error = error;
	round->finished = true;
	stint_loop_stop(round->loop);
}

static void send_rest(struct round *round)
{
	size_t rest = SEND_BYTES - round->sent;
	ssize_t done =
		send(stint_fd_descriptor(round->source), round->data + round->sent, rest, MSG_NOSIGNAL);

	if (done < 0)
		done = -errno;
	if (done < 0 && done != -EAGAIN && done != -EINTR) {
		end_round(round, (int)done);
		return;
	}
	stint_socket_trace_send(round->trace, rest, done);
	if (done > 0)
		round->sent += (size_t)done;
	if (round->sent < SEND_BYTES)
		round->saw_short_write = true;
	else
		stint_fd_set_events(round->source, 0);
}

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct round *round = ctx;

	(void)source;
	/* ACK times come by the error queue, so an error event is no error here. */
	stint_socket_trace_event(round->trace, (events & STINT_WRITE ? (uint32_t)EPOLLOUT : 0) |
						       (events & STINT_ERROR ? (uint32_t)EPOLLERR : 0));
	if (events & STINT_HANGUP) {
		end_round(round, -ECONNRESET);
		return;
	}
	if (!(events & STINT_WRITE) || round->sent == SEND_BYTES)
		return;
	if (round->saw_short_write)
		round->saw_write_event = true;
	send_rest(round);
}

/* The round is over once everything is sent and acknowledged. */
static void on_sample(struct stint_timer *timer, void *ctx)
{
	struct round *round = ctx;

	(void)timer;
	stint_socket_trace_sample(round->trace);
	if (round->sent == SEND_BYTES && round->unacked_bytes == 0)
		end_round(round, 0);
}

static void on_limit(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	end_round(ctx, -ETIMEDOUT);
}

static uint32_t handler(struct stint_loop *loop, const char *name)
{
	int index = stint_loop_handler(loop, name, 0);

	return index < 0 ? 0 : (uint32_t)index;
}

static int open_round(struct round *round, int fd)
{
	struct stint_loop *loop = round->loop;
	int bytes = SEND_BUFFER, error;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
		return -errno;
	round->start_ns = stint_loop_now_ns(loop);
	error = stint_fd_new(&round->source, loop, fd, STINT_WRITE, handler(loop, "upload.write"), on_ready,
			     round);
	if (error == 0)
		error = stint_socket_trace_new(&round->trace, stint_loop_account(loop), fd, show, round);
	if (error == 0)
		error = stint_timer_new(&round->sampler, loop, handler(loop, "sample"), on_sample, round);
	if (error == 0)
		error = stint_timer_start(round->sampler, SAMPLE_NS, SAMPLE_NS);
	if (error == 0)
		error = stint_timer_new(&round->limit, loop, handler(loop, "limit"), on_limit, round);
	if (error == 0)
		error = stint_timer_start(round->limit, ROUND_LIMIT_NS, 0);
	if (error == 0)
		send_rest(round);
	return error ? error : round->error;
}

static void close_round(struct round *round)
{
	stint_timer_free(round->limit);
	stint_timer_free(round->sampler);
	stint_socket_trace_free(round->trace);
	stint_fd_free(round->source);
	stint_fd_free(round->accepting);
	if (round->fd >= 0)
		close(round->fd);
}

/* The peer's handshake is complete: a read event on the listening socket. */
static void on_connection(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct round *round = ctx;
	int error;

	(void)events;
	round->fd = accept4(stint_fd_descriptor(source), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (round->fd < 0) {
		if (errno != EAGAIN && errno != EINTR)
			end_round(round, -errno);
		return;
	}
	round->accepting = stint_fd_free(source);
	error = open_round(round, round->fd);
	if (error)
		end_round(round, error);
}

/* Returns 0 if the round saw what it was to see. */
static int play_round(struct stint_loop *loop, int listener, const char *data, bool quiet)
{
	struct round round = {.loop = loop, .fd = -1, .data = data, .quiet = quiet};
	int error;

	if (!quiet)
		show_heading();
	error = stint_fd_new(&round.accepting, loop, listener, STINT_READ, handler(loop, "upload.accept"),
			     on_connection, &round);
	if (error == 0)
		error = stint_loop_run(loop);
	if (error == 0)
		error = round.error;
	close_round(&round);
	if (error == 0 && !(round.saw_short_write && round.saw_write_event))
		error = -ENODATA;
	return error;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
	socklen_t bytes = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(fd, (struct sockaddr *)address, bytes) < 0 || listen(fd, 1) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &bytes) < 0) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static int play(struct stint_loop *loop, int listener, const char *data, unsigned repeat, unsigned seconds,
		bool quiet)
{
	uint64_t until_ns = stint_loop_now_ns(loop) + seconds * UINT64_C(1000000000);
	unsigned rounds = 0;
	int error = 0;

	while (error == 0 && (rounds < repeat || stint_loop_now_ns(loop) < until_ns)) {
		error = play_round(loop, listener, data, quiet);
		rounds++;
	}
	if (error == -ENODATA)
		fprintf(stderr, "write_buffer: no short write and write event in round %u\n", rounds);
	else if (error < 0)
		fprintf(stderr, "write_buffer: round %u: %s\n", rounds, strerror(-error));
	else
		printf("%u round%s: each with a short write, and a write event upon which the rest was sent\n",
		       rounds, rounds == 1 ? "" : "s");
	return error;
}

/* The peer is started before there is a loop, so that it inherits none of it. */
static int start_and_play(unsigned repeat, unsigned seconds, bool quiet)
{
	struct sockaddr_in address;
	struct stint_loop *loop;
	char *data = calloc(1, SEND_BYTES);
	int listener = listen_on_loopback(&address), error;
	pid_t peer;

	if (!data || listener < 0) {
		free(data);
		return data ? listener : -ENOMEM;
	}
	peer = fork();
	if (peer == 0) {
		close(listener);
		be_peer(&address);
	}
	error = peer < 0 ? -errno : stint_loop_new(&loop, NULL);
	if (error == 0) {
		error = play(loop, listener, data, repeat, seconds, quiet);
		stint_loop_free(loop);
	}
	close(listener);
	if (peer > 0)
		waitpid(peer, NULL, 0);
	free(data);
	return error;
}

static unsigned parse_number(const char *text, const char *what)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text && !*end && value <= 86400)
		return (unsigned)value;
	fprintf(stderr, "write_buffer: %s: not a number from 0 to 86400: %s\n", what, text);
	exit(2);
}

static int help(FILE *out)
{
	fputs("usage: write_buffer [--repeat N] [--seconds N] [--quiet]\n"
	      "Sends 2 MB into 1 MB of write buffer, to a peer that reads slowly, and shows what happens.\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"repeat", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 's'},
		{"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	unsigned repeat = 1, seconds = 0;
	bool quiet = false;
	int option;

	while ((option = getopt_long(argc, argv, "r:s:qh", options, NULL)) != -1) {
		if (option == 'r')
			repeat = parse_number(optarg, "--repeat");
		else if (option == 's')
			seconds = parse_number(optarg, "--seconds");
		else if (option == 'q')
			quiet = true;
		else
			return option == 'h' ? help(stdout) : help(stderr);
	}
	return start_and_play(repeat, seconds, quiet) < 0;
}
