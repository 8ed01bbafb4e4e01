/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_STALL_BPF_H
#define STINT_PROBES_STALL_BPF_H

/*
 * Write stalls of TCP sockets: from a send that found the buffer full, or that filled it so far that its program then waits
 * for the write event, to the next send.
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
 */

#define TOUCHED_MAX 8

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

static __always_inline void note_levels(struct socket_state *state, u64 sk)
{
	state->queued_bytes = queued_bytes(sk);
	state->sndbuf_bytes = sndbuf_bytes(sk);
	state->unsent_bytes = unsent_bytes(sk);
	state->lowat_bytes = lowat_bytes(sk);
}

/* The write event was raised at `at_ns`, for thread `tid`. */
static __always_inline void raise(struct socket_state *state, u64 sk, u64 at_ns, u32 tid, bool inferred)
{
	struct moment moment = {.kind = SOCKET_WRITE_EVENT, .tid = tid, .time_ns = at_ns};
	/* Before: from that stage on, a send on another CPU may end the stall and tell of it. */
	bool to_wait = state->told_ring ? is_waiting(tid) : waits_for_write(tid, sk);

	if (!enter_stage(state, STALL_FULL, STALL_RAISED))
		return;
	state->raised_ns = at_ns;
	state->raised_to_wait = to_wait;
	state->raise_inferred = inferred;
	note_levels(state, sk);
	raise_for(state, sk, tid, bpf_ktime_get_ns());
	report_moment(state, sk, &moment);
}

static __always_inline u64 pending(const u64 *at)
{
	return *(const volatile u64 *)at;
}

/* The ACK of that time is one of the stall. */
static __always_inline void count_ack(struct socket_state *state, u64 sk, bool opened, u64 time_ns, u32 bytes)
{
	if (!is_stalled(state) || time_ns < state->start_ns)
		return;
	state->acks++;
	state->acked_bytes += bytes;
	if (state->is_whole) /* its sender has not found it full */
		return;
	account_ack(state, sk, opened, time_ns);
}

/*
 * What the ACK announced at `time_ns` did to the queue is known now. Two CPUs may come to that at once: one of them
 * tells.
 */
static __always_inline void tell_ack(struct socket_state *state, u64 sk, bool opened, u64 time_ns)
{
	struct moment moment = {
		.kind = SOCKET_ACK,
		.tid = state->tid,
		.time_ns = time_ns,
		.done_bytes = state->ack_bytes,
		.queued_before_bytes = state->ack_queued_before,
		.cause = opened || state->early_cause_ns == time_ns || state->cause_ns == time_ns,
	};

	if (__sync_val_compare_and_swap(&state->ack_time_ns, time_ns, 0) != time_ns)
		return;
	report_moment(state, sk, &moment);
	count_ack(state, sk, moment.cause, time_ns, moment.done_bytes);
}

/* With a low-water mark, a segment that acknowledges nothing may open the buffer: it opens the window. */
static __always_inline void note_cause(struct socket_state *state)
{
	u64 cause_ns = pending(&state->segment_ns);

	if (!cause_ns)
		cause_ns = pending(&state->ack_time_ns);
	if (cause_ns) /* else another CPU has looked before, and noted it */
		state->cause_ns = cause_ns;
}

/* As sk_stream_is_writeable() has it: else the kernel tells of no write event, and raises one later. */
static __always_inline bool is_writable(u64 sk)
{
	return has_memory(sk) && has_room_unsent(sk);
}

/*
 * Who asks for the write event of an epoll set, and not for edges, has something to write: a set would not sleep else. Who
 * asks for edges may do so all the time.
 */
static __always_inline bool wants_to_write(const struct interest *interest)
{
	return interest->events & (EPOLLOUT | EPOLLWRNORM) && !(interest->events & EPOLLET);
}

/* What a poll() asks for is seen only as it returns. */
static __noinline bool may_want_to_write(u64 sk)
{
	struct interest interest;

	read_interest(&interest, sk);
	return !interest.registered || wants_to_write(&interest);
}

