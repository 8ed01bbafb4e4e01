/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SOCKET_BPF_H
#define STINT_PROBES_SOCKET_BPF_H

/*
 * The table of sockets, and what the kernel's own socket tells. A socket is known from the first time that it
 * fills up, or that it is to be traced, until it is destroyed; others cost a comparison. `sockets_known` and
 * `stalls_open` keep the tracepoints that fire for everybody short.
 */

#define SOCKETS_MAX 4096

/*
 * Several CPUs may come to the same stall at once: threads that send on one socket, and softirqs. So a stage is only
 * left by an exchange, and what goes with it is done by whoever that succeeds for.
 */
enum stall_stage {
	STALL_NONE = 0,
	STALL_BEGINS, /* its moments are not filled in yet */
	STALL_FULL,
	STALL_RAISED,
	STALL_RETURNED,
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
	u32 unsent_bytes;
	u32 lowat_bytes;
	u32 raise_inferred;
	u32 snd_wnd_min_bytes;
	u32 retransmits;
	u32 by_lowat; /* the send was refused by TCP_NOTSENT_LOWAT, not by the buffer */
	u32 by_queue; /* the same by the length of a unix peer's queue */
	/*
	 * The send took all that it was given, and left too little space for a write event: that is a stall if its program
	 * asks for the event, and else dropped.
	 */
	u32 is_whole;
	u32 alarm; /* enum record_why + 1, once an alarm was given in this stall */

	/* An ACK that was announced by tcp_probe; what it did is seen at the next look. */
	u64 ack_time_ns; /* 0: none */
	u32 ack_bytes;
	u32 ack_queued_before;
	u32 ack_lacked; /* the bit was set then */
	u32 why_changed;
	u32 raised_to_wait; /* the event found its thread waiting for it */
	u32 raised_tid;     /* that thread; 0: none */
	u32 raised_at;      /* and its place among all that were raised for that */
	u32 reserved;
	u64 runnable_mark_ns; /* its time without a CPU, as it was raised, or had one for it */
	u64 segment_ns;       /* when any segment was announced that was not looked at since; 0: none was */
	u64 early_cause_ns;   /* the ACK that cleared the bit while no stall was known; 0: none */
	u64 last_ack_ns;      /* of the stall */
	u32 snd_una;          /* as the segments that were announced leave it, once `follows_una` is set */
	u32 follows_una;
	u32 write_seq; /* uring.bpf.h: as the send found it full */
	u32 told_ring; /* uring.bpf.h: a request that waits for space was told of it; the kernel keeps no trace of that */

	/* limit.bpf.h */
	u64 limit_since_ns;
	u64 let_go_ns; /* as it was at the last look */
	u32 limit;
	u32 timeouts; /* in a row, as the gap between two segments began */
	u64 gap_ns[RECORD_LIMITS];
	u64 limit_ns[RECORD_LIMITS];

	/* why.bpf.h: of all its stalls */
	u64 why_told;
	u64 why[RECORD_WHYS];

	/* life.bpf.h */
	u64 connecting_ns;  /* the SYN was sent, and that is still to be told; 0: not so */
	u64 established_ns; /* before its owner was known */
	u64 fin_ns;         /* received, and its read event is still to be told; 0: not so */
	u32 window_closed;

	struct record_addresses addresses;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SOCKETS_MAX);
	__type(key, u64); /* address of the struct sock */
	__type(value, struct socket_state);
} sockets SEC(".maps");

/* A new socket starts as a copy of this: the struct is too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct socket_state);
} empty_socket SEC(".maps");

static __always_inline bool is_stalled(const struct socket_state *state)
{
	return state->stage >= STALL_FULL;
}

static __always_inline bool enter_stage(struct socket_state *state, u32 from, u32 to)
{
	return __sync_val_compare_and_swap(&state->stage, from, to) == from;
}

__u64 socket_ids;
__s64 sockets_known;
__s64 stalls_open;

/*
 * The stage that the stall was in, which is the caller's to tell of now; below STALL_FULL: there is none. A stage only goes
 * up, so what is not there now, looked for from below, is not there at all; and one that begins meanwhile is another
 * stall's.
 */
static __always_inline u32 leave_stall(struct socket_state *state)
{
	if (!is_stalled(state))
		return STALL_NONE;
	for (u32 stage = STALL_FULL; stage <= STALL_RETURNED; stage++) {
		if (!enter_stage(state, stage, STALL_NONE))
			continue;
		__sync_fetch_and_add(&stalls_open, -1);
		return stage;
	}
	return STALL_NONE;
}

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

static __always_inline u32 sndbuf_bytes(u64 sk)
{
	return BPF_CORE_READ((struct sock *)sk, sk_sndbuf);
}

/* In the queue, and not yet handed to the network for the first time. */
static __always_inline u32 unsent_bytes(u64 sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	s32 unsent = (s32)(BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_nxt));

	return unsent > 0 ? (u32)unsent : 0;
}

/* TCP_NOTSENT_LOWAT, or else the sysctl of the socket's network; ~0 where neither is set. */
static __always_inline u32 lowat_bytes(u64 sk)
{
	u32 lowat = BPF_CORE_READ((struct tcp_sock *)sk, notsent_lowat);

	if (lowat)
		return lowat;
	return BPF_CORE_READ((struct sock *)sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_notsent_lowat);
}

