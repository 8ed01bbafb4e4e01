/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_URING_BPF_H
#define STINT_PROBES_URING_BPF_H

/*
 * Programs that wait in io_uring_enter(): what completed, and what they send.
 *
 * A ring is known from the first wait of a watched thread on; the tracepoints of io_uring are attached only while one is.
 *   submit    the descriptor of a request and how much it has to send, which the kernel does not keep: read off the
 *             submission queue, where it stands still
 *   task_add  what a request waits for has come about: the poll that io_uring armed for it was woken
 *   poll_arm  a request could not be done at once; if it sends, it found the buffer full (or took a part of it)
 *   complete  a completion was put into the queue, at a place that is noted: so as the wait returns it is known which are
 *             there
 *
 * What a request is about is told by its file, for as long as it is held: until after its completion.
 *
 * What the program does with completions is seen only where it makes system calls. So service is told of those on whose
 * descriptor it makes one, as of a poll()'s; and of a completion that was the only one that it took in its iteration,
 * which then is all its. The wait is from the completion to the return of the wait.
 *
 * Sends: a completion with less than what was asked for, or with EAGAIN, or a poll that a send was armed for, begin a write
 * stall; the kernel's own next try ends it, which is seen as the request completes, or is armed again with some of its
 * data taken. Sends in the kernel's worker threads block there, and are not told.
 */

#define RINGS_MAX         64
#define RING_REQUESTS_MAX 8192
#define RING_LOG          TURNS_MAX /* a power of two */

#define IORING_SETUP_SQE128     (1u << 10)
#define IORING_SETUP_NO_SQARRAY (1u << 16)
#define IOSQE_FIXED_FILE        (1u << 0)
#define IORING_CQE_F_MORE       (1u << 1)

/* include/uapi/linux/io_uring.h; they never change */
enum ring_op {
	RING_WRITEV = 2,
	RING_POLL_ADD = 6,
	RING_SENDMSG = 9,
	RING_RECVMSG = 10,
	RING_TIMEOUT = 11,
	RING_ACCEPT = 13,
	RING_LINK_TIMEOUT = 15,
	RING_WRITE = 23,
	RING_SEND = 26,
	RING_RECV = 27,
	RING_SEND_ZC = 47,
	RING_SENDMSG_ZC = 48,
	RING_READ_MULTISHOT = 49,
	RING_NO_OP = 255,
};

/* A request that is under way. */
struct ring_request {
	u64 requested_bytes; /* of a send; 0: not known */
	u64 ready_ns;        /* what it waits for came about; 0: it did not */
	s32 fd;              /* -1: not known, or none of the process' */
	u32 reserved;
};

/* A completion that the program may not have seen yet. */
struct ring_completion {
	u64 ready_ns;
	u64 completed_ns;
	u64 sock; /* of a poll; else 0 */
	u32 position;
	u32 events; /* of a poll: what it found */
	s32 fd;
	u32 filled;
	struct role_key role;
};

struct ring {
	u64 address; /* of the struct io_ring_ctx */
	u32 pid;
	u32 tid; /* that waited for it last */
	struct ring_completion log[RING_LOG];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RINGS_MAX);
	__type(key, u64); /* its address */
	__type(value, struct ring);
} rings SEC(".maps");

/* A new ring starts as a copy of this: the struct is too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ring);
} empty_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, RING_REQUESTS_MAX);
	__type(key, u64); /* address of the struct io_kiocb */
	__type(value, struct ring_request);
} ring_requests SEC(".maps");

struct ring_shot {
	u64 ring;
	u64 user_data;
};

/* The request whose further completions have no request with them: it has several. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, RING_REQUESTS_MAX);
	__type(key, struct ring_shot);
	__type(value, u64);
} ring_shots SEC(".maps");

__s64 rings_known;
/* User space has attached the programs for them. */
__u32 rings_followed;

/* ---- rings ---- */

static __always_inline struct ring *find_ring(u64 ring)
{
	return bpf_map_lookup_elem(&rings, &ring);
}

