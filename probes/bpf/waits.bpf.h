/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_WAITS_BPF_H
#define STINT_PROBES_WAITS_BPF_H

/*
 * Which system calls are waits, and which wait is the loop's own: the one whose return begins an iteration, and which
 * ends it when the thread comes back to it. Every other wait is a system call in the iteration, in which its handler
 * may block. A thread's own wait is told by three things:
 *
 *   - its object: the epoll set or the ring. poll() and select() have none, but the place they are called from;
 *   - its place: the stack pointer. A loop waits further out than the handlers that it calls, so a wait from deeper
 *     in the stack is one inside a handler (a client library that blocks in poll(), a nested epoll set that is waited
 *     in), and a wait from further out is that of a loop around what was taken for one;
 *   - its kind: a thread that sleeps in epoll or io_uring does not have its loop in poll() or select().
 *
 * What has been said here too early (stint may come amid a handler, and programs poll as they start) is put right: a
 * wait that has come just once gives way to another kind or place after CALLS_TO_DOUBT of those in a row, one that
 * has come back after CALLS_TO_LEAVE; a poll() of one descriptor that has never slept to any that may. A wait with a
 * timeout of 0 never becomes the own one within an iteration: it is how nested sets are drained.
 */

#define CALLS_TO_DOUBT 4
#define CALLS_TO_LEAVE 64

#define ALIGNMENT_MAX 16 /* what compilers put between an array on the stack and what is above it */
#define POLL_FRAME_MAX \
	4096 /* between a poll()'s stack pointer and an array of the caller's: one call or two */

#define IORING_ENTER_GETEVENTS       1u
#define IORING_ENTER_EXT_ARG         8u
#define IORING_ENTER_REGISTERED_RING 16u
#define REGISTERED_RINGS             16    /* IO_RINGFD_REG_MAX */
#define CQ_ENTRIES_MAX               65536 /* IORING_MAX_CQ_ENTRIES */

/*
 * Which call that of `task` is. A poll() that a stop or a tracer interrupts goes on as restart_syscall(), with the
 * registers as they were: told from others that do (a sleep, a futex) by what the kernel has kept of it. A futex has its
 * address and its value there, and then flags, of which one that is set always is neither 0 nor 1.
 */
static __always_inline long call_of(const struct task_struct *task, const struct pt_regs *regs, long number)
{
	if (number != NR_restart_syscall || (u64)BPF_CORE_READ(task, restart_block.poll.ufds) != regs->di ||
	    (u32)BPF_CORE_READ(task, restart_block.poll.nfds) != (u32)regs->si ||
	    (u32)BPF_CORE_READ(task, restart_block.poll.has_timeout) > 1)
		return number;
	return NR_poll;
}

/* enum record_wait, or 0. */
static __always_inline u32 wait_kind(long number, const struct pt_regs *regs)
{
	switch (number) {
	case NR_epoll_wait:
	case NR_epoll_pwait:
	case NR_epoll_pwait2:
		return RECORD_WAIT_EPOLL;
	case NR_poll:
	case NR_ppoll:
		return RECORD_WAIT_POLL;
	case NR_select:
	case NR_pselect6:
		return RECORD_WAIT_SELECT;
	case NR_io_uring_enter: /* to submit only, it does not wait */
		return (regs->r10 & IORING_ENTER_GETEVENTS) && (u32)regs->dx ? RECORD_WAIT_IO_URING : 0;
	default:
		return RECORD_WAIT_NONE;
	}
}

static __always_inline bool has_object(u32 kind)
{
	return kind == RECORD_WAIT_EPOLL || kind == RECORD_WAIT_IO_URING;
}

static __always_inline s32 wait_fd(u32 kind, const struct pt_regs *regs)
{
	return has_object(kind) ? (s32)regs->di : -1;
}

