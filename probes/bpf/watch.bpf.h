/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_WATCH_BPF_H
#define STINT_PROBES_WATCH_BPF_H

/*
 * What all probes share: which processes are watched, what is known of their threads, and the way out.
 *
 * The first question of every probe is whether the process is watched. With one process that is a
 * comparison; with several, one look-up. Nothing is written for anybody else.
 */

#define SLOT_BITS   10
#define THREADS_MAX (1 << SLOT_BITS)
#define WATCHED_MAX 1024
#define LOOPS_MAX   1024 /* a slot of this number is none */

const volatile __u64 budget_ns = 1000000;
const volatile __u64 sample_ns = 1000000;
const volatile __u32 loop_limit = 64;
const volatile __u64 block_noted_ns = 100000; /* shorter blocks are summed, but not looked into */
const volatile bool trace_sockets = false;
/*
 * Only sockets with this port at either end are traced, and those from their handshake on, or from their first send if they
 * are older; 0: all that stall.
 */
const volatile __u16 trace_port = 0;
/* With it: and with this address at the same end. IPv6, or IPv4 mapped into it; all 0: any. As in memory. */
const volatile __u64 trace_address[2];
/* Only those that are this descriptor of their process are traced, from their first send on; -1: not chosen so. */
const volatile __s32 trace_fd = -1;
const volatile __u64 fault_cost_ns = 0; /* of a page fault, outside of what is seen of it */
/* Since 5.18 sched_switch says in which state the task left; before, it is read off the task. */
const volatile bool switch_has_state = true;
/* Since 6.17 tcp_retransmit_skb tells also of what could not be sent again, by an error. */
const volatile bool retransmit_has_error = false;

#include "verdict.bpf.h"

/* The process watched, while there is just one; 0 while there are none or more. */
__u32 only_pid;

/* When user space told that nothing is to be noted any more; 0: not yet. */
__u64 ended_ns;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WATCHED_MAX);
	__type(key, u32);
	__type(value, u32);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct loss_counters);
} losses SEC(".maps");

enum thread_state {
	THREAD_OUTSIDE = 0, /* of any iteration: not yet seen to return from a wait */
	THREAD_WAITING,
	THREAD_DISPATCHING,
	THREAD_AWAITS_WORK, /* beside.bpf.h: as it waits, but not in what its loop waits in */
};

#define RAISED_SLOTS 64
#define THREAD_READY 64 /* descriptors of a poll, or words of a select's sets; a power of two */

/*
 * One thread with an event loop. Written by the thread itself (system calls, its own switches), but for
 * runnable_ns (by who wakes it, while it sleeps) and `raised` (by softirqs; each slot is one store).
 */
struct thread {
	/* What each system call needs comes first, and together: a watched program leaves little room in the caches. */
	u32 pid;
	u32 tid;
	u32 state;
	u32 wait; /* enum record_wait, of its own wait (waits.bpf.h) */
	s32 epfd; /* of the wait that began its iteration */
	u32 in_syscall;
	u64 off_ns;       /* 0: on a CPU */
	u64 start_ns;     /* of the iteration, or of the wait for work */
	u64 last_exit_ns; /* of a system call: what follows is user code */
	u64 runnable_sum_ns;
	u64 blocked_sum_ns;
	u64 syscall_start_ns;
	u64 syscall_argument; /* the first, whole */
	u64 syscall_arg2;     /* size, for the sends that have one */
	u32 syscall_number;
	s32 syscall_fd;
	u32 syscall_count;
	u32 touches_len;
	u64 longest_ns;
	struct thread_verdict verdict;
	struct turns turns;
	struct record_touch touches[RECORD_TOUCHES];

