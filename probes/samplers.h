/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SAMPLERS_H
#define STINT_PROBES_SAMPLERS_H

/*
 * Closer looks at a thread, for some seconds, each by perf events on what the kernel's software counts:
 *
 * Its stack. The one of a thread over its budget is looked at by the kernel's own tick, which costs nothing but comes every
 * 4 ms on Debian, so shorter overruns may be missed. A thread of which that is known is given a clock of its own, whose
 * timer the eBPF program sees expire. Not from the start, and not for ever: starting and stopping that timer at each
 * switch was measured to cost 5 us a switch on a virtual machine, and each tick 30 us. One clock a CPU, at 1 kHz, cost
 * nginx 8 % of its throughput.
 *
 * Its page faults, if it had many in an overrun: how long they take is not to be had otherwise. The kernel counts one as
 * it begins, and again as it ends, and eBPF programs are run at both: 0.45 us a fault, and 1.6 us each time that the thread
 * leaves its CPU and comes back (make bench-faults).
 */

#include <stdint.h>

enum stint_sampler_kind {
	STINT_SAMPLER_CLOCK,
	STINT_SAMPLER_FAULTS,
};

struct stint_samplers;

/* `begin`, `end`: descriptors of the programs for page faults, the caller's, open for as long. -ENOMEM */
int stint_samplers_new(struct stint_samplers **ret, uint64_t period_ns, int begin, int end);
struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers);

/*
 * Looks closely at a thread from now on, until `end_ns` (UINT64_MAX: as long as it lives); also if that is done already.
 * 0 also if the thread is gone. -ENOSPC: too many threads; or what perf_event_open() says.
 */
int stint_samplers_add(struct stint_samplers *samplers, enum stint_sampler_kind kind, uint32_t tid,
		       uint64_t end_ns);

/* Ends what has lasted long enough. */
void stint_samplers_expire(struct stint_samplers *samplers, uint64_t now_ns);

#endif
