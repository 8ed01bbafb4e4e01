/* SPDX-License-Identifier: MIT */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdint.h>
#include <sys/types.h>

/* The other side of the echo, in a process of its own: raw epoll, the same for every backend. */
struct client {
	uint32_t active;   /* connections that ask */
	uint32_t idle;     /* connections that never do */
	uint32_t depth;    /* requests under way on each */
	uint64_t requests; /* in all, multiple of active */
	pid_t pid;
	int go_fd;
};

/* Starts it and accepts its connections: `sockets` has room for active + idle, idle ones first. */
void client_start(struct client *client, int *sockets);
void client_go(struct client *client);
/* Waits for it; ends the program if it did not get every answer. */
void client_end(struct client *client);

#endif
