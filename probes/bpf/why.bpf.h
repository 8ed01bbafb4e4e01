/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_WHY_BPF_H
#define STINT_PROBES_WHY_BPF_H

/*
 * Why no EPOLLOUT: what became of each ACK on a socket whose sender had found it full, and the alarm for one
 * that can be written to while its owner was told nothing.
 *
 * The kernel calls sk_write_space once an ACK has freed memory and SOCK_NOSPACE is set. That clears the bit
 * and wakes the wait queue if both of its conditions hold; epoll's entry there drops what its interest mask has not.
 * The mask is read from the registrations themselves (file->f_ep, struct epitem), not followed through epoll_ctl:
 * so it is right for registrations older than stint, and for those made through io_uring.
 */

#define REGISTRATIONS_MAX 8

/* Address of sk_stream_write_space; 0: not known, then a replacement is told by what replaces it. */
const volatile __u64 stream_write_space = 0;
const volatile __u64 alarm_ns = 1000000000;

/* What the registrations of a socket ask for, together. */
struct interest {
	u32 events;
	bool registered;  /* in any epoll set */
	bool other_waits; /* somebody waits for it by other means: poll(), io_uring, a blocked call */
};

static __always_inline struct hlist_node *first_registration(u64 sk)
{
	struct socket *socket = sk_socket(sk);
	struct file *file = socket ? BPF_CORE_READ(socket, file) : NULL;
	struct hlist_head *registrations = file ? BPF_CORE_READ(file, f_ep) : NULL;

	return registrations ? BPF_CORE_READ(registrations, first) : NULL;
}

__noinline int read_interest(struct interest *ret, u64 sk)
{
	struct socket *socket = sk_socket(sk);
	struct hlist_node *node = first_registration(sk);
	u64 offset = bpf_core_field_offset(struct epitem, fllink);

	if (!ret)
		return 0;
	*ret = (struct interest){0};
	for (u32 i = 0; i < REGISTRATIONS_MAX && node; i++) {
		struct epitem *item = (struct epitem *)((u64)node - offset);

		ret->events |= BPF_CORE_READ(item, event.events);
		ret->registered = true;
		node = BPF_CORE_READ(node, next);
	}
	if (socket && !ret->registered) {
		struct list_head *head = &socket->wq.wait.head;

		ret->other_waits = BPF_CORE_READ(head, next) != head;
	}
	return 0;
}

/* A one-shot registration that has told its event asks for nothing; what it asked for is not known any more. */
static __always_inline bool asks_for_write(const struct interest *interest)
{
	return (interest->events & (EPOLLOUT | EPOLLWRNORM)) || interest->other_waits;
}

static __always_inline bool write_space_replaced(u64 sk)
{
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;

	if (stream_write_space)
		return (u64)BPF_CORE_READ((struct sock *)sk, sk_write_space) != stream_write_space;
	return BPF_CORE_READ(icsk, icsk_ulp_ops) || BPF_CORE_READ((struct sock *)sk, sk_user_data);
}

/* The bit is still set after the ACK. */
static __noinline u32 why_not_raised(u64 sk)
{
	if (!has_memory(sk))
		return RECORD_WHY_ABOVE;
	if (!has_room_unsent(sk))
		return RECORD_WHY_UNSENT;
	return write_space_replaced(sk) ? RECORD_WHY_REPLACED : RECORD_WHY_OTHER;
}

/* Is the thread that is to write elsewhere than in its wait, and has been since `since_ns`? */
static __always_inline bool is_busy(u32 tid, u64 since_ns)
{
	struct thread *thread = find_thread(tid);

	return thread && thread->state == THREAD_DISPATCHING && thread->start_ns <= since_ns;
}

static __always_inline bool is_waiting(u32 tid)
{
	struct thread *thread = find_thread(tid);

	return thread && thread->state == THREAD_WAITING;
}

/* It is not in the poll() or select() that its loop waits in, so nobody can tell what it will ask there. */
static __always_inline bool may_ask_later(u32 tid, const struct interest *interest)
{
	struct thread *thread = interest->registered ? NULL : find_thread(tid);

	return thread && is_polling(thread) && thread->state == THREAD_DISPATCHING;
}

/* Does the thread wait, and does a registration ask for EPOLLOUT? */
static __noinline bool waits_for_write(u32 tid, u64 sk)
{
	struct interest interest;

	if (!is_waiting(tid))
		return false;
	read_interest(&interest, sk);
	return asks_for_write(&interest);
}

/* Did the thread wait again after `since_ns`? */
static __always_inline bool waited_since(u32 tid, u64 since_ns)
{
	struct thread *thread = find_thread(tid);

	return thread && thread->wait_start_ns > since_ns;
}

/* Has it been in the same iteration for longer than that may take? */
static __always_inline bool is_beyond_budget(u32 tid, u64 now_ns)
{
	return now_ns > budget_ns && is_busy(tid, now_ns - budget_ns);
}

