/* SPDX-License-Identifier: MIT */

/*
 * A small HTTP/1.1 server with two bad habits, for stint to find.
 *
 *	http_server [--port N] [--seconds N] [--every N]
 *
 *	/          answers at once                                  handler http.fast
 *	/compute   computes for 5 ms, every Nth time (20)           handler http.compute
 *	/blocking  sleeps for 3 ms, every Nth time, as a call into  handler http.blocking
 *	           a client library would that knows no event loop
 *
 * A request comes in under http.read; its route is then a dispatch of its own inside of that one
 * (stint_meter_begin and stint_meter_end), so that the report names the route and not the read.
 * A watchdog takes the stacks of handlers past their budget while they run, so that a recording has them also where
 * there are no probes. Prints the port it listens on, serves until SIGTERM, SIGINT or --seconds.
 */

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES 8192
#define IDLE_NS       60000000000u /* after which a connection on which nothing moves is ended */
#define COMPUTE_NS    5000000u
#define BLOCK_NS      3000000

struct route {
	const char *path;
	const char *handler_name;
	void (*work)(void);
	uint32_t handler;
	unsigned served;
};

struct server {
	struct stint_meter *meter;
	struct stint_watchdog *watchdog;
	struct stint_loop *loop;
	uint32_t read_handler;
	unsigned every;
};

struct connection {
	struct server *server;
	size_t bytes;
	char request[REQUEST_BYTES];
};

/* By the CPU's own time, so that it is computing and not waiting for a CPU that the 5 ms are spent on. */
static void compute(void)
{
	struct timespec now;
	uint64_t start_ns, now_ns;
	volatile unsigned work = 0;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	start_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	do {
		/* That clock is read in the kernel, and it is user space that is to compute. */
		for (int i = 0; i < 20000; i++)
			work++;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
		now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	} while (now_ns - start_ns < COMPUTE_NS);
}

static void block(void)
{
	struct timespec duration = {.tv_nsec = BLOCK_NS};

	while (nanosleep(&duration, &duration) < 0 && errno == EINTR)
		;
}

static struct route routes[] = {
	{.path = "/", .handler_name = "http.fast"},
	{.path = "/compute", .handler_name = "http.compute", .work = compute},
	{.path = "/blocking", .handler_name = "http.blocking", .work = block},
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

static struct route *find_route(const char *path, size_t length)
{
	for (size_t i = 0; i < ROUTES; i++)
		if (strlen(routes[i].path) == length && memcmp(routes[i].path, path, length) == 0)
			return &routes[i];
	return NULL;
}

static int answer(struct stint_stream *stream, const char *status, const char *body)
{
	char response[256];
	int length = snprintf(response, sizeof(response),
			      "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
			      status, strlen(body), body);

	return stint_stream_write(stream, response, (size_t)length);
}

static int serve_route(struct connection *connection, struct stint_stream *stream, struct route *route)
{
	struct stint_meter_loop *account = stint_loop_account(connection->server->loop);
	int error;

	stint_meter_begin(account, route->handler, stint_stream_descriptor(stream));
	if (route->work && ++route->served % connection->server->every == 0)
		route->work();
	error = answer(stream, "200 OK", "hello\n");
	stint_meter_end(account);
	return error;
}

/* `request` is one whole head, NUL-terminated at its end. Returns 0 to go on, or a negative errno to close. */
static int serve_request(struct connection *connection, struct stint_stream *stream, const char *request)
{
	const char *path = strchr(request, ' '), *end;
	struct route *route;

	if (!path || strncmp(request, "GET ", 4) != 0) {
		answer(stream, "405 Method Not Allowed", "GET only\n");
		return -EPROTO;
	}
	path++;
	end = path + strcspn(path, " ?\r");
	route = find_route(path, (size_t)(end - path));
	return route ? serve_route(connection, stream, route)
		     : answer(stream, "404 Not Found", "no such page\n");
}

/* Serves all whole requests that have come; a rest stays for the next read. */
static int serve_requests(struct connection *connection, struct stint_stream *stream)
{
	char *begin = connection->request, *end;
	int error = 0;

	connection->request[connection->bytes] = '\0';
	while (error == 0 && (end = strstr(begin, "\r\n\r\n"))) {
		*end = '\0';
		error = serve_request(connection, stream, begin);
		begin = end + 4;
	}
	connection->bytes -= (size_t)(begin - connection->request);
	memmove(connection->request, begin, connection->bytes);
	return error;
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct connection *connection = ctx;
	const char *from = data;

	while (bytes > 0) {
		size_t room = REQUEST_BYTES - 1 - connection->bytes;
		size_t part = bytes < room ? bytes : room;

		memcpy(connection->request + connection->bytes, from, part);
		connection->bytes += part;
		from += part;
		bytes -= part;
		/* A head that does not fit is no request of this server's. */
		if (part == 0 || serve_requests(connection, stream) < 0) {
			stint_stream_close(stream);
			return;
		}
	}
	/* A peer that asks and does not read its answers is read no more, or they would fill our memory. */
	if (stint_stream_full(stream))
		stint_stream_pause(stream);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	(void)ctx;
	stint_stream_resume(stream);
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	(void)stream;
	(void)error;
	free(ctx);
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read,
								.drained = on_drained,
								.closed = on_closed};
	static const struct stint_stream_options options = {.size = sizeof(options), .idle_ns = IDLE_NS};
	struct server *server = ctx;
	struct connection *connection = malloc(sizeof(*connection));
	struct stint_stream *stream;

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	if (connection) {
		connection->server = server;
		connection->bytes = 0;
	}
	if (!connection || stint_stream_new(&stream, server->loop, fd, &options, server->read_handler,
					    &callbacks, connection) < 0) {
		free(connection);
		close(fd);
	}
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	stint_loop_stop(ctx);
}

