/* SPDX-License-Identifier: MIT */
#ifndef STINT_STREAM_H
#define STINT_STREAM_H

/*
 * Streams: a connected stream socket (TCP, or unix, as socketpair() makes them), or one end of a pipe, with a write queue.
 *
 * Writing never blocks and never loses: what the socket does not take at once is queued and sent when the
 * kernel reports room. The producer is told to hold back by stint_stream_full() and to go on by the
 * `drained` callback. From a send that came back short to the next send on the socket is a *write stall*,
 * timed under the stream's handler.
 *
 * Both directions end by themselves: the peer's FIN is the `end` callback, after which writing goes on as
 * long as wanted; stint_stream_shutdown() sends ours once the queue is empty. When both have ended, or on
 * an error, `closed` is called, the last of all callbacks, and after it the stream is gone.
 *
 * A peer that answers and resets the connection is heard: what had come is read before `closed` tells of the error, with
 * no `end` in between, as that would pass it for the whole. Writes are -EPIPE from the error on.
 *
 * No function of streams calls `read`, `end`, `drained` or `closed` from within itself: they come from the loop, in
 * dispatches of the stream's handler. The functions that a piece of the queue is released with are called wherever that is
 * sent or given up. Nor does anything here raise SIGPIPE, whatever the program has set for it.
 *
 * Of a pipe: the reading end cannot be written to (-EPIPE), and is over after `end`; of the writing end `read` and `end`
 * are never called (`read` is required all the same), and it ends with -EPIPE as soon as nobody reads it any more, also
 * while nothing is written. Closing the reading end is at once, as nobody loses anything by it. A pipe knows no reset:
 * of one that is cut short, the reader sees an end, and takes what it got for the whole. A pipe to a child is blocking at
 * the child's end and O_NONBLOCK at ours: pipe2() with O_CLOEXEC, and then fcntl() of the one.
 *
 * Rules for callbacks, errors and threads as in loop.h.
 */

#include <stint/loop.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_stream;
struct stint_socket_trace;

struct stint_stream_callbacks {
	/* Data has come, 65,536 bytes at most; it is the loop's, and valid during the call. */
	void (*read)(struct stint_stream *stream, const void *data, size_t bytes, void *ctx);
	/*
	 * The peer will send no more; it may still read. NULL: stint_stream_close() at once. ANSWERS THAT ARE WRITTEN LATER
	 * ARE THEN REFUSED (-EPIPE), also to one that sends its request, ends its direction and waits, as `nc -N` does: who
	 * answers from another callback than `read` needs an `end`, and closes when the last answer is written.
	 */
	void (*end)(struct stint_stream *stream, void *ctx);
	/* The queue had been above the high watermark and is now at or below the low one. May be NULL. */
	void (*drained)(struct stint_stream *stream, void *ctx);
	/*
	 * It is over: 0, or the negative errno that ended it. The descriptor is closed and the queue gone: the stream may
	 * be freed, or asked for its loop, a write is -EPIPE. Freed after this call, in which `ctx` is to be. May be NULL.
	 */
	void (*closed)(struct stint_stream *stream, int error, void *ctx);
};

struct stint_stream_options {
	size_t size;         /* sizeof(struct stint_stream_options) */
	uint64_t high_bytes; /* watermarks of the queue; 0: 1 MiB */
	uint64_t low_bytes;  /* 0: a quarter of high_bytes */
	uint64_t idle_ns;    /* nothing came and nothing went for so long: -ETIMEDOUT; 0: no limit */
	uint64_t write_ns;   /* something is queued, and nothing went for so long: -ETIMEDOUT; 0: no limit */
	uint64_t close_ns;   /* a graceful close, and nothing went for so long; 0: 10 s */
	uint64_t notsent_lowat_bytes; /* TCP_NOTSENT_LOWAT; 0: left as it is */
	uint64_t read_ns;   /* nothing came for so long while it was expected: -ETIMEDOUT; 0: no limit */
	bool leave_nodelay; /* TCP_NODELAY stays as it is; false: it is set, see below */
	bool coalesce;      /* what is written in an iteration goes out together at its end, see below */
};

/*
 * A TCP socket gets TCP_NODELAY: what is written goes out at once, and does not wait for the ACK of what went before, which
 * the peer may put off for 40 ms (Nagle's algorithm against the delayed ACK). Small segments are avoided by other means:
 * what is queued is sent with MSG_MORE where more follows. So give what belongs together to one call of
 * stint_stream_writev(): each write to an empty queue is a segment of its own, and a system call.
 *
 * Or set `coalesce`, where an iteration writes to a stream again and again: answers to requests in a pipeline, messages to
 * many subscribers. Then nothing is sent by the write itself. It is queued, copied if it is no reference, and the queue
 * goes out in step 6 of the iteration (loop.h), in a dispatch of the stream's handler: one send for all of it, before the
 * loop waits again. What a step 6 writes goes out in that of the next iteration, which does not wait. Until then it counts
 * as queued, for the watermarks too (limits count from that send on), and with a stream that is freed it is lost, so close
 * those. A write that stays the only one costs a copy and a dispatch more, which is lost in what the kernel takes to send
 * it.
 */

