/* SPDX-License-Identifier: MIT */
#include "reactor.h"
#include "write_queue.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <stint/socket_trace.h>
#include <stint/stream.h>
#include <string.h>
#include <unistd.h>

/*
 * Streams. A write goes to the socket at once if nothing is queued before it, so EPOLLOUT is asked for
 * only while something waits. A dispatch reads once and sends at most SEND_LIMIT, so that one fast peer
 * does not hold up the others; the poll reports what is left.
 *
 * Life: open -> (end seen, FIN sent, in any order) -> closed. `failed` streams wait for their deferral,
 * which is the only place that calls `closed`: never from inside a call of the user's.
 *
 * Price: 336 bytes and the 64 of its descriptor, idle; 16 KiB more while something is queued; a timer if a
 * limit is set. The buffer for reading is the loop's.
 */

#define READ_BYTES   65536u
#define SEND_LIMIT   1048576u
#define PARTS        64
#define HIGH_DEFAULT 1048576u
#define CLOSE_NS     10000000000u

struct stint_stream {
	struct object object;
	struct deferral deferral;
	struct stint_stream_callbacks callbacks;
	void *ctx;
	struct stint_fd *source;
	struct stint_timer *timer; /* checks the limits; NULL if there are none */
	struct stint_socket_trace *trace;
	struct write_queue queue;
	uint64_t high_bytes, low_bytes;
	uint64_t idle_ns, write_ns, close_ns;
	uint64_t read_at_ns;    /* something came */
	uint64_t sent_at_ns;    /* something went, or the queue began to fill */
	uint64_t stall_from_ns; /* the last send came back short; 0: it did not */
	uint64_t close_by_ns;
	int error; /* what `closed` will say */
	uint16_t handler;
	bool paused, ended, end_told, shutting, shut, closing, finished, full, freed;
};

static void close_descriptor(struct stint_stream *stream)
{
	if (stream->trace && stream->source)
		stint_socket_trace_end(stream->trace);
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
static void finish(struct stint_stream *stream, int error)
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
static void update_events(struct stint_stream *stream)
{
	bool reading = !stream->ended && (stream->closing || !stream->paused);

	if (stream->source)
		stint_fd_set_events(stream->source,
				    (reading ? STINT_READ : 0) | (stream->queue.bytes ? STINT_WRITE : 0));
}

/* Sends the FIN once nothing is queued; ends the stream once both directions have ended. */
static void advance_shutdown(struct stint_stream *stream)
{
	if (stream->finished || stream->freed)
		return;
	if (stream->shutting && !stream->shut && stream->queue.bytes == 0) {
		stream->shut = true;
		if (shutdown(stint_fd_descriptor(stream->source), SHUT_WR) < 0) {
			finish(stream, -errno);
			return;
		}
	}
	if (stream->shut && stream->ended)
		finish(stream, 0);
}

/* ---- writing ---- */

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

static void send_queue(struct stint_stream *stream)
{
	uint64_t sent = 0;

	while (stream->queue.bytes && sent < SEND_LIMIT) {
		struct iovec parts[PARTS];
		size_t bytes;
		int count = write_queue_peek(&stream->queue, parts, PARTS, &bytes);
		ssize_t done = send_parts(stream, parts, count, bytes);

		if (done < 0) {
			finish(stream, (int)done);
			return;
		}
		write_queue_advance(&stream->queue, (size_t)done);
		if (stream->freed || stream->finished) /* a release callback did that */
			return;
		if ((size_t)done < bytes)
			break;
		sent += (size_t)done;
	}
	update_events(stream);
	advance_shutdown(stream);
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
	update_events(stream);
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
		finish(stream, (int)done);
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
		finish(stream, error);
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
			finish(stream, (int)taken);
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
		finish(stream, error);
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
		finish(stream, error);
	}
	if (release)
		release((void *)(uintptr_t)data, release_ctx);
	return error;
}

/* ---- reading ---- */

static void on_end(struct stint_stream *stream)
{
	stream->ended = true;
	update_events(stream);
	if (!stream->closing && !stream->end_told) {
		stream->end_told = true;
		if (stream->callbacks.end)
			stream->callbacks.end(stream, stream->ctx);
		else
			stint_stream_close(stream);
	}
	advance_shutdown(stream);
}

static void receive(struct stint_stream *stream)
{
	struct stint_loop *loop = stream->object.loop;
	ssize_t bytes =
		recv(stint_fd_descriptor(stream->source), loop->read_buffer, READ_BYTES, MSG_DONTWAIT);

	if (bytes > 0) {
		stream->read_at_ns = loop->clock->now_ns;
		if (!stream->closing)
			stream->callbacks.read(stream, loop->read_buffer, (size_t)bytes, stream->ctx);
	} else if (bytes == 0) {
		on_end(stream);
	} else if (errno != EAGAIN && errno != EINTR) {
		finish(stream, -errno);
	}
}

