/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_BESIDE_BPF_H
#define STINT_PROBES_BESIDE_BPF_H

/*
 * Workers beside a loop. A thread that polls just one descriptor, in a process in which another thread waits in an epoll
 * set, is given work by that: apache's worker polls the server behind it for an answer, a thread of a pool its database.
 * What it then waits for on a condition variable, or a semaphore, is the next piece of work: nobody is kept waiting by it,
 * and its iteration ends there. The next one begins as it returns from that, as what it does then is to be told, whatever
 * it has waited for (threads of Python have their GIL so). Waiting for a mutex is another operation of the kernel's in
 * glibc, and is told as late.
 */

#define FUTEX_COMMAND     127 /* without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME */
#define FUTEX_WAIT_BITSET 9

#define LOOK_BESIDE_NS 100000000

/* Is there such another thread? Once there is, that holds; else it is looked for anew, but not at each wait. */
__noinline bool has_set_beside(struct thread *thread, u64 now_ns)
{
	if (!thread || thread->has_set_beside)
		return thread != NULL;
	if (thread->looked_beside_ns && now_ns - thread->looked_beside_ns < LOOK_BESIDE_NS)
		return false;
	thread->looked_beside_ns = now_ns;
	for (u32 slot = 0; slot < LOOPS_MAX && slot < loop_limit; slot++) {
		const struct loop_counters *loop = loop_at(slot);

		if (!loop)
			break;
		if (loop->wait == RECORD_WAIT_EPOLL && loop->pid == thread->pid && loop->tid != thread->tid &&
		    !loop->ended)
			thread->has_set_beside = 1;
	}
	return thread->has_set_beside;
}

/* As it enters a system call in an iteration. */
static __always_inline bool waits_for_work(struct thread *thread, const struct pt_regs *regs, long number,
					   u64 now_ns)
{
	if (number != NR_futex || (regs->si & FUTEX_COMMAND) != FUTEX_WAIT_BITSET)
		return false;
	return thread->wait == RECORD_WAIT_POLL && thread->ready_slots == 1 && has_set_beside(thread, now_ns);
}

static __always_inline int await_work(struct thread *thread, u64 now_ns)
{
	thread->awaits_work = 1;
	return end_last_iteration(thread, now_ns);
}

/* As it returns from that. No event is known to have brought it. */
__noinline int begin_work(struct thread *thread, u64 now_ns)
{
	if (!thread)
		return 0;
	thread->awaits_work = 0;
	thread->ready_len = 0;
	begin_iteration(thread, bpf_get_current_task_btf(), own_steal_clock(), now_ns, -1);
	return begin_polled_turns(thread);
}

#endif
