/* SPDX-License-Identifier: MIT */
#ifndef STREAM_STATE_H
#define STREAM_STATE_H

/*
 * The insides of streams, shared by the files that implement them. Each calls only those before it: stream_pipe.c (on a
 * pipe), stream_progress.c (what the peer has), stream_end.c (how they end), stream_limits.c (timeouts, closing),
 * stream_send.c (what all ways of sending share), stream_file.c (file ranges in the queue), stream_write.c, stream_read.c,
 * stream.c, stream_move.c (from one loop to another).
 *
 * Life: open -> (end seen, FIN sent, in any order) -> closed. `finished` streams wait for their deferral,
 * which is the only place that calls `closed`: never from inside a call of the user's. The same deferral sends what a
 * stream holds back that coalesces. One that fails while there is
 * something to read is finished when that is read.
 *
 * Price: 288 bytes and the 64 of its descriptor, idle; 16 KiB more while something is queued; a timer if a
 * limit is set. The buffer for reading is the loop's.
 */

#include "reactor.h"
#include "write_queue.h"

#include <errno.h>
#include <stint/socket_trace.h>
#include <stint/stream.h>

#define STREAM_READ_BYTES 65536u

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
	uint64_t idle_ns, read_ns, write_ns, close_ns;
	uint64_t read_at_ns;   /* something came */
	uint64_t expect_at_ns; /* since when the peer owes data, if it is not since something came */
	uint64_t sent_at_ns;   /* something went, or was acknowledged, or the queue began to fill */
	uint64_t sent_bytes;   /* that the kernel has taken, of all that was written */
	int64_t gone_bytes; /* of them, those that the peer had when that was asked last (stream_progress.c) */
	uint64_t stall_from_ns; /* the last send came back short; 0: it did not */
	uint64_t closing_at_ns;
	int error;             /* what `closed` will say */
	uint32_t unread_bytes; /* it has failed, and this is to be read before it ends; 0: it has not */
	uint16_t handler;
	bool paused, ended, end_told, shutting, shut, closing, finished, full, freed;
	bool expecting; /* the peer owes data */
	bool pipe;      /* one end of a pipe, and no socket */
	bool coalesce;  /* an empty queue begins by being held back */
	bool held;      /* it is, and the deferral will send it */
	bool advancing; /* what was sent is being taken off the queue */
	bool clearing;  /* what was not sent is */
};

/* Whether what comes is read; it is while closing, to be thrown away. */
static inline bool stream_reading(const struct stint_stream *stream)
{
	return !stream->ended && (stream->closing || !stream->paused);
}

/* Whether a write is tried by itself: nothing waits, nor is to wait, before it. */
static inline bool stream_sends_at_once(const struct stint_stream *stream)
{
	return !stream->queue.bytes && !stream->coalesce;
}

/* 0, or why nothing can be written any more. */
static inline int stream_check_writable(const struct stint_stream *stream)
{
	if (!stream || stream->freed)
		return -EINVAL;
	return stream->shutting || stream->finished ? -EPIPE : 0;
}

/* stream.c */

/* From now on it belongs to the loop, and is undone by stint_stream_free(). */
void stream_enter_loop(struct stint_stream *stream, struct stint_loop *loop);
/* Opens what a stream has beside its memory; on failure the caller destroys it, the descriptor stays open. */
int stream_open_parts(struct stint_stream *stream, int fd);

/* stream_progress.c */

/*
 * Asks the kernel what the peer has of what was sent: more than that, later, is progress. A send to a unix socket makes it
 * seem less, so it is asked when the socket takes no more. False: it cannot be known, or nothing was sent.
 */
bool stream_ask_gone(struct stint_stream *stream);
/* Asks, and counts as sent when the peer acknowledged it what it has got since that was asked last. */
void stream_note_progress(struct stint_stream *stream);

/* stream_end.c */

/* Closes and frees it, without a word to the user. Does nothing the second time. */
void stream_destroy(struct object *object);
/* Of one that is finished, from its deferral: calls `closed`, and frees it. */
void stream_tell_closed(struct stint_stream *stream);
/* It is over; `closed` comes from the loop. The descriptor goes quiet at once. */
void stream_finish(struct stint_stream *stream, int error);
/* Nothing can be sent any more. It is over once what has come is read, or at once if that is not wanted. */
void stream_fail(struct stint_stream *stream, int error);
/* The connection is to be reset when the descriptor is closed. Not in a child of the process that has it. */
void stream_reset_by_close(int fd);
/* The same of a stream, where it may be: a write failed, so that what the peer got is not the whole. */
void stream_end_by_reset(const struct stint_stream *stream);
/* Asks for the events that the state calls for. */
void stream_update_events(struct stint_stream *stream);
/* Sends the FIN once nothing is queued; ends the stream once both directions have ended. */
void stream_advance_shutdown(struct stint_stream *stream);

/* stream_read.c */
void stream_on_ready(struct stint_fd *source, uint32_t events, void *ctx);

/* stream_send.c */

/* Brackets of an addition to the queue. */
void stream_begin_queue(struct stint_stream *stream);
void stream_after_queueing(struct stint_stream *stream);
/* One send. Returns bytes taken, 0 if the buffer is full, or a negative errno. */
ssize_t stream_send_parts(struct stint_stream *stream, struct iovec *parts, int count, size_t bytes,
			  int flags);
/* Around any other call that sends: a stall ends with the attempt, and begins when it came back short. */
void stream_before_send(struct stint_stream *stream);
ssize_t stream_after_send(struct stint_stream *stream, size_t bytes, ssize_t done);

/* stream_write.c */

/* Sends what is queued, as far as the socket and one dispatch's share go, and tells the user of it. */
void stream_send_queue(struct stint_stream *stream);
/* Sends what was held back until the end of the iteration. */
void stream_send_held(struct stint_stream *stream);

/* stream_file.c */

/* One send of a part of the range, `asked` bytes; returns as stream_send_parts(). The loop's buffer is used. */
ssize_t stream_send_file(struct stint_stream *stream, const struct write_queue_range *range, size_t *asked);

/* stream_pipe.c */

/* Whether it is one end of a pipe, and which: 0, -ENOTSOCK: something else; -EPROTOTYPE: both ends at once. */
int stream_pipe_check(int fd, bool *ret_reads);
void stream_pipe_begin(struct stint_stream *stream, bool reads);
/* writev() without a SIGPIPE. */
ssize_t stream_pipe_write(int fd, const struct iovec *parts, int count, size_t bytes);

/* stream_limits.c */

int stream_need_timer(struct stint_stream *stream);
/* Sets the timer to the next limit, if any is running. */
int stream_watch_limits(struct stint_stream *stream);

#endif