/* A watched thread waits for the ring of that descriptor. */
static __noinline int know_ring(struct thread *thread, s32 fd, u64 flags)
{
	struct file *file = (struct file *)ring_file(fd, flags);
	struct ring *ring, *empty;
	u32 zero = 0;
	u64 address;

	if (!thread || !file)
		return 0;
	address = (u64)BPF_CORE_READ(file, private_data);
	ring = find_ring(address);
	if (!ring) {
		empty = bpf_map_lookup_elem(&empty_ring, &zero);
		if (!empty || bpf_map_update_elem(&rings, &address, empty, BPF_NOEXIST) != 0) {
			lost_entry();
			return 0;
		}
		__sync_fetch_and_add(&rings_known, 1);
		ring = find_ring(address);
	}
	if (!ring)
		return 0;
	ring->address = address;
	ring->pid = thread->pid;
	ring->tid = thread->tid;
	thread->ring = address;
	return 0;
}

static __always_inline void forget_ring(u64 address)
{
	if (address && bpf_map_delete_elem(&rings, &address) == 0)
		__sync_fetch_and_add(&rings_known, -1);
}

/* A descriptor of the current process is about to be closed. */
static __noinline int note_ring_close(s32 fd)
{
	struct file *file = rings_known > 0 ? (struct file *)fd_to_file(fd) : NULL;

	if (file)
		forget_ring((u64)BPF_CORE_READ(file, private_data));
	return 0;
}

/* ---- requests ---- */

/* User space's struct io_uring_sqe, the part that matters. */
struct ring_sqe {
	u8 opcode;
	u8 flags;
	u16 ioprio;
	s32 fd;
	u64 offset;
	u64 address;
	u32 bytes;
	u32 op_flags;
	u64 user_data;
};

/* The last one that the kernel took from the queue; false if it cannot be read. */
static __noinline bool read_last_sqe(struct ring_sqe *ret, u64 address)
{
	struct io_ring_ctx *ring = (struct io_ring_ctx *)address;
	u32 at = BPF_CORE_READ(ring, cached_sq_head) - 1, entries = BPF_CORE_READ(ring, sq_entries);
	u32 flags = BPF_CORE_READ(ring, flags);
	u32 *array = BPF_CORE_READ(ring, sq_array);

	if (!ret || !entries)
		return false;
	at &= entries - 1;
	if (!(flags & IORING_SETUP_NO_SQARRAY) &&
	    (bpf_probe_read_kernel(&at, sizeof(at), array + at) != 0 || at >= entries))
		return false;
	if (flags & IORING_SETUP_SQE128)
		at <<= 1;
	return bpf_probe_read_kernel(ret, sizeof(*ret),
				     (void *)((u64)BPF_CORE_READ(ring, sq_sqes) + at * 64ull)) == 0;
}

static __always_inline bool ring_sends(u8 opcode)
{
	return opcode == RING_SEND || opcode == RING_SENDMSG || opcode == RING_WRITE ||
	       opcode == RING_WRITEV || opcode == RING_SEND_ZC || opcode == RING_SENDMSG_ZC;
}

static __always_inline bool ring_repeats(u8 opcode)
{
	return opcode == RING_POLL_ADD || opcode == RING_ACCEPT || opcode == RING_RECV ||
	       opcode == RING_RECVMSG || opcode == RING_TIMEOUT || opcode == RING_READ_MULTISHOT;
}

static __always_inline u64 ring_requested(const struct ring_sqe *sqe)
{
	struct user_message message;

	switch (sqe->opcode) {
	case RING_SEND:
	case RING_SEND_ZC:
	case RING_WRITE:
		return sqe->bytes;
	case RING_WRITEV:
		return vectors_bytes(sqe->address, sqe->bytes);
	case RING_SENDMSG:
	case RING_SENDMSG_ZC:
		if (bpf_probe_read_user(&message, sizeof(message), (void *)sqe->address) != 0)
			return 0;
		return vectors_bytes(message.vectors, message.count);
	default:
		return 0;
	}
}

static __always_inline void note_repeating(u64 ring, u64 user_data, u64 req)
{
	struct ring_shot shot = {.ring = ring, .user_data = user_data};

	bpf_map_update_elem(&ring_shots, &shot, &req, BPF_ANY);
}

