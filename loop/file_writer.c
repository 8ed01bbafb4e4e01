/* SPDX-License-Identifier: MIT */
#include "file.h"
#include "write_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Writers. With nothing before it, a small write is made at once; whatever is not, is queued, and the head of the queue is
 * written by a job. Copies are appended behind what a thread is writing, and never move, so that it needs no lock.
 *
 * O_DIRECT takes only what is aligned in memory and whole blocks long. The queue's pieces are neither, so they are copied
 * together by the thread; of blocks the sum still is, if all that was written was.
 *
 * A write in place asks not to wait (RWF_NOWAIT) where the file system knows how, and then one that would have
 * to wait, for dirty pages to be written, is queued instead.
 */

#define IN_PLACE_DEFAULT 65536u
#define HIGH_DEFAULT     1048576u
#define PARTS            64
#define DIRECT_BYTES     262144u

enum task { TASK_WRITE, TASK_SYNC };

struct stint_file_writer {
	struct file file;
	struct stint_file_writer_callbacks callbacks;
	struct write_queue queue;
	uint64_t offset;
	uint64_t in_place_bytes, high_bytes, low_bytes;
	int error;  /* what `closed` will say */
	bool waits; /* O_DIRECT, O_DSYNC or O_SYNC: every write waits for the disk */
	bool blind; /* the file system cannot tell whether a write would wait */
	bool full, closing;
	uint64_t sync_from; /* offset from which on a sync is due; UINT64_MAX: none is asked for */
	uint64_t sync_at;   /* offset that the latest sync asked for is to cover */

	/* the thread's, while a job is out */
	enum task task;
	struct iovec parts[PARTS];
	int part_count;
	uint8_t *direct;      /* O_DIRECT: where the parts are copied to; else NULL */
	uint64_t sync_covers; /* offset up to which all was written when the sync began */
	ssize_t result;       /* bytes, or a negative errno */
};

static struct stint_file_writer *writer_of(struct file *file)
{
	return (struct stint_file_writer *)file;
}

static void release(struct file *file)
{
	write_queue_clear(&writer_of(file)->queue);
	free(writer_of(file)->direct);
}

/* It is over; `closed` comes from the loop. */
static void finish(struct stint_file_writer *writer, int error)
{
	if (writer->file.finished)
		return;
	writer->file.finished = true;
	writer->error = error;
	deferral_schedule(writer->file.object.loop, &writer->file.turn);
}

static void on_turn(struct deferral *turn)
{
	struct stint_file_writer *writer = writer_of(file_of_turn(turn));

	if (writer->callbacks.closed)
		writer->callbacks.closed(writer, writer->error, writer->file.ctx);
	file_free(&writer->file);
}

/* ---- in a thread ---- */

static size_t copy_parts(struct stint_file_writer *writer)
{
	size_t bytes = 0;

	for (int i = 0; i < writer->part_count && bytes < DIRECT_BYTES; i++) {
		size_t room = DIRECT_BYTES - bytes, part = writer->parts[i].iov_len;

		part = part < room ? part : room;
		memcpy(writer->direct + bytes, writer->parts[i].iov_base, part);
		bytes += part;
	}
	return bytes;
}

static ssize_t write_parts(struct stint_file_writer *writer)
{
	if (!writer->direct)
		return pwritev(writer->file.fd, writer->parts, writer->part_count, (off_t)writer->offset);
	return pwrite(writer->file.fd, writer->direct, copy_parts(writer), (off_t)writer->offset);
}

static void run(struct stint_job *job, void *ctx)
{
	struct stint_file_writer *writer = ctx;

	(void)job;
	do {
		writer->result = writer->task == TASK_SYNC ? fdatasync(writer->file.fd) : write_parts(writer);
	} while (writer->result < 0 && errno == EINTR);
	if (writer->result < 0)
		writer->result = -errno;
}

/* ---- on the loop ---- */

/* Covers all that is written, which is at least what was asked for first: writes that go on cannot put it off. */
static void begin_sync(struct stint_file_writer *writer)
{
	writer->task = TASK_SYNC;
	writer->sync_covers = writer->offset;
	writer->sync_from = writer->sync_at > writer->offset ? writer->sync_at : UINT64_MAX;
}

/* Gives the pool what comes next, if anything does; with nothing left, ends a writer that is to be closed. */
static void advance(struct stint_file_writer *writer)
{
	size_t bytes;
	int error;

	if (writer->file.finished || writer->file.freed || file_job_out(&writer->file))
		return;
	if (writer->offset >= writer->sync_from) {
		begin_sync(writer);
	} else if (writer->queue.bytes) {
		writer->task = TASK_WRITE;
		writer->part_count = write_queue_peek(&writer->queue, writer->parts, PARTS, &bytes);
	} else {
		if (writer->closing)
			finish(writer, 0);
		return;
	}
	error = file_offload(&writer->file);
	if (error < 0)
		finish(writer, error);
}

static void after_write(struct stint_file_writer *writer)
{
	writer->offset += (uint64_t)writer->result;
	write_queue_advance(&writer->queue, (size_t)writer->result);
	advance(writer);
	if (!writer->full || writer->file.finished || writer->queue.bytes > writer->low_bytes)
		return;
	writer->full = false;
	if (writer->callbacks.drained && !writer->closing)
		writer->callbacks.drained(writer, writer->file.ctx);
}

static void after_sync(struct stint_file_writer *writer)
{
	uint64_t covered = writer->sync_covers;

	advance(writer);
	if (writer->callbacks.synced)
		writer->callbacks.synced(writer, covered, writer->file.ctx);
}

