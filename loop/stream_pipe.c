/* SPDX-License-Identifier: MIT */
#include "sigpipe.h"
#include "stream_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * A stream on one end of a pipe is one whose other direction has ended before it began: the reading end was shut down, the
 * writing end has seen the peer's end. What else there is to it: no call that is a socket's, and the writing end is told
 * by EPOLLERR that nobody reads.
 */

int stream_pipe_check(int fd, bool *ret_reads)
{
	struct stat status;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISFIFO(status.st_mode))
		return -ENOTSOCK;
	*ret_reads = (flags & O_ACCMODE) == O_RDONLY;
	return (flags & O_ACCMODE) == O_RDWR ? -EPROTOTYPE : 0;
}

void stream_pipe_begin(struct stint_stream *stream, bool reads)
{
	stream->pipe = true;
	if (reads)
		stream->shutting = stream->shut = true;
	else
		stream->ended = stream->end_told = true;
}

ssize_t stream_pipe_write(int fd, const struct iovec *parts, int count, size_t bytes)
{
	sigset_t before;
	ssize_t done;
	int error;

	sigpipe_hold(&before);
	done = writev(fd, parts, count);
	error = errno;
	sigpipe_release(&before, done < (ssize_t)bytes);
	errno = error;
	return done;
}
