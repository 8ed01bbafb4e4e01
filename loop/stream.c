/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

/* A stream is made, and told what to do; how it ends is in stream_end.c. */

#define HIGH_DEFAULT 1048576u
#define CLOSE_NS     10000000000u

/* Whether it can be a stream, and whether on a socket, or which end of a pipe. */
static int check_kind(int fd, bool *ret_pipe, bool *ret_reads)
{
	int type = 0;
	socklen_t bytes = sizeof(type);

	*ret_pipe = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0;
	if (!*ret_pipe)
		return type == SOCK_STREAM ? 0 : -EPROTOTYPE;
	return errno == ENOTSOCK ? stream_pipe_check(fd, ret_reads) : -errno;
}

static int configure(struct stint_stream *stream, int fd, const struct stint_stream_options *options)
{
	int lowat = options->notsent_lowat_bytes > INT32_MAX ? INT32_MAX : (int)options->notsent_lowat_bytes;

	stream->high_bytes = options->high_bytes ? options->high_bytes : HIGH_DEFAULT;
	stream->low_bytes = options->low_bytes ? options->low_bytes : stream->high_bytes / 4;
	stream->idle_ns = options->idle_ns;
	stream->read_ns = options->read_ns;
	stream->coalesce = options->coalesce;
	stream->write_ns = options->write_ns;
	stream->expecting = true;
	stream->close_ns = options->close_ns ? options->close_ns : CLOSE_NS;
	if (stream->low_bytes > stream->high_bytes)
		return -EINVAL;
	if (lowat && setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) < 0)
		return -errno;
	return 0;
}

/* That others than TCP refuse it is as well. Last of all, as on failure the socket stays the caller's, as it was. */
static void set_nodelay(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
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

static void on_deferral(struct deferral *deferral)
{
	struct stint_stream *stream =
		(struct stint_stream *)((char *)deferral - offsetof(struct stint_stream, deferral));

	if (stream->finished)
		stream_tell_closed(stream);
	else
		stream_send_held(stream);
}

void stream_enter_loop(struct stint_stream *stream, struct stint_loop *loop)
{
	deferral_init(&stream->deferral, stream->handler, on_deferral);
	loop_add_object(loop, &stream->object, stream_destroy);
}

int stint_stream_new(struct stint_stream **ret, struct stint_loop *loop, int fd,
		     const struct stint_stream_options *given, uint32_t handler,
		     const struct stint_stream_callbacks *callbacks, void *ctx)
{
	struct stint_stream_options options;
	struct stint_stream *stream;
	bool pipe, reads;
	int error;

	if (!ret || !loop || loop->dead || !callbacks || !callbacks->read ||
	    !loop_handler_valid(loop, handler) || options_take(&options, sizeof(options), given) < 0)
		return -EINVAL;
	error = check_kind(fd, &pipe, &reads);
	if (error < 0)
		return error;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	stream->callbacks = *callbacks;
	stream->ctx = ctx;
	stream->handler = (uint16_t)handler;
	stream->gone_bytes = INT64_MIN;
	if (pipe)
		stream_pipe_begin(stream, reads);
	stream_enter_loop(stream, loop);
	error = configure(stream, fd, &options);
	if (error == 0)
		error = stream_open_parts(stream, fd);
	if (error < 0) {
		stint_stream_free(stream);
		return error;
	}
	stint_fd_own(stream->source, true);
	if (pipe)
		stream_update_events(stream); /* its writing end is not read */
	else if (!options.leave_nodelay)
		set_nodelay(fd);
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