/* The kernel's two conditions for the write event: sk_stream_write_space, __sk_stream_is_writeable(sk, 1). */
static __always_inline bool has_memory(u64 sk)
{
	u32 queued = queued_bytes(sk), sndbuf = sndbuf_bytes(sk);

	return queued < sndbuf && sndbuf - queued >= queued / 2;
}

static __always_inline bool has_room_unsent(u64 sk)
{
	return (u64)unsent_bytes(sk) * 2 < lowat_bytes(sk);
}

/* A thread inside a system call may be amid the processing of an ACK that had been put off. */
static __always_inline bool is_owned(u64 sk)
{
	return BPF_CORE_READ((struct sock *)sk, sk_lock.owned) != 0;
}

/*
 * Is anybody amid the processing of a segment, here or on another CPU? It is done under the socket's spinlock, or by
 * its owner. Where that is no mere spinlock (PREEMPT_RT), only the latter is known.
 */
static __always_inline bool is_in_use(u64 sk)
{
	u64 slock = sk + bpf_core_field_offset(struct sock, sk_lock.slock);
	u32 locked = 0;

	bpf_probe_read_kernel(&locked, sizeof(locked), (void *)slock);
	return locked || is_owned(sk);
}

/* One that was given back, as by a reset, was the connection's all the same. */
static __always_inline u16 local_port(const struct sock *sk)
{
	u16 port = BPF_CORE_READ(sk, __sk_common.skc_num);

	return port ? port : bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
}

static __noinline int read_addresses(struct record_addresses *addresses, u64 sk)
{
	struct sock *sock = (struct sock *)sk;

	if (!addresses)
		return 0;
	addresses->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	addresses->local_port = local_port(sock);
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

/* Of a unix socket: what its messages take that were not read to their end. */
static __always_inline u32 wmem_bytes(u64 sk)
{
	int refs = BPF_CORE_READ((struct sock *)sk, sk_wmem_alloc.refs.counter);

	return refs > 1 ? (u32)refs - 1 : 0; /* one reference is the socket's own */
}

/* 0 also where unix sockets are a module, of which the kernel's own types do not tell. */
static __always_inline u64 unix_peer_sock(u64 sk)
{
	return bpf_core_type_exists(struct unix_sock) ? (u64)BPF_CORE_READ((struct unix_sock *)sk, peer) : 0;
}

/*
 * Of datagrams, that the peer has not received as many as may wait (net.unix.max_dgram_qlen): unix_recvq_full(). It
 * does not hold for two that are connected with each other, as all streams and sequenced packets are.
 */
static __noinline bool is_peer_queue_full(u64 sk)
{
	struct sock *peer = (struct sock *)unix_peer_sock(sk);

	if (!peer || (u64)peer == sk || unix_peer_sock((u64)peer) == sk ||
	    BPF_CORE_READ((struct sock *)sk, sk_type) != SOCK_DGRAM)
		return false;
	return BPF_CORE_READ(peer, sk_receive_queue.qlen) > BPF_CORE_READ(peer, sk_max_ack_backlog);
}

/* As poll() has it, once `freed` bytes more are given back: unix_writable(), and for datagrams unix_dgram_poll(). */
static __always_inline bool is_unix_writable(u64 sk, u32 freed)
{
	u32 wmem = wmem_bytes(sk), left = wmem > freed ? wmem - freed : 0;

	return ((u64)left + 1) * 4 <= sndbuf_bytes(sk) && !is_peer_queue_full(sk);
}

static __always_inline struct sock *file_to_sock(const struct file *file)
{
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* Its address, if stalls of such sockets are told: TCP, and unix sockets of all kinds. Else 0. */
static __always_inline u64 sock_that_stalls(const struct sock *sk)
{
	if (!sk)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		return (u64)sk;
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? (u64)sk : 0;
}

/*
 * The socket behind a descriptor of the current task, if a send on it may find it full and return: one that is
 * non-blocking, by itself or by `flags` of the call (MSG_DONTWAIT). Else 0.
 */
__noinline u64 fd_to_sock(s32 fd, u32 flags)
{
	struct file *file = (struct file *)fd_to_file(fd);
	struct sock *sk = file_to_sock(file);

	if (!sk || (!(flags & MSG_DONTWAIT) && !(BPF_CORE_READ(file, f_flags) & O_NONBLOCK)))
		return 0;
	return sock_that_stalls(sk);
}

static __always_inline bool is_unix(u64 sk)
{
	return BPF_CORE_READ((struct sock *)sk, __sk_common.skc_family) == AF_UNIX;
}

static __noinline struct socket_state *know_socket(u64 sk, u32 pid)
{
	struct socket_state *empty, *state = find_socket(sk);
	u32 zero = 0;

	if (state)
		return state;
	empty = bpf_map_lookup_elem(&empty_socket, &zero);
	if (!empty || bpf_map_update_elem(&sockets, &sk, empty, BPF_NOEXIST) != 0) {
		state = find_socket(sk); /* another CPU was first */
		if (!state)
			lost_entry();
		return state;
	}
	__sync_fetch_and_add(&sockets_known, 1);
	mark_socket(sk);
	state = find_socket(sk);
	if (!state)
		return NULL;
	state->pid = pid;
	state->fd = -1;
	state->id = __sync_fetch_and_add(&socket_ids, 1) + 1;
	read_addresses(&state->addresses, sk);
	return state;
}

#endif