/* A request was taken from the submission queue. */
static __noinline int note_submitted(u64 req)
{
	struct io_kiocb *request = (struct io_kiocb *)req;
	u64 ring = (u64)BPF_CORE_READ(request, ctx);
	struct ring_request fresh = {.fd = -1};
	struct ring_sqe sqe;
	u64 user_data;
	u8 opcode;

	if (!find_ring(ring))
		return 0;
	user_data = BPF_CORE_READ(request, cqe.user_data);
	opcode = BPF_CORE_READ(request, opcode);
	if (read_last_sqe(&sqe, ring) && sqe.opcode == opcode && sqe.user_data == user_data) {
		fresh.fd = sqe.flags & IOSQE_FIXED_FILE ? -1 : sqe.fd;
		fresh.requested_bytes = ring_requested(&sqe);
	}
	bpf_map_update_elem(&ring_requests, &req, &fresh, BPF_ANY);
	if (ring_repeats(opcode))
		note_repeating(ring, user_data, req);
	return 0;
}

/* Of the completions of a request but its last one, the kernel does not tell whose they are. */
static __always_inline u64 find_repeating(u64 ring, u64 user_data)
{
	struct ring_shot shot = {.ring = ring, .user_data = user_data};
	u64 *req = bpf_map_lookup_elem(&ring_shots, &shot);
	struct io_kiocb *request = req ? (struct io_kiocb *)*req : NULL;

	if (!request || (u64)BPF_CORE_READ(request, ctx) != ring ||
	    BPF_CORE_READ(request, cqe.user_data) != user_data)
		return 0;
	return (u64)request;
}

/* ---- sends ---- */

static __always_inline u64 ring_sock(const struct io_kiocb *request)
{
	return sock_that_stalls(file_to_sock(BPF_CORE_READ(request, file)));
}

static __always_inline u32 ring_write_seq(u64 sk)
{
	return BPF_CORE_READ((struct tcp_sock *)sk, write_seq);
}

/*
 * Where the kernel tries again by itself, no wait has returned the event: from the CPU on, all is its own way to the
 * send.
 */
static __always_inline void end_ring_stall(struct socket_state *state, u64 sk, u32 tid, u64 now_ns)
{
	struct thread *thread = find_thread(tid);

	if (state->stage == STALL_RAISED && thread)
		note_got_cpu(state, thread, now_ns);
	end_by_send(state, sk, now_ns);
}

/* A send through the ring is over, or found the buffer full. A stall of that socket ends with it. */
static __always_inline int note_ring_send(struct ring *ring, u64 sk, s32 fd, struct moment *moment,
					  bool is_short)
{
	struct socket_state *state = stalls_open > 0 ? find_socket(sk) : NULL;

	if (!ring || !moment)
		return 0;
	moment->tid = ring->tid;
	if (state && is_stalled(state))
		end_ring_stall(state, sk, ring->tid, moment->time_ns);
	note_send(sk, ring->pid, fd, moment, is_short);
	state = is_short ? find_socket(sk) : NULL;
	if (state && state->addresses.family != AF_UNIX)
		state->write_seq = ring_write_seq(sk);
	return 0;
}

/* Did the kernel's new try take anything? What it tries again after an event of a unix socket does. */
static __always_inline bool took_some(const struct socket_state *state, u64 sk,
				      const struct ring_request *known)
{
	if (state->addresses.family == AF_UNIX)
		return known && known->ready_ns;
	return state->write_seq != ring_write_seq(sk);
}

/* How much of a send was taken that goes on. */
static __always_inline u64 ring_done(const struct io_kiocb *request, u8 opcode)
{
	const struct io_sr_msg *send = (const struct io_sr_msg *)request;

	if (opcode == RING_WRITE || opcode == RING_WRITEV ||
	    !bpf_core_field_exists(struct io_sr_msg, done_io))
		return 0;
	return BPF_CORE_READ(send, done_io);
}

/* A request waits for its file. */
static __always_inline int note_armed(u64 req, u32 events)
{
	struct io_kiocb *request = (struct io_kiocb *)req;
	struct ring *ring = events & EPOLLOUT ? find_ring((u64)BPF_CORE_READ(request, ctx)) : NULL;
	struct moment moment = {0};
	struct ring_request *known;
	struct socket_state *state;
	u8 opcode;
	u64 sk;

	if (!ring)
		return 0;
	opcode = BPF_CORE_READ(request, opcode);
	if (!ring_sends(opcode))
		return 0;
	moment.time_ns = bpf_ktime_get_ns();
	known = bpf_map_lookup_elem(&ring_requests, &req);
	sk = ring_sock(request);
	state = sk ? find_socket(sk) : NULL;
	if (!sk || (state && is_stalled(state) && !took_some(state, sk, known)))
		return 0;
	moment.requested_bytes = known ? known->requested_bytes : 0;
	moment.done_bytes = ring_done(request, opcode);
	note_ring_send(ring, sk, known ? known->fd : -1, &moment, true);
	if (known)
		known->ready_ns = 0;
	return 0;
}

