/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_OPEN_FILES_H
#define STINT_PROBES_OPEN_FILES_H

/* What /proc tells of what a process has open: its descriptors, and the TCP sockets of its network namespace. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STINT_FD_TARGET_BYTES 256

/*
 * Calls `visit` for each descriptor of a process, with what its link says: a path, "socket:[4711]",
 * "anon_inode:[eventpoll]"; what is longer than STINT_FD_TARGET_BYTES is cut. A value other than 0 ends it and is returned.
 * -ESRCH if there is no such process, -EACCES.
 */
int stint_fds_read(uint32_t pid, int (*visit)(void *ctx, int32_t fd, const char *target), void *ctx);

/* The same of one descriptor, in `ret`, which has STINT_FD_TARGET_BYTES. False if it cannot be read. */
bool stint_fd_target(uint32_t pid, int32_t fd, char *ret);

/* Whether it is a file or a directory, which no epoll set takes. False if that cannot be found out. */
bool stint_fd_is_file(uint32_t pid, int32_t fd);

/* Whether it has that inode, on that device: `device` as the kernel has it (12 bits and 20). */
bool stint_fd_is_inode(uint32_t pid, int32_t fd, uint64_t inode, uint32_t device);

/* Is that the target of a socket? Then its inode. */
bool stint_is_socket(const char *target, uint64_t *inode);

struct stint_tcp_socket {
	uint64_t inode;
	uint16_t family; /* AF_INET, AF_INET6 */
	uint16_t local_port;
	uint16_t remote_port;
	bool listens;
	uint8_t local[16]; /* in network order; IPv4 uses four bytes */
	uint8_t remote[16];
};

/* Calls `visit` for each; a value other than 0 ends it. None if the process is gone or does not tell. */
void stint_tcp_sockets_read(uint32_t pid, int (*visit)(void *ctx, const struct stint_tcp_socket *socket),
			    void *ctx);

/*
 * The same of those that listen. The kernel tells of these first (tcp_get_idx() in net/ipv4/tcp_ipv4.c), so what is read
 * is little, however many connections there are.
 */
void stint_tcp_listeners_read(uint32_t pid, int (*visit)(void *ctx, const struct stint_tcp_socket *socket),
			      void *ctx);

#endif
