/* SPDX-License-Identifier: MIT */
#ifndef SERVER_H
#define SERVER_H

/* A server that is not ours, in a directory of the test's own. It ends with the test, in whatever way that ends. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
	pid_t pid;
	int port; /* on 127.0.0.1, free when it was asked for */
	char directory[64];
};

/* A directory and a port. */
void server_prepare(struct server *server);

/* Writes a file into the directory. "@PORT@" and "@DIR@" in it are replaced. */
void server_file(const struct server *server, const char *name, const char *text);

/*
 * Starts a program in the directory, its output in the file "out" there; held before its first instruction until
 * server_go(), so that it can be watched from its beginning. In `argv` too "@PORT@" is replaced. Says "skipped: why"
 * and skips the test if it is not installed.
 */
void server_start(struct server *server, const char *const *argv);
void server_go(const struct server *server);

/* Waits for its end. */
void server_wait(struct server *server);

/* A connection to its port, as soon as it takes one; fails the test if it ends before. */
int server_connect(struct server *server);

/* Sends a request and reads until the answer ends with `end`; returns how long that took. */
uint64_t server_ask(int fd, const char *request, size_t bytes, const char *end);

/* The text of a file in the directory. The next call overwrites it. */
const char *server_text(const struct server *server, const char *name);

/* The first child of its process, as soon as there is one. */
pid_t server_child(const struct server *server);

void server_stop(struct server *server);

#endif
