/* SPDX-License-Identifier: MIT */
#include "probes/cut.h"

#include <stddef.h>
#include <string.h>

#include "probes/verdict.h"

/* Times off the CPU that are this much of the part's length uncertain are not known. */
#define UNCERTAIN_PART 10

/* A sum at a moment, or what was added to it between two. */
struct sum {
	uint64_t likely;
	uint64_t uncertain; /* it may be that much less, or more */
};

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t overlap_ns(uint64_t from_ns, uint64_t to_ns, uint64_t start_ns, uint64_t end_ns)
{
	uint64_t begin_ns = from_ns > start_ns ? from_ns : start_ns;

	return less(to_ns < end_ns ? to_ns : end_ns, begin_ns);
}

static bool is_within(uint64_t time_ns, uint64_t start_ns, uint64_t end_ns)
{
	return time_ns >= start_ns && time_ns <= end_ns;
}

/* ---- sums, by the marks ---- */

static uint64_t value(const struct stint_probes_mark *mark, size_t field)
{
	uint64_t ret;

	memcpy(&ret, (const char *)mark + field, sizeof(ret));
	return ret;
}

/* On the CPU, in those system calls that are listed. */
static uint64_t listed_ns(const struct stint_probes_overrun *whole, uint64_t start_ns, uint64_t end_ns)
{
	uint64_t sum_ns = 0;

	if (whole->segments_lost)
		return 0;
	for (uint32_t i = 0; i < whole->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &whole->syscalls[i];
		uint64_t call_end_ns = call->start_ns + call->duration_ns, off_ns = 0;

		for (uint32_t j = 0; j < whole->segments_len; j++)
			off_ns += overlap_ns(whole->segments[j].off_ns, whole->segments[j].on_ns,
					     call->start_ns, call_end_ns);
		if (call->start_ns >= start_ns && call_end_ns <= end_ns)
			sum_ns += less(call->duration_ns, off_ns);
	}
	return sum_ns;
}

static const struct stint_probes_mark *mark_before(const struct stint_probes_overrun *whole, uint64_t time_ns)
{
	uint32_t at = 0;

	while (at + 2 < whole->marks_len && whole->marks[at + 1].time_ns <= time_ns)
		at++;
	return &whole->marks[at];
}

/* Times grow no faster than the clock; what is listed is known to be on this side or on that. */
static struct sum sum_at(const struct stint_probes_overrun *whole, uint64_t time_ns, size_t field,
			 bool is_time)
{
	const struct stint_probes_mark *before = mark_before(whole, time_ns), *after = before + 1;
	uint64_t from_ns = before->time_ns, to_ns = after->time_ns;
	uint64_t low = value(before, field), high = value(after, field);
	uint64_t first = low, last = high;
	bool is_kernel = field == offsetof(struct stint_probes_mark, kernel_ns);
	double share;

	if (time_ns <= from_ns || high <= low)
		return (struct sum){.likely = low};
	if (time_ns >= to_ns)
		return (struct sum){.likely = high};
	if (is_time && less(last, to_ns - time_ns) > low)
		low = less(last, to_ns - time_ns);
	if (is_time && first + (time_ns - from_ns) < high)
		high = first + (time_ns - from_ns);
	if (is_kernel) {
		uint64_t done = first + listed_ns(whole, from_ns, time_ns);
		uint64_t left = less(last, listed_ns(whole, time_ns, to_ns));

		low = done > low ? done : low;
		high = left < high ? left : high;
	}
	if (high <= low)
		return (struct sum){.likely = low < last ? low : last};
	share = (double)(time_ns - from_ns) / (double)(to_ns - from_ns);
	return (struct sum){low + (uint64_t)((double)(high - low) * share), high - low};
}

static struct sum between(const struct stint_probes_overrun *whole, uint64_t start_ns, uint64_t end_ns,
			  size_t field, bool is_time)
{
	struct sum start = sum_at(whole, start_ns, field, is_time);
	struct sum end = sum_at(whole, end_ns, field, is_time);

	return (struct sum){less(end.likely, start.likely), start.uncertain + end.uncertain};
}

#define BETWEEN(whole, start_ns, end_ns, field, is_time) \
	between(whole, start_ns, end_ns, offsetof(struct stint_probes_mark, field), is_time)

/* ---- the parts ---- */

