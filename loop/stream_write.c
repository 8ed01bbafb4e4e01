/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

/*
 * Writing. A write goes to the socket at once if nothing is queued before it, so EPOLLOUT is asked for only
 * while something waits. A dispatch sends at most SEND_LIMIT, so that one fast peer does not hold up the
 * others; the poll reports what is left.
 */

#define SEND_LIMIT 1048576u
#define PARTS      64

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

/* One send. Returns bytes taken, 0 if the buffer is full, or a negative errno. */
static ssize_t send_parts(struct stint_stream *stream, struct iovec *parts, int count, size_t bytes)
{
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
	struct clock *clock = stream->object.loop->clock;
	ssize_t done;

	if (stream->stall_from_ns)
		end_stall(stream, clock_read(clock));
	do {
		done = sendmsg(stint_fd_descriptor(stream->source), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		done = -errno;
	if (stream->trace && (done >= 0 || done == -EAGAIN))
		stint_socket_trace_send(stream->trace, bytes, done);
	if (done == -EAGAIN)
		done = 0;
	if (done >= 0 && (size_t)done < bytes)
		stream->stall_from_ns = clock_read(clock);
	if (done > 0)
		stream->sent_at_ns = clock->now_ns;
	return done;
}

static void tell_drained(struct stint_stream *stream)
{
	if (!stream->full || stream->queue.bytes > stream->low_bytes)
		return;
	stream->full = false;
	if (stream->callbacks.drained && !stream->closing)
		stream->callbacks.drained(stream, stream->ctx);
}

void stream_send_queue(struct stint_stream *stream)
{
	uint64_t sent = 0;

	while (stream->queue.bytes && sent < SEND_LIMIT) {
		struct iovec parts[PARTS];
		size_t bytes;
		int count = write_queue_peek(&stream->queue, parts, PARTS, &bytes);
		ssize_t done = send_parts(stream, parts, count, bytes);

		if (done < 0) {
			stream_finish(stream, (int)done);
			return;
		}
		write_queue_advance(&stream->queue, (size_t)done);
		if (stream->freed || stream->finished) /* a release callback did that */
			return;
		if ((size_t)done < bytes)
			break;
		sent += (size_t)done;
	}
	stream_update_events(stream);
	stream_advance_shutdown(stream);
	if (!stream->finished)
		tell_drained(stream);
}

static int check_writable(const struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	return stream->shutting || stream->finished ? -EPIPE : 0;
}

static void after_queueing(struct stint_stream *stream)
{
	if (stream->queue.bytes > stream->high_bytes)
		stream->full = true;
	stream_update_events(stream);
}

/* The queue is empty: tries the socket. Returns what was taken or a negative errno, which has failed the stream. */
static ssize_t send_now(struct stint_stream *stream, const void *data, size_t bytes)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	ssize_t done;

	if (stream->queue.bytes || bytes == 0)
		return 0;
	done = send_parts(stream, &part, 1, bytes);
	if (done < 0)
		stream_finish(stream, (int)done);
	return done < 0 ? -EPIPE : done;
}

static void begin_queue(struct stint_stream *stream)
{
	if (stream->queue.bytes == 0)
		stream->sent_at_ns = stint_loop_now_ns(stream->object.loop);
}

int stint_stream_write(struct stint_stream *stream, const void *data, size_t bytes)
{
	int error = check_writable(stream);
	ssize_t done;

	if (error < 0 || bytes == 0)
		return error;
	if (!data)
		return -EINVAL;
	done = send_now(stream, data, bytes);
	if (done < 0 || (size_t)done == bytes)
		return done < 0 ? (int)done : 0;
	begin_queue(stream);
	error = write_queue_copy(&stream->queue, (const uint8_t *)data + done, bytes - (size_t)done);
	if (error < 0) {
		stream_finish(stream, error);
		return error;
	}
	after_queueing(stream);
	return 0;
}

/* One send for all parts, if nothing waits before them; what is left of each is copied. */
int stint_stream_writev(struct stint_stream *stream, const struct iovec *parts, int count)
{
	size_t bytes = 0, done = 0;
	int error = check_writable(stream);

	if (error < 0)
		return error;
	if (count < 0 || count > IOV_MAX || (count > 0 && !parts))
		return -EINVAL;
	for (int i = 0; i < count; i++)
		bytes += parts[i].iov_len;
	if (bytes && stream->queue.bytes == 0) {
		ssize_t taken = send_parts(stream, (struct iovec *)(uintptr_t)parts, count, bytes);

		if (taken < 0) {
			stream_finish(stream, (int)taken);
			return -EPIPE;
		}
		done = (size_t)taken;
	}
	if (done < bytes)
		begin_queue(stream);
	for (int i = 0; i < count && error == 0; i++) {
		size_t skip = done < parts[i].iov_len ? done : parts[i].iov_len;

		done -= skip;
		if (skip < parts[i].iov_len)
			error = write_queue_copy(&stream->queue, (uint8_t *)parts[i].iov_base + skip,
						 parts[i].iov_len - skip);
	}
	if (error < 0) {
		stream_finish(stream, error);
		return error;
	}
	after_queueing(stream);
	return 0;
}

int stint_stream_write_reference(struct stint_stream *stream, const void *data, size_t bytes,
				 void (*release)(void *data, void *ctx), void *release_ctx)
{
	int error = release && (data || bytes == 0) ? check_writable(stream) : -EINVAL;
	ssize_t done = 0;

	if (error == 0)
		done = send_now(stream, data, bytes);
	if (done < 0)
		error = (int)done;
	if (error == 0 && (size_t)done < bytes) {
		begin_queue(stream);
		error = write_queue_refer(&stream->queue, (const uint8_t *)data + done, bytes - (size_t)done,
					  release, release_ctx);
		if (error == 0) {
			after_queueing(stream);
			return 0;
		}
		stream_finish(stream, error);
	}
	if (release)
		release((void *)(uintptr_t)data, release_ctx);
	return error;
}
