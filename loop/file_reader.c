/* SPDX-License-Identifier: MIT */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Readers. A turn reads one chunk in place, into a buffer that all readers of the loop share, and asks for the next
 * turn; events come in between. A chunk that is not in the page cache has a buffer of its own, until `read` has
 * returned. After it, the next one is tried in place again: by then the kernel has read ahead.
 */

struct stint_file_reader {
	struct file file;
	struct stint_file_reader_callbacks callbacks;
	struct stint_file_reader_figures figures;
	uint64_t offset;
	uint64_t left; /* to read; UINT64_MAX: to the end */
	uint32_t chunk_bytes;
	bool paused, blind; /* blind: the file system cannot tell what is cached */

	uint8_t *buffer; /* the thread's; NULL: none */
	size_t want_bytes;
	ssize_t result; /* bytes, or a negative errno: what the thread says */
	bool waiting;   /* `result` is there, and not told yet */
};

static struct stint_file_reader *reader_of(struct file *file)
{
	return (struct stint_file_reader *)file;
}

static void release(struct file *file)
{
	struct stint_file_reader *reader = reader_of(file);

	free(reader->buffer);
	reader->buffer = NULL;
}

static void finish(struct stint_file_reader *reader, int error)
{
	reader->file.finished = true;
	reader->callbacks.end(reader, error, reader->file.ctx);
	file_free(&reader->file);
}

static void ask_for_turn(struct stint_file_reader *reader)
{
	if (!reader->paused && !file_job_out(&reader->file))
		deferral_schedule(reader->file.object.loop, &reader->file.turn);
}

/* `bytes` 0: the file has ended. */
static void deliver(struct stint_file_reader *reader, const uint8_t *data, size_t bytes)
{
	uint64_t offset = reader->offset;

	if (bytes == 0) {
		finish(reader, reader->left == UINT64_MAX ? 0 : -ENODATA);
		return;
	}
	reader->offset += bytes;
	reader->figures.bytes += bytes;
	if (reader->left != UINT64_MAX)
		reader->left -= bytes;
	reader->callbacks.read(reader, data, bytes, offset, reader->file.ctx);
	if (!reader->file.freed)
		ask_for_turn(reader);
}

static void count_chunk(struct stint_file_reader *reader, bool cached)
{
	struct stint_meter_loop *account = reader->file.object.loop->account;

	if (cached)
		reader->figures.cached++;
	else
		reader->figures.missed++;
	if (account) {
		struct stint_meter_file_block *block =
			meter_account_hot(account, reader->file.job.handler)->block;

		counter_add(cached ? &block->file_reads_cached : &block->file_reads_missed, 1);
	}
}

/* ---- in a thread ---- */

static void run(struct stint_job *job, void *ctx)
{
	struct stint_file_reader *reader = ctx;
	size_t done = 0;

	while (done < reader->want_bytes && !stint_job_cancelled(job)) {
		ssize_t bytes = pread(reader->file.fd, reader->buffer + done, reader->want_bytes - done,
				      (off_t)(reader->offset + done));

		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes < 0 && done == 0) {
			reader->result = -errno;
			return;
		}
		if (bytes <= 0) /* an error is found again by the next chunk */
			break;
		done += (size_t)bytes;
	}
	reader->result = (ssize_t)done;
}

/* ---- on the loop ---- */

static void deliver_result(struct stint_file_reader *reader)
{
	uint8_t *buffer = reader->buffer;

	reader->buffer = NULL;
	reader->waiting = false;
	if (reader->result < 0)
		finish(reader, (int)reader->result);
	else
		deliver(reader, buffer, (size_t)reader->result);
	free(buffer);
}

static void done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct stint_file_reader *reader = ctx;

	(void)job;
	if (!file_job_back(&reader->file))
		return;
	if (outcome == STINT_JOB_DONE)
		count_chunk(reader, false);
	else
		reader->result = -ECANCELED;
	reader->waiting = true;
	if (!reader->paused)
		deliver_result(reader);
}

static void offload(struct stint_file_reader *reader, size_t bytes)
{
	int error = -ENOMEM;

	reader->want_bytes = bytes;
	reader->buffer = file_buffer(bytes);
	if (reader->buffer)
		error = file_offload(&reader->file);
	if (error < 0)
		finish(reader, error);
}

