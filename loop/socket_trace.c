/* SPDX-License-Identifier: MIT */
#include "fork.h"
#include "meter_account.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <stint/socket_trace.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

struct stint_socket_trace {
	struct stint_meter_loop *account;
	stint_socket_trace_observer observer;
	void *ctx;
	int fd;
	uint32_t generation;  /* see fork.h */
	uint64_t acked_bytes; /* since then */
	uint64_t lost;
};

static int read_buffer_fill(int fd, struct stint_meter_file_socket *moment)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t bytes = sizeof(memory);
	int unacked = 0;

	if (ioctl(fd, SIOCOUTQ, &unacked) < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &bytes) < 0)
		return -errno;
	moment->unacked_bytes = (uint64_t)unacked;
	moment->queued_bytes = memory[SK_MEMINFO_WMEM_QUEUED];
	moment->sndbuf_bytes = memory[SK_MEMINFO_SNDBUF];
	return 0;
}

static int record(struct stint_socket_trace *trace, struct stint_meter_file_socket *moment)
{
	int error;

	moment->fd = trace->fd;
	if (trace->fd < 0)
		return -EBADF;
	error = read_buffer_fill(trace->fd, moment);
	if (error == 0)
		error = meter_account_socket(trace->account, moment);
	if (error < 0) {
		trace->lost++;
		return error;
	}
	if (trace->observer)
		trace->observer(moment, trace->ctx);
	return 0;
}

static int record_kind(struct stint_socket_trace *trace, uint32_t kind)
{
	struct stint_meter_file_socket moment = {.kind = kind};

	moment.time_ns = clock_read(&trace->account->clock);
	return record(trace, &moment);
}

/* Others take the option, or the calls of read_buffer_fill(), and have no ACKs. */
static int check_is_tcp(int fd)
{
	int protocol = 0;
	socklen_t bytes = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &bytes) < 0)
		return -errno;
	return protocol == IPPROTO_TCP ? 0 : -EOPNOTSUPP;
}

static int ask_for_ack_times(int fd)
{
	/*
	 * TSONLY: no copy of the data comes with the time. OPT_ID: each time carries the offset of its byte in
	 * the stream, counted from the first unacknowledged one at this moment.
	 */
	unsigned flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_OPT_ID |
			 SOF_TIMESTAMPING_OPT_TSONLY;

	return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)) < 0 ? -errno : 0;
}

int stint_socket_trace_new(struct stint_socket_trace **ret, struct stint_meter_loop *account, int fd,
			   stint_socket_trace_observer observer, void *ctx)
{
	struct stint_meter_file_socket moment = {0};
	struct stint_socket_trace *trace;
	int error;

	if (!ret || !account)
		return -EINVAL;
	error = check_is_tcp(fd);
	if (error == 0)
		error = read_buffer_fill(fd, &moment);
	if (error == 0)
		error = ask_for_ack_times(fd);
	if (error < 0)
		return error;
	trace = calloc(1, sizeof(*trace));
	if (!trace)
		return -ENOMEM;
	*trace = (struct stint_socket_trace){.account = account,
					     .observer = observer,
					     .ctx = ctx,
					     .fd = fd,
					     .generation = fork_generation()};
	error = record_kind(trace, STINT_METER_SOCKET_OPEN);
	if (error < 0) {
		free(trace);
		return error;
	}
	*ret = trace;
	return 0;
}

int stint_socket_trace_end(struct stint_socket_trace *trace)
{
	unsigned none = 0;
	int error = 0;

	if (!trace)
		return -EINVAL;
	if (trace->fd < 0)
		return -EBADF;
	/* In a child by fork() it is the parent's socket, which the parent goes on to trace. */
	if (trace->generation == fork_generation_now) {
		error = record_kind(trace, STINT_METER_SOCKET_CLOSE);
		/* A caller that goes on with the socket should not be left with a filling error queue. */
		setsockopt(trace->fd, SOL_SOCKET, SO_TIMESTAMPING, &none, sizeof(none));
	}
	trace->fd = -1;
	return error;
}

