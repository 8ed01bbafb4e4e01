/* SPDX-License-Identifier: MIT */
#ifndef STINT_FILE_H
#define STINT_FILE_H

/*
 * Files without waiting for the disk on the loop.
 *
 * epoll knows nothing of regular files: they are always "ready", and a read waits for the disk all the same. So a
 * *reader* reads a file in chunks, one an iteration, each of which is answered in place if the page cache has
 * the data (preadv2() with RWF_NOWAIT), and goes to a thread of the pool if not, if the file system
 * cannot tell (EOPNOTSUPP), or if the descriptor has O_DIRECT. Chunks of either kind are counted, in the meter too.
 *
 * A *writer* makes small writes at once, as a buffered write only copies into the page cache; large ones, and
 * all to a descriptor with O_DIRECT, O_DSYNC or O_SYNC, go to the pool in order, while the producer is told to
 * hold back by stint_file_writer_full() and to go on by the `drained` callback.
 *
 * With O_DIRECT, offsets and lengths must be in whole blocks, as the file system demands: those of chunks, and of each
 * write; else it ends with -EINVAL. Memory need not be aligned: a writer has 256 KiB of its own that is.
 *
 * Both own their descriptor, and have at most one job in the pool, which its bound does not count. The pool may be
 * freed before them: what needs it then ends with -ECANCELED. A freed one whose job runs is gone for the
 * caller at once; its descriptor is closed when the job is back, and until then stint_loop_run() goes on. It does not go on
 * for a reader that is paused, nor for a writer that has nothing to do.
 *
 * The queue, run and return times of jobs are under the handler, as pool.h says.
 * Rules for callbacks, errors and threads as in loop.h.
 */

#include <stint/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_file_reader;
struct stint_file_writer;

#define STINT_FILE_CHUNK_DEFAULT_BYTES 65536u
#define STINT_FILE_CHUNK_MAX_BYTES     (16u << 20)

/* ---- reading ---- */

struct stint_file_reader_callbacks {
	/* The bytes at `offset` of the file; the loop's, and valid during the call. May be fewer than a chunk. */
	void (*read)(struct stint_file_reader *reader, const void *data, size_t bytes, uint64_t offset,
		     void *ctx);
	/*
	 * It is over: 0, when all that was asked for has been read; -ENODATA: the file ended before; -ECANCELED: the
	 * pool ended; or what the read said. The last callback; the reader is freed after it.
	 */
	void (*end)(struct stint_file_reader *reader, int error, void *ctx);
};

struct stint_file_reader_options {
	size_t size;          /* sizeof(struct stint_file_reader_options) */
	uint64_t offset;      /* where to begin */
	uint64_t bytes;       /* how many to read; 0: to the end of the file */
	uint32_t chunk_bytes; /* 0: STINT_FILE_CHUNK_DEFAULT_BYTES, at most STINT_FILE_CHUNK_MAX_BYTES */
	bool start_paused;
};

/*
 * Reads `fd`, a regular file or a block device, which it owns from then on (on failure it stays the caller's).
 * Both callbacks are required, and copied. They come from the loop, never from within this call. The
 * file's position is neither used nor moved.
 * -EINVAL also for a descriptor of another kind; -EBADF, also: not open for reading; -ENOMEM.
 */
STINT_API int stint_file_reader_new(struct stint_file_reader **ret, struct stint_loop *loop,
				    struct stint_pool *pool, int fd,
				    const struct stint_file_reader_options *options, uint32_t handler,
				    const struct stint_file_reader_callbacks *callbacks, void *ctx);

/* Cancels: no more callbacks, `end` included. */
STINT_API struct stint_file_reader *stint_file_reader_free(struct stint_file_reader *reader);

/*
 * Back-pressure: no `read` and no `end` until it is resumed. A paused reader holds at most one chunk, one that
 * a thread was reading. 0 also if it is so already.
 */
STINT_API int stint_file_reader_pause(struct stint_file_reader *reader);
STINT_API int stint_file_reader_resume(struct stint_file_reader *reader);

struct stint_file_reader_figures {
	uint64_t bytes;  /* given to `read` */
	uint64_t cached; /* chunks that the page cache had */
	uint64_t missed; /* chunks, and ends, that a thread of the pool looked for */
};

#if defined(__cplusplus)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* the function has the name of the struct */
#endif
STINT_API int stint_file_reader_figures(const struct stint_file_reader *reader,
					struct stint_file_reader_figures *ret);
#if defined(__cplusplus)
#pragma GCC diagnostic pop
#endif

/* ---- writing ---- */

struct stint_file_writer_callbacks {
	/* The queue had been above the high watermark and is now at or below the low one. May be NULL. */
	void (*drained)(struct stint_file_writer *writer, void *ctx);
	/* What was written to offsets below `offset` is on the disk. May be NULL. */
	void (*synced)(struct stint_file_writer *writer, uint64_t offset, void *ctx);
	/* It is over: 0, or the negative errno that ended it. Freed after this call. May be NULL. */
	void (*closed)(struct stint_file_writer *writer, int error, void *ctx);
};

#define STINT_FILE_APPEND UINT64_MAX

struct stint_file_writer_options {
	size_t size;     /* sizeof(struct stint_file_writer_options) */
	uint64_t offset; /* of the first write, the others follow it; STINT_FILE_APPEND: the file's end */
	uint64_t in_place_bytes; /* writes of up to so many are made at once; 0: 64 KiB; UINT64_MAX: all */
	uint64_t high_bytes;     /* watermarks of the queue; 0: 1 MiB */
	uint64_t low_bytes;      /* 0: a quarter of high_bytes */
};

/*
 * Makes a writer of `fd`, a regular file or a block device open for writing, which it owns from then on (on
 * failure it stays the caller's). `callbacks` are copied, and may be NULL.
 * -EINVAL also for a descriptor of another kind, and for one with O_APPEND, to which Linux writes at the file's end
 * whatever the offset, unless that is STINT_FILE_APPEND (then offsets are right as long as nobody else appends), and for
 * that with a block device; -EBADF, also: not open for writing; -ENOMEM.
 */
STINT_API int stint_file_writer_new(struct stint_file_writer **ret, struct stint_loop *loop,
				    struct stint_pool *pool, int fd,
				    const struct stint_file_writer_options *options, uint32_t handler,
				    const struct stint_file_writer_callbacks *callbacks, void *ctx);

/* Drops what is queued; no more callbacks. */
STINT_API struct stint_file_writer *stint_file_writer_free(struct stint_file_writer *writer);

/*
 * Writes at once, or queues a copy, behind what is queued already. -EPIPE after stint_file_writer_close(), or
 * when the writer has failed (`closed` is called from the loop then, not from here); -ENOMEM: the
 * writer fails, as part of it may have been written. -EINVAL.
 */
STINT_API int stint_file_writer_write(struct stint_file_writer *writer, const void *data, size_t bytes);

/* Bytes queued, not yet written. */
STINT_API uint64_t stint_file_writer_queued_bytes(const struct stint_file_writer *writer);

/* Whether the queue is above the high watermark, or has been and is not yet down to the low one. */
STINT_API bool stint_file_writer_full(const struct stint_file_writer *writer);

/*
 * Has what was accepted until now written, and then fdatasync() called by the pool; then `synced` comes. One
 * `synced` may be for several calls: its offset says which. -EPIPE as above. -EINVAL.
 */
STINT_API int stint_file_writer_sync(struct stint_file_writer *writer);

/* Closes it once all is written (and synced, if that was asked for); then `closed` comes. -EPIPE, -EINVAL. */
STINT_API int stint_file_writer_close(struct stint_file_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
