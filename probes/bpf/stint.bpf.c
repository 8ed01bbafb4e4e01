/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */

/*
 * The eBPF programs of stint: entry points only. They unpack what the kernel passes and call what the
 * headers hold, which are the parts of one program and share its maps:
 *
 *   filter.bpf.h  the early exit of those who are not watched
 *   watch.bpf.h   who is watched, what is known of a thread
 *   verdict.bpf.h on what an iteration was spent
 *   rivals.bpf.h  who had the CPU that a thread waited for
 *   follow.bpf.h  who comes to be watched meanwhile
 *   files.bpf.h   the file behind a descriptor
 *   send.bpf.h    how much there was to send, from files and pipes
 *   own_stack.bpf.h the loop's own stack, from where it waits
 *   waits.bpf.h   which system calls are waits, and which wait is the loop's own
 *   ready.bpf.h   what a wait found ready
 *   slot.bpf.h    tables that user space reads by slot
 *   missed_switch.bpf.h when a thread got its CPU where no program saw it
 *   loop.bpf.h    iterations, system calls in them, time off the CPU
 *   before.bpf.h  an iteration that began before stint came
 *   beside.bpf.h  workers beside a loop, and what they wait for
 *   under_way.bpf.h how long waits and iterations that have not ended have gone on
 *   running.bpf.h such iterations, as the recording ends
 *   hang.bpf.h    those of them that are told at once
 *   function.bpf.h functions that are timed on request
 *   draft.bpf.h   records that are as long as what there is to tell
 *   stack.bpf.h   copies of user stacks
 *   socket.bpf.h  the table of sockets
 *   limit.bpf.h   what holds a sender back
 *   trace.bpf.h   the moments of a socket
 *   why.bpf.h     why an ACK made no event
 *   life.bpf.h    from handshake to close, of sockets asked for by port
 *   stall_record.bpf.h, unix.bpf.h, stall.bpf.h
 *                 write stalls: how they are told, of unix sockets, of TCP
 *   turns.bpf.h, role.bpf.h, arrival.bpf.h, descriptor.bpf.h, identity.bpf.h, hygiene.bpf.h, service.bpf.h
 *                 what descriptors are, how long their events waited and were served, bad habits
 *   streak.bpf.h  descriptors that stay ready, and that nobody serves
 *   uring.bpf.h   what completed in a ring, and what is sent through it
 *
 * Tracepoints (tp_btf), and uprobes on request, only: they work where lockdown refuses kprobes and fentry, and need
 * no tracefs.
 */

#include "kernel.h"

#include "probes/records.h"
#include "probes/role_records.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "filter.bpf.h"
#include "histogram.bpf.h"
#include "syscalls.bpf.h"
#include "turns.bpf.h"
#include "watch.bpf.h"

#include "rivals.bpf.h"

#include "files.bpf.h"
#include "send.bpf.h"

#include "follow.bpf.h"

#include "draft.bpf.h"

#include "function.bpf.h"

#include "mark.bpf.h"

#include "stack.bpf.h"

#include "own_stack.bpf.h"
#include "waits.bpf.h"

#include "ready.bpf.h"

#include "slot.bpf.h"

#include "missed_switch.bpf.h"

#include "loop.bpf.h"

#include "beside.bpf.h"
#include "under_way.bpf.h"

#include "running.bpf.h"

#include "hang.bpf.h"

#include "socket.bpf.h"

#include "limit.bpf.h"
#include "trace.bpf.h"
#include "why.bpf.h"

#include "life.bpf.h"
#include "stall_record.bpf.h"

#include "unix.bpf.h"

#include "stall.bpf.h"

#include "role.bpf.h"

#include "arrival.bpf.h"

#include "descriptor.bpf.h"

#include "identity.bpf.h"

#include "hygiene.bpf.h"

#include "service.bpf.h"

#include "streak.bpf.h"

#include "refused.bpf.h"

#include "before.bpf.h"

#include "uring.bpf.h"

