/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SYSCALLS_BPF_H
#define STINT_PROBES_SYSCALLS_BPF_H

/* Numbers of the system calls that mean something to the probes: arch/x86/entry/syscalls/syscall_64.tbl. */
enum {
	NR_read = 0,
	NR_write = 1,
	NR_close = 3,
	NR_poll = 7,
	NR_readv = 19,
	NR_writev = 20,
	NR_select = 23,
	NR_dup2 = 33,
	NR_nanosleep = 35,
	NR_sendfile = 40,
	NR_accept = 43,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_exit = 60,
	NR_futex = 202,
	NR_restart_syscall = 219,
	NR_clock_nanosleep = 230,
	NR_exit_group = 231,
	NR_epoll_wait = 232,
	NR_epoll_ctl = 233,
	NR_waitid = 247,
	NR_pselect6 = 270,
	NR_ppoll = 271,
	NR_splice = 275,
	NR_tee = 276,
	NR_epoll_pwait = 281,
	NR_accept4 = 288,
	NR_dup3 = 292,
	NR_pwritev = 296,
	NR_recvmmsg = 299,
	NR_sendmmsg = 307,
	NR_copy_file_range = 326,
	NR_preadv2 = 327,
	NR_pwritev2 = 328,
	NR_uretprobe = 335,
	NR_uprobe = 336,
	NR_io_uring_enter = 426,
	NR_close_range = 436,
	NR_epoll_pwait2 = 441,
};

/*
 * Made by the kernel's own code in the process (since 6.11, 6.18), as a probed function returns or begins: not the
 * program's.
 */
static __always_inline bool is_probe(long number)
{
	return number == NR_uretprobe || number == NR_uprobe;
}

/* Which argument (1 to 4) of a call that sends is the descriptor it sends on; 0: it does not send. */
static __always_inline int send_fd_argument(long number)
{
	switch (number) {
	case NR_write:
	case NR_writev:
	case NR_sendfile:
	case NR_sendto:
	case NR_sendmsg:
	case NR_sendmmsg:
	case NR_pwritev2:
		return 1;
	case NR_splice:
		return 3;
	default:
		return 0;
	}
}

#define MSG_PEEK     0x2
#define MSG_DONTWAIT 0x40

/* Does the call take data from its first argument? Looking at it only (MSG_PEEK) does not. */
static __always_inline bool takes_data(long number, const struct pt_regs *regs)
{
	switch (number) {
	case NR_read:
	case NR_readv:
	case NR_preadv2:
	case NR_splice:
		return true;
	case NR_recvfrom:
		return !(regs->r10 & MSG_PEEK);
	case NR_recvmsg:
		return !(regs->dx & MSG_PEEK);
	case NR_recvmmsg:
		return !(regs->r10 & MSG_PEEK);
	default:
		return false;
	}
}

/* How many bytes a call that takes data asked for; 0 if that is not known. */
static __always_inline u64 read_requested(long number, u64 arg3)
{
	return number == NR_read || number == NR_recvfrom ? arg3 : 0;
}

/* May the call wait for its first argument, if that is a blocking descriptor? */
static __always_inline bool may_block(long number, const struct pt_regs *regs)
{
	switch (number) {
	case NR_read:
	case NR_readv:
	case NR_write:
	case NR_writev:
	case NR_sendfile:
	case NR_accept:
	case NR_accept4:
		return true;
	case NR_recvfrom:
	case NR_sendto:
		return !(regs->r10 & MSG_DONTWAIT);
	case NR_recvmsg:
	case NR_sendmsg:
		return !(regs->dx & MSG_DONTWAIT);
	default:
		return false;
	}
}

#define VECTORS_MAX    64
#define VECTORS_A_READ 8
#define MESSAGES_MAX   64
#define RWF_NOWAIT     0x8

/* User space's struct iovec, and the part of its struct msghdr that matters. */
struct user_vector {
	u64 base;
	u64 bytes;
};

