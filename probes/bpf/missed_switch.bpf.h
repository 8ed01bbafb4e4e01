/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_MISSED_SWITCH_BPF_H
#define STINT_PROBES_MISSED_SWITCH_BPF_H

/*
 * There are kernels on which no program runs while certain threads are current, and no misses are counted for it: on a
 * microVM with 6.18, while those of pid 1, its agent, are. Of 82,848 switches with busy CPUs none from one of them was
 * seen, and all 89 that were missing were those, as the chain of who left and who came shows; perf sees none of them
 * either. So what gets a CPU after one of them is switched to without a sched_switch, and what an interrupt wakes amid
 * one of them without a sched_waking: one in a thousand, more as they are busier. It is no race of the wake-up's.
 *
 * But a thread that does something is on a CPU, and its CPU clock has gained since it left how long it has been there.
 * Up to when, the clock of its queue tells: both lag behind by up to a tick, by the same, and stand still while it is
 * off its CPU. Where it is in another queue, whose clock may differ, or lags by more, as that clock leaves out what the
 * hypervisor took, the time on the CPU is a lower bound.
 *
 * Numbers only, so that a test has it too.
 */

#define TICK_MAX_NS 10000000

struct missed_switch {
	u64 off_ns;      /* when it left its CPU */
	u64 runnable_ns; /* since when it wanted one, as far as that was seen; 0: it was not */
	u64 now_ns;
	u64 ran_ns;        /* by which its CPU clock has gained since it left */
	u64 off_clock_ns;  /* the clock of its queue as it left, which is not ours */
	u64 last_clock_ns; /* that clock as its CPU clock was last brought up to date */
	u64 same_queue;    /* 0: the two are not to be compared */
};

/* Since when it is on a CPU. */
static __always_inline u64 since_when_on(const struct missed_switch *missed)
{
	u64 off_for_ns = missed->last_clock_ns - missed->ran_ns - missed->off_clock_ns,
	    away_ns = missed->now_ns - missed->off_ns;
	u64 on_ns = missed->ran_ns < away_ns ? missed->now_ns - missed->ran_ns : missed->off_ns;

	if (missed->same_queue && off_for_ns && off_for_ns < on_ns - missed->off_ns &&
	    on_ns - missed->off_ns - off_for_ns <= TICK_MAX_NS)
		on_ns = missed->off_ns + off_for_ns;
	return on_ns > missed->runnable_ns ? on_ns : missed->runnable_ns;
}

#endif