static __always_inline bool is_zero_time(u64 address)
{
	struct timespec64_user spec;

	if (!address || bpf_probe_read_user(&spec, sizeof(spec), (void *)address) != 0)
		return false;
	return spec.seconds == 0 && spec.nanoseconds == 0;
}

static __always_inline u64 io_uring_timeout(const struct pt_regs *regs)
{
	struct io_uring_getevents_user arg;

	if (!(regs->r10 & IORING_ENTER_EXT_ARG) ||
	    bpf_probe_read_user(&arg, sizeof(arg), (void *)regs->r8) != 0)
		return 0;
	return arg.timeout;
}

static __always_inline bool wait_has_zero_timeout(long number, const struct pt_regs *regs)
{
	switch (number) {
	case NR_epoll_wait:
	case NR_epoll_pwait:
		return (s32)regs->r10 == 0;
	case NR_poll:
		return (s32)regs->dx == 0;
	case NR_epoll_pwait2:
		return is_zero_time(regs->r10);
	case NR_ppoll:
		return is_zero_time(regs->dx);
	case NR_select:
	case NR_pselect6:
		return is_zero_time(regs->r8);
	case NR_io_uring_enter:
		return is_zero_time(io_uring_timeout(regs));
	default:
		return false;
	}
}

/* The file of a ring, which may be registered with the thread: it is then asked for by its place there. Or 0. */
static __noinline u64 ring_file(s32 fd, u64 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct io_uring_task *registry;
	struct file *file = NULL;
	u64 at;

	if (!(flags & IORING_ENTER_REGISTERED_RING))
		return fd_to_file(fd);
	registry = BPF_CORE_READ(task, io_uring);
	if (!registry || fd < 0 || fd >= REGISTERED_RINGS)
		return 0;
	at = (u64)registry + bpf_core_field_offset(struct io_uring_task, registered_rings);
	if (bpf_probe_read_kernel(&file, sizeof(file), (void *)(at + (u64)fd * sizeof(file))) != 0)
		return 0;
	return (u64)file;
}

/* Completions that wait in the ring; -1 if that cannot be known. The call itself returns how many it submitted. */
__noinline long ready_completions(s32 fd, u64 flags)
{
	struct file *file = (struct file *)ring_file(fd, flags);
	struct io_ring_ctx *ring;
	struct io_rings *rings;
	u32 head, tail;

	if (!file)
		return -1;
	ring = BPF_CORE_READ(file, private_data);
	rings = BPF_CORE_READ(ring, rings);
	head = BPF_CORE_READ(rings, cq.head);
	tail = BPF_CORE_READ(rings, cq.tail);
	return tail - head <= CQ_ENTRIES_MAX ? (long)(tail - head)
					     : -1; /* the head is the program's to write */
}

/* Events that a wait returned; -1: not known. */
static __always_inline long wait_events(u32 kind, const struct pt_regs *regs, long result)
{
	if (kind == RECORD_WAIT_IO_URING)
		return ready_completions((s32)regs->di, regs->r10);
	return result > 0 ? result : 0;
}

/*
 * Where a poll()'s array ends, if that is on the stack of the caller: the place is the same though the array, and so
 * the stack pointer, differ. 0 if it is elsewhere.
 */
static __always_inline u64 array_end(u64 array, u32 slots, u64 sp)
{
	const u64 end = array + (u64)slots * sizeof(struct pollfd_user);

	return array > sp && array - sp < POLL_FRAME_MAX ? end : 0;
}

static __always_inline bool same_place(const struct thread *thread, u32 kind, u64 sp,
				       const struct pt_regs *regs)
{
	u64 own_end, end;

	if (sp == thread->wait_sp)
		return true;
	if (kind != RECORD_WAIT_POLL)
		return false;
	own_end = array_end(thread->ready_address, thread->ready_slots, thread->wait_sp);
	end = array_end(regs->di, (u32)regs->si, sp);
	return own_end && end && end - own_end + ALIGNMENT_MAX <= 2 * ALIGNMENT_MAX;
}

