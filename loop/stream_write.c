/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

/*
 * Writing. A write goes to the socket at once if nothing is queued before it, so EPOLLOUT is asked for only
 * while something waits; of a stream that coalesces, it begins a queue, which the end of the iteration sends. A
 * dispatch sends at most SEND_LIMIT, so that one fast peer does not hold up the others; the poll reports what is
 * left. A file range ends it, too (stream_file.c).
 */

#define SEND_LIMIT 1048576u
#define PARTS      64

static void tell_drained(struct stint_stream *stream)
{
	if (!stream->full || stream->queue.bytes > stream->low_bytes)
		return;
	stream->full = false;
	if (stream->callbacks.drained && !stream->closing)
		stream->callbacks.drained(stream, stream->ctx);
}

/* One send of what is next in the queue; all in memory that belongs together goes out in whole segments. */
static ssize_t send_next(struct stint_stream *stream, size_t *asked, bool *is_file)
{
	struct write_queue_range range;
	struct iovec parts[PARTS];
	int count;

	*is_file = write_queue_peek_file(&stream->queue, &range);
	if (*is_file)
		return stream_send_file(stream, &range, asked);
	count = write_queue_peek(&stream->queue, parts, PARTS, asked);
	return stream_send_parts(stream, parts, count, *asked, *asked < stream->queue.bytes ? MSG_MORE : 0);
}

void stream_send_queue(struct stint_stream *stream)
{
	uint64_t sent = 0;
	bool is_file = false;

	while (stream->queue.bytes && sent < SEND_LIMIT && !is_file) {
		size_t bytes;
		ssize_t done = send_next(stream, &bytes, &is_file);

		if (done < 0) {
			stream_fail(stream, (int)done);
			return;
		}
		stream->advancing = true;
		write_queue_advance(&stream->queue, (uint64_t)done);
		stream->advancing = false;
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

/* Its limits count from here. Without a meter the loop's time is still that of the poll, and much may have run since. */
void stream_send_held(struct stint_stream *stream)
{
	struct stint_loop *loop = stream->object.loop;

	stream->held = false;
	stream->sent_at_ns = loop->account ? loop->clock->now_ns : clock_read(loop->clock);
	stream_send_queue(stream);
}

/*
 * Tries the socket, if nothing waits, nor is to wait, before that. Returns what was taken or a negative errno, which has
 * failed the stream.
 */
static ssize_t send_now(struct stint_stream *stream, const void *data, size_t bytes)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	ssize_t done;

	if (!stream_sends_at_once(stream) || bytes == 0)
		return 0;
	done = stream_send_parts(stream, &part, 1, bytes, 0);
	if (done < 0)
		stream_fail(stream, (int)done);
	return done < 0 ? -EPIPE : done;
}

int stint_stream_write(struct stint_stream *stream, const void *data, size_t bytes)
{
	int error = stream_check_writable(stream);
	ssize_t done;

	if (error < 0 || bytes == 0)
		return error;
	if (!data)
		return -EINVAL;
	done = send_now(stream, data, bytes);
	if (done < 0 || (size_t)done == bytes)
		return done < 0 ? (int)done : 0;
	stream_begin_queue(stream);
	error = write_queue_copy(&stream->queue, (const uint8_t *)data + done, bytes - (size_t)done);
	if (error < 0) {
		stream_end_by_reset(stream);
		stream_finish(stream, error);
		return error;
	}
	stream_after_queueing(stream);
	return 0;
}

static size_t sum_of(const struct iovec *parts, int count)
{
	size_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += parts[i].iov_len;
	return bytes;
}

/* Queues a copy of the parts but for the first `done` bytes. */
static int queue_parts(struct stint_stream *stream, const struct iovec *parts, int count, size_t done)
{
	int error = 0;

	for (int i = 0; i < count && error == 0; i++) {
		size_t skip = done < parts[i].iov_len ? done : parts[i].iov_len;

		done -= skip;
		if (skip < parts[i].iov_len)
			error = write_queue_copy(&stream->queue, (uint8_t *)parts[i].iov_base + skip,
						 parts[i].iov_len - skip);
	}
	return error;
}

/* One send, if nothing waits before them, for as many parts as a call takes; what is left of each is copied. */
int stint_stream_writev(struct stint_stream *stream, const struct iovec *parts, int count)
{
	int error = stream_check_writable(stream), at_once = count < IOV_MAX ? count : IOV_MAX;
	size_t bytes;
	ssize_t done = 0;

	if (error < 0)
		return error;
	if (count < 0 || (count > 0 && !parts))
		return -EINVAL;
	bytes = sum_of(parts, at_once);
	if (bytes && stream_sends_at_once(stream))
		done = stream_send_parts(stream, (struct iovec *)(uintptr_t)parts, at_once, bytes,
					 at_once < count ? MSG_MORE : 0);
	if (done < 0) {
		stream_fail(stream, (int)done);
		return -EPIPE;
	}
	if (at_once == count && (size_t)done == bytes)
		return 0;
	stream_begin_queue(stream);
	error = queue_parts(stream, parts, count, (size_t)done);
	if (error < 0) {
		stream_end_by_reset(stream);
		stream_finish(stream, error);
		return error;
	}
	stream_after_queueing(stream);
	return 0;
}

int stint_stream_write_reference(struct stint_stream *stream, const void *data, size_t bytes,
				 void (*release)(void *data, void *ctx), void *release_ctx)
{
	int error = data || bytes == 0 ? stream_check_writable(stream) : -EINVAL;
	ssize_t done = 0;

	if (error == 0)
		done = send_now(stream, data, bytes);
	if (done < 0)
		error = (int)done;
	if (error == 0 && (size_t)done < bytes) {
		stream_begin_queue(stream);
		error = write_queue_refer(&stream->queue, data, bytes, (size_t)done, release, release_ctx);
		if (error == 0) {
			stream_after_queueing(stream);
			return 0;
		}
		stream_end_by_reset(stream);
		stream_finish(stream, error);
	}
	if (release)
		release((void *)(uintptr_t)data, release_ctx);
	return error;
}