static __noinline bool wants_now(u64 sk)
{
	struct interest interest;

	read_interest(&interest, sk);
	return wants_to_write(&interest);
}

/* After a send that was whole, nobody need have polled, so that the bit says nothing. */
static __always_inline bool is_full_still(const struct socket_state *state, u64 sk)
{
	return state->stage == STALL_FULL && state->is_whole ? !is_writable(sk) : lacks_space(sk);
}

/*
 * What the last announced segment did, seen now. `waking` is the thread that is being woken, 0 if this look has another
 * reason; `is_over`: that segment's processing is known to be over. Else another CPU may be amid that, and what it
 * will have done is not to be seen yet: the segment is then left pending, for who looks next. That CPU does, at the
 * softirq's end or the next segment.
 */
__noinline int settle(struct socket_state *state, u64 sk, u64 now_ns, u32 waking, bool is_over)
{
	u64 segment_ns, ack_ns;
	bool lacks, opened, too_early;

	if (!state)
		return 0;
	/* In this order: what was pending is over by the time that nobody was found amid it, and so is what it did. */
	segment_ns = pending(&state->segment_ns);
	ack_ns = pending(&state->ack_time_ns);
	too_early = waking || (!is_over && (segment_ns || ack_ns) && is_in_use(sk));
	lacks = is_full_still(state, sk);
	opened = state->stage == STALL_FULL && !lacks;
	if (state->stage == STALL_NONE && ack_ns && state->ack_lacked && !lacks)
		state->early_cause_ns = ack_ns;
	note_fin_event(state, sk, waking ? now_ns : 0);
	if (too_early && !opened)
		return 0;
	if (segment_ns && trace_sockets)
		note_window(state, sk, segment_ns);
	if (state->stage == STALL_FULL && segment_ns)
		look_at_limit(state, sk, true);
	if (opened)
		note_cause(state);
	if (segment_ns) /* not one that was announced meanwhile */
		__sync_val_compare_and_swap(&state->segment_ns, segment_ns, 0);
	if (ack_ns)
		tell_ack(state, sk, opened, ack_ns);
	if (!opened)
		return 0;
	/*
	 * What opened it may have been announced as the stall was about to begin, and not be in the account. Where it was
	 * not seen, all until now was waiting for it.
	 */
	end_gap(state, sk, state->cause_ns ? state->cause_ns : now_ns);
	if (state->is_whole && !may_want_to_write(sk)) {
		leave_stall(state);
		return 0;
	}
	raise(state, sk, waking || !state->cause_ns ? now_ns : state->cause_ns, waking ? waking : state->tid,
	      !waking);
	return 0;
}

/*
 * Looks at all sockets that had segments on this CPU; with `waking`, only at that process's.
 * Not static: so the verifier goes through it once, and not once for each way that leads here.
 */