/* `takes_first`: its first argument is a descriptor. */
static __always_inline void enter_descriptor_call(struct thread *thread, long number, int send_fd,
						  bool takes_first, const struct pt_regs *regs, u64 now_ns)
{
	if (send_fd && thread->turns.flags & TURNS_OUTS)
		note_sent(thread, (s32)(send_fd == 1 ? regs->di : regs->dx));
	if (takes_first)
		enter_turn(thread, number, regs, now_ns);
	if (number == NR_close) {
		if (thread->has_refused)
			end_refused(thread, (s32)regs->di, now_ns);
		note_close(thread, (s32)regs->di, now_ns);
		close_turn(&thread->turns, (s32)regs->di);
		note_unix_close(thread->pid, (s32)regs->di, now_ns);
		note_ring_close((s32)regs->di);
		if (may_have_loop_in(thread, (s32)regs->di))
			close_loop(thread, (s32)regs->di, now_ns);
		if (is_polled_alone(thread, (s32)regs->di)) {
			end_last_iteration(thread, now_ns);
			thread->is_idle = 1;
		}
	}
}

static __always_inline void exit_descriptor_call(struct thread *thread, const struct pt_regs *regs,
						 long result, u64 now_ns)
{
	long number = regs->orig_ax;
	bool takes;

	if (number == NR_epoll_ctl && result == 0)
		note_ctl(thread, regs->si, (u64)regs->di << 32 | (u32)regs->dx, regs->r10, now_ns);
	if (number == NR_accept || number == NR_accept4) {
		if (result >= 0)
			exit_accept(thread, (s32)regs->di, (s32)result, now_ns);
		if (thread)
			note_accept(thread, (s32)regs->di, result, now_ns);
	}
	if (!thread || thread->state != THREAD_DISPATCHING || !(thread->turns.flags & TURNS_IN_CALL))
		return;
	thread->turns.flags &= ~TURNS_IN_CALL;
	takes = takes_data(number, regs);
	if (takes || thread->turns.flags & TURNS_MAY_BLOCK)
		exit_turn(thread, takes, read_requested(number, regs->dx), result, now_ns);
}

