/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* How a stream ends: shut down, finished, freed; and the events that it asks for until then. */

void stream_reset_by_close(int fd)
{
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* In a child of the process that has the connection, the socket is not ours to change. */
void stream_end_by_reset(const struct stint_stream *stream)
{
	if (stream->source && stream->source->registered && !loop_is_foreign(stream->object.loop))
		stream_reset_by_close(stint_fd_descriptor(stream->source));
}

/*
 * With data in the queue the peer was promised more: a reset tells it that there is none, where an end would pass for
 * the whole.
 */
static void reset_if_cut_short(const struct stint_stream *stream)
{
	if (stream->queue.bytes)
		stream_end_by_reset(stream);
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

/*
 * Gives back what is queued. A release function may free the stream, and with it what is left of the queue; whoever began
 * to clear still looks at it, so its memory goes last. It may free the loop, which is then gone, if no callback runs.
 */
static void clear_queue(struct stint_stream *stream)
{
	bool outermost = !stream->clearing, dispatching = stream->object.loop->dispatching;

	stream->clearing = true;
	write_queue_clear(&stream->queue);
	if (!outermost)
		return;
	stream->clearing = false;
	if (stream->freed && dispatching)
		loop_bury(&stream->object);
	else if (stream->freed)
		free(stream);
}

void stream_destroy(struct object *object)
{
	struct stint_stream *stream = (struct stint_stream *)object;

	if (stream->freed)
		return;
	stream->freed = true;
	loop_forget(object); /* first: a release may free the loop, which must not find it */
	close_descriptor(stream);
	stint_timer_free(stream->timer);
	deferral_cancel(object->loop, &stream->deferral);
	clear_queue(stream);
}

struct stint_stream *stint_stream_free(struct stint_stream *stream)
{
	if (stream && !stream->freed)
		stream_destroy(&stream->object);
	return NULL;
}

void stream_tell_closed(struct stint_stream *stream)
{
	if (stream->callbacks.closed)
		stream->callbacks.closed(stream, stream->error, stream->ctx);
	if (!stream->freed)
		stream_destroy(&stream->object);
}

/* It is over; `closed` comes from the loop. The descriptor goes quiet at once. */
void stream_finish(struct stint_stream *stream, int error)
{
	if (stream->finished || stream->freed)
		return;
	stream->finished = true;
	stream->full = false;
	stream->error = error;
	close_descriptor(stream);
	deferral_schedule(stream->object.loop, &stream->deferral); /* first: a release may free the stream */
	clear_queue(stream);
}

/* Asks for the events that the state calls for. */
void stream_update_events(struct stint_stream *stream)
{
	if (!stream->source)
		return;
	if (stream_reading(stream))
		fd_set_edge(stream->source, false);
	stint_fd_set_events(stream->source, (stream_reading(stream) ? STINT_READ : 0) |
						    (stream->queue.bytes && !stream->held ? STINT_WRITE : 0));
}

/* What has come and is not read; 0 also if that cannot be known. */
static uint32_t waiting_bytes(const struct stint_stream *stream)
{
	int bytes = 0;

	if (ioctl(stint_fd_descriptor(stream->source), FIONREAD, &bytes) < 0 || bytes < 0)
		return 0;
	return (uint32_t)bytes;
}

/* Paused until its own queue has drained, as it seems: that will not come any more, and nobody would resume it. */
static bool waits_for_its_own(const struct stint_stream *stream)
{
	return stream->paused && (stream->full || stream->queue.bytes);
}

/*
 * What has come may be the answer that says why, so it is read by the events that it still makes, or those of a resume;
 * but no more than there is by now, as the peer need not be gone (a unix socket that is shut for reading).
 */
void stream_fail(struct stint_stream *stream, int error)
{
	if (stream->finished || stream->freed || stream->unread_bytes)
		return;
	if (!stream->closing && !stream->ended && !waits_for_its_own(stream))
		stream->unread_bytes = waiting_bytes(stream);
	if (!stream->unread_bytes) {
		stream_finish(stream, error);
		return;
	}
	stream->error = error;
	stream->shutting = stream->shut = true;
	reset_if_cut_short(stream);
	stream->full = false;
	stream->queue.bytes = 0;
	stream_update_events(stream);
	clear_queue(stream); /* last: a release may free the stream */
}

/* A connection that the peer has reset is not connected any more, which the event has yet to tell. */
static int send_fin(const struct stint_stream *stream)
{
	int fd = stint_fd_descriptor(stream->source), error = 0;
	socklen_t bytes = sizeof(error);

	if (stream->pipe || shutdown(fd, SHUT_WR) == 0) /* a pipe's end is its descriptor's */
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
			stream_fail(stream, error);
			return;
		}
	}
	if (stream->shut && stream->ended)
		stream_finish(stream, 0);
}

int stint_stream_shutdown(struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->shutting = true;
	stream_advance_shutdown(stream);
	return 0;
}

int stint_stream_reset(struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->finished)
		return -EPIPE;
	stream_end_by_reset(stream);
	stream_finish(stream, -ECONNABORTED);
	return 0;
}