struct stint_socket_trace *stint_socket_trace_free(struct stint_socket_trace *trace)
{
	if (trace)
		stint_socket_trace_end(trace);
	free(trace);
	return NULL;
}

int stint_socket_trace_send(struct stint_socket_trace *trace, size_t requested, ssize_t done)
{
	struct stint_meter_file_socket moment = {.requested_bytes = requested};

	if (!trace || (done < 0 && done != -EAGAIN && done != -EINTR) ||
	    (done > 0 && (size_t)done > requested))
		return -EINVAL;
	moment.time_ns = clock_read(&trace->account->clock);
	moment.done_bytes = done > 0 ? (uint64_t)done : 0;
	moment.kind =
		moment.done_bytes == requested ? STINT_METER_SOCKET_SEND : STINT_METER_SOCKET_SEND_SHORT;
	return record(trace, &moment);
}

/* The kernel gives CLOCK_REALTIME; it was set since then or not, the difference now is all there is. */
static uint64_t to_monotonic(const struct timespec *realtime)
{
	int64_t offset_ns = (int64_t)(clock_gettime_ns(CLOCK_REALTIME) - clock_gettime_ns(CLOCK_MONOTONIC));

	return (uint64_t)((int64_t)realtime->tv_sec * 1000000000 + realtime->tv_nsec - offset_ns);
}

/* `offset` is that of the acknowledged byte, modulo 2^32. */
static int record_ack(struct stint_socket_trace *trace, const struct timespec *time, uint32_t offset)
{
	struct stint_meter_file_socket moment = {.kind = STINT_METER_SOCKET_ACK};
	uint32_t step = offset + 1 - (uint32_t)trace->acked_bytes;

	/* Times come in order of the bytes; a retransmission may repeat an old one. */
	if (step < UINT32_MAX / 2)
		trace->acked_bytes += step;
	moment.time_ns = to_monotonic(time);
	moment.done_bytes = trace->acked_bytes;
	return record(trace, &moment);
}

/* Finds the time and the offset in what came with one message of the error queue. */
static int take_message(struct stint_socket_trace *trace, struct msghdr *message)
{
	const struct scm_timestamping *times = NULL;
	const struct sock_extended_err *origin = NULL;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPING)
			times = (const struct scm_timestamping *)CMSG_DATA(part);
		else if ((part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_RECVERR) ||
			 (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_RECVERR))
			origin = (const struct sock_extended_err *)CMSG_DATA(part);
	}
	if (!times || !origin || origin->ee_origin != SO_EE_ORIGIN_TIMESTAMPING ||
	    origin->ee_info != SCM_TSTAMP_ACK)
		return 0;
	return record_ack(trace, &times->ts[0], origin->ee_data);
}

static int drain_error_queue(struct stint_socket_trace *trace)
{
	int error = 0;

	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[512];
		} control;
		struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof(control)};
		int recorded;

		if (recvmsg(trace->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			if (errno == EINTR)
				continue;
			return errno == EAGAIN ? error : -errno;
		}
		recorded = take_message(trace, &message);
		if (recorded < 0)
			error = recorded;
	}
}

int stint_socket_trace_event(struct stint_socket_trace *trace, uint32_t epoll_events)
{
	int error = 0;

	if (!trace)
		return -EINVAL;
	if (trace->fd < 0)
		return -EBADF;
	if (epoll_events & EPOLLERR)
		error = drain_error_queue(trace);
	if (epoll_events & EPOLLOUT) {
		int recorded = record_kind(trace, STINT_METER_SOCKET_WRITE_EVENT);

		if (recorded < 0)
			error = recorded;
	}
	return error;
}

int stint_socket_trace_sample(struct stint_socket_trace *trace)
{
	return trace ? record_kind(trace, STINT_METER_SOCKET_SAMPLE) : -EINVAL;
}

uint64_t stint_socket_trace_lost(const struct stint_socket_trace *trace)
{
	return trace ? trace->lost : 0;
}