__noinline int settle_touched(u64 now_ns, u32 waking_pid, u32 waking_tid)
{
	u32 zero = 0, kept = 0;
	struct touched *touched = bpf_map_lookup_elem(&touched_sockets, &zero);

	if (!touched)
		return 0;
	for (u32 i = 0; i < TOUCHED_MAX; i++) {
		struct socket_state *state;
		u64 sk;

		if (i >= touched->len)
			break;
		sk = touched->sk[i];
		state = find_socket(sk);
		if (!state)
			continue;
		if (!waking_pid) /* also where the owner has begun a call meanwhile, and no segment may follow */
			note_fin_event(state, sk, 0);
		if (!waking_pid && is_in_use(sk))
			touched->sk[kept++ & (TOUCHED_MAX - 1)] = sk;
		else if (!waking_pid || state->pid == waking_pid)
			settle(state, sk, now_ns, waking_tid, false);
	}
	if (!waking_pid)
		touched->len = kept;
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

/*
 * What a segment acknowledges, as TCP takes it. Not what its header says: segments that had to wait for the owner's
 * system call are made one where that is possible, and the header that remains is the first one's.
 */
static __always_inline u32 segment_ack(const struct sk_buff *skb)
{
	return BPF_CORE_READ((const struct tcp_skb_cb *)&skb->cb, ack_seq);
}

/*
 * Some kernels do not run the programs for each segment: one that nests in a program of the same kind is passed over, and
 * sandboxes keep tracing from tasks of their own, and from the interrupts that come while these run. What such a segment
 * acknowledged is seen at the next one.
 */
static __always_inline void find_unseen_ack(struct socket_state *state, u32 una, s32 acked)
{
	if (state->follows_una && (s32)(una - state->snd_una) > 0)
		lost_ack();
	state->follows_una = 1;
	state->snd_una = acked > 0 ? una + (u32)acked : una;
}

/* A segment has arrived for a known socket, and is about to be processed. */
static __always_inline void announce_segment(struct socket_state *state, u64 sk, const struct sk_buff *skb,
					     u64 now_ns)
{
	u32 una = BPF_CORE_READ((struct tcp_sock *)sk, snd_una);
	u32 wnd = BPF_CORE_READ((struct tcp_sock *)sk, snd_wnd);
	s32 acked = (s32)(segment_ack(skb) - una);

	settle(state, sk, now_ns, 0, true);
	find_unseen_ack(state, una, acked);
	if (wnd < state->snd_wnd_min_bytes)
		state->snd_wnd_min_bytes = wnd;
	touch(sk);
	if (state->stage == STALL_FULL)
		end_gap(state, sk, now_ns);
	*(volatile u64 *)&state->segment_ns = now_ns;
	if (acked <= 0)
		return;
	state->last_ack_ns = now_ns;
	state->ack_lacked = lacks_space(sk);
	state->ack_bytes = (u32)acked;
	state->ack_queued_before = queued_bytes(sk);
	*(volatile u64 *)&state->ack_time_ns = now_ns; /* last: it says that the rest is there */
}

/* False: another thread's send has begun one at the same time. */
static __always_inline bool begin_stall(struct socket_state *state, u64 sk, u64 now_ns, bool is_whole)
{
	if (!enter_stage(state, STALL_NONE, STALL_BEGINS))
		return false;
	state->start_ns = now_ns;
	state->is_whole = is_whole;
	state->cause_ns = state->early_cause_ns;
	state->early_cause_ns = 0;
	state->raised_ns = 0;
	state->on_cpu_ns = 0;
	state->returned_ns = 0;
	state->acked_bytes = 0;
	state->acks = 0;
	state->retransmits = 0;
	state->raise_inferred = 0;
	state->alarm = 0;
	state->told_ring = 0;
	state->raised_tid = 0;
	state->last_ack_ns = 0;
	note_levels(state, sk);
	state->by_queue = 0;
	state->by_lowat = has_memory(sk) && !has_room_unsent(sk);
	state->snd_wnd_min_bytes = BPF_CORE_READ((struct tcp_sock *)sk, snd_wnd);
	begin_limits(state, sk, now_ns);
	__sync_fetch_and_add(&stalls_open, 1);
	return enter_stage(state, STALL_BEGINS, STALL_FULL);
}

/*
 * Has its program waited for the write event, and sends in the iteration that this began? Or does it wait still? Of one
 * that is closed nobody knows.
 */
static __noinline bool counts(struct socket_state *state, u64 sk, u32 ending)
{
	struct thread *thread;

	if (!state || !state->is_whole)
		return true;
	if (ending != RECORD_SENT)
		return ending == RECORD_OPEN && wants_now(sk);
	thread = find_thread((u32)bpf_get_current_pid_tgid());
	return thread && state->stage == STALL_RETURNED && state->returned_ns >= thread->start_ns;
}

/* A TCP socket's stall is over, by a send or because there will be none; or it is told of while it goes on. */
__noinline int end_stall(struct socket_state *state, u64 sk, u64 now_ns, u32 ending)
{
	bool opened;
	u64 ack_ns;

	if (!state)
		return 0;
	settle(state, sk, now_ns, 0, ending == RECORD_CLOSED);
	if (!counts(state, sk, ending)) {
		if (ending != RECORD_OPEN)
			leave_stall(state);
		return 0;
	}
	opened = state->stage != STALL_FULL;
	ack_ns = pending(&state->ack_time_ns);
	if (ack_ns &&
	    ending == RECORD_SENT) /* what it does goes on; but it came in this stall, and is told later */
		count_ack(state, sk, false, ack_ns, state->ack_bytes);
	if (!opened) { /* nothing had opened it */
		end_gap(state, sk, now_ns);
		note_levels(state, sk);
	}
	/* First, as another CPU may have an ACK to tell of. */
	if (ending != RECORD_OPEN && leave_stall(state) < STALL_FULL)
		return 0;
	report_stall(state, opened, now_ns, ending);
	return 0;
}

/* Since when the thread has had a CPU for the event. One that was elsewhere had no need of one: all is its own loop's. */
static __always_inline void note_got_cpu(struct socket_state *state, const struct thread *thread,
					 u64 returned_ns)
{
	bool had_to_wait = state->raised_to_wait && thread->last_on_ns > state->raised_ns &&
			   thread->last_on_ns <= returned_ns;

	state->on_cpu_ns = had_to_wait ? thread->last_on_ns : state->raised_ns;
	if (!had_to_wait && state->raised_tid == thread->tid)
		return;
	state->runnable_mark_ns = thread->runnable_ever_ns;
	state->raised_tid = thread->tid;
}

/* The wait returned this event of socket `sk`, or so it is inferred: it had been raised, and is asked for. */
static __noinline int mark_returned(struct socket_state *state, u64 sk, struct thread *thread, u64 now_ns)
{
	struct moment moment = {.kind = SOCKET_WOKEN};

	if (!state || !thread)
		return 0;
	if (!enter_stage(state, STALL_RAISED, STALL_RETURNED))
		return 0;
	moment.tid = thread->tid;
	note_got_cpu(state, thread, now_ns);
	state->returned_ns = now_ns;
	moment.time_ns = state->on_cpu_ns;
	report_moment(state, sk, &moment);
	moment.kind = SOCKET_RETURNED;
	moment.time_ns = now_ns;
	report_moment(state, sk, &moment);
	return 0;
}

/*
 * A send on a socket whose event has lost its place among those that are kept of its thread, as there were more than
 * RAISED_SLOTS of them: the wait before this iteration has returned it.
 */
static __noinline int infer_returned(struct socket_state *state, u64 sk)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct interest interest;
	struct thread *thread;

	if (!state || state->stage != STALL_RAISED || state->raised_tid != tid)
		return 0;
	thread = find_thread(tid);
	if (!thread || thread->raised_head - state->raised_at <= RAISED_SLOTS)
		return 0;
	if (thread->state != THREAD_DISPATCHING || thread->start_ns <= state->raised_ns)
		return 0;
	read_interest(&interest, sk);
	if (asks_for_write(&interest) || is_polling(thread))
		mark_returned(state, sk, thread, thread->start_ns);
	return 0;
}

