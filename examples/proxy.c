/* SPDX-License-Identifier: MIT */

/*
 * A TCP proxy whose memory is bounded, however slow one side is.
 *
 *	proxy --to HOST:PORT [--port N]
 *
 * What comes in on one side is written to the other. When the other side's queue is above its high mark,
 * this side is not read any more, so that its peer is held back by TCP itself; when the queue is down to the
 * low mark, reading goes on. So a pair of connections never queues more than two high marks and a read each.
 *
 * An end of one side is passed on to the other as just that (half-close): the other direction goes on. An
 * error of one side resets the other: what has not gone out by then is dropped, and nobody takes what came for the whole.
 *
 * The upstream is connected to by name, without blocking: IPv6 and IPv4 side by side. Until that is done, the
 * client's data waits in the kernel.
 */

#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

#define HIGH_BYTES 262144u

struct proxy {
	struct stint_loop *loop;
	struct pair *pairs;
	const char *host;
	uint16_t port;
	uint32_t connect_handler, side_handler[2];
	uint64_t connections, failures, bytes[2], most_queued;
};

/* The client is side 0, the upstream side 1. */
struct side {
	struct stint_stream *stream; /* NULL: it is over */
	struct pair *pair;
	int number;
};

struct pair {
	struct pair *next, **from; /* the pointer that leads here */
	struct proxy *proxy;
	int client_fd; /* until there is an upstream */
	struct side side[2];
};

static void join(struct proxy *proxy, struct pair *pair)
{
	pair->next = proxy->pairs;
	pair->from = &proxy->pairs;
	if (pair->next)
		pair->next->from = &pair->next;
	proxy->pairs = pair;
}

static void leave(struct pair *pair)
{
	*pair->from = pair->next;
	if (pair->next)
		pair->next->from = pair->from;
	free(pair);
}

static struct side *other_of(struct side *side)
{
	return &side->pair->side[!side->number];
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct side *side = ctx, *other = other_of(side);
	struct proxy *proxy = side->pair->proxy;

	proxy->bytes[side->number] += bytes;
	stint_stream_write(other->stream, data, bytes);
	if (stint_stream_queued_bytes(other->stream) > proxy->most_queued)
		proxy->most_queued = stint_stream_queued_bytes(other->stream);
	if (stint_stream_full(other->stream))
		stint_stream_pause(stream);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	(void)stream;
	stint_stream_resume(other_of(ctx)->stream);
}

static void on_end(struct stint_stream *stream, void *ctx)
{
	(void)stream;
	stint_stream_shutdown(other_of(ctx)->stream);
}

/* After an error nothing of the other side's can be delivered; its `closed` comes next. */
static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct side *side = ctx, *other = other_of(side);
	struct pair *pair = side->pair;

	(void)stream;
	side->stream = NULL;
	if (error < 0 && other->stream)
		stint_stream_reset(other->stream);
	if (!other->stream)
		leave(pair);
}

static int open_side(struct pair *pair, int number, int fd)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read,
								.end = on_end,
								.drained = on_drained,
								.closed = on_closed};
	const struct stint_stream_options options = {.size = sizeof(options), .high_bytes = HIGH_BYTES};
	struct side *side = &pair->side[number];

	*side = (struct side){.pair = pair, .number = number};
	return stint_stream_new(&side->stream, pair->proxy->loop, fd, &options,
				pair->proxy->side_handler[number], &callbacks, side);
}