static void done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct stint_file_writer *writer = ctx;

	(void)job;
	if (!file_job_back(&writer->file))
		return;
	if (outcome == STINT_JOB_CANCELLED)
		finish(writer, -ECANCELED);
	else if (writer->result < 0)
		finish(writer, (int)writer->result);
	else if (writer->task == TASK_SYNC)
		after_sync(writer);
	else if (writer->result == 0) /* a write of some bytes that writes none, and says no error */
		finish(writer, -EIO);
	else
		after_write(writer);
}

/* Returns bytes written at once, or a negative errno. 0: none, whether it would have to wait or not. */
static ssize_t write_now(struct stint_file_writer *writer, const void *data, size_t bytes)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
	ssize_t written = -1;

	if (writer->waits || bytes > writer->in_place_bytes || writer->queue.bytes ||
	    file_job_out(&writer->file))
		return 0;
	if (!writer->blind) {
		written = pwritev2(writer->file.fd, &part, 1, (off_t)writer->offset, RWF_NOWAIT);
		if (written < 0 && errno == EAGAIN)
			return 0;
		writer->blind = written < 0 && errno != EINTR;
	}
	if (written < 0)
		written = pwrite(writer->file.fd, data, bytes, (off_t)writer->offset);
	if (written < 0)
		return errno == EINTR ? 0 : -errno;
	writer->offset += (uint64_t)written;
	return written;
}

static int check_writable(const struct stint_file_writer *writer)
{
	if (!writer || writer->file.freed)
		return -EINVAL;
	return writer->closing || writer->file.finished ? -EPIPE : 0;
}

int stint_file_writer_write(struct stint_file_writer *writer, const void *data, size_t bytes)
{
	int error = check_writable(writer);
	ssize_t written;

	if (error < 0 || bytes == 0)
		return error;
	if (!data)
		return -EINVAL;
	written = write_now(writer, data, bytes);
	if (written < 0) {
		finish(writer, (int)written);
		return -EPIPE;
	}
	if ((size_t)written == bytes)
		return 0;
	error = write_queue_copy(&writer->queue, (const uint8_t *)data + written, bytes - (size_t)written);
	if (error < 0) {
		finish(writer, error);
		return error;
	}
	if (writer->queue.bytes > writer->high_bytes)
		writer->full = true;
	advance(writer);
	return 0;
}

int stint_file_writer_sync(struct stint_file_writer *writer)
{
	int error = check_writable(writer);

	if (error < 0)
		return error;
	writer->sync_at = writer->offset + writer->queue.bytes;
	/* One that is under way covers all that was written when it began. */
	if (file_job_out(&writer->file) && writer->task == TASK_SYNC &&
	    writer->sync_at <= writer->sync_covers)
		return 0;
	if (writer->sync_from == UINT64_MAX)
		writer->sync_from = writer->sync_at;
	advance(writer);
	return 0;
}

int stint_file_writer_close(struct stint_file_writer *writer)
{
	int error = check_writable(writer);

	if (error < 0)
		return error;
	writer->closing = true;
	advance(writer);
	return 0;
}

uint64_t stint_file_writer_queued_bytes(const struct stint_file_writer *writer)
{
	return writer ? writer->queue.bytes : 0;
}

bool stint_file_writer_full(const struct stint_file_writer *writer)
{
	return writer && writer->full;
}

/* ---- making and freeing ---- */

static int check_options(struct stint_file_writer_options *options, int fd)
{
	uint64_t file_bytes;
	int error = file_check(fd, O_RDONLY, &file_bytes);

	if (error < 0)
		return error;
	if ((fcntl(fd, F_GETFL) & O_APPEND) && options->offset != STINT_FILE_APPEND)
		return -EINVAL;
	if (options->offset == STINT_FILE_APPEND)
		options->offset = file_bytes;
	if (options->offset > INT64_MAX)
		return -EINVAL;
	if (!options->in_place_bytes)
		options->in_place_bytes = IN_PLACE_DEFAULT;
	if (!options->high_bytes)
		options->high_bytes = HIGH_DEFAULT;
	if (!options->low_bytes)
		options->low_bytes = options->high_bytes / 4;
	return options->low_bytes > options->high_bytes ? -EINVAL : 0;
}

int stint_file_writer_new(struct stint_file_writer **ret, struct stint_loop *loop, struct stint_pool *pool,
			  int fd, const struct stint_file_writer_options *given, uint32_t handler,
			  const struct stint_file_writer_callbacks *callbacks, void *ctx)
{
	struct stint_file_writer_options options;
	struct stint_file_writer *writer;
	int error;

	if (!ret || !loop || loop->dead || !pool || !loop_handler_valid(loop, handler))
		return -EINVAL;
	error = options_take(&options, sizeof(options), given);
	if (error == 0)
		error = check_options(&options, fd);
	if (error < 0)
		return error;
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return -ENOMEM;
	if (fcntl(fd, F_GETFL) & O_DIRECT) {
		writer->direct = file_buffer(DIRECT_BYTES);
		if (!writer->direct) {
			free(writer);
			return -ENOMEM;
		}
	}
	if (callbacks)
		writer->callbacks = *callbacks;
	writer->offset = options.offset;
	writer->sync_from = UINT64_MAX;
	writer->in_place_bytes = options.in_place_bytes;
	writer->high_bytes = options.high_bytes;
	writer->low_bytes = options.low_bytes;
	writer->waits = fcntl(fd, F_GETFL) & (O_DIRECT | O_DSYNC | O_SYNC);
	writer->file.release = release;
	writer->file.job.run = run;
	writer->file.job.done = done;
	deferral_init(&writer->file.turn, handler, on_turn);
	file_init(&writer->file, loop, pool, fd, handler, ctx);
	*ret = writer;
	return 0;
}

struct stint_file_writer *stint_file_writer_free(struct stint_file_writer *writer)
{
	if (writer)
		file_free(&writer->file);
	return NULL;
}
