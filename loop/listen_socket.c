/* SPDX-License-Identifier: MIT */
#include "listen_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * A unix socket that was not removed when its process ended is in the way of the next one: bind() says EADDRINUSE. It is
 * stale if nobody accepts there, which a connection that is refused tells. But so is one to a socket that is bound and does
 * not listen yet; so all who begin in a directory do so in turn, by a lock on the directory.
 */

#define LOCK_TRIES 100 /* one a millisecond */

/* The path of an address, as a string; false if it has none (another family, or abstract). */
static bool copy_path(struct listen_path *ret, const struct sockaddr *address, socklen_t bytes)
{
	const struct sockaddr_un *local = (const struct sockaddr_un *)address;
	size_t length;

	ret->path[0] = '\0';
	if (address->sa_family != AF_UNIX || bytes <= offsetof(struct sockaddr_un, sun_path) ||
	    bytes > sizeof(*local))
		return false;
	length = bytes - offsetof(struct sockaddr_un, sun_path);
	memcpy(ret->path, local->sun_path, length);
	ret->path[length] = '\0';
	return ret->path[0] != '\0';
}

/* Returns a descriptor of the directory that holds the lock, or a negative errno. */
static int lock_directory(const char *path)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	char directory[sizeof(((struct listen_path *)0)->path)] = ".";
	const char *slash = strrchr(path, '/');
	int fd;

	if (slash) {
		size_t length = slash == path ? 1 : (size_t)(slash - path);

		memcpy(directory, path, length);
		directory[length] = '\0';
	}
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		nanosleep(&ms, NULL);
	}
	close(fd);
	return -EADDRINUSE;
}

static bool is_stale(const char *path, const struct sockaddr *address, socklen_t bytes)
{
	struct stat status;
	bool refused;
	int fd;

	if (lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, address, bytes) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int bind_and_listen(int fd, const struct sockaddr *address, socklen_t bytes, int backlog)
{
	return bind(fd, address, bytes) < 0 || listen(fd, backlog ? backlog : SOMAXCONN) < 0 ? -errno : 0;
}

/* The same for a path that is ours from then on. */
static int bind_path(int fd, const struct sockaddr *address, socklen_t bytes, int backlog,
		     struct listen_path *path)
{
	struct stat status;
	int error;

	path->directory = lock_directory(path->path);
	if (path->directory < 0) {
		path->path[0] = '\0';
		return path->directory;
	}
	error = bind_and_listen(fd, address, bytes, backlog);
	if (error == -EADDRINUSE && is_stale(path->path, address, bytes) && unlink(path->path) == 0)
		error = bind_and_listen(fd, address, bytes, backlog);
	if (error == 0 && lstat(path->path, &status) == 0) {
		path->device = status.st_dev;
		path->inode = status.st_ino;
		flock(path->directory, LOCK_UN);
	} else {
		listen_path_forget(path);
	}
	return error;
}

static int set_options(int fd, const struct stint_listener_options *options)
{
	int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    (options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
	    (options->ipv6_only && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0))
		return -errno;
	return 0;
}

int listen_socket_open(const struct sockaddr *address, socklen_t bytes,
		       const struct stint_listener_options *options, struct listen_path *path)
{
	int fd, error;

	path->path[0] = '\0';
	if (options->own_path && !copy_path(path, address, bytes))
		return -EINVAL;
	fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	error = set_options(fd, options);
	if (error == 0)
		error = options->own_path ? bind_path(fd, address, bytes, options->backlog, path)
					  : bind_and_listen(fd, address, bytes, options->backlog);
	if (error == 0)
		return fd;
	close(fd);
	return error;
}

int listen_socket_check(int fd)
{
	int type = 0, listening = 0;
	socklen_t bytes = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) < 0)
		return -errno;
	return type != SOCK_STREAM ? -EPROTOTYPE : listening ? 0 : -EINVAL;
}

void listen_path_remove(const struct listen_path *path)
{
	const char *slash = strrchr(path->path, '/'), *name = slash ? slash + 1 : path->path;
	struct stat status;

	if (path->path[0] && fstatat(path->directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    status.st_dev == path->device && status.st_ino == path->inode)
		unlinkat(path->directory, name, 0);
}

void listen_path_forget(struct listen_path *path)
{
	if (path->path[0])
		close(path->directory);
	path->path[0] = '\0';
}
