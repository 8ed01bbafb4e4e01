/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The life of a stream: made, shut down, closed, freed. */

#define HIGH_DEFAULT 1048576u
#define CLOSE_NS     10000000000u

/*
 * With data in the queue the peer was promised more: a reset tells it that there is none, where an end would pass for
 * the whole. In a child of the process that has the connection, the socket is not ours to change.
 */
static void reset_if_cut_short(const struct stint_stream *stream)
{
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	if (stream->queue.bytes && !loop_is_foreign(stream->object.loop))
		(void)setsockopt(stint_fd_descriptor(stream->source), SOL_SOCKET, SO_LINGER, &at_once,
				 sizeof(at_once));
}

static void close_descriptor(struct stint_stream *stream)
{
	if (!stream->source)
		return;
	if (stream->trace)
		stint_socket_trace_end(stream->trace);
	reset_if_cut_short(stream);
	stream->source = stint_fd_free(stream->source);
}

static void destroy(struct object *object)
{
	struct stint_stream *stream = (struct stint_stream *)object;

	if (stream->freed)
		return;
	stream->freed = true;
	close_descriptor(stream);
	stint_timer_free(stream->timer);
	deferral_cancel(object->loop, &stream->deferral);
	write_queue_clear(&stream->queue);
	loop_bury(object);
}

struct stint_stream *stint_stream_free(struct stint_stream *stream)
{
	if (stream && !stream->freed)
		destroy(&stream->object);
	return NULL;
}

/* It is over; `closed` comes from the loop. The descriptor goes quiet at once. */
void stream_finish(struct stint_stream *stream, int error)
{
	if (stream->finished || stream->freed)
		return;
	stream->finished = true;
	stream->error = error;
	close_descriptor(stream);
	write_queue_clear(&stream->queue);
	deferral_schedule(stream->object.loop, &stream->deferral);
}

static void on_finished(struct deferral *deferral)
{
	struct stint_stream *stream =
		(struct stint_stream *)((char *)deferral - offsetof(struct stint_stream, deferral));

	if (stream->callbacks.closed)
		stream->callbacks.closed(stream, stream->error, stream->ctx);
	if (!stream->freed)
		destroy(&stream->object);
}

/* Asks for the events that the state calls for. */
void stream_update_events(struct stint_stream *stream)
{
	if (!stream->source)
		return;
	if (stream_reading(stream))
		fd_set_edge(stream->source, false);
	stint_fd_set_events(stream->source, (stream_reading(stream) ? STINT_READ : 0) |
						    (stream->queue.bytes ? STINT_WRITE : 0));
}

/* A connection that the peer has reset is not connected any more, which the event has yet to tell. */
static int send_fin(const struct stint_stream *stream)
{
	int fd = stint_fd_descriptor(stream->source), error = 0;
	socklen_t bytes = sizeof(error);

	if (shutdown(fd, SHUT_WR) == 0)
		return 0;
	if (errno != ENOTCONN)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0 || error == 0)
		return -ECONNRESET;
	return -error;
}

/* Sends the FIN once nothing is queued; ends the stream once both directions have ended. */
void stream_advance_shutdown(struct stint_stream *stream)
{
	if (stream->finished || stream->freed)
		return;
	if (stream->shutting && !stream->shut && stream->queue.bytes == 0) {
		int error = send_fin(stream);

		stream->shut = true;
		if (error < 0) {
			stream_finish(stream, error);
			return;
		}
	}
	if (stream->shut && stream->ended)
		stream_finish(stream, 0);
}

static int check_socket(int fd)
{
	int type = 0;
	socklen_t bytes = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0)
		return -errno;
	return type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

static int configure(struct stint_stream *stream, int fd, const struct stint_stream_options *options)
{
	int lowat = options->notsent_lowat_bytes > INT32_MAX ? INT32_MAX : (int)options->notsent_lowat_bytes;

	stream->high_bytes = options->high_bytes ? options->high_bytes : HIGH_DEFAULT;
	stream->low_bytes = options->low_bytes ? options->low_bytes : stream->high_bytes / 4;
	stream->idle_ns = options->idle_ns;
	stream->read_ns = options->read_ns;
	stream->write_ns = options->write_ns;
	stream->expecting = true;
	stream->close_ns = options->close_ns ? options->close_ns : CLOSE_NS;
	if (stream->low_bytes > stream->high_bytes)
		return -EINVAL;
	if (lowat && setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) < 0)
		return -errno;
	return 0;
}

static int need_read_buffer(struct stint_loop *loop)
{
	if (!loop->read_buffer)
		loop->read_buffer = malloc(STREAM_READ_BYTES);
	return loop->read_buffer ? 0 : -ENOMEM;
}

int stream_open_parts(struct stint_stream *stream, int fd)
{
	struct stint_loop *loop = stream->object.loop;
	int error = need_read_buffer(loop);

	stream->read_at_ns = stream->sent_at_ns = stint_loop_now_ns(loop);
	if (error == 0 && (stream->idle_ns || stream->read_ns || stream->write_ns || stream->closing))
		error = stream_need_timer(stream);
	if (error == 0 && stream->timer)
		error = stream_watch_limits(stream);
	if (error == 0)
		error = stint_fd_new(&stream->source, loop, fd, STINT_READ, stream->handler, stream_on_ready,
				     stream);
	return error;
}

