/* SPDX-License-Identifier: MIT */

/*
 * What a call to an upstream service does to everyone else on the loop.
 *
 *	upstream [--seconds N]
 *
 * The upstream takes 10 ms to answer. It is called 20 times a second, first by a client library of the usual
 * kind (connect, send, recv with a timeout: all of them block), then by a non-blocking client. Meanwhile
 * four timers of 1 ms stand for everyone else; how long they had to wait is what the tables are about:
 *
 *	handler             what is timed
 *	call.blocking       the call by the library: the loop stands still during all of it
 *	others.blocking     everyone else, meanwhile
 *	call.stream         the pieces of the call by the non-blocking client
 *	others.stream       everyone else, meanwhile
 *
 * The same from outside, with the overruns and the system call that blocked: stint record -- upstream
 */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/meter_file.h>
#include <stint/stint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS        UINT64_C(1000000)
#define ANSWER_NS (10 * MS)
#define CALL_NS   (50 * MS)
#define OTHERS    4
#define REQUEST   "price?"
#define ANSWER    "42"

/* ---- the upstream service, in a process of its own ---- */

/* A caller may leave, or ask again, while its answer is being made: what belongs to it goes when the stream does. */
struct caller {
	struct stint_stream *stream;
	struct stint_timeout answer;
};

static struct stint_timeouts *answers;

static void on_answer_time(struct stint_timeout *timeout, void *ctx)
{
	struct caller *caller = (struct caller *)((char *)timeout - offsetof(struct caller, answer));

	(void)ctx;
	stint_stream_write(caller->stream, ANSWER, strlen(ANSWER));
	stint_stream_close(caller->stream);
}

static void on_question(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct caller *caller = ctx;

	(void)stream;
	(void)data;
	(void)bytes;
	stint_timeout_start(answers, &caller->answer, ANSWER_NS);
}

/* Without this, a client that leaves would close the stream before its timer is due. */
static void stay_open(struct stint_stream *stream, void *ctx)
{
	(void)stream;
	(void)ctx;
}

static void on_caller_gone(struct stint_stream *stream, int error, void *ctx)
{
	struct caller *caller = ctx;

	(void)stream;
	(void)error;
	stint_timeout_stop(answers, &caller->answer);
	free(caller);
}

static void on_caller(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_question,
								.end = stay_open,
								.closed = on_caller_gone};
	struct caller *caller = calloc(1, sizeof(*caller));

	(void)listener;
	(void)peer;
	(void)bytes;
	if (caller && stint_stream_new(&caller->stream, ctx, fd, NULL, 0, &callbacks, caller) == 0)
		return;
	close(fd);
	free(caller);
}

static _Noreturn void be_upstream(int port_fd)
{
	const struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_listener *listener;
	struct stint_loop *loop;
	int port;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (stint_loop_new(&loop, &options) < 0 ||
	    stint_timeouts_new(&answers, loop, 0, on_answer_time, NULL) < 0 ||
	    stint_listener_new(&listener, loop, (const struct sockaddr *)&address, sizeof(address), NULL, 0,
			       on_caller, loop) < 0)
		_exit(1);
	port = stint_listener_port(listener);
	if (write(port_fd, &port, sizeof(port)) != sizeof(port))
		_exit(1);
	stint_loop_run(loop);
	_exit(0);
}

/* Returns the port it listens on, or a negative errno. */
static int start_upstream(pid_t *ret)
{
	int fds[2], port;
	ssize_t got;

	if (pipe(fds) < 0)
		return -errno;
	*ret = fork();
	if (*ret < 0)
		return -errno;
	if (*ret == 0)
		be_upstream(fds[1]);
	close(fds[1]);
	got = read(fds[0], &port, sizeof(port));
	close(fds[0]);
	return got == sizeof(port) ? port : -ECHILD;
}

/* ---- the two clients ---- */

struct program {
	struct stint_loop *loop;
	struct stint_meter *meter;
	struct sockaddr_in upstream;
	uint32_t call_handler;
	unsigned calls, failures;
};

/* As a client library does it that knows no event loop. 0 or a negative errno. */
static int call_blocking(const struct sockaddr_in *upstream, char *ret, size_t size)
{
	const struct timeval limit = {.tv_sec = 5};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)upstream, sizeof(*upstream)) < 0 ||
	    send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL) < 0 || (got = recv(fd, ret, size - 1, 0)) < 0)
		error = -errno;
	else
		ret[got] = '\0';
	close(fd);
	return error;
}

static void on_blocking_call(struct stint_timer *timer, void *ctx)
{
	struct program *program = ctx;
	char answer[64];

	(void)timer;
	program->calls++;
	if (call_blocking(&program->upstream, answer, sizeof(answer)) < 0 || strcmp(answer, ANSWER) != 0)
		program->failures++;
}

static void on_answer(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct program *program = ctx;

	if (bytes != strlen(ANSWER) || memcmp(data, ANSWER, bytes) != 0)
		program->failures++;
	stint_stream_close(stream);
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct program *program = ctx;

	(void)stream;
	if (error < 0)
		program->failures++;
}

/* The read limit does what SO_RCVTIMEO does above. */
static void on_connect(int error, int fd, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_answer, .closed = on_closed};
	const struct stint_stream_options options = {.size = sizeof(options), .read_ns = 5000 * MS};
	struct program *program = ctx;
	struct stint_stream *stream;

	if (error < 0 || stint_stream_new(&stream, program->loop, fd, &options, program->call_handler,
					  &callbacks, program) < 0) {
		program->failures++;
		if (fd >= 0)
			close(fd);
		return;
	}
	stint_stream_write(stream, REQUEST, strlen(REQUEST));
}

