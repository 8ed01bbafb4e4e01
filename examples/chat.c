/* SPDX-License-Identifier: MIT */

/*
 * A chat room: each line that one member sends goes to all others.
 *
 *	chat [--port N]        and then, in as many terminals as you like: nc 127.0.0.1 PORT
 *
 * Three things make a fan-out cheap and safe. A line is in memory once, whoever waits for it: streams send it
 * from there and say when they are done (stint_stream_write_reference). What one iteration brings for a member
 * goes to it in one send, however many lines that are (`coalesce`). And a member that reads slowly holds up
 * nobody: while its queue is above the high mark it gets no lines, and when the queue has drained it is told how
 * many it missed.
 */

#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 4096u
#define HIGH_BYTES 1048576u /* well beyond what one iteration brings: it counts until it is sent */

struct room {
	struct stint_loop *loop;
	uint32_t handler;
	struct member *members;
	uint64_t joined, lines, missed;
};

struct member {
	struct member *next, **from; /* the pointer that leads here */
	struct room *room;
	struct stint_stream *stream;
	unsigned number;
	uint64_t missed; /* since it was told */
	size_t bytes;
	char line[LINE_BYTES];
};

/* A line on its way to several members. */
struct message {
	unsigned references;
	char text[];
};

static void release(void *data, void *ctx)
{
	struct message *message = ctx;

	(void)data;
	if (--message->references == 0)
		free(message);
}

static void send_line(struct member *member, const char *line, size_t bytes)
{
	struct message *message = malloc(sizeof(*message) + bytes + 32);
	int length;

	if (!message)
		return;
	message->references = 1;
	length = snprintf(message->text, bytes + 32, "%u: %.*s\n", member->number, (int)bytes, line);
	member->room->lines++;
	for (struct member *to = member->room->members; to; to = to->next) {
		if (to == member)
			continue;
		if (stint_stream_full(to->stream)) {
			to->missed++;
			member->room->missed++;
			continue;
		}
		message->references++;
		stint_stream_write_reference(to->stream, message->text, (size_t)length, release, message);
	}
	release(NULL, message);
}

/* Takes a byte of a line; one that is too long is cut in two. */
static void take(struct member *member, char byte)
{
	if (byte != '\n')
		member->line[member->bytes++] = byte;
	if (byte != '\n' && member->bytes < LINE_BYTES)
		return;
	send_line(member, member->line, member->bytes);
	member->bytes = 0;
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	const char *from = data;

	(void)stream;
	for (size_t i = 0; i < bytes; i++)
		take(ctx, from[i]);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	struct member *member = ctx;
	char text[64];
	int length =
		snprintf(text, sizeof(text), "(you missed %llu lines)\n", (unsigned long long)member->missed);

	if (member->missed)
		stint_stream_write(stream, text, (size_t)length);
	member->missed = 0;
}

static void leave(struct member *member)
{
	*member->from = member->next;
	if (member->next)
		member->next->from = member->from;
	free(member);
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	(void)stream;
	(void)error;
	leave(ctx);
}

static void join(struct room *room, struct member *member)
{
	member->room = room;
	member->number = (unsigned)++room->joined;
	member->next = room->members;
	member->from = &room->members;
	if (member->next)
		member->next->from = &member->next;
	room->members = member;
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer,
		      socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read,
								.drained = on_drained,
								.closed = on_closed};
	const struct stint_stream_options options = {.size = sizeof(options),
						     .high_bytes = HIGH_BYTES,
						     .coalesce = true};
	struct member *member = calloc(1, sizeof(*member));
	struct room *room = ctx;

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	if (!member || stint_stream_new(&member->stream, room->loop, fd, &options, room->handler, &callbacks,
					member) < 0) {
		free(member);
		close(fd);
		return;
	}
	join(room, member);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	stint_loop_stop(ctx);
}

static int open_room(struct room *room, uint16_t port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons(port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_listener *listener;
	struct stint_signal *signal;
	int error;

	room->handler = (uint32_t)stint_loop_handler(room->loop, "chat", 0);
	error = stint_signal_new(&signal, room->loop, SIGTERM, 0, on_signal, room->loop);
	if (error == 0)
		error = stint_signal_new(&signal, room->loop, SIGINT, 0, on_signal, room->loop);
	if (error == 0)
		error = stint_listener_new(&listener, room->loop, (const struct sockaddr *)&address,
					   sizeof(address), NULL, room->handler, on_accept, room);
	if (error < 0)
		return error;
	printf("listening on 127.0.0.1:%d\n", stint_listener_port(listener));
	fflush(stdout);
	return 0;
}

static int help(FILE *out)
{
	fputs("usage: chat [--port N]\n"
	      "A chat room on 127.0.0.1; any free port unless one is given. Join by: nc 127.0.0.1 PORT\n",
	      out);
	return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct room room = {0};
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
	error = stint_loop_new(&room.loop, NULL);
	if (error == 0)
		error = open_room(&room, (uint16_t)port);
	if (error == 0)
		error = stint_loop_run(room.loop);
	if (error < 0)
		fprintf(stderr, "chat: %s\n", strerror(-error));
	else
		printf("%llu members, %llu lines, %llu not sent to slow readers\n",
		       (unsigned long long)room.joined, (unsigned long long)room.lines,
		       (unsigned long long)room.missed);
	stint_loop_free(room.loop); /* and with it every stream, which releases its lines */
	while (room.members)
		leave(room.members);
	return error < 0;
}
