/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SAMPLERS_H
#define STINT_PROBES_SAMPLERS_H

/*
 * The clocks that look at what a thread does while it is over its budget: a perf event on the software clock for
 * each thread that waits in epoll. It ticks only while that thread is on a CPU. One clock a CPU would be simpler,
 * and was measured to cost nginx 8 % of its throughput at 1 kHz on a virtual machine, watched or not.
 */

#include <stdint.h>

struct bpf_program;
struct stint_samplers;

/* `program` runs at each tick, and must outlive this. -ENOMEM. */
int stint_samplers_new(struct stint_samplers **ret, struct bpf_program *program, uint64_t period_ns);
struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers);

/*
 * Samples a thread; 0 also if that is done already, or if the thread is gone. -ENOSPC: too many threads; or what
 * perf_event_open() says.
 */
int stint_samplers_add(struct stint_samplers *samplers, uint32_t tid);

/* Samples those threads of a process that run, or wait in epoll, now. Errors as above. */
int stint_samplers_add_process(struct stint_samplers *samplers, uint32_t pid);

#endif