/* A buffer for what is read in place, for whoever reads now. */
static uint8_t *shared_buffer(struct stint_loop *loop, size_t bytes)
{
	uint8_t *larger;

	if (loop->file_buffer_bytes >= bytes)
		return loop->file_buffer;
	larger = malloc(bytes);
	if (!larger)
		return NULL;
	free(loop->file_buffer);
	loop->file_buffer = larger;
	loop->file_buffer_bytes = bytes;
	return larger;
}

static void read_chunk(struct stint_file_reader *reader)
{
	size_t want = reader->left < reader->chunk_bytes ? (size_t)reader->left : reader->chunk_bytes;
	struct iovec part = {.iov_base = shared_buffer(reader->file.object.loop, want), .iov_len = want};
	ssize_t bytes;

	if (want == 0) {
		finish(reader, 0);
		return;
	}
	if (reader->blind || !part.iov_base) {
		offload(reader, want);
		return;
	}
	bytes = preadv2(reader->file.fd, &part, 1, (off_t)reader->offset, RWF_NOWAIT);
	if (bytes >= 0) {
		if (bytes > 0)
			count_chunk(reader, true);
		deliver(reader, part.iov_base, (size_t)bytes);
		return;
	}
	/* Whatever else it says is for the thread's read to find out, which knows no flags. */
	if (errno != EAGAIN && errno != EINTR)
		reader->blind = true;
	offload(reader, want);
}

static void on_turn(struct deferral *turn)
{
	struct stint_file_reader *reader = reader_of(file_of_turn(turn));

	if (reader->waiting)
		deliver_result(reader);
	else
		read_chunk(reader);
}

/* ---- the public face ---- */

int stint_file_reader_new(struct stint_file_reader **ret, struct stint_loop *loop, struct stint_pool *pool,
			  int fd, const struct stint_file_reader_options *given, uint32_t handler,
			  const struct stint_file_reader_callbacks *callbacks, void *ctx)
{
	struct stint_file_reader_options options;
	struct stint_file_reader *reader;
	uint64_t file_bytes;
	int error;

	if (!ret || !loop || loop->dead || !pool || !callbacks || !callbacks->read || !callbacks->end ||
	    !loop_handler_valid(loop, handler))
		return -EINVAL;
	error = options_take(&options, sizeof(options), given);
	if (error == 0)
		error = file_check(fd, O_WRONLY, &file_bytes);
	if (error < 0)
		return error;
	if (options.chunk_bytes > STINT_FILE_CHUNK_MAX_BYTES || options.offset > INT64_MAX ||
	    options.bytes > INT64_MAX - options.offset)
		return -EINVAL;
	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	reader->callbacks = *callbacks;
	reader->offset = options.offset;
	reader->left = options.bytes ? options.bytes : UINT64_MAX;
	reader->chunk_bytes = options.chunk_bytes ? options.chunk_bytes : STINT_FILE_CHUNK_DEFAULT_BYTES;
	reader->paused = options.start_paused;
	reader->blind = fcntl(fd, F_GETFL) & O_DIRECT; /* it would wait for the disk, RWF_NOWAIT or not */
	reader->file.release = release;
	reader->file.job.run = run;
	reader->file.job.done = done;
	deferral_init(&reader->file.turn, handler, on_turn);
	file_init(&reader->file, loop, pool, fd, handler, ctx);
	ask_for_turn(reader);
	*ret = reader;
	return 0;
}

struct stint_file_reader *stint_file_reader_free(struct stint_file_reader *reader)
{
	if (reader)
		file_free(&reader->file);
	return NULL;
}

int stint_file_reader_pause(struct stint_file_reader *reader)
{
	if (!reader || reader->file.freed)
		return -EINVAL;
	reader->paused = true;
	deferral_cancel(reader->file.object.loop, &reader->file.turn);
	return 0;
}

int stint_file_reader_resume(struct stint_file_reader *reader)
{
	if (!reader || reader->file.freed)
		return -EINVAL;
	if (!reader->paused)
		return 0;
	reader->paused = false;
	if (!reader->file.finished)
		ask_for_turn(reader);
	return 0;
}

int stint_file_reader_figures(const struct stint_file_reader *reader, struct stint_file_reader_figures *ret)
{
	if (!reader || !ret)
		return -EINVAL;
	*ret = reader->figures;
	return 0;
}