/* By each time off the CPU, where all of them were kept. */
static void add_segments(struct stint_probes_mark *sums, const struct stint_probes_overrun *whole,
			 uint64_t start_ns, uint64_t end_ns)
{
	for (uint32_t i = 0; i < whole->segments_len; i++) {
		const struct stint_probes_segment *segment = &whole->segments[i];
		uint64_t blocked_ns = overlap_ns(segment->off_ns, segment->runnable_ns, start_ns, end_ns);
		uint64_t runnable_ns = overlap_ns(segment->runnable_ns, segment->on_ns, start_ns, end_ns);

		sums->blocked_ns += blocked_ns;
		sums->stopped_ns += segment->is_stopped ? blocked_ns : 0;
		sums->fault_blocked_ns += segment->in_syscall || segment->is_stopped ? 0 : blocked_ns;
		sums->runnable_ns += runnable_ns;
		sums->throttled_ns +=
			segment->throttled_ns < runnable_ns ? segment->throttled_ns : runnable_ns;
	}
}

/* How uncertain they are. */
static uint64_t add_marked(struct stint_probes_mark *sums, const struct stint_probes_overrun *whole,
			   uint64_t start_ns, uint64_t end_ns)
{
	struct sum runnable = BETWEEN(whole, start_ns, end_ns, runnable_ns, true);
	struct sum throttled = BETWEEN(whole, start_ns, end_ns, throttled_ns, true);
	struct sum blocked = BETWEEN(whole, start_ns, end_ns, blocked_ns, true);

	sums->runnable_ns = runnable.likely;
	sums->throttled_ns = throttled.likely;
	sums->blocked_ns = blocked.likely;
	sums->fault_blocked_ns = BETWEEN(whole, start_ns, end_ns, fault_blocked_ns, true).likely;
	sums->stopped_ns = BETWEEN(whole, start_ns, end_ns, stopped_ns, true).likely;
	return runnable.uncertain + throttled.uncertain + blocked.uncertain;
}

static uint64_t add_counts(struct stint_probes_mark *sums, const struct stint_probes_overrun *whole,
			   uint64_t start_ns, uint64_t end_ns)
{
	struct sum kernel = BETWEEN(whole, start_ns, end_ns, kernel_ns, true);
	struct sum stolen = BETWEEN(whole, start_ns, end_ns, stolen_ns, true);

	sums->kernel_ns = kernel.likely;
	sums->faulted_ns = BETWEEN(whole, start_ns, end_ns, faulted_ns, true).likely;
	sums->stolen_ns = stolen.likely;
	sums->minor_faults = BETWEEN(whole, start_ns, end_ns, minor_faults, false).likely;
	sums->major_faults = BETWEEN(whole, start_ns, end_ns, major_faults, false).likely;
	sums->samples = BETWEEN(whole, start_ns, end_ns, samples, false).likely;
	sums->kernel_samples = BETWEEN(whole, start_ns, end_ns, kernel_samples, false).likely;
	sums->fault_samples = BETWEEN(whole, start_ns, end_ns, fault_samples, false).likely;
	sums->user_samples = BETWEEN(whole, start_ns, end_ns, user_samples, false).likely;
	return kernel.uncertain + stolen.uncertain;
}

/* By how much the largest part is larger than any other. */
static uint64_t lead_ns(const struct stint_probes_parts *parts, enum stint_probes_verdict largest)
{
	uint64_t next_ns = 0;

	for (int i = STINT_PROBES_USER; i <= STINT_PROBES_STOLEN; i++) {
		uint64_t part_ns = stint_verdict_ns(parts, (enum stint_probes_verdict)i);

		if (i != (int)largest && part_ns > next_ns)
			next_ns = part_ns;
	}
	return less(stint_verdict_ns(parts, largest), next_ns);
}