/* A send through a ring begins on a socket that was stalled: the stall is over. */
static __noinline int end_by_send(struct socket_state *state, u64 sk, u64 now_ns)
{
	if (!state)
		return 0;
	if (state->addresses.family == AF_UNIX)
		enter_unix_send(state, sk, now_ns);
	else
		end_stall(state, sk, now_ns, RECORD_SENT);
	return 0;
}

/*
 * A system call sends on a socket that was stalled: the stall is over, unless nothing has opened the buffer. Then it
 * is if the call takes anything, which is seen as it returns: who sends again at once, and is refused, is stalled as
 * before.
 */
static __noinline int end_by_call(struct socket_state *state, u64 sk, u64 now_ns)
{
	if (!state)
		return 0;
	if (state->addresses.family != AF_UNIX)
		settle(state, sk, now_ns, 0, false);
	infer_returned(state, sk);
	if (state->addresses.family == AF_UNIX || state->stage != STALL_FULL)
		end_by_send(state, sk, now_ns);
	return 0;
}

/* A system call of any kind that sends begins. */
static __always_inline void enter_send(s32 fd, u64 now_ns)
{
	struct socket_state *state;
	u64 sk;

	if (stalls_open <= 0)
		return;
	sk = fd_to_sock(fd, MSG_DONTWAIT);
	state = sk ? find_socket(sk) : NULL;
	if (state && is_stalled(state))
		end_by_call(state, sk, now_ns);
}

