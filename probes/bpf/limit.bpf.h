/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_LIMIT_BPF_H
#define STINT_PROBES_LIMIT_BPF_H

/*
 * What holds a sender back while its buffer is full. A TCP sender changes its mind at segments that arrive, at its
 * timers and at sends; all of these are looked at, so the state found at one look holds until the next. Only pacing's
 * timer is seen afterwards.
 *
 *   retransmission     the kernel is recovering from loss (fast recovery, or a timeout went off)
 *   receive window     the next segment does not fit into what the peer has allowed (tcp_snd_wnd_test), or not as
 *                      many as the kernel means to send at once (tcp_tso_should_defer)
 *   congestion window  as many packets are on the way as the congestion control allows
 *   host               unsent data, and both windows have room: pacing, a queue of this machine, or the kernel
 *                      waiting for more to send at once
 *   network            everything was sent, and the ACKs are on the way
 *   silent             three timers or more (of retransmission, or of probes of a closed window) went off between
 *                      two segments from the peer: then all of that gap. Fewer prove nothing: the last may be what
 *                      was answered at last, and Linux answers probes no more often than every 500 ms
 */

#define SILENT_TIMEOUTS 3

#define TCP_CA_RECOVERY 3

#define TCP_CHRONO_RWND_LIMITED 2 /* what the kernel itself has found as it last had a look at what to send */

/* Without an answer; the kernel begins anew at each. */
static __always_inline u32 timeouts_in_a_row(u64 sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	return BPF_CORE_READ(icsk, icsk_retransmits) + BPF_CORE_READ(icsk, icsk_probes_out);
}

static __always_inline u32 packets_in_flight(const struct tcp_sock *tcp)
{
	return BPF_CORE_READ(tcp, packets_out) + BPF_CORE_READ(tcp, retrans_out) -
	       BPF_CORE_READ(tcp, sacked_out) - BPF_CORE_READ(tcp, lost_out);
}

static __noinline u32 current_limit(u64 sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	u32 unsent = unsent_bytes(sk), next = BPF_CORE_READ(tcp, mss_cache);
	u32 in_flight = BPF_CORE_READ(tcp, snd_nxt) - BPF_CORE_READ(tcp, snd_una);

	if (BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state) >= TCP_CA_RECOVERY ||
	    BPF_CORE_READ(icsk, icsk_retransmits))
		return RECORD_LIMIT_RETRANSMISSION;
	if (!unsent)
		return RECORD_LIMIT_NETWORK;
	if (next > unsent)
		next = unsent;
	if (BPF_CORE_READ_BITFIELD_PROBED(tcp, chrono_type) == TCP_CHRONO_RWND_LIMITED ||
	    (u64)in_flight + next > BPF_CORE_READ(tcp, snd_wnd))
		return RECORD_LIMIT_RECEIVE_WINDOW;
	if (packets_in_flight(tcp) >= BPF_CORE_READ(tcp, snd_cwnd))
		return RECORD_LIMIT_CONGESTION_WINDOW;
	return RECORD_LIMIT_HOST;
}

/* The time since the last look was spent under the limit found there. */
static __always_inline void account_limit(struct socket_state *state, u64 now_ns)
{
	u32 limit = state->limit;

	if (now_ns <= state->limit_since_ns)
		return;
	if (limit < RECORD_LIMITS)
		state->gap_ns[limit] += now_ns - state->limit_since_ns;
	state->limit_since_ns = now_ns;
}

/* When the last segment was sent or, where pacing holds the next one back, until when it does. */
static __always_inline u64 let_go_ns(u64 sk)
{
	return BPF_CORE_READ((struct tcp_sock *)sk, tcp_wstamp_ns);
}

/*
 * The time since the last look is over. Where this machine held the segments back, it has let go of them meanwhile, by a
 * timer that nobody sees: the last time at `until_ns`. What is found now has held since.
 */
static __always_inline void account_limit_until(struct socket_state *state, u64 sk, u64 until_ns, u64 now_ns)
{
	if (state->limit == RECORD_LIMIT_HOST && until_ns < now_ns) {
		account_limit(state, until_ns);
		state->limit = current_limit(sk);
	}
	account_limit(state, now_ns);
}

/* A segment from the peer ends the gap since the one before, and tells whether the peer was silent in it. */
__noinline int end_gap(struct socket_state *state, u64 sk, u64 now_ns)
{
	bool silent;

	if (!state)
		return 0;
	account_limit_until(state, sk, let_go_ns(sk), now_ns);
	silent = timeouts_in_a_row(sk) >= state->timeouts + SILENT_TIMEOUTS;
	for (u32 i = 0; i < RECORD_LIMITS; i++) {
		u32 as = silent ? RECORD_LIMIT_SILENT : i;

		state->limit_ns[as] += state->gap_ns[i];
		state->gap_ns[i] = 0;
	}
	return 0;
}

/* From now on this holds. After a segment was processed, with `fresh`: the counting of timeouts begins anew. */
static __always_inline void look_at_limit(struct socket_state *state, u64 sk, bool fresh)
{
	state->limit = current_limit(sk);
	state->let_go_ns = let_go_ns(sk);
	if (fresh)
		state->timeouts = timeouts_in_a_row(sk);
}

static __always_inline void begin_limits(struct socket_state *state, u64 sk, u64 now_ns)
{
	for (u32 i = 0; i < RECORD_LIMITS; i++)
		state->gap_ns[i] = state->limit_ns[i] = 0;
	state->limit_since_ns = now_ns;
	look_at_limit(state, sk, true);
}

#endif
