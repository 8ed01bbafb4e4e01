/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_HANG_BPF_H
#define STINT_PROBES_HANG_BPF_H

/*
 * Iterations that go on for so long that the user is told while they do: they make no event by which that would be seen, so
 * user space has all threads looked at now and then. Each is told once it has taken hang_ns, and as that has doubled.
 *
 * What is read may change meanwhile: it is about seconds, and told as of a moment.
 */

const volatile __u64 hang_ns = 0; /* 0: none is told */

static __always_inline void put_times(struct record_hang *record, const struct thread *thread)
{
	u64 off_ns = thread->off_ns, runnable_ns = thread->runnable_ns, now_ns = record->time_ns;

	record->blocked_ns = thread->blocked_sum_ns;
	record->runnable_ns = thread->runnable_sum_ns;
	record->stopped_ns = thread->verdict.sums.stopped_ns;
	record->is_asleep = off_ns && !runnable_ns;
	if (!off_ns || off_ns > now_ns)
		return;
	if (!runnable_ns || runnable_ns > now_ns)
		runnable_ns = now_ns;
	if (runnable_ns > off_ns) {
		record->blocked_ns += runnable_ns - off_ns;
		record->stopped_ns += thread->is_stopped ? runnable_ns - off_ns : 0;
	}
	record->runnable_ns += now_ns - runnable_ns;
}

static __always_inline void report_hang(const struct thread *thread, u64 start_ns, u64 now_ns)
{
	struct record_hang *record = reserve_record(sizeof(*record));

	if (!record)
		return;
	record->type = RECORD_HANG;
	record->pid = thread->pid;
	record->tid = thread->tid;
	record->epfd = thread->epfd;
	record->iteration = thread->iteration;
	record->start_ns = start_ns;
	record->time_ns = now_ns;
	record->wait = thread->wait;
	record->began_before = thread->began_before;
	record->in_syscall = thread->in_syscall;
	record->is_stopped = thread->is_stopped;
	record->syscall_number = thread->syscall_number;
	record->syscall_fd = thread->syscall_fd;
	put_times(record, thread);
	bpf_ringbuf_submit(record, 0);
}

static __always_inline void find_hang(struct thread *thread, u64 now_ns)
{
	/* In this order: a wait that returns sets the latter first. */
	u32 state = *(volatile u32 *)&thread->state;
	u64 start_ns = *(volatile u64 *)&thread->start_ns;

	if (state != THREAD_DISPATCHING || now_ns <= start_ns || now_ns - start_ns < hang_ns)
		return;
	if (!thread->began_before && thread->loop_slot >= LOOPS_MAX)
		return; /* as in running.bpf.h */
	if (thread->hang_iteration == thread->iteration && now_ns - start_ns < thread->hang_next_ns)
		return;
	thread->hang_iteration = thread->iteration;
	thread->hang_next_ns = 2 * (now_ns - start_ns);
	report_hang(thread, start_ns, now_ns);
}

#endif