int stint_stream_new(struct stint_stream **ret, struct stint_loop *loop, int fd,
		     const struct stint_stream_options *given, uint32_t handler,
		     const struct stint_stream_callbacks *callbacks, void *ctx)
{
	struct stint_stream_options options;
	struct stint_stream *stream;
	int error;

	if (!ret || !loop || loop->dead || !callbacks || !callbacks->read ||
	    !loop_handler_valid(loop, handler) || options_take(&options, sizeof(options), given) < 0)
		return -EINVAL;
	error = check_socket(fd);
	if (error < 0)
		return error;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	stream->callbacks = *callbacks;
	stream->ctx = ctx;
	stream->handler = (uint16_t)handler;
	stream->gone_bytes = INT64_MIN;
	deferral_init(&stream->deferral, handler, on_finished);
	loop_add_object(loop, &stream->object, destroy);
	error = configure(stream, fd, &options);
	if (error == 0)
		error = stream_open_parts(stream, fd);
	if (error < 0) {
		destroy(&stream->object);
		return error;
	}
	stint_fd_own(stream->source, true);
	*ret = stream;
	return 0;
}

uint64_t stint_stream_queued_bytes(const struct stint_stream *stream)
{
	return stream && !stream->freed ? stream->queue.bytes : 0;
}

bool stint_stream_full(const struct stint_stream *stream)
{
	return stream && !stream->freed && stream->full;
}

static int set_paused(struct stint_stream *stream, bool paused)
{
	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->paused && !paused)
		stream->expect_at_ns = stint_loop_now_ns(stream->object.loop);
	stream->paused = paused;
	stream_update_events(stream);
	return 0;
}

int stint_stream_pause(struct stint_stream *stream)
{
	return set_paused(stream, true);
}

int stint_stream_resume(struct stint_stream *stream)
{
	return set_paused(stream, false);
}

int stint_stream_expect(struct stint_stream *stream, bool expecting)
{
	if (!stream || stream->freed)
		return -EINVAL;
	if (expecting && !stream->expecting)
		stream->expect_at_ns = stint_loop_now_ns(stream->object.loop);
	stream->expecting = expecting;
	return 0;
}

int stint_stream_shutdown(struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->shutting = true;
	stream_advance_shutdown(stream);
	return 0;
}

int stint_stream_close(struct stint_stream *stream)
{
	int error;

	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->closing || stream->finished)
		return 0;
	error = stream_need_timer(stream);
	if (error < 0)
		return error;
	stream->closing = true;
	stream->closing_at_ns = stint_loop_now_ns(stream->object.loop);
	error = stream_watch_limits(stream);
	if (error < 0)
		return error;
	stream_update_events(stream);
	return stint_stream_shutdown(stream);
}

int stint_stream_set_handler(struct stint_stream *stream, uint32_t handler)
{
	if (!stream || stream->freed || !loop_handler_valid(stream->object.loop, handler))
		return -EINVAL;
	stream->handler = stream->deferral.handler = (uint16_t)handler;
	return stream->source ? stint_fd_set_handler(stream->source, handler) : 0;
}

int stint_stream_descriptor(const struct stint_stream *stream)
{
	return stream && !stream->freed ? stint_fd_descriptor(stream->source) : -EINVAL;
}

struct stint_loop *stint_stream_loop(const struct stint_stream *stream)
{
	return stream ? stream->object.loop : NULL;
}

void *stint_stream_ctx(const struct stint_stream *stream)
{
	return stream ? stream->ctx : NULL;
}

int stint_stream_set_ctx(struct stint_stream *stream, void *ctx)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->ctx = ctx;
	return 0;
}

int stint_stream_set_watermarks(struct stint_stream *stream, uint64_t high_bytes, uint64_t low_bytes)
{
	uint64_t bytes;

	if (!stream || stream->freed || low_bytes > high_bytes)
		return -EINVAL;
	bytes = stream->queue.bytes;
	stream->high_bytes = high_bytes;
	stream->low_bytes = low_bytes;
	stream->full = bytes > high_bytes || (stream->full && bytes > low_bytes);
	return 0;
}

int stint_stream_set_limits(struct stint_stream *stream, uint64_t idle_ns, uint64_t read_ns,
			    uint64_t write_ns)
{
	int error;

	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->finished)
		return -EPIPE;
	error = idle_ns || read_ns || write_ns ? stream_need_timer(stream) : 0;
	if (error < 0)
		return error;
	stream->idle_ns = idle_ns;
	stream->read_ns = read_ns;
	stream->write_ns = write_ns;
	return stream->timer ? stream_watch_limits(stream) : 0;
}

int stint_stream_set_trace(struct stint_stream *stream, struct stint_socket_trace *trace)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->trace = trace;
	return 0;
}
