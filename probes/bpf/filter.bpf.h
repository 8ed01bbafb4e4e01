/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_FILTER_BPF_H
#define STINT_PROBES_FILTER_BPF_H

/*
 * The early exit. The tracepoints of system calls are passed by every process of the machine, so what they cost one
 * that is not watched is what stint costs the machine. Even to ask who the current task is would be the greater part
 * of that. But the address of its saved registers is passed anyway, and is the thread's own as long as it lives: they
 * lie at the top of its kernel stack. So each thread of a watched process has its mark in a table of bits by that
 * address. Threads that share a mark by chance are told apart afterwards, as all were without it.
 */

#define MARKS       8192
#define STACK_SHIFT 14 /* kernel stacks are 16 KiB or more apart */

__u64 marks[MARKS / 64];

/* The verifier lets programs compute with an address only as its distance from another. Never 0. */
static __always_inline u64 place_of(const struct pt_regs *regs)
{
	return (u64)regs - (u64)marks;
}

static __always_inline u32 mark_at(u64 place)
{
	return (place >> STACK_SHIFT) & (MARKS - 1);
}

static __always_inline bool is_marked(u64 place)
{
	u32 mark = mark_at(place);

	return marks[mark / 64] >> (mark % 64) & 1;
}

static __always_inline void mark_thread(struct task_struct *task)
{
	u64 place = place_of((const struct pt_regs *)bpf_task_pt_regs(task));
	u32 mark = mark_at(place);

	__sync_fetch_and_or(&marks[mark / 64], 1ull << (mark % 64));
}

/*
 * In the same way sockets: segments arrive for all of the machine, and those that anything is known of have a mark by
 * their address. None is taken back, as it may stand for another one too: a look-up that finds nothing then is all.
 */
#define SOCKET_MARKS_SHIFT 16
#define SOCKET_MARKS       (1u << SOCKET_MARKS_SHIFT)

__u64 socket_marks[SOCKET_MARKS / 64];

/*
 * What tells a socket from others, as its distance from the marks: of a number it takes theirs, which a program has once
 * it reads back what it wrote. Never 0, nor 1.
 */
__u64 socket_marks_address;

static __always_inline u64 socket_place(const struct sock *sk)
{
	return (u64)sk - (u64)socket_marks;
}

static __always_inline u64 socket_place_of(u64 sk)
{
	volatile u64 *address = &socket_marks_address;

	if (!*address)
		*address = (u64)socket_marks;
	return sk - *address;
}

static __always_inline u64 socket_hash(u64 place)
{
	return place * 0x9e3779b97f4a7c15ull;
}

static __always_inline bool is_place_marked(u64 place)
{
	u32 mark = (u32)(socket_hash(place) >> (64 - SOCKET_MARKS_SHIFT));

	return socket_marks[mark / 64] >> (mark % 64) & 1;
}

static __always_inline bool is_socket_marked(const struct sock *sk)
{
	return is_place_marked(socket_place(sk));
}

/* The verifier takes no pointer for a number where a global function wants one: a copy of its bytes is one. */
static __always_inline u64 as_number(u64 address)
{
	u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &address);
	return number;
}

static __noinline int mark_place(u64 place)
{
	u32 mark = (u32)(socket_hash(place) >> (64 - SOCKET_MARKS_SHIFT));

	__sync_fetch_and_or(&socket_marks[mark / 64 & (SOCKET_MARKS / 64 - 1)], 1ull << (mark % 64));
	return 0;
}

static __always_inline void mark_socket(u64 sk)
{
	mark_place(socket_place_of(sk));
}

#endif
