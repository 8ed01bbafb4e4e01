/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_RUNNING_BPF_H
#define STINT_PROBES_RUNNING_BPF_H

/*
 * Iterations that have not ended when the recording does: a loop that hangs comes to no wait in which it would be told.
 * User space asks for them, once nothing is noted any more: what is known of a thread then stays as it is.
 *
 * What is under way at that moment counts as if it ended there: the time on a CPU or off it, the system call, the wait.
 */

/* The sleep that goes on is one that nobody has ended yet. */
static __always_inline void settle_cpu(struct thread *thread, struct task_struct *task)
{
	u64 off_ns = thread->off_ns;

	if (!off_ns || off_ns >= ended_ns)
		return;
	if (!thread->runnable_ns && task->__state != TASK_RUNNING) {
		verdict_block(&thread->verdict, task, off_ns, ended_ns - off_ns, thread->in_syscall,
			      thread->is_stopped);
		thread->woken_on_cpu_ns = 0;
	}
	find_missed_switch(thread, task, ended_ns);
}

static __always_inline void settle_call(struct thread *thread)
{
	u64 duration_ns = ended_ns - thread->syscall_start_ns;

	if (!thread->in_syscall || thread->syscall_start_ns >= ended_ns) {
		if (thread->last_exit_ns < ended_ns)
			note_part(thread, thread->last_exit_ns, ended_ns - thread->last_exit_ns, 0);
		return;
	}
	verdict_exit_syscall(&thread->verdict, duration_ns, thread->blocked_sum_ns + thread->runnable_sum_ns);
	list_syscall(thread, duration_ns);
	note_part(thread, thread->syscall_start_ns, duration_ns, 1);
}

/* Its registers: the stack is not the current one, so it is user space that reads it. */
static __always_inline void report_sleeping_stack(const struct thread *thread, struct task_struct *task)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	struct record_stack *record = reserve_record(offsetof(struct record_stack, stack));

	if (!record)
		return;
	record->type = RECORD_STACK;
	record->pid = thread->pid;
	record->tid = thread->tid;
	record->kind = thread->in_syscall && !thread->is_stopped ? RECORD_STACK_BLOCKED : RECORD_STACK_FAULT;
	record->iteration = thread->iteration;
	record->time_ns = record->kind == RECORD_STACK_FAULT ? thread->off_ns : ended_ns;
	record->epfd = thread->epfd;
	record->number = (u32)regs->orig_ax;
	copy_registers(record, regs);
	record->sp = regs->sp;
	record->stack_bytes = 0;
	record->absent = 0;
	record->kernel_len = 0;
	record->is_asleep = 1;
	bpf_ringbuf_submit(record, 0);
}

/* Where it went to sleep just as stint came upon it (before.bpf.h), its iteration is over, and none is under way. */
static __always_inline bool waits_all_the_same(const struct thread *thread, struct task_struct *task)
{
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);

	return thread->began_before && task->__state != TASK_RUNNING &&
	       wait_kind(call_of(task, regs, (long)regs->orig_ax), regs);
}

/* The wait that is under way counts until then. */
static __always_inline void tell_last_wait(struct thread *thread)
{
	struct loop_counters *loop = thread_loop(thread);

	if (!loop)
		return;
	tell_under_way(thread, loop, ended_ns);
	loop->running_ns = 0; /* it is told as an overrun */
}

static __noinline int tell_running(struct thread *thread, struct task_struct *task)
{
	if (thread)
		tell_last_wait(thread);
	if (!thread || !task || thread->state != THREAD_DISPATCHING || thread->start_ns >= ended_ns ||
	    ended_ns - thread->start_ns <= budget_ns || !is_worth_telling(thread, ended_ns))
		return 0;
	if (waits_all_the_same(thread, task))
		return 0;
	if (!thread->began_before && thread->loop_slot >= LOOPS_MAX)
		return 0; /* it has polled once, and may never do so again: no loop that anybody knows of */
	if (thread->off_ns && !thread->runnable_ns && task->__state != TASK_RUNNING)
		report_sleeping_stack(thread, task);
	settle_cpu(thread, task);
	settle_call(thread);
	verdict_end(&thread->verdict, task, steal_clock(queue_of(task)));
	identify_all(thread, table_of(task));
	report_overrun(thread, ended_ns, 1);
	thread->state = THREAD_OUTSIDE;
	return 0;
}

#endif
