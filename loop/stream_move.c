/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Streams from one loop to another. What is detached gets memory of its own: code of ours further up the stack, within
 * whose callback this happens, still looks at the old one, while another thread may be at work with the new one.
 */

struct stint_detached {
	struct stint_stream stream; /* on no loop: without source, timer and trace */
	int fd;
	uint32_t generation; /* of the loop that it was on: see loop_is_foreign() */
};

int stint_stream_detach(struct stint_detached **ret, struct stint_stream *stream)
{
	struct stint_detached *detached;

	if (!ret || !stream || stream->freed)
		return -EINVAL;
	if (stream->finished || (stream->error && !stream->unread_bytes))
		return -EPIPE;
	if (stream->advancing || stream->clearing)
		return -EBUSY;
	detached = malloc(sizeof(*detached));
	if (!detached)
		return -ENOMEM;
	detached->stream = *stream;
	detached->stream.object.loop = NULL;
	detached->stream.source = NULL;
	detached->stream.timer = NULL;
	detached->stream.trace = NULL;
	detached->fd = stint_fd_descriptor(stream->source);
	detached->generation = stream->object.loop->generation;
	/* The descriptor and the queue are the other's now. */
	stint_fd_own(stream->source, false);
	stream->queue = (struct write_queue){0};
	stint_stream_free(stream);
	*ret = detached;
	return 0;
}

int stint_stream_attach(struct stint_stream **ret, struct stint_detached *detached, struct stint_loop *loop,
			uint32_t handler, const struct stint_stream_callbacks *callbacks, void *ctx)
{
	struct stint_stream *stream;
	int error;

	if (!ret || !detached || !loop || loop->dead || (callbacks && !callbacks->read) ||
	    !loop_handler_valid(loop, handler))
		return -EINVAL;
	stream = malloc(sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	*stream = detached->stream;
	if (callbacks)
		stream->callbacks = *callbacks;
	stream->ctx = ctx;
	stream->handler = (uint16_t)handler;
	stream_enter_loop(stream, loop);
	error = stream_open_parts(stream, detached->fd);
	if (error < 0) {
		stream->queue = (struct write_queue){0}; /* which stays where it was */
		stint_stream_free(stream);
		return error;
	}
	stint_fd_own(stream->source, true);
	if (stream->held)
		deferral_schedule(loop, &stream->deferral);
	stream_update_events(stream);
	free(detached);
	*ret = stream;
	return 0;
}

struct stint_detached *stint_detached_free(struct stint_detached *detached)
{
	if (!detached)
		return NULL;
	if (detached->stream.queue.bytes && detached->generation == fork_generation_now)
		stream_reset_by_close(detached->fd);
	close(detached->fd);
	write_queue_clear(&detached->stream.queue);
	free(detached);
	return NULL;
}
