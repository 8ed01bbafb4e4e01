/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <sys/socket.h>

/*
 * What all ways of sending share, memory (stream_write.c) and files (stream_file.c): stalls, limits, and the queue's
 * marks.
 */

static void end_stall(struct stint_stream *stream, uint64_t now_ns)
{
	struct stint_meter_loop *account = stream->object.loop->account;

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
		end_stall(stream, clock_read(stream->object.loop->clock));
}

ssize_t stream_after_send(struct stint_stream *stream, size_t bytes, ssize_t done)
{
	struct clock *clock = stream->object.loop->clock;

	if (stream->trace && (done >= 0 || done == -EAGAIN))
		stint_socket_trace_send(stream->trace, bytes, done);
	if (done == -EAGAIN)
		done = 0;
	if (done >= 0 && (size_t)done < bytes)
		stream->stall_from_ns = clock_read(clock);
	if (done > 0) {
		stream->sent_at_ns = clock->now_ns;
		stream->sent_bytes += (uint64_t)done;
	}
	return done;
}

/* A call with one part, as most have, takes the kernel less than one with a list of them. */
static ssize_t send_list(int fd, struct iovec *parts, int count, int flags)
{
	const struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};

	return count == 1 ? send(fd, parts->iov_base, parts->iov_len, flags) : sendmsg(fd, &message, flags);
}

ssize_t stream_send_parts(struct stint_stream *stream, struct iovec *parts, int count, size_t bytes,
			  int flags)
{
	int fd = stint_fd_descriptor(stream->source);
	ssize_t done;

	stream_before_send(stream);
	do {
		done = send_list(fd, parts, count, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
	} while (done < 0 && errno == EINTR);
	return stream_after_send(stream, bytes, done < 0 ? -errno : done);
}

int stream_check_writable(const struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	return stream->shutting || stream->finished ? -EPIPE : 0;
}

void stream_begin_queue(struct stint_stream *stream)
{
	if (stream->queue.bytes == 0)
		stream->sent_at_ns = stint_loop_now_ns(stream->object.loop);
}

void stream_after_queueing(struct stint_stream *stream)
{
	if (stream->queue.bytes > stream->high_bytes)
		stream->full = true;
	stream_update_events(stream);
}