/*
 * Something went when the kernel took it, and when the peer acknowledged it (of a unix socket: read it), as is asked before
 * a limit is enforced. So a peer that reads slowly, but does, is not cut off. When that was, TCP tells to the ms; of a
 * unix socket it is the moment of asking, so that a limit comes up to twice as late. idle_ns runs on while the stream is
 * paused; read_ns does not.
 *
 * A stream that ends while something is queued, by whatever (a limit, an error, stint_stream_free(), stint_detached_free(),
 * the end of its loop), resets the connection: its peer does not take what it got for the whole. A unix socket and a pipe
 * know no reset, and their peer sees an end.
 */

/*
 * Makes a stream of `fd`, a connected stream socket or one end of a pipe, that is O_NONBLOCK, and owns it from then on (on
 * failure it stays the caller's). Reading starts at once. `callbacks` are copied; `read` is required.
 * -EINVAL; -ENOTSOCK: neither a socket nor a pipe; -EPROTOTYPE: no stream socket, or a fifo that is open for both;
 * -ENOMEM, and those of stint_fd_new(). With notsent_lowat_bytes also what setsockopt() says: only TCP has it.
 */
STINT_API int stint_stream_new(struct stint_stream **ret, struct stint_loop *loop, int fd,
			       const struct stint_stream_options *options, uint32_t handler,
			       const struct stint_stream_callbacks *callbacks, void *ctx);

/* Closes the descriptor at once, with a reset if something is queued; no more callbacks, `closed` included. */
STINT_API struct stint_stream *stint_stream_free(struct stint_stream *stream);

/*
 * Sends, or queues a copy of what the socket does not take. All is accepted, however long; 0 bytes are a
 * success that does nothing. -EPIPE after stint_stream_shutdown() or stint_stream_close(), or when the
 * stream has failed (`closed` is called from the loop then, not from here, and after what had come by then was read);
 * -ENOMEM: nothing of it was queued, though part may have been sent, so the stream ends, with a reset.
 */
STINT_API int stint_stream_write(struct stint_stream *stream, const void *data, size_t bytes);
STINT_API int stint_stream_writev(struct stint_stream *stream, const struct iovec *parts, int count);

/*
 * The same without a copy: `data` must stay until `release` is called with it, which happens once, also on
 * failure and when the stream is freed, and possibly before this returns. NULL: `data` is static.
 */
STINT_API int stint_stream_write_reference(struct stint_stream *stream, const void *data, size_t bytes,
					   void (*release)(void *data, void *ctx), void *release_ctx);

/*
 * Queues `bytes` of a file from `offset` on, in order with what else is written, to be sent by sendfile().
 * The file must be open for reading and allow seeking; its own position is neither used nor moved. The
 * descriptor must stay open until `release` is called with it, as with stint_stream_write_reference(); with
 * `release` NULL the library closes it then. Both happen also on failure.
 *
 * The range counts in the queue's bytes and for its watermarks, though it takes no memory. Files that
 * sendfile() cannot send (some of /proc, for one) are read in chunks of 64 KiB. What is not in the page cache
 * is read in the loop's thread, at most 256 KiB a dispatch: fine for a local disk, not for a slow mount.
 * If the file ends before the range does, or reading it fails, the stream fails with a reset, as the peer was promised
 * more: -ENODATA, or the error (for `closed`; this call says -EPIPE, if it finds it at once).
 *
 * -EBADF: not open for reading; -ESPIPE: a pipe or socket; -EINVAL: offset and bytes beyond what a file can
 * have; and those of stint_stream_write().
 */
STINT_API int stint_stream_send_file(struct stint_stream *stream, int fd, uint64_t offset, uint64_t bytes,
				     void (*release)(int fd, void *ctx), void *release_ctx);

/* Bytes queued here, beyond what the kernel has taken. */
STINT_API uint64_t stint_stream_queued_bytes(const struct stint_stream *stream);

/* Whether the queue is above the high watermark, or has been and is not yet down to the low one. */
STINT_API bool stint_stream_full(const struct stint_stream *stream);

/*
 * Back-pressure to the peer: leave what comes in the kernel, or go on. An error of the connection is told while the stream
 * is paused, unless something is left that came before it and nothing is queued: then once that has been read.
 */
