/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_VERDICT_BPF_H
#define STINT_PROBES_VERDICT_BPF_H

/*
 * On what an iteration was spent, beyond on CPU, runnable and blocked: how much of the first was in the kernel or
 * stolen by the hypervisor, how much of the second the cgroup was throttled, how much of the third was page faults or
 * stops.
 *
 * All figures are differences of two readings of what the kernel counts anyway, at the moments that loop.bpf.h looks at.
 */

/* Of one thread, in its present iteration. */
struct thread_verdict {
	u64 syscall_off_ns; /* time off the CPU, in the iteration, when its present system call began */
	struct record_verdict sums;
	u64 steal_mark_ns;    /* the CPU's steal clock when the thread got on it, or the iteration began */
	u64 throttle_mark_ns; /* its queue's throttled time, when it left the CPU or was woken */
	u64 queue;            /* the struct cfs_rq that this was read from */
	u64 minor_mark;
	u64 major_mark;
	u64 fault_start_ns; /* of the page fault under way, if those are timed; 0: none is known to be */
	u64 fault_off_ns;   /* time off the CPU, in the iteration, when it began */
	u64 next_fault_stack_ns;
	u64 next_mark_ns; /* mark.bpf.h */
	u64 mark_every_ns;
	u32 marks_len;
	u32 reserved;
};

/*
 * The queue that a task is in, or was last. To be asked for once and handed on: at each load of a pointer from a task, the
 * verifier of Linux 6.x goes through the names of all types there are, a millisecond or more.
 */
static __always_inline const struct cfs_rq *queue_of(const struct task_struct *task)
{
	return task->se.cfs_rq;
}

/*
 * The kernel's copy of the hypervisor's count. It is brought up to date at each switch and each tick, so at the ends of
 * an iteration it is up to a tick behind. It stays 0 where no hypervisor tells: user space knows whether one does.
 */
static __always_inline u64 steal_clock(const struct cfs_rq *queue)
{
	struct rq *rq;

	if (!bpf_core_field_exists(struct rq, prev_steal_time_rq))
		return 0;
	rq = queue ? queue->rq : NULL;
	return rq ? rq->prev_steal_time_rq : 0;
}

/* Of the current task. Not static: the verifier comes to it by many ways, and has the load in it just once. */
__noinline u64 own_steal_clock(void)
{
	return steal_clock(queue_of(bpf_get_current_task_btf()));
}

/*
 * How long a queue has been throttled, itself or a group above it, ever. Linux 6.6 counts just that; before, what there
 * is are the sums by which other clocks of the queue stand still: those of the load average (5.17), or of tasks (older).
 */
static __always_inline u64 throttle_clock(const struct cfs_rq *queue)
{
	u64 since_ns = 0, sum_ns = 0, clock_ns;

	if (!queue || !queue->rq)
		return 0;
	clock_ns = queue->rq->clock;
	if (bpf_core_field_exists(struct cfs_rq, throttled_clock_self_time)) {
		sum_ns = queue->throttled_clock_self_time;
		since_ns = queue->throttled_clock_self;
	} else if (bpf_core_field_exists(struct cfs_rq, throttled_clock_pelt_time)) {
		sum_ns = queue->throttled_clock_pelt_time;
		since_ns = queue->throttle_count ? queue->throttled_clock_pelt : 0;
	} else if (bpf_core_field_exists(struct cfs_rq, throttled_clock_task_time)) {
		sum_ns = queue->throttled_clock_task_time;
		since_ns = queue->throttle_count ? queue->throttled_clock_task : 0;
	}
	return since_ns && since_ns < clock_ns ? sum_ns + (clock_ns - since_ns) : sum_ns;
}

/*
 * The same of the queue that a task has left for another CPU's, if that is of the same group: else it may be no more. It is
 * the one that was throttled; where the task came to is not, once it runs there.
 */
static __noinline u64 throttle_clock_before(u64 present, u64 before)
{
	const struct cfs_rq *queue = (const struct cfs_rq *)before;
	u64 since_ns = 0, sum_ns = 0, clock_ns;

	if (!present || !before || !bpf_core_field_exists(struct cfs_rq, tg) ||
	    BPF_CORE_READ(queue, tg) != BPF_CORE_READ((const struct cfs_rq *)present, tg))
		return 0;
	clock_ns = BPF_CORE_READ(queue, rq, clock);
	if (bpf_core_field_exists(struct cfs_rq, throttled_clock_self_time)) {
		sum_ns = BPF_CORE_READ(queue, throttled_clock_self_time);
		since_ns = BPF_CORE_READ(queue, throttled_clock_self);
	} else if (bpf_core_field_exists(struct cfs_rq, throttled_clock_pelt_time)) {
		sum_ns = BPF_CORE_READ(queue, throttled_clock_pelt_time);
		since_ns =
			BPF_CORE_READ(queue, throttle_count) ? BPF_CORE_READ(queue, throttled_clock_pelt) : 0;
	}
	return since_ns && since_ns < clock_ns ? sum_ns + (clock_ns - since_ns) : sum_ns;
}