struct user_message {
	u64 name;
	u64 name_bytes;
	u64 vectors;
	u64 count;
};

/* User space's struct mmsghdr. */
struct user_sent_message {
	struct user_message message;
	u64 control;
	u64 control_bytes;
	u64 flags;
	u32 sent_bytes;
	u32 reserved;
};

/* The sum over an array of vectors; 0 if it cannot be read, or has more than VECTORS_MAX. */
__noinline u64 vectors_bytes(u64 vectors, u64 count)
{
	struct user_vector read[VECTORS_A_READ] = {0};
	u64 bytes = 0;

	if (count > VECTORS_MAX)
		return 0;
	for (u32 first = 0; first < VECTORS_MAX && first < count; first += VECTORS_A_READ) {
		u32 len = count - first < VECTORS_A_READ ? count - first : VECTORS_A_READ;

		if (bpf_probe_read_user(read, len * sizeof(read[0]),
					(void *)(vectors + first * sizeof(read[0]))) != 0)
			return 0;
		for (u32 at = 0; at < VECTORS_A_READ && at < len; at++)
			bytes += read[at].bytes;
	}
	return bytes;
}

/* The sum over an array of messages, of what they hold or of what was `sent` of them; 0 as above. */
__noinline u64 messages_bytes(u64 messages, u64 count, u32 sent)
{
	struct user_sent_message each;
	u64 bytes = 0;

	if (count > MESSAGES_MAX)
		return 0;
	for (u32 i = 0; i < MESSAGES_MAX && i < count; i++) {
		if (bpf_probe_read_user(&each, sizeof(each), (void *)(messages + i * sizeof(each))) != 0)
			return 0;
		bytes += sent ? each.sent_bytes : vectors_bytes(each.message.vectors, each.message.count);
	}
	return bytes;
}

/* MSG_DONTWAIT, if the call itself asks for that. */
static __always_inline u32 send_flags(long number, const struct pt_regs *regs)
{
	switch (number) {
	case NR_sendto:
	case NR_sendmmsg:
		return regs->r10 & MSG_DONTWAIT;
	case NR_sendmsg:
		return regs->dx & MSG_DONTWAIT;
	case NR_pwritev2:
		return regs->r9 & RWF_NOWAIT ? MSG_DONTWAIT : 0;
	default:
		return 0;
	}
}

/* How many bytes a send took; negative as it was. What sendmmsg() returns counts messages. */
static __always_inline long send_result(long number, u64 arg2, long result)
{
	return number == NR_sendmmsg && result > 0 ? (long)messages_bytes(arg2, (u64)result, 1) : result;
}

/* How many bytes a send was given; 0 if that is not known, or it takes them from elsewhere (send.bpf.h). */
static __always_inline u64 send_requested(long number, u64 arg2, u64 arg3)
{
	struct user_message message;

	switch (number) {
	case NR_write:
	case NR_sendto:
		return arg3;
	case NR_writev:
	case NR_pwritev2:
		return vectors_bytes(arg2, arg3);
	case NR_sendmsg:
		if (bpf_probe_read_user(&message, sizeof(message), (void *)arg2) != 0)
			return 0;
		return vectors_bytes(message.vectors, message.count);
	case NR_sendmmsg:
		return messages_bytes(arg2, arg3, 0);
	default:
		return 0;
	}
}

/* A bit for each system call whose first argument is a descriptor: user space has the list. */
const volatile __u64 calls_with_fd[RECORD_CALLS / 64];

/* Global, so that its bounds stay in it: inlined twice, clang shares what Linux 6.1 then finds unbounded. */
__noinline bool takes_fd(long number)
{
	u64 word = (u64)number >> 6;

	if (number < 0 || number >= RECORD_CALLS)
		return false;
	asm volatile("" : "+r"(word)); /* so that the mask stays: the verifier may have lost the comparison */
	return calls_with_fd[word & (RECORD_CALLS / 64 - 1)] >> (number & 63) & 1;
}

#endif
