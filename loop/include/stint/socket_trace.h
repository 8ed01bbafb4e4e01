/* SPDX-License-Identifier: MIT */
#ifndef STINT_SOCKET_TRACE_H
#define STINT_SOCKET_TRACE_H

/*
 * The write buffer of one TCP socket, as the process itself can see it: sends and short sends, the
 * buffer's fill at each of them, the time at which the peer had acknowledged the last byte of each send
 * (SO_TIMESTAMPING, without privileges), write events, and samples in between. It goes to the socket ring of
 * the meter's file.
 *
 * What it cannot see: which ACK opened the buffer, as the kernel reports one time per send, when its *last*
 * byte is acknowledged. Probes can.
 *
 * Price: two system calls a moment, and one socket option more on the socket. Belongs to the loop's thread.
 */

#include <stdint.h>
#include <stint/api.h>
#include <stint/meter.h>
#include <stint/meter_file.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_socket_trace;

/* Sees each moment as it is recorded. May be NULL. */
typedef void (*stint_socket_trace_observer)(const struct stint_meter_file_socket *moment, void *ctx);

/*
 * Begins to trace `fd`, a connected TCP socket, which stays the caller's, and sets SO_TIMESTAMPING on it; best
 * before anything was sent. -EINVAL, also if it is not connected; -EBADF, -ENOTSOCK; -EOPNOTSUPP: no TCP socket; others
 * of setsockopt() where the kernel has no such times; -ENOMEM, -ENOSPC.
 */
STINT_API int stint_socket_trace_new(struct stint_socket_trace **ret, struct stint_meter_loop *account,
				     int fd, stint_socket_trace_observer observer, void *ctx);

/*
 * Takes a last look at the socket, which is about to be closed, and no more from then on (-EBADF). A stream
 * that is traced (stint_stream_set_trace()) does this by itself before it closes. In a child by fork() the socket, which
 * is the parent's, stays as it is.
 */
STINT_API int stint_socket_trace_end(struct stint_socket_trace *trace);

/* Ends it if that was not done. NULL is allowed. Returns NULL. */
STINT_API struct stint_socket_trace *stint_socket_trace_free(struct stint_socket_trace *trace);

/* A send of `requested` bytes returned `done`, or a negative errno. -EINVAL if that is no result of a send. */
STINT_API int stint_socket_trace_send(struct stint_socket_trace *trace, size_t requested, ssize_t done);

/*
 * The poll returned `epoll_events` (EPOLLOUT, EPOLLERR) for the socket. ACK times lie in the socket's error
 * queue, which is drained here: EPOLLERR on a traced socket need not be an error, ask SO_ERROR.
 */
STINT_API int stint_socket_trace_event(struct stint_socket_trace *trace, uint32_t epoll_events);

/* Records the buffer's fill now. */
STINT_API int stint_socket_trace_sample(struct stint_socket_trace *trace);

/* Moments that could not be recorded. */
STINT_API uint64_t stint_socket_trace_lost(const struct stint_socket_trace *trace);

#ifdef __cplusplus
}
#endif

#endif
