/* SPDX-License-Identifier: MIT */

/*
 * A server with one loop per thread.
 *
 *	loops [--port N] [--threads N] [--idle N] [--help]
 *
 * Every loop listens on the same port (SO_REUSEPORT), and the kernel spreads new connections over them. A line is echoed
 * by the loop that the connection is on. The line "move" hands the connection, with all that is still to be sent on it,
 * over to the next loop: it is detached here, and the next loop's mailbox takes it to where it is attached again. A peer
 * that does nothing for a minute is disconnected, whichever loop it is on by then. Try:
 *
 *	printf 'hello\nmove\nhello again\n' | nc -N 127.0.0.1 PORT
 *
 * The first loop watches SIGINT and SIGTERM, and has the others end by a post to each of them.
 */

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>

#define THREADS_LIMIT 64

struct worker {
	unsigned number;
	pthread_t thread;
	struct stint_loop *loop;
	struct stint_mailbox *mailbox; /* how other threads reach this loop */
	struct stint_post stop;
	uint64_t accepted, taken_over, lines;
};

/* A connection on its way from one loop to another. */
struct handover {
	struct stint_post post;
	struct stint_detached *connection;
	struct worker *to;
};

static struct stint_meter *meter; /* all loops share it, and so the handlers' names */
static struct worker workers[THREADS_LIMIT];
static unsigned worker_count = 2;
static uint32_t accept_handler, read_handler, handover_handler, stop_handler;

/* After which a connection on which nothing moves is ended. */
static uint64_t idle_ns = UINT64_C(60000000000);

static const struct stint_stream_callbacks connection_callbacks;

/* ---- connections ---- */

static void on_handover(struct stint_post *post, int error, void *ctx)
{
	struct handover *handover = ctx;
	struct worker *worker = handover->to;
	struct stint_stream *stream;

	(void)post;
	/* An error means that this loop has ended before the connection came. */
	if (error == 0)
		error = stint_stream_attach(&stream, handover->connection, worker->loop, read_handler,
					    &connection_callbacks, worker);
	if (error == 0)
		worker->taken_over++;
	else
		stint_detached_free(handover->connection);
	free(handover);
}

static void move(struct stint_stream *stream, const struct worker *from)
{
	struct worker *to = &workers[(from->number + 1) % worker_count];
	struct handover *handover = malloc(sizeof(*handover));

	if (!handover || stint_stream_detach(&handover->connection, stream) < 0) {
		free(handover);
		stint_stream_free(stream);
		return;
	}
	handover->to = to;
	handover->post =
		(struct stint_post){.callback = on_handover, .ctx = handover, .handler = handover_handler};
	if (stint_mailbox_post(to->mailbox, &handover->post) < 0) {
		stint_detached_free(handover->connection);
		free(handover);
	}
}

/* What comes in one read is taken for whole lines, which is enough for what this example shows. */
static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct worker *worker = ctx;
	const char *line = data, *end = line + bytes;
	bool moving = false;
	char answer[64];
	struct iovec parts[2]; /* an answer is one write, and so one segment */

	while (line < end) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t length = (size_t)((newline ? newline + 1 : end) - line);

		worker->lines++;
		moving |= length == 5 && memcmp(line, "move\n", 5) == 0;
		snprintf(answer, sizeof(answer), "loop %u: ", worker->number);
		parts[0] = (struct iovec){answer, strlen(answer)};
		parts[1] = (struct iovec){(void *)(uintptr_t)line, length};
		if (stint_stream_writev(stream, parts, 2) < 0)
			return; /* it is over, and freed by the library */
		line += length;
	}
	/* Who does not read its answers is read no more until it does, here or on the loop that it has moved to. */
	if (stint_stream_full(stream))
		stint_stream_pause(stream);
	if (moving)
		move(stream, worker);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	(void)ctx;
	stint_stream_resume(stream);
}

static const struct stint_stream_callbacks connection_callbacks = {.read = on_read, .drained = on_drained};

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	const struct stint_stream_options options = {.size = sizeof(options), .idle_ns = idle_ns};
	struct worker *worker = ctx;
	struct stint_stream *stream;

	(void)listener;
	(void)peer;
	(void)bytes;
	worker->accepted++;
	if (stint_stream_new(&stream, worker->loop, fd, &options, read_handler, &connection_callbacks,
			     worker) < 0)
		close(fd);
}

/* ---- loops ---- */

static void on_stop(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	if (error == 0)
		stint_loop_stop(((struct worker *)ctx)->loop);
}

static void stop_all(void)
{
	for (unsigned i = 0; i < worker_count; i++)
		stint_mailbox_post(workers[i].mailbox, &workers[i].stop);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)ctx;
	printf("signal %d (%s) from process %d\n", info->number, strsignal(info->number), (int)info->pid);
	stint_signal_free(signal); /* a second one has its usual effect */
	stop_all();
}