/* The kernel has raised the event, in this ACK or before. RECORD_WHYS: its owner is told by it. */
static __noinline u32 why_not_told(struct socket_state *state, u64 sk, bool by_this_ack, u64 now_ns)
{
	struct interest interest;

	if (!state)
		return RECORD_WHY_OTHER;
	read_interest(&interest, sk);
	if (state->stage == STALL_RETURNED) {
		if ((interest.events & EPOLLET) && waited_since(state->tid, state->returned_ns))
			return RECORD_WHY_EDGE;
	} else if (!asks_for_write(&interest) && !state->told_ring && !may_ask_later(state->tid, &interest)) {
		return RECORD_WHY_NOT_ARMED;
	}
	if (by_this_ack)
		return RECORD_WHYS;
	return is_beyond_budget(state->tid, now_ns) ? RECORD_WHY_LOOP_BUSY : RECORD_WHY_TOLD;
}

/* Called for each ACK of a stall, after it was processed: `opened` if it was this one that opened the buffer. */
static __noinline int account_ack(struct socket_state *state, u64 sk, bool opened, u64 time_ns)
{
	u32 why;

	if (!state)
		return 0;
	why = state->stage == STALL_FULL && !opened ? why_not_raised(sk)
						    : why_not_told(state, sk, opened, time_ns);
	state->why_changed = 1;
	if (why < RECORD_WHYS)
		state->why[why]++;
	else
		state->why_told++;
	return 0;
}

/* The ACK that made the event came before the send returned that it is the event of. It counts if it told. */
static __noinline int account_early_cause(struct socket_state *state, u64 sk)
{
	struct interest interest;

	if (!state)
		return 0;
	read_interest(&interest, sk);
	if (!asks_for_write(&interest) && !may_ask_later(state->tid, &interest))
		return 0;
	state->why_told++;
	state->why_changed = 1;
	return 0;
}

static __noinline int report_why(struct socket_state *state)
{
	struct record_why *record;

	if (!state || !state->why_changed)
		return 0;
	record = reserve_record(sizeof(*record));
	if (!record)
		return 0;
	record->type = RECORD_WHY;
	record->pid = state->pid;
	record->fd = state->fd;
	record->reserved = 0;
	record->socket = state->id;
	record->told = state->why_told;
	__builtin_memcpy(record->why, state->why, sizeof(record->why));
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	bpf_ringbuf_submit(record, 0);
	state->why_changed = 0;
	return 0;
}

static __noinline int report_alarm(struct socket_state *state, u64 sk, u32 why, u64 opened_ns, u64 now_ns)
{
	struct record_alarm *record;
	struct interest interest;

	if (!state)
		return 0;
	record = reserve_record(sizeof(*record));
	if (!record)
		return 0;
	read_interest(&interest, sk);
	record->type = RECORD_ALARM;
	record->pid = state->pid;
	record->tid = state->tid;
	record->fd = state->fd;
	record->socket = state->id;
	record->time_ns = now_ns;
	record->start_ns = state->start_ns;
	record->opened_ns = opened_ns;
	record->queued_bytes = queued_bytes(sk);
	record->sndbuf_bytes = sndbuf_bytes(sk);
	record->unsent_bytes = unsent_bytes(sk);
	if (state->addresses.family == AF_UNIX) {
		record->queued_bytes = wmem_bytes(sk);
		record->unsent_bytes = 0;
	}
	record->why = why;
	record->interest = interest.events;
	record->registered = interest.registered;
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	bpf_ringbuf_submit(record, 0);
	state->alarm = why + 1;
	return 0;
}

/*
 * Since when the socket can be written to, as far as the stall tells; 0: it cannot, or its owner knows. `why` says what
 * the owner was not told by.
 */
static __noinline u64 untold_since(struct socket_state *state, u64 sk, u64 now_ns, u32 *why)
{
	if (!state || !why)
		return 0;
	/* A unix peer that does not read, or an edge to come: no reason for an alarm. */
	if (state->addresses.family == AF_UNIX && state->stage != STALL_RAISED)
		return 0;
	if (state->stage == STALL_FULL) {
		*why = why_not_raised(sk);
		if (*why == RECORD_WHY_ABOVE || *why == RECORD_WHY_UNSENT)
			return 0;
		return state->last_ack_ns > state->start_ns ? state->last_ack_ns : state->start_ns;
	}
	*why = why_not_told(state, sk, false, now_ns);
	if (state->stage == STALL_RAISED) {
		/* Armed, and its thread waits: a wait of other descriptors, or an event that got lost. */
		if (*why != RECORD_WHY_NOT_ARMED)
			*why = is_busy(state->tid, state->raised_ns) ? RECORD_WHY_LOOP_BUSY
								     : RECORD_WHY_OTHER;
		return state->raised_ns > state->start_ns ? state->raised_ns : state->start_ns;
	}
	/* It was told. That is no alarm, unless its handlers still run, or wait for an edge that will not come. */
	if (*why == RECORD_WHY_EDGE)
		return state->returned_ns;
	*why = RECORD_WHY_LOOP_BUSY;
	return is_busy(state->tid, state->returned_ns) ? state->returned_ns : 0;
}

static __always_inline void look_for_alarm(struct socket_state *state, u64 sk, u64 now_ns)
{
	u32 why = RECORD_WHY_OTHER;
	u64 since_ns;

	if (!is_stalled(state) || state->is_whole || state->alarm || !sk_socket(sk))
		return;
	since_ns = untold_since(state, sk, now_ns, &why);
	if (since_ns && now_ns > since_ns && now_ns - since_ns >= alarm_ns)
		report_alarm(state, sk, why, since_ns, now_ns);
}

#endif
