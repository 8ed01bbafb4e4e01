/* SPDX-License-Identifier: MIT */
#ifndef BENCH_H
#define BENCH_H

/*
 * The bench: the same workloads on every event loop, one program per loop.
 *
 * main.c sets a workload up, measures and checks it; backend_*.c drives it through one library, each in
 * that library's own idiom. Bodies of the hottest handlers are inline here, so that every library calls
 * them straight from its native callback and none pays for an adapter. Programs are single-use: one
 * workload, one process, so that no heap or cache is inherited. A failed call ends the program.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum bench_body { BENCH_RING, BENCH_DISPATCH, BENCH_TURN, BENCH_ECHO };

#define BENCH_MESSAGE_BYTES 64
#define BENCH_BUFFER_BYTES  16384
#define BENCH_BATCH         512
#define BENCH_HANDLERS_MAX  16

struct bench_state {
	uint64_t fired;    /* events handled */
	uint64_t expected; /* the loop is stopped at so many */
	uint64_t writes;   /* ring: bytes yet to be passed on */
	uint32_t pipes;
	int *read_fd;
	int *write_fd;
	bool meter;        /* stint only */
	bool native;       /* stint only: timers in memory of the loop's, not of the user's */
	uint32_t handlers; /* stint only: descriptors have these in turn */
	bool (*turn)(void);
	struct post_node *_Atomic posted;
	char buffer[BENCH_BUFFER_BYTES];
};

extern struct bench_state bench;

/* Ends the program with what failed and errno; does not return. */
void bench_die(const char *what) __attribute__((noreturn));
void *bench_alloc(size_t count, size_t bytes);

/* One event of a ring: take the byte, pass one on. True when the last one was handled. */
static inline bool bench_ring(uint32_t index)
{
	char byte;

	if (read(bench.read_fd[index], &byte, 1) != 1)
		bench_die("read from the ring");
	if (bench.writes > 0) {
		uint32_t next = index + 1 == bench.pipes ? 0 : index + 1;

		bench.writes--;
		if (write(bench.write_fd[next], &byte, 1) != 1)
			bench_die("write to the ring");
	}
	return ++bench.fired == bench.expected;
}

/* One event that is left as it is. */
static inline bool bench_dispatch(void)
{
	return ++bench.fired == bench.expected;
}

/* Counts `bytes` echoed. True when it was the last. */
static inline bool bench_echoed(uint64_t bytes)
{
	bench.fired += bytes;
	return bench.fired >= bench.expected;
}

/* One readable event of a poll-style echo: one read, one write. */
bool bench_echo(int fd);

/* A timer fired. */
static inline bool bench_timer_fired(void)
{
	return ++bench.fired == bench.expected;
}

/* A callback of the library's own queue ran. True when it was the last. */
static inline bool bench_posted(void)
{
	return ++bench.fired == bench.expected;
}

/* Takes all that was posted; called by the loop that was woken. */
bool bench_posts_take(void);

/* ---- what a backend provides ---- */

extern const char backend_name[];

void backend_open(uint32_t descriptors);
/* Level-triggered reads of `fd`; `index` is its place in the ring. */
void backend_watch(uint32_t index, int fd, enum bench_body body);
/* An echo on the library's own stream layer; false if it has none. */
bool backend_stream(uint32_t index, int fd);
/* Runs until a body above says that it was the last. */
void backend_run(void);

void backend_timers_new(uint32_t count);
void backend_timer_start(uint32_t index, uint32_t delay_ms);
void backend_timer_stop(uint32_t index);

/* Wakes the loop from another thread, after which it calls bench_posts_take(). */
void backend_post_open(void);
void backend_post_wake(void);

/* The library's own queue, with a callback of its own for each post; false if it has none. */
bool backend_posts_new(uint32_t count);
/* Called in the other thread, once for each. */
void backend_post(uint32_t index);

#endif
