/* SPDX-License-Identifier: MIT */
#ifndef REDIS_H
#define REDIS_H

/* A redis-server of the test's own, in a directory of its own, reached by a socket in there. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct redis {
	pid_t pid;
	int fd; /* the connection */
	char directory[64];
};

/* False if no redis-server is installed; fails the test if one is, but does not start. */
bool redis_start(struct redis *redis);
void redis_stop(struct redis *redis);

/*
 * Sends a command and returns its reply with one line for each number and string in it, nested or not: as
 * long as the connection gives it, in a buffer that the next call overwrites. An error fails the test.
 */
const char *redis_do(struct redis *redis, int argc, const char *const *argv);

#define REDIS_DO(redis, ...)                                                                   \
	redis_do((redis), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)), \
		 (const char *[]){__VA_ARGS__})

#endif
