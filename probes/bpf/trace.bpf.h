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

/* `end` has an IPv4 address in its first 4 bytes, or an IPv6 address in all 16. Few branches: this is in many places. */
static __always_inline bool is_traced_address(u32 family, const u8 *end)
{
	u8 mapped[16] = {[10] = 0xff, [11] = 0xff};
	u64 words[2];

	if (!trace_address[0] && !trace_address[1])
		return true;
	__builtin_memcpy(mapped + 12, end, 4);
	__builtin_memcpy(words, family == AF_INET ? mapped : end, sizeof(words));
	return ((words[0] ^ trace_address[0]) | (words[1] ^ trace_address[1])) == 0;
}

static __noinline bool is_traced(const struct record_addresses *addresses)
{
	if (!addresses)
		return false;
	if (!trace_port)
		return true;
	if (addresses->local_port == trace_port && is_traced_address(addresses->family, addresses->local))
		return true;
	return addresses->remote_port == trace_port &&
	       is_traced_address(addresses->family, addresses->remote);
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
	u32 freed_bytes; /* of what the queue is seen to hold: about to be given back */
	u32 reserved;
};

/* Sockets that were chosen are traced also while nothing stalls. */
static __always_inline bool are_chosen(void)
{
	return trace_port || trace_fd >= 0;
}

static __always_inline bool is_chosen_fd(s32 fd)
{
	return trace_fd >= 0 && fd == trace_fd;
}

/* Not of a unix socket: the fields are other ones there. */
static __noinline bool has_traced_end(u64 sk)
{
	struct record_addresses addresses = {0};
	struct sock *sock = (struct sock *)sk;

	if (local_port(sock) != trace_port &&
	    bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport)) != trace_port)
		return false;
	if (!trace_address[0] && !trace_address[1])
		return true;
	read_addresses(&addresses, sk);
	return is_traced(&addresses);
}

/* A TCP socket that was asked for by its port, and by the address at that end if there is one. */
static __always_inline bool is_chosen_by_port(u64 sk)
{
	return trace_port && has_traced_end(sk);
}

__noinline int report_moment(struct socket_state *state, u64 sk, const struct moment *moment)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	struct record_socket *record;
	u32 wmem;

	if (!trace_sockets || !state || !moment || !is_traced(&state->addresses))
		return 0;
	if (trace_fd >= 0 && state->fd != trace_fd)
		return 0;
	record = reserve_record(sizeof(*record));
	if (!record)
		return 0;
	record->type = RECORD_SOCKET;
	record->kind = moment->kind;
	record->pid = state->pid;
	record->tid = moment->tid;
	record->socket = state->id;
	record->time_ns = moment->time_ns;
	record->requested_bytes = moment->requested_bytes;
	record->done_bytes = moment->done_bytes;
	record->queued_before_bytes = moment->queued_before_bytes;
	record->sndbuf_bytes = BPF_CORE_READ((struct sock *)sk, sk_sndbuf);
	if (state->addresses.family == AF_UNIX) {
		wmem = wmem_bytes(sk);
		record->queued_bytes = wmem > moment->freed_bytes ? wmem - moment->freed_bytes : 0;
		record->unacked_bytes = 0;
		record->snd_wnd_bytes = 0;
		record->snd_cwnd = 0;
	} else {
		record->queued_bytes = queued_bytes(sk);
		record->unacked_bytes = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);
		record->snd_wnd_bytes = BPF_CORE_READ(tcp, snd_wnd);
		record->snd_cwnd = BPF_CORE_READ(tcp, snd_cwnd);
	}
	record->fd = state->fd;
	record->cause = moment->cause;
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#endif
