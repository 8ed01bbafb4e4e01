/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_READY_BPF_H
#define STINT_PROBES_READY_BPF_H

/*
 * What a wait found ready. An epoll set's array is in the program's own memory still, as a rule, when its iteration
 * ends, and is read only then, for an overrun. The arrays and sets of poll() and select() are made anew before each
 * call by most programs, so they are read as the call returns, up to as many as it says are ready.
 */

#define SLOTS_A_READ 16 /* pollfds at once */
#define SLOT_READS   64
#define SETS         3
#define SET_WORDS    16 /* of 64 bits: FD_SETSIZE is 1024 */

/* Where the program will find what is ready. */
static __always_inline void note_ready_place(struct thread *thread, u32 kind, const struct pt_regs *regs)
{
	if (kind == RECORD_WAIT_EPOLL) {
		thread->ready_address = regs->si;
	} else if (kind == RECORD_WAIT_POLL) {
		thread->ready_address = regs->di;
		thread->ready_slots = (u32)regs->si;
	}
}

/*
 * Without a branch, which would make the verifier follow both ways for each of a thousand slots: the entry is written
 * in any case, and counts if something is ready.
 */
static __always_inline u32 add_ready_slot(struct thread *thread, u32 at, const struct pollfd_user *slot)
{
	u32 ready = 0 - (u32)(u16)slot->revents;

	asm volatile("" : "+r"(ready));
	thread->ready[at & (THREAD_READY - 1)] = (u64)(u16)slot->revents << 32 | (u32)slot->fd;
	return at + (ready >> 31);
}

/* The first SLOTS_A_READ of a poll's slots, or fewer, are noted behind those that were. Not 0: they cannot be read. */
__noinline int copy_slots_read(struct thread *thread, u64 array, u32 slots)
{
	struct pollfd_user read[SLOTS_A_READ] = {0};
	u32 found, len = slots < SLOTS_A_READ ? slots : SLOTS_A_READ;

	if (!thread || bpf_probe_read_user(read, len * sizeof(read[0]), (void *)array) != 0)
		return -1;
	found = thread->ready_len;
	for (u32 at = 0; at < SLOTS_A_READ; at++)
		found = add_ready_slot(thread, found, &read[at]);
	thread->ready_len = found;
	return 0;
}

/* Both are not static: so the verifier goes through each once, and not once for each read or each way that leads here. */
__noinline int copy_ready_slots(struct thread *thread, u64 array, u32 slots, u32 ready)
{
	if (!thread)
		return 0;
	for (u32 i = 0; i < SLOT_READS; i++) {
		const u32 first = i * SLOTS_A_READ;

		if (first >= slots || thread->ready_len >= ready ||
		    thread->ready_len > THREAD_READY - SLOTS_A_READ)
			break;
		if (copy_slots_read(thread, array + first * sizeof(struct pollfd_user), slots - first) != 0)
			break;
	}
	return 0;
}

/* All words of the three sets, those that are not there as 0. */
static __always_inline void copy_ready_set(struct thread *thread, u32 which, u64 set, u32 slots)
{
	u32 words = (slots + 63) / 64;

	if (!set || !words)
		return;
	if (words > SET_WORDS)
		words = SET_WORDS;
	(void)bpf_probe_read_user(&thread->ready[which * SET_WORDS], words * sizeof(u64), (void *)set);
}

static __noinline int copy_ready_sets(struct thread *thread, const struct pt_regs *regs)
{
	if (!thread || !regs)
		return 0;
	__builtin_memset(thread->ready, 0, sizeof(thread->ready));
	copy_ready_set(thread, 0, regs->si, (u32)regs->di);
	copy_ready_set(thread, 1, regs->dx, (u32)regs->di);
	copy_ready_set(thread, 2, regs->r10, (u32)regs->di);
	thread->ready_len = SETS * SET_WORDS;
	return 0;
}

/* As the thread's own wait returns. What is polled alone is noted, if not counted, when it is not ready too. */
static __always_inline void copy_ready(struct thread *thread, u32 kind, const struct pt_regs *regs,
				       long result)
{
	bool alone = kind == RECORD_WAIT_POLL && regs->si == 1;

	thread->ready_len = 0;
	if (result <= 0 && !alone)
		return;
	if (kind == RECORD_WAIT_POLL)
		copy_ready_slots(thread, regs->di, (u32)regs->si, alone ? 1 : (u32)result);
	else if (kind == RECORD_WAIT_SELECT)
		copy_ready_sets(thread, regs);
}

