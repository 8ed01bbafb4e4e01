/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_UNDER_WAY_BPF_H
#define STINT_PROBES_UNDER_WAY_BPF_H

/*
 * The waits and iterations that are under way as user space reads what loops have counted. That is of those that have
 * ended, so user space has all threads looked at just before.
 *
 * What is read may change meanwhile, so the sums come first: who ends after that changes them, and its length is not used.
 * Who ends is in no state to be told before it is in the sums, and who begins has begun before it is in one.
 */

static __always_inline void tell_under_way(const struct thread *thread, struct loop_counters *loop,
					   u64 now_ns)
{
	u64 sum_ns = *(volatile u64 *)&loop->busy_sum_ns + *(volatile u64 *)&loop->poll_sum_ns;
	u32 state = *(volatile u32 *)&thread->state;
	u64 start_ns =
		*(volatile u64 *)(state == THREAD_WAITING ? &thread->wait_start_ns : &thread->start_ns);
	u64 length_ns = start_ns && start_ns < now_ns ? now_ns - start_ns : 0;

	loop->waiting_ns = state == THREAD_WAITING || state == THREAD_AWAITS_WORK ? length_ns : 0;
	loop->running_ns = state == THREAD_DISPATCHING ? length_ns : 0;
	loop->surveyed_sum_ns = sum_ns;
}

#endif
