/* SPDX-License-Identifier: MIT */
#include "listen_socket.h"
#include "reactor.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Listeners. A dispatch accepts up to ACCEPTS connections, so that a flood of them does not starve the
 * others; the poll reports what is left. Out of descriptors, accept() fails while the connection stays in
 * the backlog, and the poll would report it for ever: so the listener looks away for a while. Of one that was shut down
 * it would report EPOLLHUP for ever, asked or not: that is listened to once (edge-triggered).
 */

#define ACCEPTS  16
#define PAUSE_NS 100000000u

struct stint_listener {
	struct object object;
	struct stint_fd *source;
	struct stint_timer *resume;
	stint_listener_callback callback;
	void *ctx;
	uint64_t pauses;
	struct listen_path path;
	int error;   /* that accepting has ended with */
	bool paused; /* by the user */
	bool freed;
};

static void destroy(struct object *object)
{
	struct stint_listener *listener = (struct stint_listener *)object;

	/* First the file, so that nobody finds it there with none to accept; in a forked child it is the parent's. */
	if (!loop_is_foreign(object->loop))
		listen_path_remove(&listener->path);
	listen_path_forget(&listener->path);
	stint_fd_free(listener->source);
	stint_timer_free(listener->resume);
	listener->freed = true;
	loop_bury(object);
}

struct stint_listener *stint_listener_free(struct stint_listener *listener)
{
	if (listener && !listener->freed)
		destroy(&listener->object);
	return NULL;
}

static int watch_for_connections(struct stint_listener *listener, bool wanted)
{
	fd_set_edge(listener->source, false);
	return stint_fd_set_events(listener->source, wanted ? STINT_READ : 0);
}

static void on_resume(struct stint_timer *timer, void *ctx)
{
	struct stint_listener *listener = ctx;

	(void)timer;
	watch_for_connections(listener, true);
}

static void look_away(struct stint_listener *listener)
{
	if (stint_timer_start(listener->resume, PAUSE_NS, 0) < 0)
		return; /* no memory for that either: better to spin than to be deaf */
	listener->pauses++;
	watch_for_connections(listener, false);
}

/* The socket is none that accepts any more, so waiting is of no use. */
static bool ends_accepting(int error)
{
	return error == EINVAL || error == EBADF || error == ENOTSOCK || error == EOPNOTSUPP;
}

static void stop_accepting(struct stint_listener *listener, int error)
{
	listener->error = -error;
	watch_for_connections(listener, false);
	fd_set_edge(listener->source, true);
}

/* Errors of one connection, which is gone, and no reason to stop (accept(2), "Error handling"). */
static bool concerns_one_connection(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM ||
	       error == ENETDOWN || error == EHOSTDOWN || error == EHOSTUNREACH || error == ENETUNREACH ||
	       error == ENOPROTOOPT || error == ENONET;
}

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_listener *listener = ctx;
	int fd = stint_fd_descriptor(source);

	if (!source->registered) { /* it was closed, and its number may be another file's */
		stop_accepting(listener, EBADF);
		return;
	}
	if (!stint_fd_events(source)) { /* it looks away */
		if (events & (STINT_HANGUP | STINT_ERROR))
			fd_set_edge(source, true);
		return;
	}
	for (int i = 0; i < ACCEPTS && !listener->freed && !listener->paused; i++) {
		struct sockaddr_storage peer;
		socklen_t bytes = sizeof(peer);
		int connection = accept4(fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (connection >= 0) {
			listener->callback(listener, connection, (struct sockaddr *)&peer, bytes,
					   listener->ctx);
			continue;
		}
		if (concerns_one_connection(errno))
			continue;
		if (ends_accepting(errno))
			stop_accepting(listener, errno);
		else if (errno != EAGAIN)
			look_away(listener);
		return;
	}
}

/* Puts a listener on the loop that owns `fd`, which stays the caller's on failure. */
static int watch(struct stint_listener **ret, struct stint_loop *loop, int fd, uint32_t handler,
		 stint_listener_callback callback, void *ctx)
{
	struct stint_listener *listener = calloc(1, sizeof(*listener));
	int error;

	if (!listener)
		return -ENOMEM;
	listener->callback = callback;
	listener->ctx = ctx;
	error = stint_timer_new(&listener->resume, loop, handler, on_resume, listener);
	if (error == 0)
		error = stint_fd_new(&listener->source, loop, fd, STINT_READ, handler, on_ready, listener);
	if (error < 0) {
		stint_timer_free(listener->resume);
		free(listener);
		return error;
	}
	stint_fd_own(listener->source, true);
	loop_add_object(loop, &listener->object, destroy);
	*ret = listener;
	return 0;
}

int stint_listener_new(struct stint_listener **ret, struct stint_loop *loop, const struct sockaddr *address,
		       socklen_t address_bytes, const struct stint_listener_options *given, uint32_t handler,
		       stint_listener_callback callback, void *ctx)
{
	struct stint_listener_options options;
	struct listen_path path;
	int fd, error;

	if (!ret || !loop || loop->dead || !address || address_bytes < sizeof(address->sa_family) ||
	    !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	error = options_take(&options, sizeof(options), given);
	if (error < 0 || options.backlog < 0)
		return -EINVAL;
	fd = listen_socket_open(address, address_bytes, &options, &path);
	if (fd < 0)
		return fd;
	error = watch(ret, loop, fd, handler, callback, ctx);
	if (error < 0) {
		listen_path_remove(&path);
		listen_path_forget(&path);
		close(fd);
		return error;
	}
	(*ret)->path = path;
	return 0;
}

int stint_listener_adopt(struct stint_listener **ret, struct stint_loop *loop, int fd, uint32_t handler,
			 stint_listener_callback callback, void *ctx)
{
	int error;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	error = listen_socket_check(fd);
	return error < 0 ? error : watch(ret, loop, fd, handler, callback, ctx);
}

static int set_paused(struct stint_listener *listener, bool paused)
{
	if (!listener || listener->freed)
		return -EINVAL;
	listener->paused = paused;
	listener->error = 0;
	stint_timer_stop(listener->resume);
	return watch_for_connections(listener, !paused);
}

int stint_listener_pause(struct stint_listener *listener)
{
	return set_paused(listener, true);
}

int stint_listener_resume(struct stint_listener *listener)
{
	return set_paused(listener, false);
}

int stint_listener_set_background(struct stint_listener *listener, bool background)
{
	return listener && !listener->freed ? stint_fd_set_background(listener->source, background) : -EINVAL;
}

int stint_listener_port(const struct stint_listener *listener)
{
	union {
		struct sockaddr any;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
		struct sockaddr_storage storage;
	} address;
	socklen_t bytes = sizeof(address);

	if (!listener || listener->freed)
		return -EINVAL;
	if (getsockname(stint_fd_descriptor(listener->source), &address.any, &bytes) < 0)
		return -errno;
	if (address.any.sa_family == AF_INET)
		return ntohs(address.ipv4.sin_port);
	return address.any.sa_family == AF_INET6 ? ntohs(address.ipv6.sin6_port) : -EAFNOSUPPORT;
}

int stint_listener_descriptor(const struct stint_listener *listener)
{
	return listener && !listener->freed ? stint_fd_descriptor(listener->source) : -EINVAL;
}

uint64_t stint_listener_pauses(const struct stint_listener *listener)
{
	return listener ? listener->pauses : 0;
}

int stint_listener_error(const struct stint_listener *listener)
{
	return listener ? listener->error : -EINVAL;
}
