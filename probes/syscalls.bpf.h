/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SYSCALLS_BPF_H
#define STINT_PROBES_SYSCALLS_BPF_H

/* Numbers of the system calls that mean something to the probes: arch/x86/entry/syscalls/syscall_64.tbl. */
enum {
	NR_write = 1,
	NR_writev = 20,
	NR_sendfile = 40,
	NR_sendto = 44,
	NR_sendmsg = 46,
	NR_epoll_wait = 232,
	NR_splice = 275,
	NR_epoll_pwait = 281,
	NR_pwritev = 296,
	NR_sendmmsg = 307,
	NR_pwritev2 = 328,
	NR_epoll_pwait2 = 441,
};

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

/*
 * How many bytes a send was given, where a plain argument says so; 0 where only the vectors do. Not what
 * sendfile() was asked for: the file may end before that, and then less is no sign of a full buffer.
 */
static __always_inline u64 send_requested(long number, u64 arg3)
{
	return number == NR_write || number == NR_sendto ? arg3 : 0;
}

#endif
