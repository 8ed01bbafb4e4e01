/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_LIFE_BPF_H
#define STINT_PROBES_LIFE_BPF_H

/*
 * The life of sockets that were asked for by port or descriptor, from the handshake to the close: states as
 * inet_sock_set_state tells them. A connection that comes in is established before any process has it; its owner is
 * known from accept().
 */

/* include/net/tcp_states.h; the same since 2.6 */
enum {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT = 2,
	STATE_FIN_WAIT1 = 4,
	STATE_TIME_WAIT = 6,
	STATE_CLOSE = 7,
	STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK = 9,
	STATE_CLOSING = 11,
};

static __always_inline void tell_life(struct socket_state *state, u64 sk, u32 kind, u64 time_ns)
{
	struct moment moment = {.kind = kind, .tid = state->tid, .time_ns = time_ns};

	if (state->pid)
		report_moment(state, sk, &moment);
}

/* A SYN is sent before the socket has its own address: it is told once that is known. */
static __always_inline void tell_connecting(struct socket_state *state, u64 sk)
{
	if (!state->connecting_ns)
		return;
	read_addresses(&state->addresses, sk);
	tell_life(state, sk, SOCKET_CONNECTING, state->connecting_ns);
	state->connecting_ns = 0;
}

static __always_inline void note_established(struct socket_state *state, u64 sk, u64 now_ns)
{
	tell_connecting(state, sk);
	read_addresses(&state->addresses, sk);
	state->established_ns = now_ns;
	tell_life(state, sk, SOCKET_ESTABLISHED, now_ns);
}

/*
 * The kernel makes the read event of a FIN in the function that takes the FIN in (tcp_fin() in net/ipv4/tcp_input.c).
 * It is seen at a thread being woken by it, at `woken_ns`. Where nobody slept, that is 0, and the event has the time of
 * the FIN, which it follows at once: whoever looks at the socket next, tells it.
 */
static __always_inline void note_fin_event(struct socket_state *state, u64 sk, u64 woken_ns)
{
	/* Two CPUs may look at once: one of them tells. */
	u64 fin_ns = state->fin_ns ? __sync_lock_test_and_set(&state->fin_ns, 0) : 0;

	if (fin_ns)
		tell_life(state, sk, SOCKET_READ_EVENT, woken_ns ? woken_ns : fin_ns);
}

/* `pid` is the current process if it is watched, else 0. */
static __noinline int note_state(u64 sk, int before, int after, u32 pid, u64 now_ns)
{
	struct socket_state *state = find_socket(sk);

	if (!state && (after == STATE_ESTABLISHED || (after == STATE_SYN_SENT && pid)) &&
	    is_chosen_by_port(sk))
		state = know_socket(sk, after == STATE_SYN_SENT ? pid : 0);
	if (!state)
		return 0;
	switch (after) {
	case STATE_SYN_SENT:
		state->connecting_ns = now_ns;
		break;
	case STATE_ESTABLISHED:
		note_established(state, sk, now_ns);
		break;
	case STATE_CLOSE_WAIT:
	case STATE_CLOSING:
	case STATE_TIME_WAIT:
		state->fin_ns = now_ns;
		tell_life(state, sk, SOCKET_FIN_RECEIVED, now_ns);
		if (is_owned(sk)) /* it had waited for the owner's call, and no softirq ends after it */
			note_fin_event(state, sk, 0);
		break;
	case STATE_FIN_WAIT1:
	case STATE_LAST_ACK:
		tell_life(state, sk, SOCKET_FIN_SENT, now_ns);
		break;
	case STATE_CLOSE:
		tell_connecting(state, sk);
		tell_life(state, sk, SOCKET_CLOSED, now_ns);
		break;
	}
	return 0;
}

/* Now the connection is known to be somebody's, and its handshake can be told. True if it was not before. */
static __noinline bool find_owner(struct socket_state *state, u64 sk, u32 pid, u32 tid, s32 fd)
{
	if (!state || state->pid)
		return false;
	state->pid = pid;
	state->tid = tid;
	state->fd = fd;
	if (state->established_ns)
		tell_life(state, sk, SOCKET_ESTABLISHED, state->established_ns);
	return true;
}

/* A call of the accept family returned. Many programs make the socket non-blocking only then. */
static __noinline int note_accepted(s32 fd, u32 pid, u32 tid, u64 now_ns)
{
	u64 sk = fd_to_sock(fd, MSG_DONTWAIT);
	struct socket_state *state = sk ? find_socket(sk) : NULL;

	if (find_owner(state, sk, pid, tid, fd))
		tell_life(state, sk, SOCKET_ACCEPTED, now_ns);
	return 0;
}

/* The peer's window, as a segment has left it. */
static __always_inline void note_window(struct socket_state *state, u64 sk, u64 now_ns)
{
	u32 closed = BPF_CORE_READ((struct tcp_sock *)sk, snd_wnd) == 0;

	if (closed == state->window_closed)
		return;
	state->window_closed = closed;
	tell_life(state, sk, closed ? SOCKET_WINDOW_CLOSED : SOCKET_WINDOW_OPENED, now_ns);
}

#endif
