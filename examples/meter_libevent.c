/* SPDX-License-Identifier: MIT */

/*
 * The meter on libevent: an echo server whose callbacks have names, for `stint` to show like those of its own loop.
 *
 *	meter_libevent [--port N]	cc meter_libevent.c $(pkg-config --cflags --libs libstint libevent_core)
 *
 * A line "slow" is computed on for 2 ms. Prints the port it listens on; SIGINT and SIGTERM end it.
 *
 * libevent 2.1 has no hooks around its poll (2.2 will, event2/watch.h). So the loop is run one poll at a time, and
 * the poll has ended when the first callback begins, which can ask how many are to follow: by that, waits are
 * known from there on, and who delayed whom.
 */

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/meter.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOW_NS 2000000u

static struct event_base *base;
static struct stint_meter_loop *account;
static uint32_t accept_handler, read_handler, tick_handler, signal_handler;
static int waiting; /* the poll is not known to have returned */
static int stop;

/* Every callback begins with this, and ends with stint_meter_end(). The one that calls counts as active no more. */
static void begin(uint32_t handler, int fd)
{
	if (waiting)
		stint_meter_poll_end(account,
				     1 + (uint32_t)event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE));
	waiting = 0;
	stint_meter_begin(account, handler, fd);
}

static void compute(uint64_t ns)
{
	uint64_t start_ns = stint_meter_now_ns(account);

	while (stint_meter_now_ns(account) - start_ns < ns)
		;
}

/* What the socket does not take at once is lost to this client: the example is about the meter. */
static void on_read(evutil_socket_t fd, short events, void *ctx)
{
	struct event **client = ctx;
	char data[4096];
	ssize_t bytes;

	(void)events;
	begin(read_handler, fd);
	bytes = recv(fd, data, sizeof(data), 0);
	if (bytes >= 4 && memcmp(data, "slow", 4) == 0)
		compute(SLOW_NS);
	if (bytes == 0 || (bytes < 0 && errno != EAGAIN) ||
	    (bytes > 0 && send(fd, data, (size_t)bytes, MSG_NOSIGNAL) != bytes)) {
		event_free(*client);
		free(client);
		close(fd);
	}
	stint_meter_end(account);
}

static void watch_client(int fd)
{
	struct event **client = malloc(sizeof(*client));

	if (client)
		*client = event_new(base, fd, EV_READ | EV_PERSIST, on_read, client);
	if (client && *client && event_add(*client, NULL) == 0)
		return;
	free(client);
	close(fd);
}

static void on_connection(evutil_socket_t listener, short events, void *ctx)
{
	int fd;

	(void)events, (void)ctx;
	begin(accept_handler, listener);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		watch_client(fd);
	stint_meter_end(account);
}

static void on_tick(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd, (void)events, (void)ctx;
	begin(tick_handler, -1);
	stint_meter_end(account);
}

static void on_signal(evutil_socket_t number, short events, void *ctx)
{
	(void)number, (void)events, (void)ctx;
	begin(signal_handler, -1);
	stop = 1;
	stint_meter_end(account);
}

static int open_meter(struct stint_meter **meter)
{
	int error = stint_meter_new(meter, NULL);

	if (error == 0)
		error = stint_meter_loop_new(&account, *meter, "libevent");
	if (error < 0)
		return error;
	accept_handler = (uint32_t)stint_meter_handler(*meter, "echo.accept", 0);
	read_handler = (uint32_t)stint_meter_handler(*meter, "echo.read", 0);
	tick_handler = (uint32_t)stint_meter_handler(*meter, "tick", 0);
	signal_handler = (uint32_t)stint_meter_handler(*meter, "signal", 0);
	return 0;
}

static int listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, SOMAXCONN) < 0 || getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static void run(void)
{
	while (!stop) {
		stint_meter_poll_begin(account);
		waiting = 1;
		if (event_base_loop(base, EVLOOP_ONCE) != 0)
			return;
		if (waiting) /* nothing was called back */
			stint_meter_poll_end(account, 0);
		waiting = 0;
	}
}

int main(int argc, char **argv)
{
	int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;
	const struct timeval period = {.tv_usec = 100000};
	struct event *listener, *tick, *interrupt, *terminate;
	struct stint_meter *meter = NULL;
	int error, fd;

	base = event_base_new();
	if ((argc != 1 && argc != 3) || !base) {
		fputs("usage: meter_libevent [--port N]\n", stderr);
		return 2;
	}
	error = open_meter(&meter);
	fd = error < 0 ? error : listen_on(port);
	if (fd < 0) {
		fprintf(stderr, "meter_libevent: %s\n", strerror(-fd));
		return 1;
	}
	listener = event_new(base, fd, EV_READ | EV_PERSIST, on_connection, NULL);
	tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
	interrupt = evsignal_new(base, SIGINT, on_signal, NULL);
	terminate = evsignal_new(base, SIGTERM, on_signal, NULL);
	if (listener && tick && interrupt && terminate && event_add(listener, NULL) == 0 &&
	    event_add(tick, &period) == 0 && event_add(interrupt, NULL) == 0 &&
	    event_add(terminate, NULL) == 0)
		run();
	stint_meter_loop_free(account);
	stint_meter_free(meter);
	return 0;
}
