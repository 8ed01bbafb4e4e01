/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_BESIDE_BPF_H
#define STINT_PROBES_BESIDE_BPF_H

/*
 * Threads that wait for work elsewhere than in what their loop waits in, where their iteration ends. The next one begins
 * as they return from that, as what they do then is to be told, whatever they have waited for (threads of Python have
 * their GIL so).
 *
 * Workers beside a loop. A thread that polls just one descriptor, in a process in which another thread waits in an epoll
 * set, is given work by that: apache's worker polls the server behind it for an answer, a thread of a pool its database.
 * What it then waits for on a condition variable, or a semaphore, is the next piece of work: nobody is kept waiting by it.
 * Waiting for a mutex is another operation of the kernel's in glibc, and is told as late.
 *
 * Threads that are in one epoll set by turns. Who is not wanted there sleeps until another wakes it. From outside that is
 * a futex, as a mutex is, and a condition variable that a handler waits for; so it is taken for idleness only where it can
 * be nothing else that anybody knows of:
 *
 *   - MariaDB's pool of threads: the thread has asked the set, in vain, without waiting, has made no system call since, and
 *     waits for a condition variable that is in its own stack further out than its wait: an object of the loop's. A
 *     handler's local ones are further in, unless the wait is in a function with a larger frame; it would then have to be
 *     answered by a thread that it needed no system call to ask.
 *   - Erlang's schedulers: the word is -1, the wait has a timeout, and it is no further in than the wait for the set. What
 *     waits for a lock there has the same word, and no timeout. Mutexes of glibc, musl, Rust and Go have other words.
 *
 * Both only while another thread is in the same set, to wait or in an iteration, which is told if it lasts: the
 * last one is never idle. It says that it is off before it looks at the others, so of two that leave at once one stays,
 * or both.
 *
 * Threads of a runtime whose stack has shown, by names, that what they sleep in is where they go when they have nothing to
 * do (idle_sleep.c): Go's, tokio's. User space has the stack as a thread goes to sleep in a place that it has not slept in
 * before, of a few of them. It may know what that is before the thread is woken: then all of the sleep has been such a
 * wait. Else it is of its iteration. Threads of Java's machine sleep on words of their own whatever for: theirs is a place
 * in the stack.
 */

#define FUTEX_COMMAND     127 /* without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME */
#define FUTEX_WAIT        0
#define FUTEX_WAIT_BITSET 9

#define ERESTARTSYS           512 /* within the kernel only */
#define ERESTART_RESTARTBLOCK 516

#define ERLANG_OFF_WAITER 0xffffffffu
#define OWN_FRAMES_MAX \
	65536 /* from a loop's wait to an object of its outer frames: MariaDB's has 12 kB of events */
#define LIBC_FRAMES_MAX 512 /* of pthread_cond_timedwait(), over those of epoll_wait() */

#define LOOK_BESIDE_NS 100000000

#define IDLE_PLACES 4096
/* Of a thread: what else it sleeps in are locks as a rule, and naps while it spins for one, of which there may be many. */
#define SLEEPS_ASKED 8
#define NAPS_ASKED   2 /* until when it is asked about those */

/* To enum idle_known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IDLE_PLACES);
	__type(key, struct idle_place);
	__type(value, u8);
} idle_places SEC(".maps");

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

/* It was woken from its wait for work: its iteration begins as it has its CPU. */
static __always_inline bool comes_back(const struct thread *thread)
{
	if (thread->state != THREAD_AWAITS_WORK)
		return false;
	return thread->off_ns ? thread->runnable_ns != 0 : thread->last_on_ns > thread->start_ns;
}

/* It waits in its set, or is amid an iteration, which is told if it lasts, or between the two. */
static __always_inline bool is_on_duty(const struct thread *thread)
{
	return !*(volatile u32 *)&thread->is_off || comes_back(thread);
}

/* Is another thread than this in its set, by this loop? */
__noinline bool serves_same_set(struct thread *thread, u32 slot)
{
	const struct loop_counters *loop = slot < LOOPS_MAX ? loop_at(slot) : NULL;
	const struct thread *other;

	if (!thread || !loop || loop->ended || loop->wait != RECORD_WAIT_EPOLL)
		return false;
	if (loop->pid != thread->pid || loop->epfd != thread->epfd || loop->tid == thread->tid)
		return false;
	other = find_thread(loop->tid);
	return other && other->wait == RECORD_WAIT_EPOLL && other->epfd == thread->epfd && is_on_duty(other);
}