static int open_worker(struct worker *worker, unsigned number, const struct sockaddr_in *address)
{
	const struct stint_listener_options shared = {.size = sizeof(shared), .reuse_port = true};
	char name[16];
	const struct stint_loop_options options = {.size = sizeof(options), .name = name};
	struct stint_listener *listener;
	int error;

	snprintf(name, sizeof(name), "loop-%u", number);
	worker->number = number;
	error = stint_loop_new(&worker->loop, &options);
	if (error == 0)
		error = stint_mailbox_new(&worker->mailbox, worker->loop);
	if (error < 0)
		return error;
	stint_mailbox_ref(
		worker->mailbox); /* others may post to it when the loop is gone: main() gives it back */
	worker->stop = (struct stint_post){.callback = on_stop, .ctx = worker, .handler = stop_handler};
	return stint_listener_new(&listener, worker->loop, (const struct sockaddr *)address, sizeof(*address),
				  &shared, accept_handler, on_accept, worker);
}

/* A loop may be made in one thread and run in another, as long as only one of them uses it at a time. */
static void *run_worker(void *ctx)
{
	struct worker *worker = ctx;
	int error = stint_loop_run(worker->loop);

	if (error < 0)
		fprintf(stderr, "loops: loop %u: %s\n", worker->number, strerror(-error));
	return NULL;
}

static int open_all(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_signal *signal;
	socklen_t bytes = sizeof(address);
	int error = 0, probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	/* Keeps the port that the kernel chose until all have bound it. */
	if (probe < 0 || setsockopt(probe, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
	    bind(probe, (struct sockaddr *)&address, bytes) < 0 ||
	    getsockname(probe, (struct sockaddr *)&address, &bytes) < 0)
		error = -errno;
	for (unsigned i = 0; i < worker_count && error == 0; i++)
		error = open_worker(&workers[i], i, &address);
	if (probe >= 0)
		close(probe);
	if (error == 0)
		error = stint_signal_new(&signal, workers[0].loop, SIGINT, stop_handler, on_signal, NULL);
	if (error == 0)
		error = stint_signal_new(&signal, workers[0].loop, SIGTERM, stop_handler, on_signal, NULL);
	if (error == 0)
		printf("%u loops listening on 127.0.0.1:%d\n", worker_count, ntohs(address.sin_port));
	fflush(stdout);
	return error;
}

/* The first loop runs in this thread. */
static int run_all(void)
{
	unsigned started = 1;
	int error = 0;

	while (started < worker_count && error == 0) {
		error = -pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]);
		if (error == 0)
			started++;
	}
	if (error < 0)
		stop_all();
	run_worker(&workers[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	return error;
}

/* ---- arguments ---- */

static const char usage[] =
	"usage: loops [--port N] [--threads N] [--idle N]\n"
	"\n"
	"Echoes lines, with one event loop per thread, all listening on one port of 127.0.0.1.\n"
	"The line \"move\" hands the connection over to the next loop.\n"
	"\n"
	"  --port N      the port (0, which lets the kernel choose)\n"
	"  --threads N   how many loops, 1 to 64 (2)\n"
	"  --idle N      seconds after which a connection on which nothing moves is ended (60; 0: never)\n"
	"  --help        this text\n"
	"\n"
	"Ends at SIGINT or SIGTERM, and says what each loop has done.\n";

static unsigned parse_number(const char *text, const char *what, unsigned low, unsigned high)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text && !*end && value >= low && value <= high)
		return (unsigned)value;
	fprintf(stderr, "loops: %s: not a number from %u to %u: %s\n", what, low, high, text);
	exit(2);
}

static unsigned parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"threads", required_argument, NULL, 't'},
		{"idle", required_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	unsigned port = 0;
	int option;

	while ((option = getopt_long(argc, argv, "p:t:i:h", options, NULL)) != -1) {
		if (option == 'p')
			port = parse_number(optarg, "--port", 0, 65535);
		else if (option == 't')
			worker_count = parse_number(optarg, "--threads", 1, THREADS_LIMIT);
		else if (option == 'i')
			idle_ns = parse_number(optarg, "--idle", 0, 86400) * UINT64_C(1000000000);
		else {
			fputs(usage, option == 'h' ? stdout : stderr);
			exit(option == 'h' ? 0 : 2);
		}
	}
	return port;
}

static int register_handlers(void)
{
	int error = stint_meter_new(&meter, NULL);

	if (error < 0)
		return error;
	accept_handler = (uint32_t)stint_meter_handler(meter, "accept", 0);
	read_handler = (uint32_t)stint_meter_handler(meter, "line", 0);
	handover_handler = (uint32_t)stint_meter_handler(meter, "handover", 0);
	stop_handler = (uint32_t)stint_meter_handler(meter, "stop", 0);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned port = parse(argc, argv);
	int error = register_handlers();

	if (error == 0)
		error = open_all(port);
	if (error == 0)
		error = run_all();
	for (unsigned i = 0; i < worker_count && error == 0; i++)
		printf("loop %u: %llu accepted, %llu taken over, %llu lines\n", i,
		       (unsigned long long)workers[i].accepted, (unsigned long long)workers[i].taken_over,
		       (unsigned long long)workers[i].lines);
	for (unsigned i = 0; i < worker_count; i++)
		stint_loop_free(workers[i].loop);
	for (unsigned i = 0; i < worker_count; i++)
		stint_mailbox_unref(workers[i].mailbox);
	stint_meter_free(meter);
	if (error < 0)
		fprintf(stderr, "loops: %s\n", strerror(-error));
	return error < 0;
}
