/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_OWN_WAIT_BPF_H
#define STINT_PROBES_OWN_WAIT_BPF_H

/*
 * Which calls of the current thread are a loop's wait.
 *
 * A loop polls for what comes in. Who polls but one descriptor, and just until that can be written to, is amid a piece of
 * work; what it sleeps for after that, as memcached's crawler for the next piece, is no delay. Unless its last send found
 * that socket full: then it waits for the write event, as a loop does that has nothing else to do.
 */

#define POLLIN_ANY  0x20c3 /* POLLIN, POLLPRI, POLLRDNORM, POLLRDBAND, POLLRDHUP */
#define POLLOUT_ANY 0x304  /* POLLOUT, POLLWRNORM, POLLWRBAND */

__noinline bool is_full_socket(s32 fd)
{
	u64 sk = fd_to_sock(fd, MSG_DONTWAIT);
	struct socket_state *state = sk ? find_socket(sk) : NULL;

	return state && is_stalled(state);
}

static __always_inline bool polls_amid_work(const struct pt_regs *regs)
{
	struct pollfd_user polled;

	if (regs->si != 1 || bpf_probe_read_user(&polled, sizeof(polled), (void *)regs->di) != 0)
		return false;
	if (!(polled.events & POLLOUT_ANY) || polled.events & POLLIN_ANY)
		return false;
	return sockets_known <= 0 || !is_full_socket(polled.fd);
}

/* As such a call begins. */
static __always_inline u32 own_wait_entered(long number, const struct pt_regs *regs)
{
	u32 kind = wait_kind(number, regs);

	return kind == RECORD_WAIT_POLL && polls_amid_work(regs) ? RECORD_WAIT_NONE : kind;
}

/* And as it ends: by then the socket may be full no more. */
static __always_inline u32 own_wait_left(const struct thread *thread, long number, const struct pt_regs *regs)
{
	if (thread && thread->state == THREAD_WAITING)
		return wait_kind(number, regs);
	return own_wait_entered(number, regs);
}

#endif
