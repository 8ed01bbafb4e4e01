/* SPDX-License-Identifier: MIT */

/*
 * The meter on libev: an echo server whose callbacks have names, for `stint` to show like those of its own loop.
 *
 *	meter_libev [--port N]		cc meter_libev.c $(pkg-config --cflags --libs libstint) -lev
 *
 * A line "slow" is computed on for 2 ms. Prints the port it listens on; SIGINT and SIGTERM end it.
 *
 * A check watcher of the highest priority is called as the poll has returned, before all others, and
 * ev_pending_count() tells it how many those are: so waits, and who delayed whom, are known.
 */

#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/meter.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SLOW_NS 2000000u

static struct stint_meter_loop *account;
static uint32_t accept_handler, read_handler, tick_handler, signal_handler;

static void before_poll(struct ev_loop *loop, ev_prepare *watcher, int events)
{
	(void)loop, (void)watcher, (void)events;
	stint_meter_poll_begin(account);
}

static void after_poll(struct ev_loop *loop, ev_check *watcher, int events)
{
	(void)watcher, (void)events;
	stint_meter_poll_end(account, ev_pending_count(loop));
}

static void compute(uint64_t ns)
{
	uint64_t start_ns = stint_meter_now_ns(account);

	while (stint_meter_now_ns(account) - start_ns < ns)
		;
}

/* What the socket does not take at once is lost to this client: the example is about the meter. */
static void on_read(struct ev_loop *loop, ev_io *watcher, int events)
{
	char data[4096];
	ssize_t bytes;

	(void)events;
	stint_meter_begin(account, read_handler, watcher->fd);
	bytes = recv(watcher->fd, data, sizeof(data), 0);
	if (bytes >= 4 && memcmp(data, "slow", 4) == 0)
		compute(SLOW_NS);
	if (bytes == 0 || (bytes < 0 && errno != EAGAIN) ||
	    (bytes > 0 && send(watcher->fd, data, (size_t)bytes, MSG_NOSIGNAL) != bytes)) {
		ev_io_stop(loop, watcher);
		close(watcher->fd);
		free(watcher);
	}
	stint_meter_end(account);
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
	ev_io *client;
	int fd;

	(void)events;
	stint_meter_begin(account, accept_handler, watcher->fd);
	fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	client = fd < 0 ? NULL : malloc(sizeof(*client));
	if (client) {
		ev_io_init(client, on_read, fd, EV_READ);
		ev_io_start(loop, client);
	} else if (fd >= 0) {
		close(fd);
	}
	stint_meter_end(account);
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
	(void)loop, (void)watcher, (void)events;
	stint_meter_begin(account, tick_handler, -1);
	stint_meter_end(account);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
	(void)watcher, (void)events;
	stint_meter_begin(account, signal_handler, -1);
	ev_break(loop, EVBREAK_ALL);
	stint_meter_end(account);
}

/* Hooks around the poll; they alone do not keep the loop running. */
static void hook(struct ev_loop *loop, ev_prepare *prepare, ev_check *check)
{
	ev_prepare_init(prepare, before_poll);
	ev_prepare_start(loop, prepare);
	ev_check_init(check, after_poll);
	ev_set_priority(check, EV_MAXPRI);
	ev_check_start(loop, check);
	ev_unref(loop);
	ev_unref(loop);
}

static int open_meter(struct stint_meter **meter)
{
	int error = stint_meter_new(meter, NULL);

	if (error == 0)
		error = stint_meter_loop_new(&account, *meter, "libev");
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

int main(int argc, char **argv)
{
	int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;
	struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
	struct stint_meter *meter = NULL;
	ev_signal interrupt, terminate;
	ev_prepare prepare;
	ev_timer timer;
	ev_check check;
	ev_io listener;
	int error, fd;

	if ((argc != 1 && argc != 3) || !loop) {
		fputs("usage: meter_libev [--port N]\n", stderr);
		return 2;
	}
	error = open_meter(&meter);
	fd = error < 0 ? error : listen_on(port);
	if (fd < 0) {
		fprintf(stderr, "meter_libev: %s\n", strerror(-fd));
		return 1;
	}
	hook(loop, &prepare, &check);
	ev_io_init(&listener, on_connection, fd, EV_READ);
	ev_io_start(loop, &listener);
	ev_timer_init(&timer, on_tick, 0.1, 0.1);
	ev_timer_start(loop, &timer);
	ev_signal_init(&interrupt, on_signal, SIGINT);
	ev_signal_start(loop, &interrupt);
	ev_signal_init(&terminate, on_signal, SIGTERM);
	ev_signal_start(loop, &terminate);
	ev_run(loop, 0);
	close(fd);
	stint_meter_loop_free(account);
	stint_meter_free(meter);
	return 0;
}
