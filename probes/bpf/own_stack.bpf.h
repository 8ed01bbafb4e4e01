/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_OWN_STACK_BPF_H
#define STINT_PROBES_OWN_STACK_BPF_H

/*
 * The loop's own stack, by which its handlers are named, is that at its wait, taken as the loop is new. But its first wait
 * may be another's than those that follow, though in the same set: postgres reads what begins a session from outside of the
 * function that then reads queries, and all of them would be called by that function's name. So it is taken anew where a
 * wait is called from another depth of the stack: at once if the first one has not been come back to, else once such waits
 * outnumber the others of late. One that waits in several places by turns has it taken so often, and no more.
 */

#define WAITS_TO_TRUST 4
#define STACKS_TAKEN   8

static __always_inline void note_wait_place(struct thread *thread, u64 sp)
{
	if (!thread->stack_sp)
		return;
	if (sp == thread->stack_sp) {
		if (thread->stack_trust < WAITS_TO_TRUST)
			thread->stack_trust++;
	} else if (thread->stack_trust) {
		thread->stack_trust--;
	} else if (thread->stacks_taken < STACKS_TAKEN) {
		thread->stack_wanted = 1;
	}
}

static __always_inline void report_wanted_stack(struct thread *thread, const struct pt_regs *regs, u64 now_ns)
{
	if (!thread->stack_wanted)
		return;
	thread->stack_wanted = 0;
	thread->stack_sp = regs->sp;
	thread->stack_trust = 0;
	thread->stacks_taken++;
	report_stack(thread, RECORD_STACK_WAIT, now_ns);
}

#endif