/*
 * A TCP socket's state changes. From some on nothing more can be sent: it was closed, by its process or with it, or the
 * peer has reset it.
 */
static __always_inline void note_no_more_sends(u64 sk, int after, u64 now_ns)
{
	struct socket_state *state;

	if (after != STATE_FIN_WAIT1 && after != STATE_LAST_ACK && after != STATE_CLOSE)
		return;
	state = find_socket(sk);
	if (state && is_stalled(state))
		end_stall(state, sk, now_ns, RECORD_CLOSED);
}

/*
 * Programs that ask whether they may write, and then send less than what is free, never find the buffer full: a send of so
 * much, or more, may leave it so that it cannot be written to. Smaller ones are not looked at.
 */
#define FILLING_BYTES 2048

/*
 * A send is over. It found the buffer full if it took less than it was given, whatever the bit says: ACKs
 * that had waited for the end of this very call may have opened the buffer again. Only where it is not known
 * how much it was given, the bit has to tell: a poll sets it too, so it is no proof.
 */
__noinline int note_send(u64 sk, u32 pid, s32 fd, struct moment *moment, bool is_short)
{
	struct socket_state *state;
	bool is_chosen, fills;
	u64 now_ns;

	if (!moment)
		return 0;
	now_ns = moment->time_ns;
	if (is_unix(sk)) {
		moment->kind = is_short ? SOCKET_SEND_SHORT : SOCKET_SEND;
		return exit_unix_send(sk, moment->tid, fd, moment, is_short);
	}
	is_chosen = is_chosen_fd(fd) || is_chosen_by_port(sk);
	is_short = is_short || (!moment->requested_bytes && lacks_space(sk));
	fills = !is_short && moment->done_bytes >= FILLING_BYTES && !is_writable(sk);
	state = is_short || fills || is_chosen ? know_socket(sk, pid) : find_socket(sk);
	if (!state)
		return 0;
	/* It may have come by ways that are no accept: a ring, another process. */
	find_owner(state, sk, pid, moment->tid, fd);
	settle(state, sk, now_ns, 0, false);
	state->tid = moment->tid;
	state->fd = fd;
	moment->kind = is_short ? SOCKET_SEND_SHORT : SOCKET_SEND;
	report_moment(state, sk, moment);
	if (is_stalled(state) && moment->done_bytes) /* it began before anything had opened the buffer */
		end_stall(state, sk, now_ns, RECORD_SENT);
	if (fills)
		begin_stall(state, sk, now_ns, true);
	if (is_short && state->is_whole)
		leave_stall(state);
	if (!is_short || !begin_stall(state, sk, now_ns, false))
		return 0;
	if (lacks_space(sk)) {
		state->cause_ns = 0; /* it was opened, and filled up again, within the call */
		return 0;
	}
	if (!state->cause_ns) /* another CPU is amid the segment that has opened it just now */
		note_cause(state);
	if (state->cause_ns)
		account_early_cause(state, sk);
	raise(state, sk, state->cause_ns ? state->cause_ns : now_ns, moment->tid, true);
	return 0;
}

/*
 * The socket that a call sent on, if that is to be looked at; 0: it is not. One that was asked for may block, and all its
 * sends are told; of others only a send that `matters` is looked at.
 */