static void take_parts(struct stint_probes_overrun *part, const struct stint_probes_mark *sums,
		       uint64_t uncertain_ns)
{
	struct stint_probes_parts parts;

	stint_verdict_split(&parts, part->duration_ns, sums);
	parts.throttled_known = part->parts.throttled_known;
	parts.stolen_known = part->parts.stolen_known;
	part->parts = parts;
	part->verdict = stint_verdict(&parts);
	if (uncertain_ns > lead_ns(&parts, part->verdict))
		part->verdict = STINT_PROBES_VERDICT_UNKNOWN;
	part->runnable_ns = sums->runnable_ns;
	part->blocked_ns = sums->blocked_ns;
	part->on_cpu_ns = part->duration_ns - sums->runnable_ns - sums->blocked_ns;
	part->fault_blocked_ns = sums->fault_blocked_ns;
	part->stopped_ns = sums->stopped_ns;
	part->minor_faults = sums->minor_faults;
	part->major_faults = sums->major_faults;
	part->samples = (uint32_t)sums->samples;
	part->kernel_samples = (uint32_t)sums->kernel_samples;
	part->fault_samples = (uint32_t)sums->fault_samples;
	part->user_samples = (uint32_t)sums->user_samples;
}

static bool cut_parts(struct stint_probes_overrun *part, const struct stint_probes_overrun *whole,
		      uint64_t start_ns, uint64_t end_ns)
{
	struct stint_probes_mark sums = {0};
	uint64_t off_uncertain_ns = 0, uncertain_ns = part->duration_ns;
	bool is_marked = whole->marks_len >= 2;

	if (!whole->segments_lost)
		add_segments(&sums, whole, start_ns, end_ns);
	else
		off_uncertain_ns = is_marked ? add_marked(&sums, whole, start_ns, end_ns) : part->duration_ns;
	if (off_uncertain_ns > part->duration_ns / UNCERTAIN_PART ||
	    sums.runnable_ns + sums.blocked_ns > part->duration_ns)
		return false;
	if (is_marked)
		uncertain_ns = off_uncertain_ns + add_counts(&sums, whole, start_ns, end_ns);
	take_parts(part, &sums, uncertain_ns);
	return true;
}

static void forget_parts(struct stint_probes_overrun *part)
{
	part->parts = (struct stint_probes_parts){0};
	part->verdict = STINT_PROBES_VERDICT_UNKNOWN;
	part->runnable_ns = 0;
	part->blocked_ns = 0;
	part->on_cpu_ns = 0;
}

/* ---- what has a moment ---- */

static void cut_syscalls(struct stint_probes_overrun *part, uint64_t start_ns, uint64_t end_ns)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < part->syscalls_len; i++)
		if (is_within(part->syscalls[i].start_ns + part->syscalls[i].duration_ns / 2, start_ns,
			      end_ns))
			part->syscalls[len++] = part->syscalls[i];
	part->syscalls_len = len;
	part->syscall_count = 0;
	part->calls_unknown = true;
}

static void cut_segments(struct stint_probes_overrun *part, uint64_t start_ns, uint64_t end_ns)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < part->segments_len; i++)
		if (overlap_ns(part->segments[i].off_ns, part->segments[i].on_ns, start_ns, end_ns))
			part->segments[len++] = part->segments[i];
	part->segments_len = len;
}

static void cut_moments(struct stint_probes_overrun *part, uint64_t start_ns, uint64_t end_ns)
{
	cut_syscalls(part, start_ns, end_ns);
	cut_segments(part, start_ns, end_ns);
	if (!is_within(part->block.start_ns, start_ns, end_ns))
		part->block = (struct stint_probes_block){0};
	if (!is_within(part->stack_time_ns, start_ns, end_ns)) {
		part->stack_kind = STINT_PROBES_STACK_NONE;
		part->stack_len = 0;
	}
}

bool stint_cut(struct stint_probes_overrun *overrun, uint64_t start_ns, uint64_t end_ns)
{
	const struct stint_probes_overrun whole = *overrun;
	bool is_known;

	overrun->start_ns = start_ns;
	overrun->duration_ns = less(end_ns, start_ns);
	is_known = cut_parts(overrun, &whole, start_ns, end_ns);
	if (!is_known)
		forget_parts(overrun);
	cut_moments(overrun, start_ns, end_ns);
	if (!is_known || overrun->runnable_ns < whole.runnable_ns)
		overrun->rivals_len = 0;
	overrun->victims_len = 0;
	memset(overrun->functions, 0, sizeof(overrun->functions));
	if (overrun->iteration != STINT_PROBES_SYSTEM && overrun->duration_ns > whole.duration_ns / 2)
		overrun->iteration = STINT_PROBES_ONE_HANDLER;
	else if (overrun->iteration == STINT_PROBES_ONE_HANDLER)
		overrun->iteration = STINT_PROBES_MANY_HANDLERS;
	return is_known;
}