enum wait_role {
	WAIT_OWN,        /* the loop's, once more */
	WAIT_IS_CALL,    /* a system call like others */
	WAIT_OF_OTHER,   /* of another loop of the thread, beside the one known */
	WAIT_TAKES_OVER, /* the loop's: what was taken for it was none */
};

static __always_inline u32 rank_of(u32 kind)
{
	return has_object(kind) ? 2 : 1;
}

static __always_inline u32 count_rival(struct thread *thread, u64 sp, s32 fd)
{
	if (thread->rival_sp != sp || thread->rival_fd != fd) {
		thread->rival_sp = sp;
		thread->rival_fd = fd;
		thread->rival_count = 0;
	}
	return ++thread->rival_count;
}

/*
 * What a thread asked first may have been whether one connection is still there, as apache's worker does of the server
 * behind it, and as client libraries do: no loop waits so, unless it asks again and again, and sleeps elsewhere.
 */
#define ASKS_OF_LOOP 4

static __always_inline bool has_only_asked(const struct thread *thread)
{
	return thread->wait == RECORD_WAIT_POLL && thread->ready_slots == 1 && !thread->own_sleeps &&
	       thread->own_asks < ASKS_OF_LOOP;
}

/*
 * What a wait is to a thread that is in an iteration, or has closed all that it polled: then it may have begun another
 * loop, or be amid what it does before it comes back.
 */
static __always_inline enum wait_role judge_wait(struct thread *thread, u32 kind, const struct pt_regs *regs,
						 bool zero)
{
	const s32 fd = wait_fd(kind, regs);
	const u64 sp = regs->sp;
	const u32 rank = rank_of(kind), own_rank = rank_of(thread->wait);
	const bool settled = thread->own_sleeps >= 2;
	u32 doubts;

	if (kind == thread->wait && fd == thread->epfd &&
	    (has_object(kind) || same_place(thread, kind, sp, regs)))
		return WAIT_OWN;
	if (zero)
		return WAIT_IS_CALL;
	if (has_only_asked(thread))
		return WAIT_TAKES_OVER;
	if (sp == thread->wait_sp && has_object(kind) && rank == own_rank)
		return WAIT_OF_OTHER;
	if (sp >= thread->wait_sp) {
		if (settled && rank == own_rank)
			return has_object(kind) ? WAIT_OF_OTHER : WAIT_TAKES_OVER;
		if (!settled || rank > own_rank)
			return WAIT_TAKES_OVER;
		return WAIT_IS_CALL;
	}
	if (!settled && rank > own_rank)
		return WAIT_TAKES_OVER;
	doubts = settled && !thread->is_idle ? CALLS_TO_LEAVE : CALLS_TO_DOUBT;
	return count_rival(thread, sp, fd) >= doubts ? WAIT_TAKES_OVER : WAIT_IS_CALL;
}

/* From now on that is the thread's own wait. */
static __always_inline void adopt_wait(struct thread *thread, u32 kind, s32 fd, u64 sp)
{
	if (thread->wait == kind && thread->epfd == fd && thread->wait_sp == sp)
		return;
	if (thread->wait != kind || thread->epfd != fd)
		thread->loop_slot = LOOPS_MAX;
	thread->wait = kind;
	thread->epfd = fd;
	thread->wait_sp = sp;
}

static __always_inline void count_own_wait(struct thread *thread, u64 sp, bool zero)
{
	thread->rival_count = 0;
	if (sp > thread->wait_sp)
		thread->wait_sp = sp; /* the same set, from further out */
	if (!zero && thread->own_sleeps < 2)
		thread->own_sleeps++;
	if (zero && thread->own_asks < ASKS_OF_LOOP)
		thread->own_asks++;
}

/* What it waits in is to be found out anew. */
static __always_inline void forget_own_waits(struct thread *thread)
{
	thread->own_sleeps = 0;
	thread->own_asks = 0;
}

#endif