static __always_inline u64 sock_sent_on(s32 fd, u32 flags, bool matters)
{
	u64 sk;

	if (is_chosen_fd(fd))
		return fd_to_sock(fd, MSG_DONTWAIT);
	if (trace_port) {
		sk = fd_to_sock(fd, MSG_DONTWAIT);
		if (!sk || (!is_unix(sk) && is_chosen_by_port(sk)))
			return sk;
	}
	return matters ? fd_to_sock(fd, flags) : 0;
}

/* A system call that sends returned. */
static __always_inline void exit_send(u32 pid, u32 tid, s32 fd, u32 flags, u64 requested, long result,
				      u64 now_ns)
{
	struct moment moment = {.tid = tid, .time_ns = now_ns, .requested_bytes = requested};
	bool is_short = result == -EAGAIN || (result > 0 && requested && (u64)result < requested);
	bool may_fill = !is_short && result >= FILLING_BYTES;
	bool matters =
		is_short || may_fill || !requested || stalls_open > 0 || (trace_sockets && sockets_known > 0);
	u64 sk;

	if (!matters && !is_chosen_fd(fd) && !trace_port)
		return;
	if (result < 0 && result != -EAGAIN)
		return;
	/* Who waits for the event needs no descriptor that is non-blocking. */
	sk = sock_sent_on(fd, may_fill ? MSG_DONTWAIT : flags, matters);
	if (!sk)
		return;
	moment.done_bytes = result > 0 ? (u64)result : 0;
	note_send(sk, pid, fd, &moment, is_short);
}

/* Is EPOLLOUT with that data among the first `len` events? */
__noinline bool is_event_out(const struct turns *turns, u32 len, u64 data)
{
	if (!turns)
		return false;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		const struct user_event *event = &turns->event[i];

		if (i >= len)
			break;
		if (event->events & (EPOLLOUT | EPOLLWRNORM) && event->data_low == (u32)data &&
		    event->data_high == (u32)(data >> 32))
			return true;
	}
	return false;
}

#define ARRAY_READS 16

/*
 * The same of the array that epoll_wait() has filled, of which a part at a time is read to where the thread's events stand:
 * those of the iteration before are done with. True also where it is too long, or cannot be read.
 */
__noinline bool is_in_array(struct thread *thread, u64 array, u32 len, u64 data)
{
	if (!thread)
		return true;
	for (u32 i = 0; i < ARRAY_READS; i++) {
		const u32 first = i * TURNS_MAX;
		u32 part;

		if (first >= len)
			return false;
		part = len - first < TURNS_MAX ? len - first : TURNS_MAX;
		asm volatile("" : "+r"(part)); /* so that the check stays: Linux 6.1 has lost the one above */
		if (part > TURNS_MAX)
			return true;
		if (bpf_probe_read_user(thread->turns.event, part * sizeof(thread->turns.event[0]),
					(void *)(array + first * sizeof(thread->turns.event[0]))) != 0)
			return true;
		if (is_event_out(&thread->turns, part, data))
			return true;
	}
	return true;
}

/*
 * Did a wait for `set` return the socket's write event? It may have been raised once the wait had looked, or have found no
 * room in the array. A socket that is not in that set, but in one within it, is taken for returned.
 */
__noinline bool is_returned(struct thread *thread, u64 sk, u64 set, u64 array, u32 len)
{
	struct hlist_node *node = first_registration(sk);
	u64 offset = bpf_core_field_offset(struct epitem, fllink);
	bool is_in_set = false;

	if (!thread)
		return true;
	for (u32 i = 0; i < REGISTRATIONS_MAX && node; i++) {
		struct epitem *item = (struct epitem *)((u64)node - offset);

		node = BPF_CORE_READ(node, next);
		if ((u64)BPF_CORE_READ(item, ep) != set)
			continue;
		is_in_set = true;
		if (is_in_array(thread, array, len, BPF_CORE_READ(item, event.data)))
			return true;
	}
	return !is_in_set;
}

