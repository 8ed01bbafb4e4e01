/* SPDX-License-Identifier: MIT */
#include "report/show/verdict_words.h"

#include <inttypes.h>

#include "report/show/units.h"

#define RIVALS_NAMED  3
#define VICTIMS_NAMED 2
#define FAULTS_MANY   1000 /* worth a word even if none was read from disk: about 1 ms of them */

const char *const verdict_names[MODEL_VERDICTS] = {"user",      "kernel",  "runnable",
						   "throttled", "blocked", "stolen"};
const char *const iteration_names[MODEL_SYSTEM + 1] = {NULL, "one slow handler", "many small handlers",
						       "the system"};

static uint64_t part(const struct model_verdict *verdict, enum model_verdict_kind kind)
{
	return verdict->parts_ns[kind] == MODEL_UNKNOWN ? 0 : verdict->parts_ns[kind];
}

static void put_share(struct buffer *out, const struct model_verdict *verdict)
{
	buffer_printf(out, " %s", units_share(part(verdict, verdict->verdict), verdict->whole_ns).text);
}

static void put_task(struct buffer *out, words_escape escape, const char *comm, uint64_t pid)
{
	escape(out, comm);
	if (pid != MODEL_UNKNOWN)
		buffer_printf(out, " (pid %" PRIu64 ")", pid);
}

/* Whom the recorder itself made wait would not have waited without it. */
static void put_rival(struct buffer *out, words_escape escape, const struct model_rival *rival)
{
	if (rival->is_recorder)
		buffer_string(out, "this recorder, ");
	if (rival->is_own) {
		buffer_string(out, "another thread of its own, ");
		escape(out, rival->comm);
		return;
	}
	put_task(out, escape, rival->comm, rival->pid);
}

static void put_waker(struct buffer *out, words_escape escape, const struct model_verdict *verdict)
{
	if (!verdict->waker && !verdict->waker_what)
		return;
	buffer_string(out, verdict->waker_inferred ? ", woken by ~" : ", woken by ");
	if (verdict->waker) {
		put_task(out, escape, verdict->waker, verdict->waker_pid);
	} else {
		buffer_string(out, "an interrupt (");
		escape(out, verdict->waker_what);
		buffer_string(out, ")");
	}
}

static void put_blocked(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	const struct model_verdict *verdict = overrun->verdict;
	const char *call = late_call(overrun);

	buffer_string(out, "blocked");
	if (call) {
		buffer_string(out, " in ");
		escape(out, call);
	}
	put_share(out, verdict);
	if (!call || call != verdict->blocked_in)
		return;
	if (verdict->blocked_on) {
		buffer_string(out, verdict->blocked_on_inferred ? " on ~" : " on ");
		escape(out, verdict->blocked_on);
	}
	put_waker(out, escape, verdict);
}

static void put_in_kernel(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	const struct model_verdict *verdict = overrun->verdict;
	const char *call = late_call(overrun);

	buffer_string(out, "computing in the kernel");
	put_share(out, verdict);
	if (verdict->faulted_ns > part(verdict, MODEL_KERNEL) / 2) {
		buffer_string(out, ", in page faults");
	} else if (verdict->kernel_sampled_ns > part(verdict, MODEL_KERNEL) / 2) {
		buffer_string(out, ", in ~page faults or interrupts");
	} else if (call) {
		buffer_string(out, ", in ");
		escape(out, call);
	}
}

void verdict_words_cause(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	const struct model_verdict *verdict = overrun->verdict;

	switch (verdict->verdict) {
	case MODEL_USER:
		buffer_string(out, "computing in user space");
		break;
	case MODEL_KERNEL:
		put_in_kernel(out, escape, overrun);
		return;
	case MODEL_RUNNABLE:
		buffer_string(out, "waiting for a CPU");
		put_share(out, verdict);
		if (verdict->rivals_len && verdict->rivals[0].pid) {
			buffer_string(out, ", behind ");
			put_rival(out, escape, &verdict->rivals[0]);
		}
		return;
	case MODEL_THROTTLED:
		buffer_string(out, "throttled by its cgroup");
		break;
	case MODEL_BLOCKED:
		put_blocked(out, escape, overrun);
		return;
	case MODEL_STOLEN:
		buffer_string(out, "its CPU stolen by the hypervisor");
		break;
	case MODEL_VERDICTS:
		buffer_string(out, "on what it was spent is not known");
		return;
	}
	put_share(out, verdict);
}

