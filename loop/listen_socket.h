/* SPDX-License-Identifier: MIT */
#ifndef LISTEN_SOCKET_H
#define LISTEN_SOCKET_H

/* Sockets that listen, and the file that one of them is bound to. */

#include <stdbool.h>
#include <stint/loop.h>
#include <sys/types.h>
#include <sys/un.h>

/* The path of a unix socket, and which file we made there. */
struct listen_path {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]; /* empty: none is ours */
	int directory; /* which it is in, open, as the process may change its own; only if there is a path */
	dev_t device;
	ino_t inode;
};

/* Returns the descriptor or a negative errno. `path` is filled if the options ask for it. */
int listen_socket_open(const struct sockaddr *address, socklen_t bytes,
		       const struct stint_listener_options *options, struct listen_path *path);

/* 0 if it is a stream socket that listens, else a negative errno. */
int listen_socket_check(int fd);

/* Removes the file, if it is still the one that we made. To be called while the socket is open. */
void listen_path_remove(const struct listen_path *path);
/* Closes the directory: none is ours any more. */
void listen_path_forget(struct listen_path *path);

#endif
