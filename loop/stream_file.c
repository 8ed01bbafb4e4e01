/* SPDX-License-Identifier: MIT */
#include "sigpipe.h"
#include "stream_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * File ranges in the queue: sendfile(), so that the data is never in user space.
 *
 * What is not in the page cache is read while sendfile() waits, and so does the loop. Hence a dispatch sends
 * at most FILE_CHUNK of files, and the kernel is asked beforehand to read the next chunk.
 *
 * Some files cannot be sent so (those of /proc, some network file systems): they are read into the loop's
 * buffer, and what the socket does not take is read again the next time.
 */

#define FILE_CHUNK 262144u

static ssize_t send_file_quietly(int socket, const struct write_queue_range *range, size_t bytes)
{
	off_t offset = (off_t)range->offset;
	sigset_t before;
	ssize_t done;

	sigpipe_hold(&before);
	do {
		done = sendfile(socket, range->fd, &offset, bytes);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		done = -errno;
	sigpipe_release(&before, done < (ssize_t)bytes);
	return done;
}

static ssize_t read_chunk(struct stint_loop *loop, const struct write_queue_range *range, size_t bytes)
{
	ssize_t got;

	if (bytes > STREAM_READ_BYTES)
		bytes = STREAM_READ_BYTES;
	do {
		got = pread(range->fd, loop->read_buffer, bytes, (off_t)range->offset);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static ssize_t send_copy(struct stint_stream *stream, const struct write_queue_range *range, size_t *asked)
{
	ssize_t got = read_chunk(stream->object.loop, range, *asked);
	struct iovec part = {.iov_base = stream->object.loop->read_buffer, .iov_len = (size_t)got};

	if (got <= 0)
		return got < 0 ? got : -ENODATA;
	*asked = (size_t)got;
	return stream_send_parts(stream, &part, 1, *asked, *asked < stream->queue.bytes ? MSG_MORE : 0);
}

/* What sendfile() says of a file that it cannot send, but that can be read. */
static bool must_be_read(ssize_t error)
{
	return error == -EINVAL || error == -ENOSYS || error == -EOPNOTSUPP || error == -EPERM ||
	       error == -EOVERFLOW;
}

static ssize_t send_range(struct stint_stream *stream, const struct write_queue_range *range, size_t *asked)
{
	ssize_t done;

	*asked = range->bytes < FILE_CHUNK ? (size_t)range->bytes : FILE_CHUNK;
	if (stream->pipe) /* what sendfile() does there, and whether it waits, differs between kernels */
		return -EINVAL;
	stream_before_send(stream);
	done = send_file_quietly(stint_fd_descriptor(stream->source), range, *asked);
	if (done == 0)
		return -ENODATA;
	if (must_be_read(done))
		return done;
	done = stream_after_send(stream, *asked, done);
	if (done > 0 && range->bytes > (uint64_t)done)
		(void)posix_fadvise(range->fd, (off_t)(range->offset + (uint64_t)done), FILE_CHUNK,
				    POSIX_FADV_WILLNEED);
	return done;
}

ssize_t stream_send_file(struct stint_stream *stream, const struct write_queue_range *range, size_t *asked)
{
	ssize_t done = send_range(stream, range, asked);

	return must_be_read(done) ? send_copy(stream, range, asked) : done;
}

/*
 * Tries the socket if nothing is queued. The loop's buffer may hold what the user is just reading, so a file
 * that has to go through it waits for its dispatch.
 */
static ssize_t send_now(struct stint_stream *stream, const struct write_queue_range *range)
{
	size_t asked;
	ssize_t done;

	if (!stream_sends_at_once(stream))
		return 0;
	done = send_range(stream, range, &asked);
	if (must_be_read(done))
		return 0;
	if (done < 0) {
		stream_end_by_reset(stream);
		stream_fail(stream, (int)done);
	}
	return done < 0 ? -EPIPE : done;
}

static int check_range(const struct write_queue_range *range)
{
	int flags = fcntl(range->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
		return -EBADF;
	if (range->offset > INT64_MAX || range->bytes > INT64_MAX - range->offset)
		return -EINVAL;
	return lseek(range->fd, 0, SEEK_CUR) < 0 ? -errno : 0;
}

int stint_stream_send_file(struct stint_stream *stream, int fd, uint64_t offset, uint64_t bytes,
			   void (*release)(int fd, void *ctx), void *release_ctx)
{
	struct write_queue_range range = {.fd = fd, .offset = offset, .bytes = bytes};
	int error = stream_check_writable(stream);
	ssize_t done = 0;

	if (error == 0)
		error = check_range(&range);
	if (error == 0 && bytes)
		done = send_now(stream, &range);
	if (done < 0)
		error = (int)done;
	if (error == 0 && (uint64_t)done < bytes) {
		stream_begin_queue(stream);
		error = write_queue_file(&stream->queue, fd, offset + (uint64_t)done, bytes - (uint64_t)done,
					 release, release_ctx);
		if (error == 0) {
			stream_after_queueing(stream);
			return 0;
		}
		stream_end_by_reset(stream);
		stream_finish(stream, error);
	}
	if (release)
		release(fd, release_ctx);
	else if (fd >= 0)
		close(fd);
	return error;
}