void verdict_words_parts(struct buffer *out, const struct model_verdict *verdict)
{
	bool first = true;

	for (int kind = 0; kind < MODEL_VERDICTS; kind++) {
		uint64_t part_ns = verdict->parts_ns[kind];
		bool always = kind == MODEL_USER || kind == MODEL_KERNEL || kind == MODEL_BLOCKED;

		if ((part_ns == 0 && !always) || (part_ns == MODEL_UNKNOWN && kind == MODEL_THROTTLED))
			continue;
		buffer_string(out, first ? "" : ", ");
		first = false;
		if (part_ns == MODEL_UNKNOWN)
			buffer_printf(out, "%s not known", verdict_names[kind]);
		else
			buffer_printf(out, "%s %s", verdict_names[kind], units_ns(part_ns).text);
		if (kind == MODEL_KERNEL && verdict->kernel_sampled_ns > part_ns / 10)
			buffer_printf(out, " (~%s by samples)", units_ns(verdict->kernel_sampled_ns).text);
		if (kind == MODEL_BLOCKED && verdict->stopped_ns)
			buffer_printf(out, " (%s of it stopped, by a tracer or a signal)",
				      units_ns(verdict->stopped_ns).text);
	}
	if (iteration_names[verdict->iteration])
		buffer_printf(out, "; ~%s", iteration_names[verdict->iteration]);
}

void verdict_words_rivals(struct buffer *out, words_escape escape, const struct model_verdict *verdict)
{
	if (!verdict->rivals_len || part(verdict, MODEL_RUNNABLE) < verdict->whole_ns / 10)
		return;
	buffer_string(out, "waited for a CPU behind: ");
	for (size_t i = 0; i < verdict->rivals_len && i < RIVALS_NAMED; i++) {
		const struct model_rival *rival = &verdict->rivals[i];

		buffer_string(out, i ? ", " : "");
		if (rival->pid)
			put_rival(out, escape, rival);
		else
			buffer_string(out, "nobody, it was asleep");
		buffer_printf(out, " %s", units_ns(rival->duration_ns).text);
	}
	if (verdict->rivals_len > RIVALS_NAMED)
		buffer_printf(out, "; %zu more", verdict->rivals_len - RIVALS_NAMED);
}

void verdict_words_faults(struct buffer *out, const struct model_verdict *verdict)
{
	if (!verdict->major_faults && verdict->minor_faults < FAULTS_MANY)
		return;
	buffer_printf(out, "page faults: %s read from disk, %s others",
		      units_count(verdict->major_faults).text, units_count(verdict->minor_faults).text);
	if (verdict->faulted_ns)
		buffer_printf(out, "; computing in them %s", units_ns(verdict->faulted_ns).text);
	if (verdict->fault_blocked_ns)
		buffer_printf(out, "; blocked in them %s", units_ns(verdict->fault_blocked_ns).text);
}

void verdict_words_victims(struct buffer *out, words_escape escape, const struct model_verdict *verdict)
{
	if (!verdict->victims_len)
		return;
	/* Behind all that was handled before them, of which this handler is a part: the blame is only its own. */
	buffer_string(out, "~in all waited: ");
	for (size_t i = 0; i < verdict->victims_len && i < VICTIMS_NAMED; i++) {
		const struct model_victim *victim = &verdict->victims[i];

		buffer_printf(out, "%sfd %d", i ? ", " : "", victim->fd);
		if (victim->name) {
			buffer_string(out, victim->name_inferred ? " (~" : " (");
			escape(out, victim->name);
			buffer_string(out, ")");
		}
		buffer_printf(out, " %s", units_ns(victim->wait_ns).text);
	}
	if (verdict->victims_len > VICTIMS_NAMED)
		buffer_printf(out, "; %zu more", verdict->victims_len - VICTIMS_NAMED);
}

void verdict_words_mostly(struct buffer *out, const struct late *late)
{
	static const char *const others[] = {"stopped", "computing", "off the CPU"};
	enum late_kind kind = late->causes_len ? late->causes[0].kind : LATE_UNKNOWN;

	if (kind == LATE_UNKNOWN)
		return;
	buffer_printf(out, "%s %s", kind < LATE_STOPPED ? verdict_names[kind] : others[kind - LATE_STOPPED],
		      units_percent(late->causes[0].sum_ns, late->sum_ns).text);
}
