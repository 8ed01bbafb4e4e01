/* SPDX-License-Identifier: MIT */

/*
 * What a FIN is, and what it is not: each direction of a connection ends by itself.
 *
 *	half_close [--bytes N]
 *
 * A client sends a request and then its FIN: it will send no more. The server's kernel acknowledges the FIN
 * and reports a read event, of which a read returns 0. The server, the passive side, is free to go on
 * writing; it answers, then closes its own direction too. Only then is the connection over.
 *
 * Both ends live on one loop here, over a real TCP connection. Exits with 0 only if all of that happened, in
 * that order, and the whole answer arrived.
 */

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

#define REQUEST      "give me all\n"
#define LIMIT_NS     UINT64_C(20000000000)
#define BYTES_LIMIT  1000000000u
#define DEFAULT_SIZE 3000000u

struct scene {
	struct stint_loop *loop;
	struct stint_listener *listener;
	struct stint_timer *limit;
	struct stint_stream *client;
	uint32_t handler;
	size_t answer_bytes, received;
	uint64_t start_ns;
	bool server_saw_end, client_saw_end;
	int closed, error;
};

static void tell(const struct scene *scene, const char *who, const char *what)
{
	printf("%9.3f ms  %-7s %s\n", (double)(stint_loop_now_ns(scene->loop) - scene->start_ns) / 1e6, who,
	       what);
}

/* Whatever goes wrong, nothing is left on the loop, so that it ends. */
static void fail(struct scene *scene, int error)
{
	scene->error = error;
	stint_loop_stop(scene->loop);
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct scene *scene = ctx;

	tell(scene, stream == scene->client ? "client" : "server", "both directions have ended: closed");
	if (error < 0)
		fail(scene, error);
	if (++scene->closed == 2)
		scene->limit = stint_timer_free(scene->limit);
}

/* ---- the server ---- */

static void on_request(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)stream;
	(void)data;
	(void)bytes;
	tell(ctx, "server", "read event: the request");
}

/* The read that returned 0. The stream stays open for writing until this side ends it as well. */
static void on_request_end(struct stint_stream *stream, void *ctx)
{
	struct scene *scene = ctx;
	char *answer = calloc(1, scene->answer_bytes);

	scene->server_saw_end = true;
	tell(scene, "server", "read event: the client's FIN; it will send no more, but may read");
	if (!answer) {
		fail(scene, -ENOMEM);
		return;
	}
	stint_stream_write(stream, answer, scene->answer_bytes);
	free(answer);
	tell(scene, "server", "goes on writing: the answer");
	stint_stream_shutdown(stream);
	tell(scene, "server", "ends its direction, too: a FIN, once the answer is sent");
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_request,
								.end = on_request_end,
								.closed = on_closed};
	struct scene *scene = ctx;
	struct stint_stream *stream;
	int error = stint_stream_new(&stream, scene->loop, fd, NULL, scene->handler, &callbacks, scene);

	(void)peer;
	(void)peer_bytes;
	tell(scene, "server", "read event on the listener: a handshake is complete");
	scene->listener = stint_listener_free(listener);
	if (error < 0) {
		close(fd);
		fail(scene, error);
	}
}

/* ---- the client ---- */

static void on_answer(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct scene *scene = ctx;

	(void)stream;
	(void)data;
	if (scene->received == 0)
		tell(scene, "client", "read event: the answer begins, long after its own FIN");
	scene->received += bytes;
	if (scene->received == scene->answer_bytes)
		tell(scene, "client", "read event: the answer is complete");
}

static void on_answer_end(struct stint_stream *stream, void *ctx)
{
	struct scene *scene = ctx;

	(void)stream;
	scene->client_saw_end = true;
	tell(scene, "client", "read event: the server's FIN");
}

static void on_connect(int error, int fd, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_answer,
								.end = on_answer_end,
								.closed = on_closed};
	struct scene *scene = ctx;

	if (error == 0)
		error = stint_stream_new(&scene->client, scene->loop, fd, NULL, scene->handler, &callbacks,
					 scene);
	if (error < 0) {
		if (fd >= 0)
			close(fd);
		fail(scene, error);
		return;
	}
	tell(scene, "client", "write event on its socket: the handshake is complete");
	stint_stream_write(scene->client, REQUEST, strlen(REQUEST));
	stint_stream_shutdown(scene->client);
	tell(scene, "client", "sends the request, then its FIN: it will send no more");
}

static void on_limit(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	fail(ctx, -ETIMEDOUT);
}

static int open_scene(struct scene *scene)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_connect *connect;
	int error = stint_listener_new(&scene->listener, scene->loop, (struct sockaddr *)&address,
				       sizeof(address), NULL, scene->handler, on_accept, scene);

	if (error < 0)
		return error;
	address.sin_port = htons((uint16_t)stint_listener_port(scene->listener));
	error = stint_connect_new(&connect, scene->loop, (struct sockaddr *)&address, sizeof(address), 0,
				  scene->handler, on_connect, scene);
	if (error == 0)
		error = stint_timer_new(&scene->limit, scene->loop, scene->handler, on_limit, scene);
	if (error == 0)
		error = stint_timer_start(scene->limit, LIMIT_NS, 0);
	return error;
}

static int help(FILE *out)
{
	fputs("usage: half_close [--bytes N]\n"
	      "Shows, event by event, a connection whose client ends its direction first; N bytes of answer.\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"bytes", required_argument, NULL, 'b'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct scene scene = {.answer_bytes = DEFAULT_SIZE};
	int option, error;
	char *end;

	while ((option = getopt_long(argc, argv, "b:h", options, NULL)) != -1) {
		if (option != 'b')
			return help(option == 'h' ? stdout : stderr);
		scene.answer_bytes = strtoul(optarg, &end, 10);
		if (*end || scene.answer_bytes == 0 || scene.answer_bytes > BYTES_LIMIT)
			return help(stderr);
	}
	error = stint_loop_new(&scene.loop, NULL);
	if (error == 0) {
		scene.handler = (uint32_t)stint_loop_handler(scene.loop, "half_close", 0);
		scene.start_ns = stint_loop_now_ns(scene.loop);
		error = open_scene(&scene);
	}
	if (error == 0)
		error = stint_loop_run(scene.loop);
	if (error == 0)
		error = scene.error;
	stint_loop_free(scene.loop);
	if (error < 0)
		fprintf(stderr, "half_close: %s\n", strerror(-error));
	return error == 0 && scene.server_saw_end && scene.client_saw_end && scene.closed == 2 &&
			       scene.received == scene.answer_bytes
		       ? 0
		       : 1;
}
