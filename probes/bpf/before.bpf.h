/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_BEFORE_BPF_H
#define STINT_PROBES_BEFORE_BPF_H

/*
 * An iteration that was under way when stint came: user space says in which thread (probes/before.h). It is followed from
 * then on like any other, but is no loop's: its histograms have what began and ended. It is told if it lasts on for so long
 * that it was no chance: as its thread comes to a wait, or is over, or as the recording ends.
 */

/* The thread; 0: none. */
__u32 before_tid;

/*
 * It runs, and is seen when it leaves its CPU or makes a call; or it has none, and others have it, or its cgroup's quota is
 * used up. Whoever gets it a CPU meanwhile may not see that it is off: then it is as one whose switch was missed.
 */
static __always_inline void want_cpu(struct thread *thread, struct task_struct *task, u64 now_ns)
{
	if (!bpf_core_field_exists(struct task_struct, on_cpu) || task->on_cpu)
		return;
	verdict_switch_out(&thread->verdict, queue_of(task));
	thread->off_cpu_clock_ns = task->se.sum_exec_runtime;
	thread->off_clock_ns = task->se.exec_start;
	*(volatile u64 *)&thread->runnable_ns = now_ns;
	*(volatile u64 *)&thread->off_ns = now_ns;
}

static __noinline int add_before(struct task_struct *task)
{
	struct thread *thread;
	const struct pt_regs *regs;
	u64 now_ns;

	if (!task || find_thread(task->pid))
		return 0;
	thread = add_thread(task->tgid, task->pid);
	if (!thread)
		return 0;
	now_ns = bpf_ktime_get_ns();
	regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	begin_iteration(thread, task, steal_clock(queue_of(task)), now_ns, -1);
	reset_turns(&thread->turns);
	thread->epfd = -1;
	thread->began_before = 1;
	if (task->__state == TASK_RUNNING) {
		want_cpu(thread, task, now_ns);
		return 0;
	}
	thread->is_stopped = is_stop(thread, task, task->__state);
	if ((long)regs->orig_ax >= 0 && !thread->is_stopped) {
		thread->in_syscall = 1;
		thread->syscall_number = (u32)regs->orig_ax;
		thread->syscall_fd = (s32)regs->di;
		thread->syscall_argument = regs->di;
		thread->syscall_start_ns = now_ns;
		thread->syscall_count = 1;
	}
	thread->off_cpu_clock_ns = task->se.sum_exec_runtime;
	*(volatile u64 *)&thread->off_ns = now_ns;
	return 0;
}

/* It comes to a wait, or returns from one, and is as one that was never seen. */
__noinline int end_before(struct thread *thread, u64 now_ns, u32 wait, s32 epfd)
{
	if (!thread)
		return 0;
	if (wait && is_worth_telling(thread, now_ns)) {
		thread->wait = wait;
		thread->epfd = epfd;
		end_iteration(thread, now_ns);
	}
	thread->wait = RECORD_WAIT_NONE;
	thread->epfd = -1;
	thread->began_before = 0;
	thread->state = THREAD_OUTSIDE;
	return 0;
}

#endif