/* Mostly it is the one that was found before. */
__noinline bool is_set_served(struct thread *thread)
{
	if (!thread)
		return false;
	if (serves_same_set(thread, thread->beside_slot))
		return true;
	for (u32 slot = 0; slot < LOOPS_MAX && slot < loop_limit; slot++) {
		if (!serves_same_set(thread, slot))
			continue;
		thread->beside_slot = slot;
		return true;
	}
	return false;
}

static __always_inline bool leaves_set(struct thread *thread)
{
	__sync_fetch_and_or(&thread->is_off, 1); /* a barrier, too */
	if (is_set_served(thread))
		return true;
	thread->is_off = 0;
	return false;
}

static __always_inline bool has_asked_in_vain(const struct thread *thread)
{
	return thread->after_empty_poll && !thread->syscall_count;
}

static __always_inline bool is_in_own_frames(const struct thread *thread, u64 word)
{
	return word - thread->wait_sp < OWN_FRAMES_MAX;
}

/* Is that how a thread sleeps that is not wanted in its set? */
static __always_inline bool is_off_duty(const struct thread *thread, const struct pt_regs *regs, u32 command)
{
	if (command == FUTEX_WAIT_BITSET)
		return has_asked_in_vain(thread) && is_in_own_frames(thread, regs->di) &&
		       regs->sp + LIBC_FRAMES_MAX >= thread->wait_sp;
	return command == FUTEX_WAIT && regs->r10 && (u32)regs->dx == ERLANG_OFF_WAITER &&
	       regs->sp >= thread->wait_sp;
}

/* And no wake of others that sleep in the same place, as asio's do. */
static __always_inline bool is_sleep(long number, u32 command)
{
	if (number == NR_futex)
		return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
	return number == NR_nanosleep || number == NR_clock_nanosleep;
}

static __always_inline struct idle_place place_of_sleep(const struct thread *thread,
							const struct pt_regs *regs, u32 number)
{
	return (struct idle_place){
		.tid = thread->tid,
		.number = number,
		.at = number == NR_futex ? regs->di : regs->sp,
	};
}

/* What tells of an overrun goes before. */
static __always_inline bool has_ring_room(void)
{
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) <
	       bpf_ringbuf_query(&records, BPF_RB_RING_SIZE) / 2;
}

/*
 * Keys are copied where they are handed over, here and below: older kernels (6.1) take none that is not in the program's
 * own stack.
 */
__noinline int ask_about_sleep(struct thread *thread, const struct idle_place *sleep, u64 now_ns)
{
	const u8 is_asked = PLACE_ASKED;
	struct idle_place place;

	if (!thread || !sleep)
		return 0;
	place = *sleep;
	if (thread->sleeps_asked >= (place.number == NR_futex ? SLEEPS_ASKED : NAPS_ASKED) ||
	    !has_ring_room())
		return 0;
	if (bpf_map_update_elem(&idle_places, &place, &is_asked, BPF_NOEXIST) != 0)
		return 0;
	thread->sleeps_asked++;
	return report_stack(thread, RECORD_STACK_SLEEP, now_ns);
}

static __always_inline bool is_in_stack(const u8 *known)
{
	return known && *known == PLACE_IN_STACK;
}

/* `sp`: its stack pointer. Nor need another be in the set then: that thread waits for no handler. */
__noinline bool is_in_idle_place(struct thread *thread, const struct idle_place *sleep, u64 sp, u64 now_ns)
{
	struct idle_place place;
	const u8 *known;

	if (!thread || !sleep)
		return false;
	place = *sleep;
	known = bpf_map_lookup_elem(&idle_places, &place);
	if (is_in_stack(known)) {
		place.at = sp;
		known = bpf_map_lookup_elem(&idle_places, &place);
	}
	if (!known)
		ask_about_sleep(thread, &place, now_ns);
	if (!known || *known != PLACE_IDLE)
		return false;
	__sync_fetch_and_or(&thread->is_off, 1);
	return true;
}

