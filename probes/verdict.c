/* SPDX-License-Identifier: MIT */
#include "probes/verdict.h"

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

uint64_t stint_verdict_outside_ns(const struct stint_probes_parts *parts)
{
	return parts->user_ns + parts->kernel_sampled_ns + parts->faulted_ns;
}

/* Too few to tell a share by. */
#define SAMPLES_LEAST 4

/*
 * Page faults closer to each other than that may be most of what is between system calls: one takes from 0.3 us to some
 * 5 us (or more where a hypervisor makes the page too; of a huge page, 50 us and more), one that reads a file 20 us of a
 * CPU.
 */
#define FAULTS_APART_NS 20000

bool stint_verdict_has_faults(uint64_t faults, uint64_t outside_ns)
{
	return faults > outside_ns / FAULTS_APART_NS;
}

/* So few take less than 1 ms, unless each has to free memory first, as at the limit of a cgroup, or makes a huge page. */
#define FAULTS_FEW 16

/* Of the time outside of system calls, or of the samples there. */
#define MUCH_PART 4

bool stint_verdict_wants_faults(const struct stint_probes_overrun *overrun)
{
	const struct stint_probes_parts *parts = &overrun->parts;
	uint64_t faults = overrun->minor_faults + overrun->major_faults;
	uint64_t kernel_ns = parts->kernel_sampled_ns + parts->faulted_ns;
	uint64_t outside_ns = stint_verdict_outside_ns(parts);

	/* However few: by their own time, or by where the samples fell. */
	if (parts->faulted_ns > outside_ns / MUCH_PART ||
	    overrun->fault_samples > (overrun->kernel_samples + overrun->user_samples) / MUCH_PART)
		return true;
	return stint_verdict_has_faults(faults, outside_ns) ||
	       (faults >= FAULTS_FEW && kernel_ns > outside_ns / MUCH_PART);
}

/* Of the time outside of system calls: what the samples say was in the kernel all the same. */
static void take_sampled(struct stint_probes_parts *parts, const struct stint_probes_mark *sums)
{
	uint64_t samples = sums->kernel_samples + sums->user_samples;
	bool has_faults = sums->fault_samples > 0;

	if (!has_faults && !parts->faulted_ns)
		has_faults =
			stint_verdict_has_faults(sums->minor_faults + sums->major_faults, parts->user_ns);
	/* A single one in the kernel may be an interrupt that came by; in or amid page faults it is not the exception. */
	if (!samples || (samples < SAMPLES_LEAST && !has_faults))
		return;
	parts->kernel_sampled_ns =
		(uint64_t)((double)parts->user_ns * (double)sums->kernel_samples / (double)samples);
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
	parts->faulted_ns = at_most(parts->faulted_ns, parts->kernel_ns - parts->kernel_sampled_ns);
	parts->user_ns -= parts->stolen_ns - of_kernel_ns;
}

void stint_verdict_split(struct stint_probes_parts *ret, uint64_t duration_ns,
			 const struct stint_probes_mark *sums)
{
	uint64_t runnable_ns = at_most(sums->runnable_ns, duration_ns), on_cpu_ns;

	*ret = (struct stint_probes_parts){.blocked_ns =
						   at_most(sums->blocked_ns, duration_ns - runnable_ns)};
	on_cpu_ns = duration_ns - runnable_ns - ret->blocked_ns;
	ret->throttled_ns = at_most(sums->throttled_ns, runnable_ns);
	ret->runnable_ns = runnable_ns - ret->throttled_ns;
	ret->kernel_ns = at_most(sums->kernel_ns, on_cpu_ns);
	ret->faulted_ns = at_most(sums->faulted_ns, ret->kernel_ns);
	ret->user_ns = on_cpu_ns - ret->kernel_ns;
	take_sampled(ret, sums);
	take_stolen(ret, sums->stolen_ns);
}

struct stint_probes_mark stint_verdict_sums(const struct record_overrun *record)
{
	const struct record_verdict *verdict = &record->verdict;

	return (struct stint_probes_mark){
		.time_ns = record->start_ns + record->duration_ns,
		.kernel_ns = verdict->kernel_ns,
		.faulted_ns = verdict->faulted_ns,
		.runnable_ns = record->runnable_ns,
		.throttled_ns = verdict->throttled_ns,
		.blocked_ns = record->blocked_ns,
		.fault_blocked_ns = verdict->fault_blocked_ns,
		.stopped_ns = verdict->stopped_ns,
		.stolen_ns = verdict->stolen_ns,
		.minor_faults = verdict->minor_faults,
		.major_faults = verdict->major_faults,
		.samples = verdict->samples,
		.kernel_samples = verdict->kernel_samples,
		.fault_samples = verdict->fault_samples,
		.user_samples = verdict->user_samples,
	};
}

void stint_verdict_parts(struct stint_probes_parts *ret, const struct record_overrun *record)
{
	struct stint_probes_mark sums = stint_verdict_sums(record);

	stint_verdict_split(ret, record->duration_ns, &sums);
	ret->throttled_known = record->verdict.known & RECORD_KNOWS_THROTTLED;
	ret->stolen_known = record->verdict.known & RECORD_KNOWS_STOLEN;
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