/* Whether the kernel keeps any of the above. */
static __always_inline u32 verdict_known(void)
{
	u32 known = 0;

	if (bpf_core_field_exists(struct cfs_rq, throttled_clock_self_time) ||
	    bpf_core_field_exists(struct cfs_rq, throttled_clock_pelt_time) ||
	    bpf_core_field_exists(struct cfs_rq, throttled_clock_task_time))
		known |= RECORD_KNOWS_THROTTLED;
	if (bpf_core_field_exists(struct rq, prev_steal_time_rq))
		known |= RECORD_KNOWS_STOLEN;
	return known;
}

static __always_inline bool is_throttled(const struct task_struct *task, const struct cfs_rq *queue)
{
	if (bpf_core_field_exists(struct task_struct, throttled))
		return task->throttled;
	if (!bpf_core_field_exists(struct cfs_rq, throttle_count) || !queue)
		return false;
	return queue->throttle_count > 0;
}

/* `steal_ns`: the steal clock of `task`, here and in the next. */
static __always_inline void verdict_begin(struct thread_verdict *verdict, const struct task_struct *task,
					  u64 steal_ns)
{
	struct record_verdict *sums = &verdict->sums;

	sums->kernel_ns = 0;
	sums->faulted_ns = 0;
	sums->throttled_ns = 0;
	sums->stolen_ns = 0;
	sums->fault_blocked_ns = 0;
	sums->stopped_ns = 0;
	sums->rivals_other_ns = 0;
	sums->samples = 0;
	sums->kernel_samples = 0;
	sums->fault_samples = 0;
	sums->user_samples = 0;
	sums->rivals_len = 0;
	sums->block.duration_ns = 0;
	verdict->next_fault_stack_ns = 0;
	verdict->fault_start_ns = 0;
	verdict->steal_mark_ns = steal_ns;
	verdict->minor_mark = task->min_flt;
	verdict->major_mark = task->maj_flt;
}

static __always_inline void verdict_end(struct thread_verdict *verdict, const struct task_struct *task,
					u64 steal_ns)
{
	if (steal_ns > verdict->steal_mark_ns)
		verdict->sums.stolen_ns += steal_ns - verdict->steal_mark_ns;
	verdict->sums.minor_faults = task->min_flt - verdict->minor_mark;
	verdict->sums.major_faults = task->maj_flt - verdict->major_mark;
	verdict->sums.known = verdict_known();
}

/* `off_ns`: the time off the CPU in the iteration so far, in this and the next. */
static __always_inline void verdict_enter_syscall(struct thread_verdict *verdict, u64 off_ns)
{
	verdict->syscall_off_ns = off_ns;
	verdict->fault_start_ns = 0;
}

/*
 * A page fault, in no system call. One that has no end (it was an error, and made a signal) is over with the next one, or
 * with the next system call, and counts as user space.
 */
static __always_inline void verdict_enter_fault(struct thread_verdict *verdict, u64 now_ns, u64 off_ns)
{
	verdict->fault_start_ns = now_ns;
	verdict->fault_off_ns = off_ns;
}

static __always_inline void verdict_exit_fault(struct thread_verdict *verdict, u64 now_ns, u64 off_ns)
{
	u64 start_ns = verdict->fault_start_ns;

	verdict->fault_start_ns = 0;
	off_ns -= verdict->fault_off_ns;
	if (!start_ns || now_ns <= start_ns + off_ns)
		return;
	verdict->sums.faulted_ns += now_ns - start_ns - off_ns + fault_cost_ns;
	verdict->sums.kernel_ns += now_ns - start_ns - off_ns + fault_cost_ns;
}

static __always_inline void verdict_exit_syscall(struct thread_verdict *verdict, u64 duration_ns, u64 off_ns)
{
	off_ns -= verdict->syscall_off_ns;
	if (duration_ns > off_ns)
		verdict->sums.kernel_ns += duration_ns - off_ns;
}

