/* SPDX-License-Identifier: MIT */

/*
 * An echo server: what comes in goes back.
 *
 *	echo [--port N]
 *
 * Three things that a server of one's own needs are all here: a peer that sends but does not read is not
 * read from any more, once a megabyte of its own waits for it (back-pressure); a peer that has ended still
 * gets all that it has not read yet; and a peer that does nothing for a minute is disconnected.
 *
 * Prints the port it listens on, serves until SIGTERM or SIGINT, then says how much it did.
 */

#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

#define IDLE_NS UINT64_C(60000000000)

struct server {
	struct stint_loop *loop;
	uint32_t echo_handler;
	uint64_t connections, bytes, pauses;
};

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct server *server = ctx;

	server->bytes += bytes;
	stint_stream_write(stream, data, bytes);
	if (stint_stream_full(stream)) {
		server->pauses++;
		stint_stream_pause(stream);
	}
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	(void)ctx;
	stint_stream_resume(stream);
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read, .drained = on_drained};
	const struct stint_stream_options options = {.size = sizeof(options), .idle_ns = IDLE_NS};
	struct server *server = ctx;
	struct stint_stream *stream;

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	server->connections++;
	if (stint_stream_new(&stream, server->loop, fd, &options, server->echo_handler, &callbacks, server) <
	    0)
		close(fd);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	stint_loop_stop(ctx);
}

static int open_server(struct server *server, uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons(port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint32_t accept_handler = (uint32_t)stint_loop_handler(server->loop, "echo.accept", 0);
	struct stint_listener *listener;
	struct stint_signal *signal;
	int error;

	server->echo_handler = (uint32_t)stint_loop_handler(server->loop, "echo", 0);
	error = stint_signal_new(&signal, server->loop, SIGTERM, 0, on_signal, server->loop);
	if (error == 0)
		error = stint_signal_new(&signal, server->loop, SIGINT, 0, on_signal, server->loop);
	if (error == 0)
		error = stint_listener_new(&listener, server->loop, (const struct sockaddr *)&address,
					   sizeof(address), NULL, accept_handler, on_accept, server);
	if (error < 0)
		return error;
	printf("listening on 127.0.0.1:%d\n", stint_listener_port(listener));
	fflush(stdout);
	return 0;
}

static int help(FILE *out)
{
	fputs("usage: echo [--port N]\n"
	      "Sends back what it receives, on 127.0.0.1; any free port unless one is given.\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct server server = {0};
	unsigned long port = 0;
	char *end = NULL;
	int option, error;

	while ((option = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
		if (option != 'p')
			return help(option == 'h' ? stdout : stderr);
		port = strtoul(optarg, &end, 10);
		if (!*optarg || *end || port > 65535)
			return help(stderr);
	}
	error = stint_loop_new(&server.loop, NULL);
	if (error == 0)
		error = open_server(&server, (uint16_t)port);
	if (error == 0)
		error = stint_loop_run(server.loop);
	if (error < 0)
		fprintf(stderr, "echo: %s\n", strerror(-error));
	else
		printf("%llu connections, %llu bytes, %llu times held back\n",
		       (unsigned long long)server.connections, (unsigned long long)server.bytes,
		       (unsigned long long)server.pauses);
	stint_loop_free(server.loop);
	return error < 0;
}
