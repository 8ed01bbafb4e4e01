/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SOCKET_BPF_H
#define STINT_PROBES_SOCKET_BPF_H

/*
 * Write stalls of TCP sockets: from a send that found the buffer full to the next send.
 *
 * The kernel has no tracepoint for the write event, so it is put together from what tracepoints show:
 *   - a send that finds the buffer full sets SOCK_NOSPACE (sk_stream_wait_memory, tcp_sendmsg_locked);
 *   - tcp_probe fires for each segment of an established connection before it is processed: the queue is
 *     read there as it was before that ACK, and "after" at the next point that looks at the socket;
 *   - if the ACK leaves sk_wmem_queued <= 2/3 sk_sndbuf (sk_stream_is_writeable), sk_stream_write_space
 *     clears the bit and wakes who waits: sched_waking in the same softirq, with the bit read as 0, is the
 *     write event; where nobody slept, the bit is found cleared at the next segment, the softirq's end, or the end
 *     of the owner's system call. Its time is then that of the last ACK before which the bit was set: a few us
 *     early, as the event comes at the end of that ACK's processing (`raise_inferred`).
 *
 * ACKs that come while the owner is inside its send are processed before that returns. They may so open the buffer
 * of a send that is going to be known as short: the cause and the event are then earlier than the stall.
 *
 * A socket is known from the first time that it fills up until it is destroyed; sockets that never fill
 * cost a comparison. `stalls_open` and `sockets_known` keep the tracepoints that fire for everybody short.
 */

#define SOCKETS_MAX 4096
#define TOUCHED_MAX 8

enum stall_stage {
	STALL_NONE = 0,
	STALL_FULL,
	STALL_RAISED,
	STALL_RETURNED,
};

/* From probes.h, which is not for eBPF. */
enum socket_kind {
	SOCKET_SEND = 0,
	SOCKET_SEND_SHORT,
	SOCKET_ACK,
	SOCKET_WRITE_EVENT,
	SOCKET_WOKEN,
	SOCKET_RETURNED,
	SOCKET_RETRANSMIT,
};

struct socket_state {
	u64 id;
	u32 pid;
	u32 tid; /* that sent last */
	s32 fd;
	u32 stage;
	u64 start_ns;
	u64 cause_ns;
	u64 raised_ns;
	u64 on_cpu_ns;
	u64 returned_ns;
	u64 acked_bytes;
	u32 acks;
	u32 queued_bytes;
	u32 sndbuf_bytes;
	u32 raise_inferred;
	u32 snd_wnd_min_bytes;
	u32 retransmits;
	/* An ACK that was announced by tcp_probe; what it did is seen at the next look. */
	u64 ack_time_ns; /* 0: none */
	u32 ack_bytes;
	u32 ack_queued_before;
	u32 ack_lacked; /* the bit was set then */
	u32 reserved;
	u64 early_cause_ns; /* the ACK that cleared the bit while no stall was known; 0: none */
	struct record_addresses addresses;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SOCKETS_MAX);
	__type(key, u64); /* address of the struct sock */
	__type(value, struct socket_state);
} sockets SEC(".maps");

/* The sockets that had segments announced on this CPU and were not looked at since. */
struct touched {
	u64 sk[TOUCHED_MAX];
	u32 len;
	u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct touched);
} touched_sockets SEC(".maps");

__u64 socket_ids;
__s64 sockets_known;
__s64 stalls_open;

static __always_inline struct socket_state *find_socket(u64 sk)
{
	return bpf_map_lookup_elem(&sockets, &sk);
}

static __always_inline struct socket *sk_socket(u64 sk)
{
	return BPF_CORE_READ((struct sock *)sk, sk_socket);
}

/* True while the sender waits for space: a send found the buffer full, and no event was raised since. */
static __always_inline bool lacks_space(u64 sk)
{
	struct socket *socket = sk_socket(sk);

	return socket && (BPF_CORE_READ(socket, flags) & (1ul << SOCK_NOSPACE));
}

static __always_inline u32 queued_bytes(u64 sk)
{
	int queued = BPF_CORE_READ((struct sock *)sk, sk_wmem_queued);

	return queued > 0 ? (u32)queued : 0;
}

