/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_UNIX_BPF_H
#define STINT_PROBES_UNIX_BPF_H

/*
 * Write stalls of unix-domain sockets, in the same stages. There are no ACKs: memory comes back as the peer has
 * read a message to its end. The kernel then frees it by consume_skb(), whose tracepoint comes first; sock_wfree() takes
 * its memory off the sender's account and calls unix_write_space(), which wakes who waits for EPOLLOUT if
 * 4 * sk_wmem_alloc <= sk_sndbuf (unix_writable). That is done in the peer's own read, so the current process is the
 * one that reads.
 *
 * Datagrams that are sent to a socket which is not connected back (a logger's) also wait for the length of its queue.
 * That gets shorter with any sender's message, before the memory of that is given back, and the kernel wakes those who
 * found it full: a thread that is woken then, and was refused, has its write event (`queue_sk`). One that does not sleep is
 * found to have had it as a message of its own is given back, or at its next send. Who sends to an address without being
 * connected waits for no event of a full queue, and that is no stall.
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

/* No tracepoint tells of a unix socket's end, and its memory may be another's since. */
static __always_inline bool is_same_unix_socket(struct socket_state *state, u64 sk)
{
	return socket_inode(sk) == unix_local(state)->inode;
}

/* All the time until the buffer opened went by because the peer did not read. */
static __always_inline void note_peer_read(struct socket_state *state, bool opened, u64 now_ns)
{
	u64 opened_ns = now_ns;

	if (opened)
		opened_ns = state->cause_ns ? state->cause_ns : state->raised_ns;
	if (opened_ns > state->start_ns)
		state->limit_ns[RECORD_LIMIT_PEER_READS] = opened_ns - state->start_ns;
}

/* True if there was one, which is the caller's to tell. */
static __always_inline bool leave_unix_stall(struct socket_state *state)
{
	if (leave_stall(state) < STALL_FULL)
		return false;
	__sync_fetch_and_add(&unix_stalls_open, -1);
	return true;
}

/* The end of a stall, or as it is now if it goes on (RECORD_OPEN). */
static __always_inline void tell_unix_stall(struct socket_state *state, bool opened, u64 now_ns, u32 ending)
{
	note_peer_read(state, opened, now_ns);
	if (ending == RECORD_OPEN || leave_unix_stall(state))
		report_stall(state, opened, now_ns, ending);
}

/* The socket is no more, or about to be closed: that is the end of its stall. */
static __noinline int forget_unix_socket(struct socket_state *state, u64 sk, u64 now_ns)
{
	if (!state)
		return 0;
	tell_unix_stall(state, state->stage != STALL_FULL, now_ns, RECORD_CLOSED);
	if (bpf_map_delete_elem(&sockets, &sk) == 0) /* else another CPU has */
		__sync_fetch_and_add(&sockets_known, -1);
	return 0;
}

static __noinline struct socket_state *know_unix_socket(u64 sk, u32 pid)
{
	struct socket_state *state = find_socket(sk);
	struct record_unix_end *peer;

	if (state && !is_same_unix_socket(state, sk)) {
		forget_unix_socket(state, sk, bpf_ktime_get_ns());
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
	bool to_wait;

	if (!state || state->stage != STALL_FULL)
		return 0;
	moment.freed_bytes = wmem > queued ? wmem - queued : 0;
	to_wait = waits_for_write(state->tid, sk); /* before, as in raise() */
	if (!enter_stage(state, STALL_FULL, STALL_RAISED))
		return 0;
	state->raised_ns = now_ns;
	state->raised_to_wait = to_wait;
	state->raise_inferred = 1;
	note_unix_levels(state, queued, sk);
	raise_for(state, sk, state->tid, now_ns);
	moment.tid = state->tid;
	report_moment(state, sk, &moment);
	return 0;
}

static __always_inline void note_queue_waited_for(u32 tid, u64 sk)
{
	struct thread *thread = find_thread(tid);

	if (thread)
		thread->queue_sk = sk;
}

static __always_inline void begin_unix_stall(struct socket_state *state, u64 sk, u64 now_ns)
{
	if (!enter_stage(state, STALL_NONE, STALL_BEGINS)) /* another thread's send has begun one */
		return;
	state->start_ns = now_ns;
	state->cause_ns = 0;
	state->raised_ns = 0;
	state->on_cpu_ns = 0;
	state->returned_ns = 0;
	state->acked_bytes = 0;
	state->acks = 0;
	state->retransmits = 0;
	state->raise_inferred = 0;
	state->raised_tid = 0;
	state->alarm = 0;
	state->by_lowat = 0;
	state->by_queue = is_peer_queue_full(sk);
	state->snd_wnd_min_bytes = 0;
	for (u32 i = 0; i < RECORD_LIMITS; i++)
		state->limit_ns[i] = 0;
	note_unix_levels(state, wmem_bytes(sk), sk);
	__sync_fetch_and_add(&stalls_open, 1);
	__sync_fetch_and_add(&unix_stalls_open, 1);
	enter_stage(state, STALL_BEGINS, STALL_FULL);
	if (state->by_queue)
		note_queue_waited_for(state->tid, sk);
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
		forget_unix_socket(state, sk, send->time_ns);
		return 0;
	}
	state->tid = tid;
	state->fd = fd;
	report_moment(state, sk, send);
	/* Refused for what it was sent to: of that no event will come. */
	if (is_short && !unix_peer_sock(sk) && wmem_bytes(sk) < sndbuf_bytes(sk))
		return 0;
	if (is_short)
		begin_unix_stall(state, sk, send->time_ns);
	return 0;
}