	u64 iteration;
	u64 wait_start_ns;
	u64 before_ns; /* these three: note_return() in loop.bpf.h */
	u64 returned_ns;
	s32 returned_epfd;
	u32 returned_wait;
	u64 first_return_ns; /* of the wait that was under way when stint came, until its loop has a slot */
	u64 ready_address;   /* of the program's array, of an epoll set or a poll */
	u32 ready_slots;     /* of a poll: its length */
	u32 ready_len;       /* of `ready` */
	u64 wait_sp;         /* its stack pointer in its own wait */
	u64 rival_sp;        /* of another wait, and how many of it there were in a row */
	s32 rival_fd;
	u32 rival_count;
	u32 own_sleeps;   /* how often it came to its own wait, with a timeout other than 0; stops at 2 */
	u32 own_asks;     /* the same with a timeout of 0; stops at ASKS_OF_LOOP */
	u32 wait_is_zero; /* the wait under way has a timeout of 0 */
	u32 ready_events;
	u32 loop_slot; /* index into loop_counters */
	u32 number;    /* never given twice, and never 0 */
	u32 loops;     /* all of its loops (loop.bpf.h), and all of its roles (role.bpf.h): the slot and 1 */
	u32 roles;
	u32 is_stopped;   /* as it left its CPU in an iteration: by a tracer, a signal, or with its cgroup */
	u64 queue_sk;     /* of a unix socket whose peer's queue it has found full (unix.bpf.h) */
	u64 loop_fds;     /* a bit for each descriptor that one of them waits in, modulo 64 */
	u32 stack_wanted; /* the loop's own stack, at its next wait */
	u32 began_before; /* its iteration was under way when stint came (before.bpf.h) */
	u32 is_idle;      /* it has closed all that it polls, and has not come back to its own wait since */
	u32 after_empty_poll; /* the wait before this iteration had a timeout of 0 and returned nothing */

	u64 woken_on_cpu_ns;  /* the last wake-up that found it on a CPU, since it got on that; 0: none did */
	u64 off_cpu_clock_ns; /* its CPU clock as it left the CPU */
	u64 off_clock_ns;     /* its queue's clock then, which is not ours */
	u64 runnable_ns;
	u64 last_on_ns;
	u64 runnable_ever_ns; /* the time that it wanted a CPU, in iterations and waits */
	u64 next_sample_ns;

	u64 longest_start_ns;
	u32 longest_in_syscall;
	u32 syscalls_len;
	u32 segments_len;
	u32 segments_lost;
	u32 touches_lost;
	u32 raised_head;                        /* how many sockets were raised for it, ever */
	u32 raised_tail;                        /* how many of those its waits have taken note of */
	u32 waits_for_cpu;                      /* that number and 1, while rivals.bpf.h follows who has it */
	struct record_mark marks[RECORD_MARKS]; /* mark.bpf.h */
	struct record_syscall syscalls[RECORD_SYSCALLS];
	struct record_segment segments[RECORD_SEGMENTS];
	u64 raised[RAISED_SLOTS];
	u64 place;               /* of its saved registers (filter.bpf.h) */
	u64 ready[THREAD_READY]; /* ready.bpf.h: what a poll or a select returned */
	u64 ring;                /* uring.bpf.h: address of the one that it waited for last */
	struct record_identity identities[TURNS_MAX]; /* identity.bpf.h: of its events, for an overrun */
	struct record_blocked_on blocked_on;
	u64 stack_sp; /* these three: own_stack.bpf.h: where the loop waited as its own stack was taken; 0: not yet */
	u32 stack_trust;
	u32 stacks_taken;
	u64 looked_beside_ns; /* these four: beside.bpf.h */
	u32 has_set_beside;
	u32 beside_slot;
	u32 is_off;
	u32 sleeps_asked; /* beside.bpf.h: how many of its sleeps user space was asked about */
	s32 streaks_epfd; /* the set that its streaks are of */
	u64 hang_iteration; /* these two: hang.bpf.h: that was told last, and from which length on it is told again */
	u64 hang_next_ns;
	u32 has_refused;  /* it had no descriptor left to accept with, once (refused.bpf.h) */
	s32 refused_epfd; /* the set that it waited in, the last time */
	struct streak streaks[STREAKS_MAX];
};

/*
 * A thread is found by its number in `slots`, and what is known of it in `threads`: so that the thread that makes a
 * system call is found without a look-up, which array maps do not need, by the slot noted at its mark.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREADS_MAX);
	__type(key, u32);
	__type(value, u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREADS_MAX);
	__type(key, u32);
	__type(value, struct thread);
} threads SEC(".maps");

/* The slots that nobody has; user space puts all of them in. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, THREADS_MAX);
	__type(value, u32);
} free_slots SEC(".maps");

/*
 * Who was last seen at each mark: the thread's place, in units of stacks, and its slot, in one word, so that they are of
 * the same thread also where two share a mark.
 */