/* As it enters a system call in an iteration. */
static __always_inline bool waits_for_work(struct thread *thread, const struct pt_regs *regs, long number,
					   u64 now_ns)
{
	u32 command = regs->si & FUTEX_COMMAND;

	if (!is_sleep(number, command))
		return false;
	if (thread->wait == RECORD_WAIT_EPOLL) {
		const struct idle_place place = place_of_sleep(thread, regs, number);

		if (is_in_idle_place(thread, &place, regs->sp, now_ns))
			return true;
	}
	if (number != NR_futex)
		return false;
	if (thread->wait == RECORD_WAIT_EPOLL)
		return is_off_duty(thread, regs, command) && leaves_set(thread);
	return command == FUTEX_WAIT_BITSET && thread->wait == RECORD_WAIT_POLL && thread->ready_slots == 1 &&
	       has_set_beside(thread, now_ns);
}

static __always_inline int await_work(struct thread *thread, u64 now_ns)
{
	end_last_iteration(thread, now_ns);
	thread->start_ns = now_ns;
	*(volatile u32 *)&thread->state = THREAD_AWAITS_WORK; /* last: under_way.bpf.h */
	return 0;
}

/* Was it interrupted, by a signal that stops it or a tracer, and goes on as soon as that is over? */
static __always_inline bool waits_on(long result)
{
	return result == -ERESTARTSYS || result == -ERESTART_RESTARTBLOCK;
}

/* As it returns from that, which was a wait of its loop's. No event is known to have brought it. */
__noinline int begin_work(struct thread *thread, u64 now_ns)
{
	struct loop_counters *loop;

	if (!thread)
		return 0;
	*(volatile u32 *)&thread->is_off = 0; /* first: is_on_duty() */
	*(volatile u32 *)&thread->state = THREAD_OUTSIDE;
	loop = thread_loop(thread);
	if (loop)
		count_poll(loop, now_ns - thread->start_ns, -1);
	thread->ready_len = 0;
	begin_iteration(thread, bpf_get_current_task_btf(), own_steal_clock(), now_ns, -1);
	if (thread->wait == RECORD_WAIT_EPOLL)
		return begin_turns(thread, 0, 0, 1);
	return begin_polled_turns(thread);
}

/*
 * What it did before is an iteration, unless that is one to be told: user space cuts it, and the sleep counts as a part of
 * it. True: it was one, the sleep a wait, and the next iteration has begun.
 */
__noinline int end_idle_sleep(struct thread *thread, const struct idle_place *sleep, u64 sp, u64 now_ns)
{
	struct idle_place place;
	struct loop_counters *loop;
	const u8 *known;
	u64 busy_ns;

	if (!thread || !sleep)
		return 0;
	place = *sleep;
	known = bpf_map_lookup_elem(&idle_places, &place);
	if (is_in_stack(known)) {
		place.at = sp;
		known = bpf_map_lookup_elem(&idle_places, &place);
	}
	if (!known || *known != PLACE_IDLE)
		return 0;
	busy_ns = thread->syscall_start_ns - thread->start_ns;
	if (busy_ns > budget_ns)
		return 0;
	end_turns(thread, thread->syscall_start_ns);
	*(volatile u32 *)&thread->state = THREAD_OUTSIDE;
	loop = thread_loop(thread);
	if (loop)
		count_busy(loop, busy_ns);
	thread->start_ns = thread->syscall_start_ns;
	begin_work(thread, now_ns);
	return 1;
}

/* As it leaves a system call in an iteration: it was not known to be idle there as it went to sleep. */
static __always_inline bool was_without_work(struct thread *thread, const struct pt_regs *regs, long number,
					     long result, u64 now_ns)
{
	struct idle_place place;

	if (!is_sleep(number, regs->si & FUTEX_COMMAND) || thread->wait != RECORD_WAIT_EPOLL ||
	    now_ns - thread->syscall_start_ns < SYSCALL_NOTED_NS || waits_on(result))
		return false;
	place = place_of_sleep(thread, regs, number);
	return end_idle_sleep(thread, &place, regs->sp, now_ns);
}

#endif
