/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Connecting without blocking: the handshake's end is a write event on the socket. What is known at once
 * (refused, or connected, as unix sockets are) is told by a deferral, so that the callback never comes
 * before its handle.
 */

struct stint_connect {
	struct object object;
	struct deferral deferral;
	struct stint_fd *source;
	struct stint_timer *timeout;
	stint_connect_callback callback;
	void *ctx;
	int fd;    /* -1 once it was given away */
	int error; /* for the deferral */
	bool freed;
};

static void destroy(struct object *object)
{
	struct stint_connect *attempt = (struct stint_connect *)object;

	if (attempt->source && !attempt->source->registered)
		attempt->fd = -1; /* it was closed, and its number may be another file's */
	stint_fd_free(attempt->source);
	stint_timer_free(attempt->timeout);
	deferral_cancel(object->loop, &attempt->deferral);
	if (attempt->fd >= 0)
		close(attempt->fd);
	attempt->freed = true;
	loop_bury(object);
}

struct stint_connect *stint_connect_free(struct stint_connect *attempt)
{
	if (attempt && !attempt->freed)
		destroy(&attempt->object);
	return NULL;
}

/* Everything is taken down first: the callback may free the loop. */
static void finish(struct stint_connect *attempt, int error)
{
	stint_connect_callback callback = attempt->callback;
	void *ctx = attempt->ctx;
	int fd = -1;

	if (error == 0) {
		fd = attempt->fd;
		stint_fd_free(attempt->source);
		attempt->source = NULL;
		attempt->fd = -1;
	}
	destroy(&attempt->object);
	callback(error, fd, ctx);
}

static void on_deferral(struct deferral *deferral)
{
	struct stint_connect *attempt =
		(struct stint_connect *)((char *)deferral - offsetof(struct stint_connect, deferral));

	finish(attempt, attempt->error);
}

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_connect *attempt = ctx;
	int error = 0;
	socklen_t bytes = sizeof(error);

	(void)events;
	if (!source->registered)
		error = EBADF;
	else if (getsockopt(stint_fd_descriptor(source), SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
		error = errno;
	finish(attempt, -error);
}

static void on_timeout(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	finish(ctx, -ETIMEDOUT);
}

/* Begins the handshake. What ends it at once is left in `error`, with the deferral scheduled. */
static int begin(struct stint_connect *attempt, struct stint_loop *loop, const struct sockaddr *address,
		 socklen_t bytes, uint32_t handler)
{
	int error = connect(attempt->fd, address, bytes) < 0 ? -errno : 0;

	if (error != -EINPROGRESS) {
		attempt->error = error;
		attempt->timeout = stint_timer_free(attempt->timeout); /* however late the deferral is */
		deferral_schedule(loop, &attempt->deferral);
		return 0;
	}
	return stint_fd_new(&attempt->source, loop, attempt->fd, STINT_WRITE, handler, on_ready, attempt);
}

int stint_connect_new(struct stint_connect **ret, struct stint_loop *loop, const struct sockaddr *address,
		      socklen_t address_bytes, uint64_t timeout_ns, uint32_t handler,
		      stint_connect_callback callback, void *ctx)
{
	struct stint_connect *attempt;
	int error = 0;

	if (!ret || !loop || loop->dead || !address || address_bytes < sizeof(address->sa_family) ||
	    !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	attempt = calloc(1, sizeof(*attempt));
	if (!attempt)
		return -ENOMEM;
	attempt->callback = callback;
	attempt->ctx = ctx;
	deferral_init(&attempt->deferral, handler, on_deferral);
	attempt->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0) {
		error = -errno;
		free(attempt);
		return error;
	}
	loop_add_object(loop, &attempt->object, destroy);
	if (timeout_ns) {
		error = stint_timer_new(&attempt->timeout, loop, handler, on_timeout, attempt);
		if (error == 0)
			error = stint_timer_start(attempt->timeout, timeout_ns, 0);
	}
	if (error == 0)
		error = begin(attempt, loop, address, address_bytes, handler);
	if (error < 0) {
		destroy(&attempt->object);
		return error;
	}
	*ret = attempt;
	return 0;
}
