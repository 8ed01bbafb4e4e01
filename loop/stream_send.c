/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <sys/socket.h>

/*
 * What all ways of sending share, memory (stream_write.c) and files (stream_file.c): stalls, limits, and the queue's
 * marks.
 */

/* These two are rare, and not in the way of a send that is whole. */
__attribute__((cold, noinline)) static void begin_stall(struct stint_stream *stream)
{
	stream->stall_from_ns = clock_read(stream->object.loop->clock);
	if (stream->timer)
		(void)stream_ask_gone(stream);
}

__attribute__((cold, noinline)) static void end_stall(struct stint_stream *stream)
{
	struct stint_meter_loop *account = stream->object.loop->account;
	uint64_t now_ns = clock_read(stream->object.loop->clock);

	if (account) {
		struct meter_hot *hot = meter_account_hot(account, stream->handler);

		histogram_record(&hot->block->histogram[STINT_METER_HANDLER_WRITE_STALL],
				 now_ns - stream->stall_from_ns);
	}
	stream->stall_from_ns = 0;
}

void stream_before_send(struct stint_stream *stream)
{
	if (stream->stall_from_ns)
		end_stall(stream);
}

ssize_t stream_after_send(struct stint_stream *stream, size_t bytes, ssize_t done)
{
	if (stream->trace && (done >= 0 || done == -EAGAIN))
		stint_socket_trace_send(stream->trace, bytes, done);
	if (done == -EAGAIN)
		done = 0;
	if (done > 0) {
		stream->sent_at_ns = stream->object.loop->clock->now_ns;
		stream->sent_bytes += (uint64_t)done;
	}
	if (done >= 0 && (size_t)done < bytes)
		begin_stall(stream);
	return done;
}

/* A call with one part, as most have, takes the kernel less than one with a list of them. */
static ssize_t send_list(const struct stint_stream *stream, struct iovec *parts, int count, size_t bytes,
			 int flags)
{
	int fd = stream->source->fd;
	struct msghdr message;

	if (__builtin_expect(stream->pipe, false))
		return stream_pipe_write(fd, parts, count, bytes);
	if (count == 1)
		return send(fd, parts->iov_base, parts->iov_len, flags);
	message = (struct msghdr){.msg_iov = parts, .msg_iovlen = (size_t)count};
	return sendmsg(fd, &message, flags);
}

ssize_t stream_send_parts(struct stint_stream *stream, struct iovec *parts, int count, size_t bytes,
			  int flags)
{
	ssize_t done;

	stream_before_send(stream);
	do {
		done = send_list(stream, parts, count, bytes, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	} while (done < 0 && errno == EINTR);
	return stream_after_send(stream, bytes, done < 0 ? -errno : done);
}

void stream_begin_queue(struct stint_stream *stream)
{
	if (stream->queue.bytes)
		return;
	stream->sent_at_ns = stint_loop_now_ns(stream->object.loop);
	if (stream->coalesce) {
		stream->held = true;
		deferral_schedule(stream->object.loop, &stream->deferral);
	}
}

void stream_after_queueing(struct stint_stream *stream)
{
	if (stream->queue.bytes > stream->high_bytes)
		stream->full = true;
	stream_update_events(stream);
}
