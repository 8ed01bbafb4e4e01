/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TARGET_H
#define REPORT_TARGET_H

/* Which processes to record: by pid, by name, or by starting one. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The processes whose name (comm) is `name`, into `*ret`, to be freed by the caller. -ESRCH: none. -ENOMEM. */
int target_find(uint32_t **ret, size_t *len, const char *name);

/* Its comm, or "?". */
void target_name(char *ret, size_t size, uint32_t pid);

/* What a process calls itself: its command line with spaces between arguments, cut to fit; else its comm. */
void target_command(char *ret, size_t size, uint32_t pid);

/*
 * The children of a process, of its main thread, that live and are not the caller: up to `max`, and how many; 0 if it is
 * not known.
 */
size_t target_children(uint32_t *ret, size_t max, uint32_t pid);

struct target_child {
	pid_t pid;
	int go;     /* a byte written to it lets the command start */
	int failed; /* readable: the errno of an exec that failed; end of file: it has begun */
};

/* Forks a child that is to run `argv`, and holds it until target_child_start(). */
int target_child_new(struct target_child *ret, char *const argv[]);

/* Lets it run. 0, or the errno, negative, with which exec failed; -EPIPE: it was killed before. */
int target_child_start(struct target_child *child);

/* Whether it has ended, and then how: as waitpid() says it. It is still to be freed. */
bool target_child_has_ended(const struct target_child *child, int *status);

/* Ends it with SIGTERM if it still runs, after 5 s with SIGKILL, and waits for it. One that was not started never is. */
void target_child_free(struct target_child *child);

#endif
