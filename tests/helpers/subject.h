/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_H
#define SUBJECT_H

/* Programs that tests start and watch. They end with the test, in whatever way that ends. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "subject_command.h"

struct subject {
	pid_t pid;
	int to;   /* its standard input */
	int from; /* its standard output */
};

/*
 * Starts a program of the build: "tests/subjects/epoll_loop", "examples/write_buffer"; or, with a leading slash,
 * another. It is held before its first instruction until subject_go(), so that it can be watched from its beginning.
 * Fails the test if it cannot.
 */
void subject_start(struct subject *subject, const char *program, const char *const *arguments);
void subject_go(const struct subject *subject);

/* The same with `in`, which is closed, as its standard input; commands to it are written to `to`. Both have FD_CLOEXEC. */
void subject_start_fed(struct subject *subject, const char *program, const char *const *arguments, int in,
		       int to);

/* Starts epoll_loop, lets it go, and waits for its first answer. `call`: which of the epoll_wait family. */
void subject_start_loops(struct subject *subject, const char *call, const char *loops);

/* Closes its input, kills it if `signal` is not 0, and waits for its end. Returns what waitpid() said. */
int subject_stop(struct subject *subject, int signal);

void subject_send(const struct subject *subject, uint32_t loop, enum subject_verb verb, uint64_t arg);
struct subject_answer subject_answer(const struct subject *subject);
struct subject_answer subject_do(const struct subject *subject, uint32_t loop, enum subject_verb verb,
				 uint64_t arg);

/*
 * Waits until a thread is in that state, as /proc has it: 'S' (it sleeps), 'Z'. The time limit of tests/run ends it else.
 */
void subject_until_state(int tid, char wanted);

/*
 * Whether what a thread began at `start_ns` was a command with nothing to do, and yet took so long as the test saw it: then
 * a hypervisor had the CPU.
 */
bool subject_did_nothing_for(int32_t tid, uint64_t start_ns, uint64_t least_ns);

#endif
