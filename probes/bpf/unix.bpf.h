/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_UNIX_BPF_H
#define STINT_PROBES_UNIX_BPF_H

/*
 * Write stalls of unix-domain stream sockets, in the same stages. There are no ACKs: memory comes back as the peer has
 * read a message to its end. The kernel then frees it by consume_skb(), whose tracepoint comes first; sock_wfree() takes
 * its memory off the sender's account and calls unix_write_space(), which wakes who waits for EPOLLOUT if
 * 4 * sk_wmem_alloc <= sk_sndbuf (unix_writable). That is done in the peer's own read, so the current process is the
 * one that reads.
 *
 * Of datagrams and sequenced packets the stalls are not told: these also wait for the length of the peer's queue
 * (max_dgram_qlen), of which no tracepoint tells.
 */

/* Nobody but these needs the programs for unix sockets. */
__s64 unix_stalls_open;

/* Whose memory this CPU gives back: the wake-up that follows is its write event. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} unix_opened SEC(".maps");

static __always_inline struct record_unix_end *unix_local(struct socket_state *state)
{
	return (struct record_unix_end *)state->addresses.local;
}

static __always_inline struct record_unix_end *unix_peer(struct socket_state *state)
{
	return (struct record_unix_end *)state->addresses.remote;
}

/* 0 also where unix sockets are a module, of which the kernel's own types do not tell. */
static __always_inline u64 unix_peer_sock(u64 sk)
{
	return bpf_core_type_exists(struct unix_sock) ? (u64)BPF_CORE_READ((struct unix_sock *)sk, peer) : 0;
}

static __always_inline u64 socket_inode(u64 sk)
{
	struct socket *socket = sk_socket(sk);

	return socket ? BPF_CORE_READ(socket, file, f_inode, i_ino) : 0;
}

/* Returns the length; 0: it has no name. */
static __always_inline u32 read_path(char *ret, u64 sk)
{
	const struct unix_address *address;
	u64 path;
	int len;

	if (!bpf_core_type_exists(struct unix_sock))
		return 0;
	address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	len = address ? BPF_CORE_READ(address, len) - (int)sizeof(u16) : 0;
	if (len <= 0 || len > RECORD_PATH_BYTES)
		return 0;
	path = (u64)address + bpf_core_field_offset(struct unix_address, name) +
	       bpf_core_field_offset(struct sockaddr_un, sun_path);
	return bpf_probe_read_kernel(ret, RECORD_PATH_BYTES, (void *)path) == 0 ? (u32)len : 0;
}

static __noinline int report_unix_names(struct socket_state *state, u64 sk)
{
	struct record_unix *record;

	if (!state)
		return 0;
	record = reserve_record(sizeof(*record));
	if (!record)
		return 0;
	record->type = RECORD_UNIX;
	record->pid = state->pid;
	record->socket = state->id;
	record->local_len = read_path(record->local, sk);
	record->peer_len = read_path(record->peer, unix_peer_sock(sk));
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static __noinline int end_unix_stall(struct socket_state *state)
{
	if (!state || state->stage == STALL_NONE)
		return 0;
	state->stage = STALL_NONE;
	__sync_fetch_and_add(&stalls_open, -1);
	__sync_fetch_and_add(&unix_stalls_open, -1);
	return 0;
}

/* No tracepoint tells of a unix socket's end, and its memory may be another's since. */
static __always_inline bool is_same_unix_socket(struct socket_state *state, u64 sk)
{
	return socket_inode(sk) == unix_local(state)->inode;
}

static __always_inline void forget_unix_socket(struct socket_state *state, u64 sk)
{
	end_unix_stall(state);
	bpf_map_delete_elem(&sockets, &sk);
	__sync_fetch_and_add(&sockets_known, -1);
}

static __noinline struct socket_state *know_unix_socket(u64 sk, u32 pid)
{
	struct socket_state *state = find_socket(sk);
	struct record_unix_end *peer;

	if (state && !is_same_unix_socket(state, sk)) {
		forget_unix_socket(state, sk);
		state = NULL;
	}
	if (state)
		return state;
	state = know_socket(sk, pid);
	if (!state)
		return NULL;
	__builtin_memset(&state->addresses, 0, sizeof(state->addresses));
	state->addresses.family = AF_UNIX;
	unix_local(state)->inode = socket_inode(sk);
	unix_local(state)->pid = pid;
	peer = unix_peer(state);
	peer->inode = socket_inode(unix_peer_sock(sk));
	peer->pid = BPF_CORE_READ((struct sock *)sk, sk_peer_pid, numbers[0].nr);
	report_unix_names(state, sk);
	return state;
}

static __always_inline void note_unix_levels(struct socket_state *state, u32 queued, u64 sk)
{
	state->queued_bytes = queued;
	state->sndbuf_bytes = sndbuf_bytes(sk);
	state->unsent_bytes = 0;
	state->lowat_bytes = 0;
}

/* The write event. Where nobody slept, or as long as no wake-up was seen: inferred. */
static __noinline int raise_unix(struct socket_state *state, u64 sk, u64 now_ns, u32 queued)
{
	struct moment moment = {.kind = SOCKET_WRITE_EVENT, .time_ns = now_ns};
	u32 wmem = wmem_bytes(sk);

	if (!state)
		return 0;
	moment.freed_bytes = wmem > queued ? wmem - queued : 0;
	state->raised_to_wait = waits_for_write(state->tid, sk);
	state->stage = STALL_RAISED;
	state->raised_ns = now_ns;
	state->raise_inferred = 1;
	note_unix_levels(state, queued, sk);
	push_raised(state->tid, sk);
	moment.tid = state->tid;
	report_moment(state, sk, &moment);
	return 0;
}

static __always_inline void begin_unix_stall(struct socket_state *state, u64 sk, u64 now_ns)
{
	state->start_ns = now_ns;
	state->cause_ns = 0;
	state->raised_ns = 0;
	state->on_cpu_ns = 0;
	state->returned_ns = 0;
	state->acked_bytes = 0;
	state->acks = 0;
	state->retransmits = 0;
	state->raise_inferred = 0;
	state->alarm = 0;
	state->by_lowat = 0;
	state->snd_wnd_min_bytes = 0;
	for (u32 i = 0; i < RECORD_LIMITS; i++)
		state->limit_ns[i] = 0;
	note_unix_levels(state, wmem_bytes(sk), sk);
	__sync_fetch_and_add(&stalls_open, 1);
	__sync_fetch_and_add(&unix_stalls_open, 1);
	state->stage = STALL_FULL;
	if (is_unix_writable(sk, 0)) /* the peer, on another CPU, was faster than the return from the send */
		raise_unix(state, sk, now_ns, wmem_bytes(sk));
}

static __noinline int exit_unix_send(u64 sk, u32 tid, s32 fd, const struct moment *send, bool is_short)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct socket_state *state;

	if (!send)
		return 0;
	is_short = is_short || (!send->requested_bytes && wmem_bytes(sk) >= sndbuf_bytes(sk));
	state = is_short || fd == trace_fd ? know_unix_socket(sk, pid) : find_socket(sk);
	if (!state)
		return 0;
	if (!is_same_unix_socket(state, sk)) {
		forget_unix_socket(state, sk);
		return 0;
	}
	state->tid = tid;
	state->fd = fd;
	report_moment(state, sk, send);
	if (is_short && state->stage == STALL_NONE)
		begin_unix_stall(state, sk, send->time_ns);
	return 0;
}