static void on_stream_call(struct stint_timer *timer, void *ctx)
{
	struct program *program = ctx;
	struct stint_connect *connect;

	(void)timer;
	program->calls++;
	if (stint_connect_new(&connect, program->loop, (struct sockaddr *)&program->upstream,
			      sizeof(program->upstream), 5000 * MS, program->call_handler, on_connect,
			      program) < 0)
		program->failures++;
}

/* ---- everyone else, and the figures ---- */

static void on_other(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
}

static void on_end(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	stint_loop_stop(ctx);
}

static int start_timer(struct program *program, uint64_t delay_ns, uint64_t period_ns, uint32_t handler,
		       stint_timer_callback callback, void *ctx, struct stint_timer **ret)
{
	int error = stint_timer_new(ret, program->loop, handler, callback, ctx);

	return error < 0 ? error : stint_timer_start(*ret, delay_ns, period_ns);
}

static const struct stint_meter_file_block *handler_block(const struct program *program, uint32_t handler)
{
	size_t bytes;
	const char *base = stint_meter_data(program->meter, &bytes);
	const struct stint_meter_file_header *header = (const void *)base;
	const struct stint_meter_file_loop *loop = (const void *)(base + header->loops_offset);

	return (const void *)(base + loop->blocks_offset + handler * loop->block_stride);
}

static void show(const struct program *program, const char *client, uint32_t others)
{
	const struct stint_histogram *wait =
		&handler_block(program, others)->histogram[STINT_METER_HANDLER_WAIT];

	printf("%-10s %6u %7u %9.3f %9.3f %9.3f %9.1f\n", client, program->calls, program->failures,
	       (double)stint_histogram_quantile(wait, 0.5) / 1e6,
	       (double)stint_histogram_quantile(wait, 0.99) / 1e6, (double)wait->max / 1e6,
	       (double)wait->sum / 1e6);
	fflush(stdout);
}

/* Calls by one of the clients for a while, with everyone else beside it. */
static int run_with(struct program *program, const char *client, stint_timer_callback call, uint64_t for_ns)
{
	struct stint_timer *timers[OTHERS + 2] = {0};
	char name[32];
	uint32_t others;
	int error = 0;

	snprintf(name, sizeof(name), "call.%s", client);
	program->call_handler = (uint32_t)stint_loop_handler(program->loop, name, 0);
	snprintf(name, sizeof(name), "others.%s", client);
	others = (uint32_t)stint_loop_handler(program->loop, name, 0);
	program->calls = program->failures = 0;
	for (int i = 0; i < OTHERS && error == 0; i++)
		error = start_timer(program, MS, MS, others, on_other, NULL, &timers[i]);
	if (error == 0)
		error = start_timer(program, CALL_NS, CALL_NS, program->call_handler, call, program,
				    &timers[OTHERS]);
	if (error == 0)
		error = start_timer(program, for_ns, 0, 0, on_end, program->loop, &timers[OTHERS + 1]);
	if (error == 0)
		error = stint_loop_run(program->loop);
	for (int i = 0; i < OTHERS + 2; i++)
		stint_timer_free(timers[i]);
	if (error == 0)
		show(program, client, others);
	return error;
}

static int help(FILE *out)
{
	fputs("usage: upstream [--seconds N]\n"
	      "Calls a service by a blocking and by a non-blocking client, N seconds each (2), and shows how long\n"
	      "everyone else on the loop had to wait. To see it from outside: stint record -- upstream\n",
	      out);
	return out == stdout ? 0 : 2;
}

static int run(struct program *program, uint64_t for_ns)
{
	struct stint_loop_options options = {.size = sizeof(options), .name = "upstream"};
	int error = stint_meter_new(&program->meter, NULL);

	options.meter = program->meter;
	if (error == 0)
		error = stint_loop_new(&program->loop, &options);
	if (error < 0)
		return error;
	printf("%36s%s\n%-10s %6s %7s %9s %9s %9s %9s\n", "", "others waited, ms", "client", "calls",
	       "failed", "median", "p99", "longest", "in all");
	error = run_with(program, "blocking", on_blocking_call, for_ns);
	return error < 0 ? error : run_with(program, "stream", on_stream_call, for_ns);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct program program = {
		.upstream = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	unsigned long seconds = 2;
	pid_t upstream = -1;
	int option, port, error;
	char *end;

	while ((option = getopt_long(argc, argv, "s:h", options, NULL)) != -1) {
		if (option != 's')
			return help(option == 'h' ? stdout : stderr);
		seconds = strtoul(optarg, &end, 10);
		if (*end || seconds == 0 || seconds > 3600)
			return help(stderr);
	}
	port = start_upstream(&upstream);
	program.upstream.sin_port = htons((uint16_t)port);
	error = port < 0 ? port : run(&program, seconds * 1000 * MS);
	if (error < 0)
		fprintf(stderr, "upstream: %s\n", strerror(-error));
	stint_loop_free(program.loop);
	stint_meter_free(program.meter);
	if (upstream > 0) {
		kill(upstream, SIGTERM);
		waitpid(upstream, NULL, 0);
	}
	return error < 0 || program.failures;
}