/* Is that descriptor all that it polls? */
static __always_inline bool is_polled_alone(const struct thread *thread, s32 fd)
{
	return fd >= 0 && thread->wait == RECORD_WAIT_POLL && thread->ready_slots == 1 &&
	       (s32)thread->ready[0] == fd;
}

static __always_inline bool is_polling(const struct thread *thread)
{
	return thread->wait == RECORD_WAIT_POLL || thread->wait == RECORD_WAIT_SELECT;
}

#define POLLED_OUT ((u64)0x104 << 32) /* POLLOUT, POLLWRNORM */

/* Has the poll() or select() that returned `ready` found the descriptor writable? True also if not all is known of it. */
__noinline bool is_polled_out(const struct thread *thread, s32 fd, u32 ready)
{
	u32 word = SET_WORDS + (u32)fd / 64;

	if (!thread)
		return true;
	if (thread->wait == RECORD_WAIT_SELECT)
		return word >= 2 * SET_WORDS || thread->ready[word & (THREAD_READY - 1)] >> (fd & 63) & 1;
	for (u32 i = 0; i < THREAD_READY; i++) {
		if (i >= thread->ready_len)
			break;
		if ((s32)thread->ready[i] == fd && thread->ready[i] & POLLED_OUT)
			return true;
	}
	return thread->ready_len < ready;
}

static __always_inline void set_ready(struct record_ready *ready, u32 events, u64 data)
{
	ready->events = events;
	ready->data_low = (u32)data;
	ready->data_high = (u32)(data >> 32);
}

/* What copy_ready_sets() has copied: the words, and of which set's which they are. */
static __always_inline void put_sets(struct overrun_draft *draft, const struct thread *thread, u32 len)
{
	for (u32 i = 0; i < THREAD_READY; i++) {
		if (i >= len)
			break;
		set_ready(&draft->ready[i], i / SET_WORDS * 64 + i % SET_WORDS, thread->ready[i]);
	}
}

static __always_inline void put_slots(struct overrun_draft *draft, const struct thread *thread, u32 len)
{
	for (u32 i = 0; i < THREAD_READY; i++) {
		if (i >= len)
			break;
		set_ready(&draft->ready[i], (u32)(thread->ready[i] >> 32), (u32)thread->ready[i]);
	}
}

/*
 * Returns how many there are. Two loops: in one, the verifier would go both ways in each round. Not static: it goes through
 * all that follows once for each way out of a loop, and behind a call that is one way.
 */
__noinline int put_copied_ready(struct overrun_draft *draft, const struct thread *thread)
{
	u32 len;

	if (!draft || !thread)
		return 0;
	len = thread->ready_len < THREAD_READY ? thread->ready_len : THREAD_READY;
	if (thread->wait == RECORD_WAIT_SELECT)
		put_sets(draft, thread, len);
	else
		put_slots(draft, thread, len);
	return (int)len;
}

/* A thread's that is not the current one is as its turns have it: its memory cannot be read. */
static __always_inline u32 put_epoll_ready(struct overrun_draft *draft, const struct thread *thread,
					   u32 running)
{
	u32 len = running ? thread->turns.len : thread->ready_events;
	u32 bytes = (len < RECORD_READY ? len : RECORD_READY) * sizeof(draft->ready[0]);
	long err;

	if (thread->ready_events == RECORD_READY_UNKNOWN)
		return 0;
	if (running)
		err = bpf_probe_read_kernel(draft->ready, bytes, thread->turns.event);
	else
		err = bpf_probe_read_user(draft->ready, bytes, (void *)thread->ready_address);
	return err ? 0 : bytes / sizeof(draft->ready[0]);
}

/* Returns how many there are. */
static __always_inline u32 put_ready(struct overrun_draft *draft, const struct thread *thread, u32 running)
{
	return thread->wait == RECORD_WAIT_EPOLL ? put_epoll_ready(draft, thread, running)
						 : put_copied_ready(draft, thread);
}

#endif