static __noinline int read_addresses(struct record_addresses *addresses, u64 sk)
{
	struct sock *sock = (struct sock *)sk;

	if (!addresses)
		return 0;
	addresses->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	addresses->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	addresses->remote_port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
	if (addresses->family == AF_INET6) {
		BPF_CORE_READ_INTO(&addresses->local, sock, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&addresses->remote, sock, __sk_common.skc_v6_daddr);
		return 0;
	}
	BPF_CORE_READ_INTO((u32 *)addresses->local, sock, __sk_common.skc_rcv_saddr);
	BPF_CORE_READ_INTO((u32 *)addresses->remote, sock, __sk_common.skc_daddr);
	return 0;
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

	if (!trace_sockets || !state || !moment)
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

static __always_inline void push_raised(u32 tid, u64 sk)
{
	struct thread *thread = find_thread(tid);

	if (thread)
		thread->raised[__sync_fetch_and_add(&thread->raised_head, 1) & (RAISED_SLOTS - 1)] = sk;
}

/* The write event was raised at `at_ns`, for thread `tid`. */
static __always_inline void raise(struct socket_state *state, u64 sk, u64 at_ns, u32 tid, bool inferred)
{
	struct moment moment = {.kind = SOCKET_WRITE_EVENT, .tid = tid, .time_ns = at_ns};

	state->stage = STALL_RAISED;
	state->raised_ns = at_ns;
	state->raise_inferred = inferred;
	state->queued_bytes = queued_bytes(sk);
	state->sndbuf_bytes = BPF_CORE_READ((struct sock *)sk, sk_sndbuf);
	push_raised(tid, sk);
	report_moment(state, sk, &moment);
}

/*
 * What the last announced ACK did, seen now. `waking` is the thread that is being woken, 0 if this look
 * has another reason. Returns with no ACK pending, unless it is too early.
 */
static __noinline int settle(struct socket_state *state, u64 sk, u64 now_ns, u32 waking)
{
	bool lacks, opened;

	if (!state)
		return 0;
	lacks = lacks_space(sk);
	opened = state->stage == STALL_FULL && !lacks;
	if (state->stage == STALL_NONE && state->ack_time_ns && state->ack_lacked && !lacks)
		state->early_cause_ns = state->ack_time_ns;
	if (waking && !opened)
		return 0; /* woken for another reason, amid the ACK's processing: too early to say what it did */
	if (opened)
		state->cause_ns = state->ack_time_ns;
	if (state->ack_time_ns) {
		struct moment moment = {
			.kind = SOCKET_ACK,
			.tid = state->tid,
			.time_ns = state->ack_time_ns,
			.done_bytes = state->ack_bytes,
			.queued_before_bytes = state->ack_queued_before,
			.cause = opened || state->early_cause_ns == state->ack_time_ns,
		};

		report_moment(state, sk, &moment);
		state->ack_time_ns = 0;
	}
	if (opened)
		raise(state, sk, waking || !state->cause_ns ? now_ns : state->cause_ns,
		      waking ? waking : state->tid, !waking);
	return 0;
}

/* Looks at all sockets that had segments on this CPU; with `waking`, only at that process's. */
static __noinline int settle_touched(u64 now_ns, u32 waking_pid, u32 waking_tid)
{
	u32 zero = 0;
	struct touched *touched = bpf_map_lookup_elem(&touched_sockets, &zero);

	if (!touched)
		return 0;
	for (u32 i = 0; i < TOUCHED_MAX; i++) {
		struct socket_state *state;

		if (i >= touched->len)
			break;
		state = find_socket(touched->sk[i]);
		if (state && (!waking_pid || state->pid == waking_pid))
			settle(state, touched->sk[i], now_ns, waking_tid);
	}
	if (!waking_pid)
		touched->len = 0;
	return 0;
}

static __always_inline void touch(u64 sk)
{
	u32 zero = 0;
	struct touched *touched = bpf_map_lookup_elem(&touched_sockets, &zero);
	u32 len;

	if (!touched)
		return;
	len = touched->len;
	for (u32 i = 0; i < TOUCHED_MAX && i < len; i++)
		if (touched->sk[i] == sk)
			return;
	if (len < TOUCHED_MAX) {
		touched->sk[len] = sk;
		touched->len = len + 1;
	}
}

static __always_inline u32 segment_ack(const struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	u16 offset = BPF_CORE_READ(skb, transport_header);
	struct tcphdr *header = (struct tcphdr *)(head + offset);

	return bpf_ntohl(BPF_CORE_READ(header, ack_seq));
}

/* A segment has arrived for a known socket, and is about to be processed. */
static __always_inline void announce_segment(struct socket_state *state, u64 sk, const struct sk_buff *skb,
					     u64 now_ns)
{
	u32 una = BPF_CORE_READ((struct tcp_sock *)sk, snd_una);
	u32 wnd = BPF_CORE_READ((struct tcp_sock *)sk, snd_wnd);
	s32 acked = (s32)(segment_ack(skb) - una);

	settle(state, sk, now_ns, 0);
	if (wnd < state->snd_wnd_min_bytes)
		state->snd_wnd_min_bytes = wnd;
	touch(sk);
	if (acked <= 0)
		return;
	state->ack_time_ns = now_ns;
	state->ack_lacked = lacks_space(sk);
	state->ack_bytes = (u32)acked;
	state->ack_queued_before = queued_bytes(sk);
	if (state->stage != STALL_NONE) {
		state->acks++;
		state->acked_bytes += (u32)acked;
	}
}

/* The socket behind a descriptor of the current task: its struct sock if it is TCP and non-blocking, else 0. */
static __noinline u64 fd_to_sock(s32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;
	struct socket *socket;
	struct sock *sk;

	if (fd < 0 || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) != 0 || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	if (!(BPF_CORE_READ(file, f_flags) & O_NONBLOCK))
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	return (u64)sk;
}

static __always_inline struct socket_state *know_socket(u64 sk, u32 pid)
{
	struct socket_state fresh = {.pid = pid}, *state = find_socket(sk);

	if (state)
		return state;
	fresh.id = __sync_fetch_and_add(&socket_ids, 1) + 1;
	read_addresses(&fresh.addresses, sk);
	if (bpf_map_update_elem(&sockets, &sk, &fresh, BPF_NOEXIST) != 0) {
		lost_entry();
		return NULL;
	}
	__sync_fetch_and_add(&sockets_known, 1);
	return find_socket(sk);
}

static __noinline int report_stall(struct socket_state *state, u64 now_ns)
{
	struct record_stall *record;

	if (!state)
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		lost_record();
		return 0;
	}
	record->type = RECORD_STALL;
	record->pid = state->pid;
	record->tid = state->tid;
	record->fd = state->fd;
	record->socket = state->id;
	record->start_ns = state->start_ns;
	record->cause_ns = state->cause_ns;
	record->raised_ns = state->raised_ns;
	record->on_cpu_ns = state->on_cpu_ns;
	record->returned_ns = state->returned_ns;
	record->end_ns = now_ns;
	record->acked_bytes = state->acked_bytes;
	record->acks = state->acks;
	record->queued_bytes = state->queued_bytes;
	record->sndbuf_bytes = state->sndbuf_bytes;
	record->raise_inferred = state->raise_inferred;
	record->snd_wnd_min_bytes = state->snd_wnd_min_bytes;
	record->retransmits = state->retransmits;
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	record->reserved[0] = record->reserved[1] = 0;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static __always_inline void begin_stall(struct socket_state *state, u64 sk, u64 now_ns)
{
	state->stage = STALL_FULL;
	state->start_ns = now_ns;
	state->cause_ns = state->early_cause_ns;
	state->early_cause_ns = 0;
	state->raised_ns = 0;
	state->on_cpu_ns = 0;
	state->returned_ns = 0;
	state->acked_bytes = 0;
	state->acks = 0;
	state->retransmits = 0;
	state->raise_inferred = 0;
	state->queued_bytes = queued_bytes(sk);
	state->sndbuf_bytes = BPF_CORE_READ((struct sock *)sk, sk_sndbuf);
	state->snd_wnd_min_bytes = BPF_CORE_READ((struct tcp_sock *)sk, snd_wnd);
	__sync_fetch_and_add(&stalls_open, 1);
}

/* A send begins: if its socket was stalled, the stall is over. */
static __always_inline void enter_send(s32 fd, u64 now_ns)
{
	struct socket_state *state;
	u64 sk;

	if (stalls_open <= 0)
		return;
	sk = fd_to_sock(fd);
	state = sk ? find_socket(sk) : NULL;
	if (!state || state->stage == STALL_NONE)
		return;
	settle(state, sk, now_ns, 0);
	report_stall(state, now_ns);
	state->stage = STALL_NONE;
	__sync_fetch_and_add(&stalls_open, -1);
}

/*
 * A send returned. It found the buffer full if it took less than it was given, whatever the bit says: ACKs
 * that had waited for the end of this very call may have opened the buffer again. Only where it is not known
 * how much it was given, the bit has to tell: a poll sets it too, so it is no proof.
 */
static __always_inline void exit_send(u32 pid, u32 tid, s32 fd, u64 requested, long result, u64 now_ns)
{
	struct moment moment = {.tid = tid, .time_ns = now_ns, .requested_bytes = requested};
	struct socket_state *state;
	bool is_short = result == -EAGAIN || (result > 0 && requested && (u64)result < requested);
	u64 sk;

	if (!is_short && requested && !(trace_sockets && sockets_known > 0))
		return;
	if (result < 0 && result != -EAGAIN)
		return;
	sk = fd_to_sock(fd);
	if (!sk)
		return;
	is_short = is_short || (!requested && lacks_space(sk));
	state = is_short ? know_socket(sk, pid) : find_socket(sk);
	if (!state)
		return;
	settle(state, sk, now_ns, 0);
	state->tid = tid;
	state->fd = fd;
	moment.kind = is_short ? SOCKET_SEND_SHORT : SOCKET_SEND;
	moment.done_bytes = result > 0 ? (u64)result : 0;
	report_moment(state, sk, &moment);
	if (!is_short || state->stage != STALL_NONE)
		return;
	begin_stall(state, sk, now_ns);
	if (!lacks_space(sk))
		raise(state, sk, state->cause_ns ? state->cause_ns : now_ns, tid, true);
	else
		state->cause_ns = 0; /* it was opened, and filled up again, within the call */
}

/* A wait of this thread returned: the write events raised for it before are among what it returned. */
static __noinline int note_returned(struct thread *thread, u64 now_ns)
{
	if (!thread)
		return 0;
	for (u32 i = 0; i < RAISED_SLOTS; i++) {
		struct moment moment = {.kind = SOCKET_WOKEN, .tid = thread->tid};
		struct socket_state *state;
		u64 sk;

		if (thread->raised_tail == thread->raised_head)
			break;
		sk = thread->raised[thread->raised_tail++ & (RAISED_SLOTS - 1)];
		state = find_socket(sk);
		if (!state || state->stage != STALL_RAISED)
			continue;
		state->stage = STALL_RETURNED;
		state->on_cpu_ns =
			thread->last_on_ns > state->raised_ns ? thread->last_on_ns : state->raised_ns;
		state->returned_ns = now_ns;
		moment.time_ns = state->on_cpu_ns;
		report_moment(state, sk, &moment);
		moment.kind = SOCKET_RETURNED;
		moment.time_ns = now_ns;
		report_moment(state, sk, &moment);
	}
	return 0;
}

static __always_inline void note_retransmit(u64 sk, u64 now_ns)
{
	struct socket_state *state = find_socket(sk);
	struct moment moment = {.kind = SOCKET_RETRANSMIT, .time_ns = now_ns};

	if (!state)
		return;
	if (state->stage != STALL_NONE)
		state->retransmits++;
	moment.tid = state->tid;
	report_moment(state, sk, &moment);
}

static __always_inline void forget_socket(u64 sk)
{
	struct socket_state *state = find_socket(sk);

	if (!state)
		return;
	if (state->stage != STALL_NONE)
		__sync_fetch_and_add(&stalls_open, -1);
	bpf_map_delete_elem(&sockets, &sk);
	__sync_fetch_and_add(&sockets_known, -1);
}

#endif