static void on_connected(const struct stint_connect_name_result *result, void *ctx)
{
	struct pair *pair = ctx;
	int error = result->error;

	if (error == 0)
		error = open_side(pair, 1, result->fd);
	if (error < 0 && result->fd >= 0)
		close(result->fd);
	if (error == 0)
		error = open_side(pair, 0, pair->client_fd);
	if (error == 0)
		return;
	fprintf(stderr, "proxy: %s: %s\n", pair->proxy->host, stint_connect_name_error(error));
	pair->proxy->failures++;
	stint_stream_free(pair->side[1].stream);
	close(pair->client_fd);
	leave(pair);
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	struct proxy *proxy = ctx;
	struct pair *pair = calloc(1, sizeof(*pair));
	struct stint_connect_name *connect;

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	proxy->connections++;
	if (pair) {
		pair->proxy = proxy;
		pair->client_fd = fd;
	}
	if (!pair || stint_connect_name_new(&connect, proxy->loop, proxy->host, proxy->port, NULL,
					    proxy->connect_handler, on_connected, pair) < 0) {
		proxy->failures++;
		free(pair);
		close(fd);
		return;
	}
	join(proxy, pair);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	stint_loop_stop(ctx);
}

static int open_proxy(struct proxy *proxy, uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons(port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_listener *listener;
	struct stint_signal *signal;
	int error;

	proxy->connect_handler = (uint32_t)stint_loop_handler(proxy->loop, "proxy.connect", 0);
	proxy->side_handler[0] = (uint32_t)stint_loop_handler(proxy->loop, "proxy.client", 0);
	proxy->side_handler[1] = (uint32_t)stint_loop_handler(proxy->loop, "proxy.upstream", 0);
	error = stint_signal_new(&signal, proxy->loop, SIGTERM, 0, on_signal, proxy->loop);
	if (error == 0)
		error = stint_signal_new(&signal, proxy->loop, SIGINT, 0, on_signal, proxy->loop);
	if (error == 0)
		error = stint_listener_new(&listener, proxy->loop, (const struct sockaddr *)&address,
					   sizeof(address), NULL, proxy->connect_handler, on_accept, proxy);
	if (error < 0)
		return error;
	printf("listening on 127.0.0.1:%d\n", stint_listener_port(listener));
	fflush(stdout);
	return 0;
}

static int help(FILE *out)
{
	fputs("usage: proxy --to HOST:PORT [--port N]\n"
	      "Passes TCP connections on from 127.0.0.1; any free port unless one is given.\n",
	      out);
	return out == stdout ? 0 : 2;
}

/* A port from `least` to 65535, or -1. */
static long parse_port(const char *text, long least)
{
	char *end;
	long port = strtol(text, &end, 10);

	return *text && !*end && port >= least && port <= 65535 ? port : -1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"to", required_argument, NULL, 't'},
						{"port", required_argument, NULL, 'p'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct proxy proxy = {0};
	long port = 0, to_port = -1;
	char *colon;
	int option, error;

	while ((option = getopt_long(argc, argv, "t:p:h", options, NULL)) != -1) {
		if (option != 't' && option != 'p')
			return help(option == 'h' ? stdout : stderr);
		if (option == 'p')
			port = parse_port(optarg, 0);
		if (option == 't' && (colon = strrchr(optarg, ':'))) {
			*colon = '\0';
			proxy.host = optarg;
			to_port = parse_port(colon + 1, 1);
		}
	}
	if (port < 0 || to_port < 0)
		return help(stderr);
	proxy.port = (uint16_t)to_port;
	error = stint_loop_new(&proxy.loop, NULL);
	if (error == 0)
		error = open_proxy(&proxy, (uint16_t)port);
	if (error == 0)
		error = stint_loop_run(proxy.loop);
	if (error < 0)
		fprintf(stderr, "proxy: %s\n", strerror(-error));
	else
		printf("%llu connections, %llu failed; %llu bytes to the upstream, %llu back; at most %llu queued\n",
		       (unsigned long long)proxy.connections, (unsigned long long)proxy.failures,
		       (unsigned long long)proxy.bytes[0], (unsigned long long)proxy.bytes[1],
		       (unsigned long long)proxy.most_queued);
	stint_loop_free(proxy.loop); /* and with it every stream, without a call of `closed` */
	while (proxy.pairs)
		leave(proxy.pairs);
	return error < 0;
}
