/* SPDX-License-Identifier: MIT */
#include "probes/verdict.h"

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

/* Too few to tell a share by. */
#define SAMPLES_LEAST 4

/* Of the time outside of system calls: what the samples say was in the kernel all the same. */
static void take_sampled(struct stint_probes_parts *parts, const struct record_verdict *verdict)
{
	uint64_t samples = (uint64_t)verdict->kernel_samples + verdict->user_samples;

	if (samples < SAMPLES_LEAST)
		return;
	parts->kernel_sampled_ns =
		(uint64_t)((double)parts->user_ns * (double)verdict->kernel_samples / (double)samples);
	parts->kernel_sampled_ns = at_most(parts->kernel_sampled_ns, parts->user_ns);
	parts->user_ns -= parts->kernel_sampled_ns;
	parts->kernel_ns += parts->kernel_sampled_ns;
}

/*
 * What the hypervisor stole went by while the thread seemed to be on its CPU, in the kernel or not: nobody knows, so
 * both give in proportion.
 */
static void take_stolen(struct stint_probes_parts *parts, uint64_t stolen_ns)
{
	uint64_t on_cpu_ns = parts->user_ns + parts->kernel_ns, of_kernel_ns;

	parts->stolen_ns = at_most(stolen_ns, on_cpu_ns);
	if (!parts->stolen_ns)
		return;
	of_kernel_ns = (uint64_t)((double)parts->kernel_ns / (double)on_cpu_ns * (double)parts->stolen_ns);
	of_kernel_ns = at_most(of_kernel_ns, parts->kernel_ns);
	if (parts->stolen_ns - of_kernel_ns > parts->user_ns)
		of_kernel_ns = parts->stolen_ns - parts->user_ns;
	parts->kernel_ns -= of_kernel_ns;
	parts->kernel_sampled_ns = at_most(parts->kernel_sampled_ns, parts->kernel_ns);
	parts->user_ns -= parts->stolen_ns - of_kernel_ns;
}

void stint_verdict_parts(struct stint_probes_parts *ret, const struct record_overrun *record)
{
	const struct record_verdict *verdict = &record->verdict;
	uint64_t runnable_ns = at_most(record->runnable_ns, record->duration_ns), on_cpu_ns;

	*ret = (struct stint_probes_parts){
		.blocked_ns = at_most(record->blocked_ns, record->duration_ns - runnable_ns)};
	on_cpu_ns = record->duration_ns - runnable_ns - ret->blocked_ns;
	ret->throttled_ns = at_most(verdict->throttled_ns, runnable_ns);
	ret->runnable_ns = runnable_ns - ret->throttled_ns;
	ret->kernel_ns = at_most(verdict->kernel_ns, on_cpu_ns);
	ret->user_ns = on_cpu_ns - ret->kernel_ns;
	take_sampled(ret, verdict);
	ret->throttled_known = verdict->known & RECORD_KNOWS_THROTTLED;
	ret->stolen_known = verdict->known & RECORD_KNOWS_STOLEN;
	take_stolen(ret, verdict->stolen_ns);
}

uint64_t stint_verdict_ns(const struct stint_probes_parts *parts, enum stint_probes_verdict verdict)
{
	switch (verdict) {
	case STINT_PROBES_USER:
		return parts->user_ns;
	case STINT_PROBES_KERNEL:
		return parts->kernel_ns;
	case STINT_PROBES_RUNNABLE:
		return parts->runnable_ns;
	case STINT_PROBES_THROTTLED:
		return parts->throttled_ns;
	case STINT_PROBES_BLOCKED:
		return parts->blocked_ns;
	case STINT_PROBES_STOLEN:
		return parts->stolen_ns;
	case STINT_PROBES_VERDICT_UNKNOWN:
		break;
	}
	return 0;
}

enum stint_probes_verdict stint_verdict(const struct stint_probes_parts *parts)
{
	enum stint_probes_verdict best = STINT_PROBES_VERDICT_UNKNOWN;

	for (int i = STINT_PROBES_USER; i <= STINT_PROBES_STOLEN; i++) {
		enum stint_probes_verdict verdict = (enum stint_probes_verdict)i;

		if (stint_verdict_ns(parts, verdict) > stint_verdict_ns(parts, best))
			best = verdict;
	}
	return best;
}

enum stint_probes_iteration stint_verdict_iteration(const struct stint_probes_parts *parts,
						    uint32_t ready_events, uint32_t turns,
						    uint64_t longest_turn_ns)
{
	uint64_t kept_away_ns = parts->runnable_ns + parts->throttled_ns + parts->stolen_ns;
	uint64_t whole_ns = kept_away_ns + parts->user_ns + parts->kernel_ns + parts->blocked_ns;

	if (!whole_ns)
		return STINT_PROBES_ITERATION_UNKNOWN;
	if (kept_away_ns > whole_ns / 2)
		return STINT_PROBES_SYSTEM;
	if (ready_events == 1)
		return STINT_PROBES_ONE_HANDLER;
	if (!turns)
		return STINT_PROBES_ITERATION_UNKNOWN;
	return longest_turn_ns > whole_ns / 2 ? STINT_PROBES_ONE_HANDLER : STINT_PROBES_MANY_HANDLERS;
}