/* As end_stall(). */
static __noinline int end_unix_stall(struct socket_state *state, u64 sk, u64 now_ns, u32 ending)
{
	bool opened;

	if (!state)
		return 0;
	/* Freed without being read, as where the peer has closed: when, was not seen. */
	if (state->stage == STALL_FULL && is_unix_writable(sk, 0))
		raise_unix(state, sk, now_ns, wmem_bytes(sk));
	opened = state->stage != STALL_FULL;
	if (!opened)
		note_unix_levels(state, wmem_bytes(sk), sk);
	tell_unix_stall(state, opened, now_ns, ending);
	return 0;
}

/* A send begins on a socket that was stalled. */
static __always_inline void enter_unix_send(struct socket_state *state, u64 sk, u64 now_ns)
{
	if (is_same_unix_socket(state, sk))
		end_unix_stall(state, sk, now_ns, RECORD_SENT);
	else
		forget_unix_socket(state, sk, now_ns);
}

/* The peer has read a message to its end, and its memory is about to be given back. */
static __noinline int note_consumed(u64 sk, u32 bytes, u32 truesize, u64 now_ns)
{
	u32 zero = 0, before = wmem_bytes(sk), after = before > truesize ? before - truesize : 0;
	struct socket_state *state = find_socket(sk);
	struct moment moment = {.kind = SOCKET_ACK, .time_ns = now_ns, .done_bytes = bytes};
	u64 *opened = bpf_map_lookup_elem(&unix_opened, &zero);

	if (!state || !opened || state->addresses.family != AF_UNIX || !is_stalled(state))
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

/* A thread is woken by who has just received from a queue that it found full: that is its write event. */
static __noinline int note_queue_wake(struct thread *thread, u64 now_ns)
{
	struct socket_state *state;
	u64 sk;

	if (!thread)
		return 0;
	sk = thread->queue_sk;
	state = find_socket(sk);
	if (!state || !state->by_queue || state->stage != STALL_FULL) {
		thread->queue_sk = 0;
		return 0;
	}
	if (!is_unix_writable(sk, 0))
		return 0;
	thread->queue_sk = 0;
	unix_peer(state)->pid = bpf_get_current_pid_tgid() >> 32;
	unix_peer(state)->seen = 1;
	state->cause_ns = now_ns;
	raise_unix(state, sk, now_ns, wmem_bytes(sk));
	state->raise_inferred = 0;
	return 0;
}

/* A thread is woken on a CPU that has just given memory back: if it waited for that, this is the write event. */
static __noinline int note_unix_wake(struct thread *thread, u64 now_ns)
{
	struct socket_state *state;
	u32 zero = 0;
	u64 *opened = bpf_map_lookup_elem(&unix_opened, &zero);

	if (!thread || !opened)
		return 0;
	if (thread->queue_sk && thread->state == THREAD_WAITING)
		note_queue_wake(thread, now_ns);
	if (!*opened)
		return 0;
	state = find_socket(*opened);
	*opened = 0;
	if (!state || state->tid != thread->tid || state->stage != STALL_RAISED || !state->raised_to_wait)
		return 0;
	state->raised_ns = now_ns;
	state->raise_inferred = 0;
	return 0;
}

/* Of the current process, which is the one that sent, and so its descriptor: others may have it too, and keep it. */
static __always_inline void note_unix_close(u32 pid, s32 fd, u64 now_ns)
{
	struct sock *sock;
	struct socket_state *state;
	u64 sk;

	if (unix_stalls_open <= 0)
		return;
	sock = file_to_sock((struct file *)fd_to_file(fd));
	sk = as_number((u64)sock);
	state = sock ? find_socket(sk) : NULL;
	if (!state || state->addresses.family != AF_UNIX || state->pid != pid || state->fd != fd)
		return;
	if (is_same_unix_socket(state, sk) && is_stalled(state))
		end_unix_stall(state, sk, now_ns, RECORD_CLOSED);
	forget_unix_socket(state, sk, now_ns);
}

struct exit_of {
	u32 pid;
	u32 reserved;
	u64 time_ns;
};

/* No tracepoint tells which sockets a process closes as it exits. */
static long end_unix_stall_of(struct bpf_map *map, const u64 *key, struct socket_state *state,
			      struct exit_of *exit_of)
{
	if (state->addresses.family != AF_UNIX || state->pid != exit_of->pid || !is_stalled(state))
		return 0;
	tell_unix_stall(state, state->stage != STALL_FULL, exit_of->time_ns, RECORD_CLOSED);
	return 0;
}

static __always_inline void note_unix_exit(u32 pid)
{
	struct exit_of exit_of = {.pid = pid};

	if (unix_stalls_open <= 0)
		return;
	exit_of.time_ns = bpf_ktime_get_ns();
	bpf_for_each_map_elem(&sockets, end_unix_stall_of, &exit_of, 0);
}

#endif