static __always_inline bool waits_for_space(u8 opcode, u32 events)
{
	return ring_sends(opcode) || (opcode == RING_POLL_ADD && events & EPOLLOUT);
}

/* What a request waits for has come about: of one that waits for space that is the write event. */
static __noinline int note_came_about(u64 req, u32 events)
{
	struct io_kiocb *request = (struct io_kiocb *)req;
	u64 address = (u64)BPF_CORE_READ(request, ctx);
	struct ring *ring = find_ring(address);
	struct ring_request fresh = {.fd = -1}, *known;
	struct socket_state *state;
	u64 sk, now_ns;
	u8 opcode;

	if (!ring)
		return 0;
	now_ns = bpf_ktime_get_ns();
	opcode = BPF_CORE_READ(request, opcode);
	fresh.ready_ns = now_ns;
	known = bpf_map_lookup_elem(&ring_requests, &req);
	if (known && !known->ready_ns)
		known->ready_ns = now_ns;
	if (!known) { /* it is older than what is known of the ring */
		bpf_map_update_elem(&ring_requests, &req, &fresh, BPF_ANY);
		if (ring_repeats(opcode))
			note_repeating(address, BPF_CORE_READ(request, cqe.user_data), req);
	}
	if (stalls_open <= 0 || !waits_for_space(opcode, events))
		return 0;
	sk = ring_sock(request);
	state = sk ? find_socket(sk) : NULL;
	if (!state || !is_stalled(state))
		return 0;
	state->told_ring = 1;
	if (state->addresses.family != AF_UNIX)
		settle(state, sk, now_ns, ring->tid, false);
	return 0;
}

/* A request is over, which may have been a send. Inline, for the stack's sake. */
static __always_inline int note_completed_send(struct ring *ring, u64 req, s32 result, u64 now_ns)
{
	struct io_kiocb *request = (struct io_kiocb *)req;
	struct moment moment = {.time_ns = now_ns, .done_bytes = result > 0 ? (u32)result : 0};
	struct ring_request *known;
	u64 sk;

	if (!req || !ring_sends(BPF_CORE_READ(request, opcode)) || (result < 0 && result != -EAGAIN))
		return 0;
	sk = ring_sock(request);
	known = bpf_map_lookup_elem(&ring_requests, &req);
	if (!sk)
		return 0;
	moment.requested_bytes = known ? known->requested_bytes : 0;
	return note_ring_send(ring, sk, known ? known->fd : -1, &moment,
			      result == -EAGAIN || (result > 0 && (u64)result < moment.requested_bytes));
}

/* ---- completions ---- */

static __always_inline void classify_request(struct role_key *role, const struct io_kiocb *request, u8 opcode)
{
	struct file *file = BPF_CORE_READ(request, file);

	if (opcode == RING_TIMEOUT || opcode == RING_LINK_TIMEOUT)
		role->kind = ROLE_TIMEOUT;
	else if (file)
		classify_file(role, file, file_to_sock(file), file_type(file));
	if (role->kind == ROLE_LISTENER)
		know_port((u64)file_to_sock(file));
}

/* Where in the queue it was put; NULL if the program has as many to look at as are kept. */
static __always_inline struct ring_completion *log_place(struct ring *ring)
{
	struct io_ring_ctx *context = (struct io_ring_ctx *)ring->address;
	u32 position = BPF_CORE_READ(context, cached_cq_tail) - 1;
	struct ring_completion *place = &ring->log[position & (RING_LOG - 1)];

	if (position - BPF_CORE_READ(context, rings, cq.head) >= RING_LOG)
		return NULL;
	place->position = position;
	place->filled = 1;
	return place;
}