static __always_inline void verdict_switch_out(struct thread_verdict *verdict, const struct cfs_rq *queue)
{
	u64 steal_ns = steal_clock(queue);

	if (steal_ns > verdict->steal_mark_ns)
		verdict->sums.stolen_ns += steal_ns - verdict->steal_mark_ns;
	verdict->queue = (u64)queue;
	verdict->throttle_mark_ns = throttle_clock(queue);
}

/*
 * A task gets on a CPU, which may be another one than it left, after `runnable_ns` of wanting one. Where it was woken on
 * another, it is not known whether that one's queue was throttled: then that time counts as runnable.
 */
static __always_inline u64 verdict_switch_in(struct thread_verdict *verdict, const struct cfs_rq *queue,
					     u64 runnable_ns, bool has_slept)
{
	bool is_moved = verdict->queue != (u64)queue;
	u64 throttled_ns = 0;

	if (!is_moved)
		throttled_ns = throttle_clock(queue);
	else if (!has_slept)
		throttled_ns = throttle_clock_before((u64)queue, verdict->queue);
	verdict->steal_mark_ns = steal_clock(queue);
	if (throttled_ns <= verdict->throttle_mark_ns)
		return 0;
	throttled_ns -= verdict->throttle_mark_ns;
	if (throttled_ns > runnable_ns)
		throttled_ns = runnable_ns;
	verdict->sums.throttled_ns += throttled_ns;
	return throttled_ns;
}

/*
 * It has been blocked for `duration_ns`. The kernel stack of `task`, which is not running, tells where; NULL: it runs
 * again. Only of long blocks, for each costs about a microsecond. False if there was a longer one.
 */
static __always_inline bool verdict_block(struct thread_verdict *verdict, struct task_struct *task,
					  u64 off_ns, u64 duration_ns, bool in_syscall, bool is_stopped)
{
	struct record_block *block = &verdict->sums.block;
	long bytes;

	if (duration_ns < block_noted_ns || duration_ns <= block->duration_ns)
		return false;
	block->start_ns = off_ns;
	block->duration_ns = duration_ns;
	block->in_syscall = in_syscall;
	block->is_stopped = is_stopped;
	block->waker_pid = 0;
	block->waker_comm[0] = 0;
	block->waker_stack_len = 0;
	bytes = task ? bpf_get_task_stack(task, block->stack, sizeof(block->stack), 0) : 0;
	block->stack_len = bytes > 0 ? (u32)bytes / 8 : 0;
	return true;
}

/* It is about to be woken: the waker's stack tells whether that is a task or an interrupt. */
static __always_inline void verdict_waking(void *ctx, struct thread_verdict *verdict,
					   struct task_struct *task, u64 off_ns, u64 duration_ns,
					   bool in_syscall, bool is_stopped)
{
	struct task_struct *waker = bpf_get_current_task_btf();
	struct record_block *block = &verdict->sums.block;
	const struct cfs_rq *queue = queue_of(task);
	long bytes;

	verdict->queue = (u64)queue;
	verdict->throttle_mark_ns = throttle_clock(queue);
	if (!verdict_block(verdict, task, off_ns, duration_ns, in_syscall, is_stopped))
		return;
	block->waker_pid = waker->tgid;
	bpf_probe_read_kernel(block->waker_comm, sizeof(block->waker_comm), waker->comm);
	bytes = bpf_get_stack(ctx, block->waker_stack, sizeof(block->waker_stack), 0);
	block->waker_stack_len = bytes > 0 ? (u32)bytes / 8 : 0;
}

/* Adds to who is listed already, else takes a free place, else that of the one with least, if this is more. */
static __always_inline void verdict_charge(struct thread_verdict *verdict, u32 pid, const char *comm,
					   u64 duration_ns)
{
	struct record_verdict *sums = &verdict->sums;
	struct record_rival *least = NULL;

	if (!duration_ns)
		return;
	for (u32 i = 0; i < RECORD_RIVALS; i++) {
		struct record_rival *rival = &sums->rivals[i];

		if (i >= sums->rivals_len) {
			sums->rivals_len = i + 1;
			rival->duration_ns = 0;
			least = rival;
			break;
		}
		if (rival->pid == pid) {
			rival->duration_ns += duration_ns;
			return;
		}
		if (!least || rival->duration_ns < least->duration_ns)
			least = rival;
	}
	if (!least || least->duration_ns >= duration_ns) {
		sums->rivals_other_ns += duration_ns;
		return;
	}
	sums->rivals_other_ns += least->duration_ns;
	least->duration_ns = duration_ns;
	least->pid = pid;
	least->reserved = 0;
	__builtin_memcpy(least->comm, comm, sizeof(least->comm));
}

#endif
