/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_TRACE_BPF_H
#define STINT_PROBES_TRACE_BPF_H

/* The moments of traced sockets, one record each. */

/* From probes.h, which is not for eBPF. */
enum socket_kind {
	SOCKET_SEND = 0,
	SOCKET_SEND_SHORT,
	SOCKET_ACK,
	SOCKET_WRITE_EVENT,
	SOCKET_WOKEN,
	SOCKET_RETURNED,
	SOCKET_RETRANSMIT,
	SOCKET_CONNECTING,
	SOCKET_ESTABLISHED,
	SOCKET_ACCEPTED,
	SOCKET_WINDOW_CLOSED,
	SOCKET_WINDOW_OPENED,
	SOCKET_FIN_SENT,
	SOCKET_FIN_RECEIVED,
	SOCKET_READ_EVENT,
	SOCKET_CLOSED,
};

static __always_inline bool is_traced(const struct record_addresses *addresses)
{
	return !trace_port || addresses->local_port == trace_port || addresses->remote_port == trace_port;
}

/* What one moment of a traced socket adds to what the socket itself tells. */
struct moment {
	u32 kind;
	u32 tid;
	u64 time_ns;
	u64 requested_bytes;
	u64 done_bytes;
	u32 queued_before_bytes;
	u32 cause;
};

static __noinline int report_moment(struct socket_state *state, u64 sk, const struct moment *moment)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	struct record_socket *record;

	if (!trace_sockets || !state || !moment || !is_traced(&state->addresses))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		lost_record();
		return 0;
	}
	record->type = RECORD_SOCKET;
	record->kind = moment->kind;
	record->pid = state->pid;
	record->tid = moment->tid;
	record->socket = state->id;
	record->time_ns = moment->time_ns;
	record->requested_bytes = moment->requested_bytes;
	record->done_bytes = moment->done_bytes;
	record->queued_before_bytes = moment->queued_before_bytes;
	record->queued_bytes = queued_bytes(sk);
	record->sndbuf_bytes = BPF_CORE_READ((struct sock *)sk, sk_sndbuf);
	record->unacked_bytes = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);
	record->snd_wnd_bytes = BPF_CORE_READ(tcp, snd_wnd);
	record->snd_cwnd = BPF_CORE_READ(tcp, snd_cwnd);
	record->fd = state->fd;
	record->cause = moment->cause;
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#endif