__u64 seats[MARKS];

static __always_inline u64 seat_of(u64 place, u32 slot)
{
	return place >> STACK_SHIFT << SLOT_BITS | slot;
}

/* A new thread starts as a copy of this: the struct is larger than a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct thread);
} empty_thread SEC(".maps");

__u32 thread_numbers;

static __always_inline bool is_watched(u32 pid)
{
	u32 only = only_pid;

	if (only)
		return pid == only;
	return bpf_map_lookup_elem(&watched, &pid) != NULL;
}

/*
 * One that was not followed later on: its threads that are in a wait have been in it since then, as far as stint is
 * concerned.
 */
static __always_inline bool is_watched_from_start(u32 pid)
{
	const u32 *since = bpf_map_lookup_elem(&watched, &pid);

	return since && *since == WATCHED_FROM_START;
}

static __always_inline struct loss_counters *loss(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&losses, &zero);
}

static __always_inline void lost_record(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->ring_full++;
}

/* `bytes` must be a constant. NULL, and counted as lost, where the ring has no room. */
static __always_inline void *reserve_record(u64 bytes)
{
	void *record = bpf_ringbuf_reserve(&records, bytes, 0);

	if (!record)
		lost_record();
	return record;
}

static __always_inline void lost_entry(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->table_full++;
}

static __always_inline void lost_ack(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->acks_unseen++;
}

static __always_inline void lost_arrival(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->arrivals_unseen++;
}

static __always_inline struct thread *find_thread(u32 tid)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &tid);

	return slot ? bpf_map_lookup_elem(&threads, slot) : NULL;
}

/* The current thread, if it is known and was found before: by its saved registers, without asking who it is. */
static __always_inline struct thread *thread_at(const struct pt_regs *regs)
{
	u64 place = place_of(regs), seat = seats[mark_at(place)];
	u32 slot = seat & (THREADS_MAX - 1);

	return seat >> SLOT_BITS == place >> STACK_SHIFT ? bpf_map_lookup_elem(&threads, &slot) : NULL;
}

static __always_inline u64 current_id(const struct thread *thread)
{
	return thread ? (u64)thread->pid << 32 | thread->tid : bpf_get_current_pid_tgid();
}

/* The current thread by its number; from now on thread_at() finds it. */
static __always_inline struct thread *find_current(const struct pt_regs *regs, u32 tid)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &tid);
	struct thread *thread = slot ? bpf_map_lookup_elem(&threads, slot) : NULL;

	if (thread) {
		thread->place = place_of(regs);
		seats[mark_at(thread->place)] = seat_of(thread->place, *slot);
	}
	return thread;
}

static __noinline struct thread *add_thread(u32 pid, u32 tid)
{
	u32 zero = 0, slot;
	struct thread *empty = bpf_map_lookup_elem(&empty_thread, &zero);
	struct thread *thread;

	if (!empty)
		return NULL;
	if (bpf_map_pop_elem(&free_slots, &slot) != 0) {
		lost_entry();
		return NULL;
	}
	bpf_map_update_elem(&threads, &slot, empty, BPF_ANY);
	thread = bpf_map_lookup_elem(&threads, &slot);
	if (!thread || bpf_map_update_elem(&slots, &tid, &slot, BPF_NOEXIST) != 0) {
		bpf_map_push_elem(&free_slots, &slot, 0);
		lost_entry();
		return NULL;
	}
	thread->pid = pid;
	thread->tid = tid;
	thread->number = __sync_fetch_and_add(&thread_numbers, 1) + 1;
	thread->loop_slot = LOOPS_MAX;
	return thread;
}

static __noinline int forget_thread(u32 tid)
{
	u32 *at = bpf_map_lookup_elem(&slots, &tid), slot;
	struct thread *thread;

	if (!at)
		return 0;
	slot = *at;
	thread = bpf_map_lookup_elem(&threads, &slot);
	if (thread && thread->place) /* its stack may soon be another's */
		__sync_val_compare_and_swap(&seats[mark_at(thread->place)], seat_of(thread->place, slot), 0);
	if (bpf_map_delete_elem(&slots, &tid) == 0)
		bpf_map_push_elem(&free_slots, &slot, 0);
	return 0;
}

#endif
