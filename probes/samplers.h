/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SAMPLERS_H
#define STINT_PROBES_SAMPLERS_H

/*
 * Closer looks. The stack of a thread over its budget is looked at by the kernel's own tick, which costs nothing but
 * comes every 4 ms on Debian, so shorter overruns may be missed. A thread of which that is known is given a clock of
 * its own for some seconds: a perf event on the software clock, whose timer the eBPF program sees expire.
 *
 * Not from the start, and not for ever: starting and stopping that timer at each switch was measured to cost 5 us a
 * switch on a virtual machine, and each tick 30 us. One clock a CPU, at 1 kHz, cost nginx 8 % of its throughput.
 */

#include <stdint.h>

struct stint_samplers;

/* -ENOMEM */
int stint_samplers_new(struct stint_samplers **ret, uint64_t period_ns);
struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers);

/*
 * Looks closely at a thread from now on, until `end_ns` (UINT64_MAX: as long as it lives); also if that is done already.
 * 0 also if the thread is gone. -ENOSPC: too many threads; or what perf_event_open() says.
 */
int stint_samplers_add(struct stint_samplers *samplers, uint32_t tid, uint64_t end_ns);

/* Ends what has lasted long enough. */
void stint_samplers_expire(struct stint_samplers *samplers, uint64_t now_ns);

#endif
