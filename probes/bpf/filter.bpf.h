/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_FILTER_BPF_H
#define STINT_PROBES_FILTER_BPF_H

/*
 * The early exit. The tracepoints of system calls are passed by every process of the machine, so what they cost one
 * that is not watched is what stint costs the machine. Even to ask who the current task is would be the greater part
 * of that. But the address of its saved registers is passed anyway, and is the thread's own as long as it lives: they
 * lie at the top of its kernel stack. So each thread of a watched process has its mark in a table of bits by that
 * address. Threads that share a mark by chance are told apart afterwards, as all were without it.
 */

#define MARKS       8192
#define STACK_SHIFT 14 /* kernel stacks are 16 KiB or more apart */

__u64 marks[MARKS / 64];

/* The verifier lets programs compute with an address only as its distance from another. Never 0. */
static __always_inline u64 place_of(const struct pt_regs *regs)
{
	return (u64)regs - (u64)marks;
}

static __always_inline u32 mark_of(const struct pt_regs *regs)
{
	return (place_of(regs) >> STACK_SHIFT) & (MARKS - 1);
}

static __always_inline bool may_be_watched(const struct pt_regs *regs)
{
	u32 mark = mark_of(regs);

	return marks[mark / 64] >> (mark % 64) & 1;
}

static __always_inline void mark_thread(struct task_struct *task)
{
	u32 mark = mark_of((const struct pt_regs *)bpf_task_pt_regs(task));

	__sync_fetch_and_or(&marks[mark / 64], 1ull << (mark % 64));
}

#endif