/* A send begins on a socket that was stalled. */
static __noinline int enter_unix_send(struct socket_state *state, u64 sk, u64 now_ns)
{
	u64 opened_ns = now_ns;
	bool opened;

	if (!state)
		return 0;
	if (!is_same_unix_socket(state, sk)) {
		forget_unix_socket(state, sk);
		return 0;
	}
	/* Freed without being read, as where the peer has closed: when, was not seen. */
	if (state->stage == STALL_FULL && is_unix_writable(sk, 0))
		raise_unix(state, sk, now_ns, wmem_bytes(sk));
	opened = state->stage != STALL_FULL;
	if (opened)
		opened_ns = state->cause_ns ? state->cause_ns : state->raised_ns;
	else
		note_unix_levels(state, wmem_bytes(sk), sk);
	if (opened_ns > state->start_ns)
		state->limit_ns[RECORD_LIMIT_PEER_READS] = opened_ns - state->start_ns;
	end_unix_stall(state);
	report_stall(state, opened, now_ns);
	return 0;
}

/* The peer has read a message to its end, and its memory is about to be given back. */
static __noinline int note_consumed(u64 sk, u32 bytes, u32 truesize, u64 now_ns)
{
	u32 zero = 0, before = wmem_bytes(sk), after = before > truesize ? before - truesize : 0;
	struct socket_state *state = find_socket(sk);
	struct moment moment = {.kind = SOCKET_ACK, .time_ns = now_ns, .done_bytes = bytes};
	u64 *opened = bpf_map_lookup_elem(&unix_opened, &zero);

	if (!state || !opened || state->addresses.family != AF_UNIX || state->stage == STALL_NONE)
		return 0;
	unix_peer(state)->pid = bpf_get_current_pid_tgid() >> 32;
	unix_peer(state)->seen = 1;
	state->acks++;
	state->acked_bytes += bytes;
	moment.tid = state->tid;
	moment.queued_before_bytes = before;
	moment.freed_bytes = before - after;
	moment.cause = state->stage == STALL_FULL && is_unix_writable(sk, truesize);
	report_moment(state, sk, &moment);
	if (!moment.cause)
		return 0;
	state->cause_ns = now_ns;
	raise_unix(state, sk, now_ns, after);
	*opened = sk;
	return 0;
}

/* A thread is woken on a CPU that has just given memory back: if it waited for that, this is the write event. */
static __noinline int note_unix_wake(u32 tid, u64 now_ns)
{
	struct socket_state *state;
	u32 zero = 0;
	u64 *opened = bpf_map_lookup_elem(&unix_opened, &zero);

	if (!opened || !*opened)
		return 0;
	state = find_socket(*opened);
	*opened = 0;
	if (!state || state->tid != tid || state->stage != STALL_RAISED || !state->raised_to_wait)
		return 0;
	state->raised_ns = now_ns;
	state->raise_inferred = 0;
	return 0;
}

/* Of the current process. Its stall is over without another send, and is not told. */
static __always_inline void note_unix_close(s32 fd)
{
	struct sock *sock;
	struct socket_state *state;
	u64 sk;

	if (unix_stalls_open <= 0)
		return;
	sock = file_to_sock((struct file *)fd_to_file(fd));
	sk = as_number((u64)sock);
	state = sock ? find_socket(sk) : NULL;
	if (state && state->addresses.family == AF_UNIX)
		forget_unix_socket(state, sk);
}

#endif
