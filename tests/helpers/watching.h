/* SPDX-License-Identifier: MIT */
#ifndef WATCHING_H
#define WATCHING_H

/* The probes with callbacks that keep everything they are told. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "probes/probes.h"

#define WATCHING_FRAMES 64

struct watched_overrun {
	struct stint_probes_overrun is; /* but `stack` and `handler`, which are below */
	char handler[128];
	char stack[WATCHING_FRAMES][64]; /* outermost first */
};

struct watched_hang {
	struct stint_probes_hang is; /* but `handler`, which is below */
	char handler[128];
};

struct watched_loop {
	struct stint_probes_loop is; /* but the histograms, which are below */
	uint64_t busy[STINT_PROBES_BUCKETS];
	uint64_t poll[STINT_PROBES_BUCKETS];
	uint64_t batch[STINT_PROBES_BUCKETS];
};

struct watching {
	struct stint_probes *probes;
	struct watched_overrun *overruns;
	size_t overruns_len;
	struct stint_probes_stall *stalls;
	size_t stalls_len;
	struct stint_probes_socket_event *events;
	size_t events_len;
	struct stint_probes_alarm *alarms;
	size_t alarms_len;
	struct stint_probes_acks *acks; /* as often as they were told: the last of a socket counts */
	size_t acks_len;
	struct watched_hang *hangs;
	size_t hangs_len;
	uint32_t exited[64];
	size_t exited_len;
	uint32_t appeared[64];
	size_t appeared_len;
	uint32_t refused[64];
	size_t refused_len;
};

/* Says "skipped: why" and skips the test where this machine allows no probes. */
void watching_or_skip(void);

/*
 * Opens the probes; fails the test with their own words if they cannot be. `options` may be NULL. Stacks
 * are sampled each ms, unless they say otherwise: whether a tick falls into some ms is left to chance.
 */
void watching_open(struct watching *watching, const struct stint_probes_options *options);
void watching_add(struct watching *watching, int pid);
void watching_close(struct watching *watching);

/* Takes all that there is, and returns at once. */
void watching_take(struct watching *watching);

/* Takes until a process has exited; fails the test if that is not told within a minute. */
void watching_until_exit(struct watching *watching, int pid);

/*
 * The `i`th overrun with at least `least_ns` of its own: not runnable, so on a CPU or blocked. NULL: no more. Those
 * in which a subject was told to do nothing, and of which the test saw the time go by as well, are the machine's, and
 * left out.
 */
const struct watched_overrun *watching_overrun(const struct watching *watching, uint64_t least_ns, size_t i);
size_t watching_count(const struct watching *watching, uint64_t least_ns);

/* Copies the loop of a thread and an epoll descriptor; false if it is not known. */
bool watching_loop(const struct watching *watching, int32_t tid, int32_t epfd, struct watched_loop *ret);
size_t watching_loops(const struct watching *watching);

/* Is a function of that name in the stack? */
bool watched_stack_has(const struct watched_overrun *overrun, const char *function);

/* What has to hold for each overrun, whatever it is: the parts are the whole, lists are in order. */
void assert_overruns_consistent(const struct watching *watching);

#endif
