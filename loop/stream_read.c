/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reading: once a dispatch, so that one fast peer does not hold up the others; the poll reports what is left. */

static void on_end(struct stint_stream *stream)
{
	stream->ended = true;
	stream_update_events(stream);
	if (!stream->closing && !stream->end_told) {
		stream->end_told = true;
		if (stream->callbacks.end)
			stream->callbacks.end(stream, stream->ctx);
		else
			stint_stream_close(stream);
	}
	stream_advance_shutdown(stream);
}

static ssize_t take(const struct stint_stream *stream, void *buffer, size_t most)
{
	if (__builtin_expect(stream->pipe, false))
		return read(stream->source->fd, buffer, most);
	return recv(stream->source->fd, buffer, most, MSG_DONTWAIT);
}

static void receive(struct stint_stream *stream)
{
	struct stint_loop *loop = stream->object.loop;
	const bool has_failed = stream->unread_bytes; /* the callback may fail the stream */
	size_t most = has_failed && stream->unread_bytes < STREAM_READ_BYTES ? stream->unread_bytes
									     : STREAM_READ_BYTES;
	ssize_t bytes = take(stream, loop->read_buffer, most);

	/* Before the callback, which may move the stream. If there is nothing, somebody else has read it. */
	if (has_failed)
		stream->unread_bytes -= bytes > 0 ? (uint32_t)bytes : stream->unread_bytes;
	if (bytes > 0) {
		stream->read_at_ns = loop->clock->now_ns;
		if (!stream->closing)
			stream->callbacks.read(stream, loop->read_buffer, (size_t)bytes, stream->ctx);
	}
	if (has_failed && !stream->unread_bytes)
		stream_finish(stream, stream->error);
	else if (has_failed)
		return;
	else if (bytes == 0)
		on_end(stream);
	else if (bytes < 0 && errno != EAGAIN && errno != EINTR)
		stream_finish(stream, -errno);
}

/* EPOLLERR on a traced socket may only mean that an ACK time has come. On a pipe it means that nobody reads it. */
static int socket_error(const struct stint_stream *stream)
{
	int error = 0;
	socklen_t bytes = sizeof(error);

	if (stream->pipe)
		return -EPIPE;
	if (getsockopt(stint_fd_descriptor(stream->source), SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
		return -errno;
	return -error;
}

void stream_on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_stream *stream = ctx;
	int error;

	if (!source->registered) { /* it was closed, and its number may be another file's */
		stream_finish(stream, -EBADF);
		return;
	}
	if (stream->trace)
		stint_socket_trace_event(stream->trace,
					 (events & STINT_WRITE ? (uint32_t)EPOLLOUT : 0) |
						 (events & STINT_ERROR ? (uint32_t)EPOLLERR : 0));
	if (events & STINT_ERROR) {
		error = socket_error(stream);
		if (error < 0) {
			stream_fail(stream, error);
			return;
		}
	}
	if (events & STINT_WRITE)
		stream_send_queue(stream);
	if (!(events & (STINT_READ | STINT_HANGUP)) || stream->finished || stream->freed)
		return;
	if (stream_reading(stream))
		receive(stream);
	else if (events & STINT_HANGUP) /* both directions have ended, and what came last is not wanted yet */
		fd_set_edge(stream->source, true);
}