static __always_inline int enter_call(const struct pt_regs *regs, long number)
{
	struct thread *thread = thread_at(regs);
	u64 id = current_id(thread);
	u32 pid = id >> 32, tid = (u32)id;
	int send_fd;
	u64 now_ns;
	u32 wait;

	if (!thread && !is_watched(pid))
		return 0;
	if (!thread)
		thread = find_current(regs, tid);
	now_ns = bpf_ktime_get_ns();
	if (number == NR_restart_syscall)
		number = call_of(bpf_get_current_task_btf(), regs, number);
	if (thread && thread->off_ns)
		find_own_missed_switch(thread, now_ns);
	if (streaks_open > 0)
		note_call(pid, number, regs);
	wait = wait_kind(number, regs);
	send_fd = wait ? 0 : send_fd_argument(number);
	if (send_fd)
		enter_send((s32)(send_fd == 1 ? regs->di : regs->dx), now_ns);
	if (wait && !thread)
		thread = add_thread(pid, tid);
	if (!thread)
		return 0;
	if (wait && thread->began_before)
		end_before(thread, now_ns, wait, wait_fd(wait, regs));
	if (wait && enter_wait(thread, now_ns, wait, regs, wait_has_zero_timeout(number, regs))) {
		if (wait == RECORD_WAIT_IO_URING)
			know_ring(thread, (s32)regs->di, regs->r10);
		report_wanted_stack(thread, regs, now_ns);
		return 0;
	}
	if (number == NR_exit || number == NR_exit_group)
		return end_last_iteration(thread, now_ns);
	if (thread->state == THREAD_DISPATCHING && waits_for_work(thread, regs, number, now_ns))
		return await_work(thread, now_ns);
	if (thread->state == THREAD_DISPATCHING) {
		bool takes_first = takes_fd(number);

		enter_syscall(thread, now_ns, number, regs->di, regs->dx, takes_first);
		enter_descriptor_call(thread, number, send_fd, takes_first, regs, now_ns);
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs *regs, long number)
{
	return is_marked(place_of(regs)) && !is_probe(number) ? enter_call(regs, number) : 0;
}

static __always_inline int exit_call(const struct pt_regs *regs, long result)
{
	struct thread *thread = thread_at(regs);
	u64 id = current_id(thread);
	u32 pid = id >> 32, tid = (u32)id;
	long number;
	int send_fd;
	u64 now_ns;
	u32 wait;

	if (!thread && !is_watched(pid))
		return 0;
	if (!thread)
		thread = find_current(regs, tid);
	now_ns = bpf_ktime_get_ns();
	number = (long)regs->orig_ax;
	if (number == NR_restart_syscall)
		number = call_of(bpf_get_current_task_btf(), regs, number);
	if (thread && thread->off_ns)
		find_own_missed_switch(thread, now_ns);
	wait = wait_kind(number, regs);
	if (wait && thread && thread->began_before) /* it was in it already */
		end_before(thread, now_ns, RECORD_WAIT_NONE, -1);
	if (wait && thread && thread->is_idle) /* enter_wait() has found it to be none of the loop's */
		return 0;
	if (wait && (!thread || thread->state != THREAD_DISPATCHING)) {
		if (!thread)
			thread = add_thread(pid, tid); /* it slept in this wait when stint came */
		if (!thread)
			return 0;
		note_wait(thread, wait, now_ns, regs->si, result, regs->dx);
		exit_wait(thread, now_ns, wait, regs, result);
		/* Once a poll()'s events are copied, and before the turns of this iteration begin. */
		if (result > 0 && thread->raised_tail != thread->raised_head)
			note_returned(thread, now_ns,
				      wait == RECORD_WAIT_EPOLL ? epoll_set((s32)regs->di) : 0, regs->si,
				      (u32)result);
		if (wait == RECORD_WAIT_EPOLL)
			begin_turns(thread, regs->si, result, regs->dx);
		else if (wait == RECORD_WAIT_IO_URING)
			exit_ring_wait(thread, regs, now_ns);
		else
			begin_polled_turns(thread);
		return 0;
	}
	if (thread && thread->state == THREAD_AWAITS_WORK)
		return waits_on(result) ? 0 : begin_work(thread, now_ns);
	send_fd = send_fd_argument(number);
	if (send_fd && !lacked_source(number, regs, result))
		exit_send(pid, tid, (s32)(send_fd == 1 ? regs->di : regs->dx), send_flags(number, regs),
			  requested_bytes(number, regs, result), send_result(number, regs->si, result),
			  now_ns);
	if (trace_port && result >= 0 && (number == NR_accept || number == NR_accept4))
		note_accepted((s32)result, pid, tid, now_ns);
	exit_descriptor_call(thread, regs, result, now_ns);
	if (thread && thread->state == THREAD_DISPATCHING && thread->in_syscall &&
	    was_without_work(thread, regs, number, result, now_ns))
		return 0;
	if (thread && thread->state == THREAD_DISPATCHING && thread->in_syscall &&
	    exit_syscall(thread, now_ns))
		report_stack(thread, RECORD_STACK_BLOCKED, now_ns);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long result)
{
	return is_marked(place_of(regs)) ? exit_call(regs, result) : 0;
}

/*
 * By now somebody may have begun to wake it. And some kernels (6.1, 6.12) tell the state that a task had before a
 * signal kept it from sleeping.
 */
static __always_inline bool is_awake(const struct task_struct *task)
{
	return task->__state == TASK_RUNNING || task->__state == TASK_WAKING;
}

static __always_inline void on_switch(struct task_struct *prev, struct task_struct *next, u32 state)
{
	u64 now_ns = 0;
	struct thread *thread;

	if (cpus_waited_for > 0) {
		now_ns = bpf_ktime_get_ns();
		rivals_switch(next, now_ns);
	}
	if (is_watched(next->tgid)) {
		thread = find_thread(next->pid);
		now_ns = now_ns ? now_ns : bpf_ktime_get_ns();
		if (thread) {
			note_on_cpu(thread, now_ns);
			switch_in(thread, next, queue_of(next), prev, now_ns);
		}
	}
	if (is_watched(prev->tgid)) {
		thread = find_thread(prev->pid);
		now_ns = now_ns ? now_ns : bpf_ktime_get_ns();
		if (thread)
			switch_out(thread, prev, next, now_ns, is_awake(prev) ? TASK_RUNNING : state);
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 state = switch_has_state ? (u32)ctx[3] : prev->__state;

	on_switch(prev, next, preempt ? TASK_RUNNING : state);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_sched_waking, struct task_struct *task)
{
	u32 pid = task->tgid;
	struct thread *thread;
	u64 now_ns;

	if (!is_watched(pid))
		return 0;
	now_ns = bpf_ktime_get_ns();
	thread = find_thread(task->pid);
	if (!thread)
		return 0;
	note_woken(thread, now_ns);
	made_runnable(ctx, thread, task, now_ns);
	if ((stalls_open > 0 || (are_chosen() && sockets_known > 0)) && thread->state == THREAD_WAITING)
		settle_touched(now_ns, pid, task->pid);
	if (unix_stalls_open > 0)
		note_unix_wake(thread, now_ns);
	return 0;
}

SEC("tp_btf/consume_skb")
int BPF_PROG(on_consume_skb, struct sk_buff *skb)
{
	struct sock *sk;

	if (unix_stalls_open <= 0)
		return 0;
	sk = skb->sk;
	if (sk)
		note_consumed(as_number((u64)sk), skb->len, skb->truesize, bpf_ktime_get_ns());
	return 0;
}

/*
 * A timer of this CPU has expired: the tick as a rule, which a CPU with something to run has anyway, or the clock of
 * a sampler. What it interrupted is the current thread.
 */
SEC("tp_btf/hrtimer_expire_entry")
int on_timer(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	struct thread *thread;
	u64 now_ns;

	if (!is_watched(id >> 32))
		return 0;
	thread = find_thread((u32)id);
	if (!thread)
		return 0;
	now_ns = bpf_ktime_get_ns();
	find_own_missed_switch(thread, now_ns);
	sample_overrun(ctx, thread, now_ns);
	return 0;
}

/*
 * The kernel counts a page fault as it begins, and again, by its kind, as it ends. Those of some threads only: user space
 * has a perf event for each count of each of them.
 */
SEC("perf_event")
int on_fault(void *ctx)
{
	struct thread *thread = find_thread((u32)bpf_get_current_pid_tgid());

	if (thread && thread->state == THREAD_DISPATCHING && !thread->in_syscall)
		verdict_enter_fault(&thread->verdict, bpf_ktime_get_ns(),
				    thread->blocked_sum_ns + thread->runnable_sum_ns);
	return 0;
}

SEC("perf_event")
int on_fault_end(void *ctx)
{
	struct thread *thread = find_thread((u32)bpf_get_current_pid_tgid());

	if (thread && thread->state == THREAD_DISPATCHING && thread->verdict.fault_start_ns)
		verdict_exit_fault(&thread->verdict, bpf_ktime_get_ns(),
				   thread->blocked_sum_ns + thread->runnable_sum_ns);
	return 0;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(on_tcp_probe, struct sock *sk, struct sk_buff *skb)
{
	struct socket_state *state;

	if (!is_socket_marked(sk))
		return 0;
	if (arrivals_followed)
		note_segment(sk, skb);
	if (sockets_known <= 0)
		return 0;
	state = find_socket((u64)sk);
	if (state)
		announce_segment(state, as_number((u64)sk), skb, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(on_softirq_exit, unsigned int vector)
{
	if (vector != NET_RX_SOFTIRQ || sockets_known <= 0)
		return 0;
	settle_touched(bpf_ktime_get_ns(), 0, 0);
	return 0;
}

/* Attached only where sockets are asked for by port or descriptor. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_socket_state, const struct sock *sk, int before, int after)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (!are_chosen() || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	note_state(as_number((u64)sk), before, after, is_watched(pid) ? pid : 0, bpf_ktime_get_ns());
	return 0;
}

/* Before 6.17 it tells of what was sent only. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_tcp_retransmit, struct sock *sk)
{
	if (sockets_known > 0 && is_socket_marked(sk))
		note_retransmit((u64)sk, !retransmit_has_error || !(s32)ctx[2], bpf_ktime_get_ns());
	return 0;
}

/* Apart from the one above, which is loaded only where sockets are traced by port. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_any_state, const struct sock *sk, int before, int after)
{
	if (stalls_open > 0 && is_socket_marked(sk))
		note_no_more_sends(as_number((u64)sk), after, bpf_ktime_get_ns());
	if (before == TCP_SYN_RECV && after == TCP_ESTABLISHED)
		note_handshake(sk, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_tcp_destroy, struct sock *sk)
{
	if (!is_socket_marked(sk))
		return 0;
	if (arrivals_followed)
		forget_arrivals(sk);
	if (sockets_known > 0)
		forget_socket((u64)sk, bpf_ktime_get_ns());
	return 0;
}

static long survey_each(struct bpf_map *map, const u64 *sk, struct socket_state *state, void *ctx)
{
	survey_socket(*sk, bpf_ktime_get_ns());
	return 0;
}

/*
 * Run by user space, a few times a second. No iterator over the elements of a map: kernels there are, locked down ones of
 * 2026 among them, that refuse to load one (EPERM) and allow all other iterators.
 */
SEC("syscall")
int on_survey(void *ctx)
{
	bpf_for_each_map_elem(&sockets, survey_each, NULL, 0);
	return 0;
}

static long survey_thread(struct bpf_map *map, const u32 *tid, u32 *slot, void *ctx)
{
	struct thread *thread = bpf_map_lookup_elem(&threads, slot);
	struct loop_counters *loop = thread ? thread_loop(thread) : NULL;
	u64 now_ns = bpf_ktime_get_ns();

	if (loop)
		tell_under_way(thread, loop, now_ns);
	if (thread && hang_ns)
		find_hang(thread, now_ns);
	return 0;
}

/* As the one above. */
SEC("syscall")
int on_thread_survey(void *ctx)
{
	bpf_for_each_map_elem(&slots, survey_thread, NULL, 0);
	return 0;
}

static __always_inline void report_life(u32 type, u32 pid)
{
	struct record_exit *record = reserve_record(sizeof(*record));

	if (!record)
		return;
	record->type = type;
	record->pid = pid;
	bpf_ringbuf_submit(record, 0);
}

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task)
{
	follow_new(task);
	return 0;
}

/* A process, by its first thread, was moved: user space gives the other threads their marks. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_attach, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (is_watched(task->tgid) || !is_in_cgroup(cgroup))
		return 0;
	follow(task);
	report_life(RECORD_JOINED, task->tgid);
	return 0;
}

/* Run for each thread there is, when user space has added a process to those watched. */
SEC("iter/task")
int on_each_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task || !is_watched(task->tgid))
		return 0;
	mark_thread(task);
	return (u32)task->pid == before_tid ? add_before(task) : 0;
}

/* Run for each thread there is, as the recording ends. */
SEC("iter/task")
int on_each_running(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread *thread = task ? find_thread(task->pid) : NULL;

	return thread ? tell_running(thread, task) : 0;
}

/* What is known of a thread that is over. Its loops and roles are user space's to take. */
__noinline int end_thread(u32 tid)
{
	struct thread *thread = find_thread(tid);

	if (!thread)
		return 0;
	end_last_iteration(thread, bpf_ktime_get_ns());
	end_streaks(thread);
	forget_ring(thread->ring); /* it is known again from the next wait of another thread on */
	end_loops(thread);
	end_roles(thread);
	return forget_thread(tid);
}

/* Another program from now on: neither its stacks nor its loop are those of the one before. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int tid_before)
{
	u32 pid = task->tgid, tid = task->pid;

	forget_functions(tid);
	forget_functions((u32)tid_before);
	if (!is_watched(pid)) {
		if (is_selected(task))
			follow(task);
		return 0;
	}
	end_thread(tid);
	end_thread((u32)tid_before); /* it may have had a number of its own, and has the process' now */
	report_life(RECORD_EXEC, pid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	u32 pid = task->tgid, tid = task->pid;

	/* First of all: where two threads exit at once, the other one may have said already that the process is gone. */
	end_thread(tid);
	forget_functions(tid);
	if (!is_watched(pid))
		return 0;
	if (task->signal->live.counter > 0)
		return 0; /* other threads run on, also if this was the first one */
	if (bpf_map_delete_elem(&watched, &pid) != 0)
		return 0; /* the last two exited at once, and the other has told */
	if (only_pid == pid)
		only_pid = 0;
	note_unix_exit(pid);
	report_life(RECORD_EXIT, pid);
	return 0;
}

/* Those of io_uring are attached while a watched thread waits in it, and each to the kernels that have it so. */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_ring_submit, void *req)
{
	if (rings_known > 0)
		note_submitted(as_number((u64)req));
	return 0;
}

/* Before 6.5. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(on_ring_submit_sqe, void *req)
{
	if (rings_known > 0)
		note_submitted(as_number((u64)req));
	return 0;
}

SEC("tp_btf/io_uring_poll_arm")
int BPF_PROG(on_ring_poll_arm, void *req, int mask, int events)
{
	if (rings_known > 0)
		note_armed(as_number((u64)req), events);
	return 0;
}

SEC("tp_btf/io_uring_task_add")
int BPF_PROG(on_ring_task_add, void *req, int events)
{
	if (rings_known > 0)
		note_came_about(as_number((u64)req), (u32)events);
	return 0;
}

static __always_inline struct ring *known_ring(void *ring)
{
	return rings_known > 0 ? find_ring(as_number((u64)ring)) : NULL;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_ring_complete, void *ring, void *req, struct io_uring_cqe *cqe)
{
	struct ring *known = known_ring(ring);

	return known ? note_completion(known, as_number((u64)req), BPF_CORE_READ(cqe, user_data),
				       BPF_CORE_READ(cqe, res), BPF_CORE_READ(cqe, flags))
		     : 0;
}

/* Before 6.16 it passes what is in the completion, and not where that is. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(on_ring_complete_by_value, void *ring, void *req, u64 user_data, int result, unsigned int flags)
{
	struct ring *known = known_ring(ring);

	return known ? note_completion(known, as_number((u64)req), user_data, result, flags) : 0;
}

static __always_inline struct function_cookie function_cookie(struct pt_regs *regs)
{
	u64 cookie = bpf_get_attach_cookie(regs);

	return (struct function_cookie){.slot = (u32)cookie, .number = (u32)(cookie >> 32)};
}

/* These two are attached to each function that is asked for, in each process. */
SEC("uprobe")
int on_function(struct pt_regs *regs)
{
	struct function_cookie cookie = function_cookie(regs);
	struct function_counters *counters = find_function(cookie.slot, cookie.number);
	u64 id = bpf_get_current_pid_tgid();

	if (!counters || counters->pid != id >> 32)
		return 0;
	return begin_function(&cookie, counters, (u32)id, regs->sp);
}

SEC("uretprobe")
int on_function_return(struct pt_regs *regs)
{
	u64 now_ns = bpf_ktime_get_ns();
	struct function_cookie cookie = function_cookie(regs);
	struct function_counters *counters = find_function(cookie.slot, cookie.number);
	u64 id = bpf_get_current_pid_tgid();

	if (!counters || counters->pid != id >> 32)
		return 0;
	return end_function(cookie.number, counters, (u32)id, regs->sp - sizeof(u64), now_ns);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