/* EPOLLERR on a traced socket may only mean that an ACK time has come. */
static int socket_error(const struct stint_stream *stream)
{
	int error = 0;
	socklen_t bytes = sizeof(error);

	if (getsockopt(stint_fd_descriptor(stream->source), SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
		return -errno;
	return -error;
}

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_stream *stream = ctx;
	int error;

	(void)source;
	if (stream->trace)
		stint_socket_trace_event(stream->trace,
					 (events & STINT_WRITE ? (uint32_t)EPOLLOUT : 0) |
						 (events & STINT_ERROR ? (uint32_t)EPOLLERR : 0));
	if (events & STINT_ERROR) {
		error = socket_error(stream);
		if (error < 0) {
			finish(stream, error);
			return;
		}
	}
	if (events & STINT_WRITE)
		send_queue(stream);
	if ((events & (STINT_READ | STINT_HANGUP)) && !stream->finished && !stream->freed && !stream->ended &&
	    (stream->closing || !stream->paused))
		receive(stream);
}

/* ---- limits ---- */

/* The next moment at which a limit may be reached; UINT64_MAX: none is running. */
static uint64_t next_limit(const struct stint_stream *stream)
{
	uint64_t next_ns = UINT64_MAX, active_ns = stream->read_at_ns;

	if (stream->sent_at_ns > active_ns)
		active_ns = stream->sent_at_ns;
	if (stream->idle_ns)
		next_ns = active_ns + stream->idle_ns;
	if (stream->write_ns && stream->queue.bytes && stream->sent_at_ns + stream->write_ns < next_ns)
		next_ns = stream->sent_at_ns + stream->write_ns;
	if (stream->closing && stream->close_by_ns < next_ns)
		next_ns = stream->close_by_ns;
	return next_ns;
}

/*
 * Activity does not touch the timer, it only moves the limit; the timer finds out when it fires. While the
 * queue is empty the write limit is looked for once every write_ns, for the same reason.
 */
static int watch_limits(struct stint_stream *stream)
{
	struct stint_loop *loop = stream->object.loop;
	uint64_t next_ns = next_limit(stream), now_ns = loop->clock->now_ns;

	if (stream->write_ns && now_ns + stream->write_ns < next_ns)
		next_ns = now_ns + stream->write_ns;
	return next_ns == UINT64_MAX ? 0 : stint_timer_start_at(stream->timer, next_ns, 0);
}

static void on_limit(struct stint_timer *timer, void *ctx)
{
	struct stint_stream *stream = ctx;

	(void)timer;
	if (stream->finished)
		return;
	if (next_limit(stream) <= stream->object.loop->clock->now_ns)
		/* A close that took too long is a close all the same; the peer may see a reset. */
		finish(stream, stream->closing && stream->queue.bytes == 0 ? 0 : -ETIMEDOUT);
	else
		watch_limits(stream);
}

static int need_timer(struct stint_stream *stream)
{
	if (stream->timer)
		return 0;
	return stint_timer_new(&stream->timer, stream->object.loop, stream->handler, on_limit, stream);
}

/* ---- life ---- */

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
	stream->write_ns = options->write_ns;
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
		loop->read_buffer = malloc(READ_BYTES);
	return loop->read_buffer ? 0 : -ENOMEM;
}

/* Opens what a stream has beside its memory; on failure the caller destroys it, the descriptor stays open. */
static int open_parts(struct stint_stream *stream, int fd)
{
	struct stint_loop *loop = stream->object.loop;
	int error = need_read_buffer(loop);

	stream->read_at_ns = stream->sent_at_ns = stint_loop_now_ns(loop);
	if (error == 0 && (stream->idle_ns || stream->write_ns))
		error = need_timer(stream);
	if (error == 0 && stream->timer)
		error = watch_limits(stream);
	if (error == 0)
		error = stint_fd_new(&stream->source, loop, fd, STINT_READ, stream->handler, on_ready,
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
	deferral_init(&stream->deferral, handler, on_finished);
	loop_add_object(loop, &stream->object, destroy);
	error = configure(stream, fd, &options);
	if (error == 0)
		error = open_parts(stream, fd);
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
	stream->paused = paused;
	update_events(stream);
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

int stint_stream_shutdown(struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->shutting = true;
	advance_shutdown(stream);
	return 0;
}

int stint_stream_close(struct stint_stream *stream)
{
	int error;

	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->closing || stream->finished)
		return 0;
	error = need_timer(stream);
	if (error < 0)
		return error;
	stream->closing = true;
	stream->close_by_ns = stint_loop_now_ns(stream->object.loop) + stream->close_ns;
	error = watch_limits(stream);
	if (error < 0)
		return error;
	update_events(stream);
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

int stint_stream_set_trace(struct stint_stream *stream, struct stint_socket_trace *trace)
{
	if (!stream || stream->freed)
		return -EINVAL;
	stream->trace = trace;
	return 0;
}