/* Is the socket's write event among the `len` that a wait returned? A poll()'s or select()'s were copied before. */
static __always_inline bool is_among(struct thread *thread, const struct socket_state *state, u64 sk,
				     const struct interest *interest, u64 set, u64 array, u32 len)
{
	if (!interest->registered && is_polling(thread))
		return is_polled_out(thread, state->fd, len);
	if (!asks_for_write(interest) && !(interest->events & EPOLLONESHOT))
		return false;
	return !set || is_returned(thread, sk, set, array, len);
}

/*
 * A wait of this thread returned `len` events: the write events raised for it before are among them, but those that
 * nobody asks for, and those that are not in the array of an epoll `set` (else 0), or in what a poll() found. They stay, as
 * they may be asked for or returned later. (Not static: the verifier goes through it once.)
 */
__noinline int note_returned(struct thread *thread, u64 now_ns, u64 set, u64 array, u32 len)
{
	u32 head;

	if (!thread)
		return 0;
	head = thread->raised_head;
	if (head - thread->raised_tail >
	    RAISED_SLOTS) /* those in between have lost their places: infer_returned() */
		thread->raised_tail = head - RAISED_SLOTS;
	for (u32 i = 0; i < RAISED_SLOTS; i++) {
		struct socket_state *state;
		struct interest interest;
		u64 sk;

		if (thread->raised_tail == head)
			break;
		sk = thread->raised[thread->raised_tail++ & (RAISED_SLOTS - 1)];
		state = find_socket(sk);
		if (!state || state->stage != STALL_RAISED)
			continue;
		read_interest(&interest, sk);
		if (is_among(thread, state, sk, &interest, set, array, len))
			mark_returned(state, sk, thread, now_ns);
		else if (interest.registered || is_polling(thread))
			push_raised(thread, state, sk);
	}
	return 0;
}

/* `is_sent`: else it could not be, as while the first copy has not left the machine yet; but its timer has gone off. */
static __always_inline void note_retransmit(u64 sk, bool is_sent, u64 now_ns)
{
	struct socket_state *state = find_socket(sk);
	struct moment moment = {.kind = SOCKET_RETRANSMIT, .time_ns = now_ns};

	if (!state)
		return;
	if (is_stalled(state) && is_sent)
		state->retransmits++;
	if (state->stage == STALL_FULL) {
		/* The kernel's note is of what it has just sent again. */
		account_limit_until(state, sk, state->let_go_ns, now_ns);
		look_at_limit(state, sk, false);
	}
	if (!is_sent)
		return;
	moment.tid = state->tid;
	report_moment(state, as_number(sk), &moment);
}

static __always_inline void forget_socket(u64 sk, u64 now_ns)
{
	struct socket_state *state = find_socket(sk);
	u32 stage;

	if (!state)
		return;
	stage = leave_stall(state);
	if (stage >= STALL_FULL && !state->is_whole) /* its close was not seen */
		report_stall(state, stage != STALL_FULL, now_ns, RECORD_CLOSED);
	report_why(state);
	if (bpf_map_delete_elem(&sockets, &sk) == 0)
		__sync_fetch_and_add(&sockets_known, -1);
}

/* Set while user space asks for what goes on. */
__u32 tell_open;

/* What user space asks for a few times a second: what came of ACKs since, and who should have been told. */
static __always_inline void survey_socket(u64 sk, u64 now_ns)
{
	struct socket_state *state = find_socket(sk);
	bool is_unix_socket;

	if (!state)
		return;
	is_unix_socket = state->addresses.family == AF_UNIX;
	if (is_unix_socket && !is_same_unix_socket(state, sk)) {
		forget_unix_socket(state, sk, now_ns);
		return;
	}
	if (tell_open && is_stalled(state) && is_unix_socket)
		end_unix_stall(state, sk, now_ns, RECORD_OPEN);
	else if (tell_open && is_stalled(state))
		end_stall(state, sk, now_ns, RECORD_OPEN);
	look_for_alarm(state, sk, now_ns);
	report_why(state);
}

#endif