/* `result_and_flags`: of the completion, in the low and in the high 32 bits. */
static __noinline int log_completion(struct ring *ring, u64 req, u64 user_data, u64 result_and_flags,
				     u64 now_ns)
{
	u32 flags = result_and_flags >> 32;
	s32 result = (s32)result_and_flags;
	struct ring_request *known = NULL;
	struct ring_completion *place;
	struct io_kiocb *request;
	u8 opcode = RING_NO_OP;

	if (!ring || ring->pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	req = req ? req : find_repeating(ring->address, user_data);
	request = (struct io_kiocb *)req;
	if (request) {
		opcode = BPF_CORE_READ(request, opcode);
		known = bpf_map_lookup_elem(&ring_requests, &req);
	}
	place = log_place(ring);
	if (place) {
		place->completed_ns = now_ns;
		place->ready_ns = known ? known->ready_ns : 0;
		place->fd = known ? known->fd : -1;
		place->events = opcode == RING_POLL_ADD && result > 0 ? (u32)result : 0;
		place->sock = place->events & EPOLLOUT ? ring_sock(request) : 0;
		__builtin_memset(&place->role, 0, sizeof(place->role));
		if (request)
			classify_request(&place->role, request, opcode);
	}
	if (known)
		known->ready_ns = 0; /* it may have several */
	if (request && !(flags & IORING_CQE_F_MORE))
		bpf_map_delete_elem(&ring_requests, &req);
	return 0;
}

/* The send first, as logging forgets the request. */
static __always_inline int note_completion(struct ring *ring, u64 req, u64 user_data, s32 result, u32 flags)
{
	u64 now_ns = bpf_ktime_get_ns();

	note_completed_send(ring, req, result, now_ns);
	return log_completion(ring, req, user_data, (u64)flags << 32 | (u32)result, now_ns);
}

/* ---- iterations ---- */

/* Not static: the verifier goes through it once, and not once for each completion and each way through those before. */
__noinline int take_completion(struct thread *thread, struct ring *ring, u32 position, u64 now_ns)
{
	struct ring_completion *from;
	struct role_counters *role;
	struct socket_state *state;
	struct turns *turns;
	u32 at;

	if (!thread || !ring)
		return 0;
	turns = &thread->turns;
	at = turns->len & (TURNS_MAX - 1);
	turns->len++;
	from = &ring->log[position & (RING_LOG - 1)];
	turns->event[at].data_high = 1; /* no descriptor's */
	turns->turn[at].role_slot = ROLE_NO_SLOT;
	if (!from->filled || from->position != position)
		return 0;
	from->filled = 0;
	if (from->fd >= 0) {
		turns->event[at].data_low = (u32)from->fd;
		turns->event[at].data_high = 0;
		thread->ready[thread->ready_len & (THREAD_READY - 1)] =
			(u64)from->events << 32 | (u32)from->fd;
		thread->ready_len++;
	}
	turns->turn[at].role_slot = thread_role(thread, &from->role);
	role = role_at(turns->turn[at].role_slot);
	if (role) {
		/* Another CPU, as a worker of the kernel's, may have completed it since the wait returned. */
		count_role(role, ROLE_WAIT, now_ns > from->completed_ns ? now_ns - from->completed_ns : 0);
		if (from->ready_ns)
			count_arrival(role, thread, 0, from->ready_ns, now_ns);
	}
	state = from->sock ? find_socket(from->sock) : NULL;
	if (state && state->stage == STALL_RAISED)
		mark_returned(state, from->sock, thread, now_ns);
	return 0;
}

/* A wait for the thread's ring has returned: what is in the completion queue. */
__noinline int begin_ring_turns(struct thread *thread, u64 now_ns)
{
	struct io_ring_ctx *context;
	struct ring *ring;
	u32 head, ready;

	if (!thread)
		return 0;
	reset_turns(&thread->turns);
	ring = thread->ring ? find_ring(thread->ring) : NULL;
	if (!ring || !rings_followed) {
		thread->turns.flags = TURNS_SKIPPED;
		return 0;
	}
	context = (struct io_ring_ctx *)thread->ring;
	head = BPF_CORE_READ(context, rings, cq.head);
	ready = BPF_CORE_READ(context, rings, cq.tail) - head;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= ready)
			break;
		take_completion(thread, ring, head + i, now_ns);
	}
	thread->turns.left = thread->turns.len;
	thread->turns.ring_head = head;
	if (ready == 1)
		thread->turns.flags = TURNS_ALONE;
	return 0;
}

/* As it returned; the first one of a thread may have been under way when stint came. */
static __always_inline void exit_ring_wait(struct thread *thread, const struct pt_regs *regs, u64 now_ns)
{
	if (!thread->ring)
		know_ring(thread, (s32)regs->di, regs->r10);
	begin_ring_turns(thread, now_ns);
}

#endif