static void on_time(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	stint_loop_stop(ctx);
}

static int watch_end(struct stint_loop *loop, unsigned seconds)
{
	struct stint_timer *timer;
	struct stint_signal *signal;
	int error = stint_signal_new(&signal, loop, SIGTERM, 0, on_signal, loop);

	if (error == 0)
		error = stint_signal_new(&signal, loop, SIGINT, 0, on_signal, loop);
	if (error < 0)
		return error;
	if (!seconds)
		return 0;
	error = stint_timer_new(&timer, loop, 0, on_time, loop);
	return error < 0 ? error : stint_timer_start(timer, seconds * UINT64_C(1000000000), 0);
}

static int open_server(struct server *server, unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_listener *listener;
	int accept_handler, read_handler, error;

	accept_handler = stint_loop_handler(server->loop, "http.accept", 0);
	read_handler = stint_loop_handler(server->loop, "http.read", 0);
	if (accept_handler < 0 || read_handler < 0)
		return -EINVAL;
	server->read_handler = (uint32_t)read_handler;
	for (size_t i = 0; i < ROUTES; i++)
		routes[i].handler = (uint32_t)stint_loop_handler(server->loop, routes[i].handler_name, 0);
	error = stint_listener_new(&listener, server->loop, (struct sockaddr *)&address, sizeof(address),
				   NULL, (uint32_t)accept_handler, on_accept, server);
	if (error < 0)
		return error;
	printf("listening on 127.0.0.1:%d\n", stint_listener_port(listener));
	fflush(stdout);
	return 0;
}

static unsigned parse_number(const char *text, const char *what, unsigned limit)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text && !*end && value <= limit)
		return (unsigned)value;
	fprintf(stderr, "http_server: %s: not a number from 0 to %u: %s\n", what, limit, text);
	exit(2);
}

static int help(FILE *out)
{
	fputs("usage: http_server [--port N] [--seconds N] [--every N]\n"
	      "Serves /, /compute and /blocking on 127.0.0.1; any free port unless one is given. Every Nth request\n"
	      "(20) for one of the last two takes some milliseconds.\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"seconds", required_argument, NULL, 's'},
		{"every", required_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct server server = {.every = 20};
	unsigned port = 0, seconds = 0;
	int option, error;

	while ((option = getopt_long(argc, argv, "p:s:e:h", options, NULL)) != -1) {
		if (option == 'p')
			port = parse_number(optarg, "--port", 65535);
		else if (option == 's')
			seconds = parse_number(optarg, "--seconds", 86400);
		else if (option == 'e')
			server.every = parse_number(optarg, "--every", 1000000);
		else
			return help(option == 'h' ? stdout : stderr);
	}
	if (server.every == 0)
		server.every = 1;
	error = stint_meter_new(&server.meter, NULL);
	if (error == 0)
		error = stint_watchdog_start(&server.watchdog, server.meter, NULL);
	if (error == 0)
		error = stint_loop_new(&server.loop,
				       &(struct stint_loop_options){.size = sizeof(struct stint_loop_options),
								    .name = "http"});
	if (error == 0)
		error = watch_end(server.loop, seconds);
	if (error == 0)
		error = open_server(&server, port);
	if (error == 0)
		error = stint_loop_run(server.loop);
	if (error < 0)
		fprintf(stderr, "http_server: %s\n", strerror(-error));
	stint_loop_free(server.loop);
	stint_watchdog_stop(server.watchdog);
	stint_meter_free(server.meter);
	return error < 0;
}
