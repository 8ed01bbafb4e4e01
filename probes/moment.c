/* SPDX-License-Identifier: MIT */
#include "probes/moment.h"

#include <stddef.h>

static bool is_within(const struct stint_probes_syscall *call, uint64_t time_ns)
{
	return time_ns >= call->start_ns && time_ns - call->start_ns <= call->duration_ns;
}

const struct stint_probes_syscall *stint_moment_call(const struct stint_probes_overrun *overrun,
						     uint64_t time_ns)
{
	for (uint32_t i = 0; i < overrun->syscalls_len; i++)
		if (is_within(&overrun->syscalls[i], time_ns))
			return &overrun->syscalls[i];
	return NULL;
}

bool stint_moment_in_block(const struct stint_probes_overrun *overrun, enum record_stack_kind kind,
			   uint64_t time_ns)
{
	const struct stint_probes_block *block = &overrun->block;
	const struct stint_probes_syscall *call;

	if (!block->duration_ns)
		return false;
	if (kind == RECORD_STACK_FAULT)
		return !block->in_syscall && time_ns == block->start_ns;
	call = kind == RECORD_STACK_BLOCKED && block->in_syscall ? stint_moment_call(overrun, block->start_ns)
								 : NULL;
	return call && call == stint_moment_call(overrun, time_ns);
}

bool stint_moment_blocked(const struct stint_probes_overrun *overrun, enum record_stack_kind kind,
			  uint64_t time_ns)
{
	const struct stint_probes_syscall *call = stint_moment_call(overrun, time_ns);
	uint64_t blocked_ns = 0, runnable_ns = 0;

	if (kind != RECORD_STACK_BLOCKED)
		return kind == RECORD_STACK_FAULT;
	if (!call || overrun->segments_lost)
		return overrun->blocked_ns > overrun->on_cpu_ns;
	for (uint32_t i = 0; i < overrun->segments_len; i++) {
		const struct stint_probes_segment *segment = &overrun->segments[i];

		if (!is_within(call, segment->off_ns))
			continue;
		blocked_ns += segment->runnable_ns - segment->off_ns;
		runnable_ns += segment->on_ns - segment->runnable_ns;
	}
	return blocked_ns > 0 && call->duration_ns <= 2 * blocked_ns + runnable_ns;
}