STINT_API int stint_stream_pause(struct stint_stream *stream);
STINT_API int stint_stream_resume(struct stint_stream *stream);

/*
 * Whether the peer owes data, as it does at first; only while it does read_ns counts, from when it began to
 * or from the last that came. A client turns it off between an answer and its next request; it need not be
 * turned off while the stream is paused, or after the peer's end.
 */
STINT_API int stint_stream_expect(struct stint_stream *stream, bool expecting);

/* Sends a FIN once the queue is empty (a pipe is closed then); reading goes on. -EINVAL; 0 also if it is so already. */
STINT_API int stint_stream_shutdown(struct stint_stream *stream);

/*
 * Closes gracefully: the queue is sent, then a FIN; what still comes is thrown away; when the peer has ended
 * too, or when nothing went for close_ns, `closed` is called: with 0 if all was sent, else with -ETIMEDOUT. (A close with
 * unread data would reset the connection, and the peer might lose what it has not read yet.)
 * -ENOMEM: there is no timer for it to be had, so the stream ends at once, and that is what `closed` says; -EINVAL.
 */
STINT_API int stint_stream_close(struct stint_stream *stream);

/*
 * Ends the stream at once with a reset, also if nothing is queued: the peer is not to take what it got for the whole (a
 * proxy whose other side has failed), or is worth no more. Neither is what came and was not read; `closed` is called with
 * -ECONNABORTED. A unix socket and a pipe know no reset, and their peer sees an end. In a child by fork() nothing is
 * sent, as the connection is the parent's. -EPIPE: it has ended already, and `closed` is on its way; -EINVAL.
 */
STINT_API int stint_stream_reset(struct stint_stream *stream);

STINT_API int stint_stream_set_handler(struct stint_stream *stream, uint32_t handler);
STINT_API int stint_stream_descriptor(const struct stint_stream *stream);
STINT_API struct stint_loop *stint_stream_loop(const struct stint_stream *stream);

/* What the callbacks are called with; of use where a connection changes its owner. NULL for NULL. */
STINT_API void *stint_stream_ctx(const struct stint_stream *stream);
STINT_API int stint_stream_set_ctx(struct stint_stream *stream, void *ctx);

/*
 * Watermarks from now on, as they are: with 0 and 0 the stream is full while anything is queued, and `drained` says
 * that the kernel has all of it. stint_stream_full() answers by the new ones at once, without a call of `drained`.
 * -EINVAL also for a low one above the high one.
 */
STINT_API int stint_stream_set_watermarks(struct stint_stream *stream, uint64_t high_bytes,
					  uint64_t low_bytes);

/*
 * Limits from now on, 0 for none, each from the same moment as before: one that has passed already ends the stream, from
 * the loop. -EPIPE: it has ended; -ENOMEM: they stay as they were; -EINVAL.
 */
STINT_API int stint_stream_set_limits(struct stint_stream *stream, uint64_t idle_ns, uint64_t read_ns,
				      uint64_t write_ns);

/*
 * Takes the stream off its loop with all that belongs to it (descriptor, queue, limits, watermarks, whether it is paused
 * or shut), in that loop's thread, also within its own callbacks. `stream` is dead then, without a call of `closed`, and
 * a trace is ended. What is detached may be given to another thread, by a post (post.h), and be put on a loop there, or be
 * freed; a function that a piece of the queue is released with is called by whoever has it then.
 *
 * -EPIPE: the stream has failed or ended, and `closed` is on its way; -EBUSY: within such a release function;
 * -EINVAL, -ENOMEM.
 */
struct stint_detached;
STINT_API int stint_stream_detach(struct stint_detached **ret, struct stint_stream *stream);

/*
 * Puts it on `loop`, in that loop's thread: what is queued is sent on, what has come meanwhile is read, a write stall goes
 * on, limits start anew. `callbacks` NULL: those it had. `detached` is dead then; on failure it stays the caller's.
 * -EINVAL, -ENOMEM, and those of stint_fd_new().
 */
STINT_API int stint_stream_attach(struct stint_stream **ret, struct stint_detached *detached,
				  struct stint_loop *loop, uint32_t handler,
				  const struct stint_stream_callbacks *callbacks, void *ctx);

/* Closes its descriptor, with a reset (a pipe has none) if something is queued, which is thrown away. Any thread. */
STINT_API struct stint_detached *stint_detached_free(struct stint_detached *detached);

/* Has sends and events of the stream recorded by `trace` (NULL: no more); the trace stays the caller's. */
STINT_API int stint_stream_set_trace(struct stint_stream *stream, struct stint_socket_trace *trace);

#ifdef __cplusplus
}
#endif

#endif
