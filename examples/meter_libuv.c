/* SPDX-License-Identifier: MIT */

/*
 * The meter on libuv: an echo server whose callbacks have names, for `stint` to show like those of its own loop.
 *
 *	meter_libuv [--port N]		cc meter_libuv.c $(pkg-config --cflags --libs libstint libuv)
 *
 * A line "slow" is computed on for 2 ms. Prints the port it listens on; SIGINT and SIGTERM end it.
 *
 * libuv runs the callbacks of descriptors inside of its poll, between prepare and check, so a check handle comes too
 * late to say when the poll returned: the first callback says it. How many more events that poll returned libuv
 * does not tell, so who delayed whom is not known here, nor how long the batches were.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/meter.h>
#include <string.h>
#include <uv.h>

#define SLOW_NS 2000000u

struct connection {
	uv_tcp_t socket;
	uv_write_t reply;
	char data[4096];
};

static struct stint_meter_loop *account;
static uint32_t accept_handler, read_handler, tick_handler, signal_handler;
static int waiting; /* between prepare and the first callback */

static void end_of_poll(void)
{
	if (waiting)
		stint_meter_poll_end(account, STINT_METER_EVENTS_UNKNOWN);
	waiting = 0;
}

/* Every callback begins with this, and ends with stint_meter_end(). */
static void begin(uint32_t handler, int fd)
{
	end_of_poll();
	stint_meter_begin(account, handler, fd);
}

static void before_poll(uv_prepare_t *handle)
{
	(void)handle;
	stint_meter_poll_begin(account);
	waiting = 1;
}

static void after_poll(uv_check_t *handle)
{
	(void)handle;
	end_of_poll();
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void make_room(uv_handle_t *handle, size_t wanted, uv_buf_t *room)
{
	struct connection *connection = handle->data;

	(void)wanted;
	*room = uv_buf_init(connection->data, sizeof(connection->data));
}

static void compute(uint64_t ns)
{
	for (uint64_t start_ns = uv_hrtime(); uv_hrtime() - start_ns < ns;)
		;
}

static void on_written(uv_write_t *reply, int status);

static void on_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *data)
{
	struct connection *connection = stream->data;
	uv_buf_t part = uv_buf_init(connection->data, bytes > 0 ? (unsigned)bytes : 0);
	uv_os_fd_t fd = -1;

	(void)data;
	if (bytes == 0)
		return;
	uv_fileno((uv_handle_t *)stream, &fd);
	begin(read_handler, fd);
	if (bytes >= 4 && memcmp(connection->data, "slow", 4) == 0)
		compute(SLOW_NS);
	/* One buffer a connection: no more is read before this has gone. */
	uv_read_stop(stream);
	if (bytes < 0 || uv_write(&connection->reply, stream, &part, 1, on_written) < 0)
		uv_close((uv_handle_t *)stream, on_closed);
	stint_meter_end(account);
}

static void on_written(uv_write_t *reply, int status)
{
	uv_stream_t *stream = reply->handle;

	if (uv_is_closing((uv_handle_t *)stream))
		return;
	if (status < 0 || uv_read_start(stream, make_room, on_read) < 0)
		uv_close((uv_handle_t *)stream, on_closed);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct connection *connection;

	if (status < 0)
		return;
	begin(accept_handler, -1);
	connection = malloc(sizeof(*connection));
	if (connection) {
		uv_tcp_init(listener->loop, &connection->socket);
		connection->socket.data = connection;
		if (uv_accept(listener, (uv_stream_t *)&connection->socket) < 0 ||
		    uv_read_start((uv_stream_t *)&connection->socket, make_room, on_read) < 0)
			uv_close((uv_handle_t *)&connection->socket, on_closed);
	}
	stint_meter_end(account);
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
	begin(tick_handler, -1);
	stint_meter_end(account);
}

static void on_signal(uv_signal_t *handle, int number)
{
	(void)number;
	begin(signal_handler, -1);
	uv_stop(handle->loop);
	stint_meter_end(account);
}

/* Hooks around the poll; they alone do not keep the loop running. */
static void hook(uv_loop_t *loop, uv_prepare_t *prepare, uv_check_t *check)
{
	uv_prepare_init(loop, prepare);
	uv_check_init(loop, check);
	uv_prepare_start(prepare, before_poll);
	uv_check_start(check, after_poll);
	uv_unref((uv_handle_t *)prepare);
	uv_unref((uv_handle_t *)check);
}

static int open_meter(struct stint_meter **meter)
{
	int error = stint_meter_new(meter, NULL);

	if (error == 0)
		error = stint_meter_loop_new(&account, *meter, "libuv");
	if (error < 0)
		return error;
	accept_handler = (uint32_t)stint_meter_handler(*meter, "echo.accept", 0);
	read_handler = (uint32_t)stint_meter_handler(*meter, "echo.read", 0);
	tick_handler = (uint32_t)stint_meter_handler(*meter, "tick", 0);
	signal_handler = (uint32_t)stint_meter_handler(*meter, "signal", 0);
	return 0;
}

static int listen_on(uv_loop_t *loop, uv_tcp_t *listener, int port)
{
	struct sockaddr_storage bound;
	struct sockaddr_in address;
	int error, length = sizeof(bound);

	uv_ip4_addr("127.0.0.1", port, &address);
	uv_tcp_init(loop, listener);
	error = uv_tcp_bind(listener, (const struct sockaddr *)&address, 0);
	if (error == 0)
		error = uv_listen((uv_stream_t *)listener, SOMAXCONN, on_connection);
	if (error == 0)
		error = uv_tcp_getsockname(listener, (struct sockaddr *)&bound, &length);
	if (error < 0)
		return error;
	memcpy(&address, &bound, sizeof(address));
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;
	uv_loop_t *loop = uv_default_loop();
	struct stint_meter *meter = NULL;
	uv_signal_t interrupt, terminate;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_tcp_t listener;
	uv_timer_t timer;
	int error;

	if (argc != 1 && argc != 3) {
		fputs("usage: meter_libuv [--port N]\n", stderr);
		return 2;
	}
	error = open_meter(&meter);
	if (error == 0)
		error = listen_on(loop, &listener, port);
	if (error < 0) {
		fprintf(stderr, "meter_libuv: %s\n", strerror(-error));
		return 1;
	}
	hook(loop, &prepare, &check);
	uv_timer_init(loop, &timer);
	uv_timer_start(&timer, on_tick, 100, 100);
	uv_signal_init(loop, &interrupt);
	uv_signal_init(loop, &terminate);
	uv_signal_start(&interrupt, on_signal, SIGINT);
	uv_signal_start(&terminate, on_signal, SIGTERM);
	uv_run(loop, UV_RUN_DEFAULT);
	stint_meter_loop_free(account);
	stint_meter_free(meter);
	return 0;
}
