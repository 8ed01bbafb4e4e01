/* SPDX-License-Identifier: MIT */
#include "stream_state.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/*
 * A peer that reads slowly acknowledges all the time, while our next send may be many seconds away: until a third of the
 * buffer is free there is no write event. So before a limit is enforced, the kernel is asked what the peer has got since
 * it was asked last.
 */

/* For how long no ACK has come; 0 if that cannot be known (unix sockets). */
static uint64_t since_last_ack_ns(int fd)
{
	struct tcp_info info = {0};
	socklen_t bytes = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0)
		return 0;
	return (uint64_t)info.tcpi_last_ack_recv * 1000000u;
}

bool stream_ask_gone(struct stint_stream *stream)
{
	int waiting;

	/* Of a pipe, what has not been read yet is told at either end. */
	if (stream->pipe && stream->shut)
		return false;
	if (ioctl(stint_fd_descriptor(stream->source), stream->pipe ? FIONREAD : SIOCOUTQ, &waiting) < 0)
		return false;
	/* Of a unix socket, less what the kernel adds to each. */
	stream->gone_bytes = (int64_t)stream->sent_bytes - waiting;
	return stream->sent_bytes || waiting;
}

void stream_note_progress(struct stint_stream *stream)
{
	uint64_t at_ns, now_ns = stream->object.loop->clock->now_ns;
	int64_t before_bytes = stream->gone_bytes;

	if (!stream_ask_gone(stream) || stream->gone_bytes <= before_bytes)
		return;
	at_ns = now_ns - since_last_ack_ns(stint_fd_descriptor(stream->source));
	if (at_ns > stream->sent_at_ns)
		stream->sent_at_ns = at_ns;
}
