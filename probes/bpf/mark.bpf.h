/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_MARK_BPF_H
#define STINT_PROBES_MARK_BPF_H

/*
 * Where in an iteration its time went, so that what a part of it did can be told afterwards: a program that names its
 * handlers tells when each dispatch began and ended, but only later, and not to the kernel.
 *
 * What is summed of the iteration is noted now and then, at the ends of system calls and at samples. When all places are
 * taken, every other mark is given up, and from then on they are twice as far apart: there are 32 to 64 of them in any
 * iteration that is long enough, and a sum is known, at any moment, to within what was summed between two.
 */

/* Marks this far apart at first, as a part of the budget: shorter iterations have none. */
#define MARKS_A_BUDGET 16

static __always_inline void begin_marks(struct thread *thread, u64 now_ns)
{
	thread->verdict.marks_len = 0;
	thread->verdict.mark_every_ns = budget_ns / MARKS_A_BUDGET;
	thread->verdict.next_mark_ns = now_ns + thread->verdict.mark_every_ns;
}

static __always_inline void fill_mark(struct record_mark *mark, const struct thread *thread, u64 now_ns)
{
	const struct task_struct *task = bpf_get_current_task_btf();
	const struct thread_verdict *verdict = &thread->verdict;
	const struct record_verdict *sums = &verdict->sums;
	u64 steal_ns = own_steal_clock(), stolen_ns = sums->stolen_ns;

	if (steal_ns > verdict->steal_mark_ns)
		stolen_ns += steal_ns - verdict->steal_mark_ns;
	mark->offset_us = (u32)((now_ns - thread->start_ns) / 1000);
	mark->kernel_us = (u32)(sums->kernel_ns / 1000);
	mark->faulted_us = (u32)(sums->faulted_ns / 1000);
	mark->runnable_us = (u32)(thread->runnable_sum_ns / 1000);
	mark->throttled_us = (u32)(sums->throttled_ns / 1000);
	mark->blocked_us = (u32)(thread->blocked_sum_ns / 1000);
	mark->fault_blocked_us = (u32)(sums->fault_blocked_ns / 1000);
	mark->stopped_us = (u32)(sums->stopped_ns / 1000);
	mark->stolen_us = (u32)(stolen_ns / 1000);
	mark->minor_faults = (u32)(task->min_flt - verdict->minor_mark);
	mark->major_faults = (u32)(task->maj_flt - verdict->major_mark);
	mark->samples = sums->samples;
	mark->kernel_samples = sums->kernel_samples;
	mark->fault_samples = sums->fault_samples;
	mark->user_samples = sums->user_samples;
}

/* Of the current thread. */
__noinline int put_mark(struct thread *thread, u64 now_ns)
{
	u32 at;

	if (!thread || now_ns < thread->start_ns)
		return 0;
	if (thread->verdict.marks_len >= RECORD_MARKS) {
		for (u32 i = 0; i < RECORD_MARKS / 2; i++)
			thread->marks[i] = thread->marks[2 * i + 1];
		thread->verdict.marks_len = RECORD_MARKS / 2;
		thread->verdict.mark_every_ns *= 2;
	}
	at = thread->verdict.marks_len;
	if (at >= RECORD_MARKS)
		return 0;
	fill_mark(&thread->marks[at], thread, now_ns);
	thread->verdict.marks_len = at + 1;
	thread->verdict.next_mark_ns = now_ns + thread->verdict.mark_every_ns;
	return 0;
}

/* To be called outside of system calls: of one under way, nothing is summed yet. */
static __always_inline void set_mark(struct thread *thread, u64 now_ns)
{
	if (now_ns >= thread->verdict.next_mark_ns)
		put_mark(thread, now_ns);
}

#endif
