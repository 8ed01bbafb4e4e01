/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_SERVICE_BPF_H
#define STINT_PROBES_SERVICE_BPF_H

/*
 * Service time by role, of a program that nothing is known of: inferred from its system calls.
 *
 * An event's turn begins with the first system call on its descriptor after the wait that returned it, and goes on
 * until there is one on another descriptor that the wait returned, or the next wait. A program may come back to a
 * descriptor (redis reads from all clients and then writes to all): all parts of an event's service are added up.
 * An event whose descriptor sees no system call is not attributed, and counted as such. What a handler computes
 * before its first system call is taken for the end of the turn before it.
 *
 * Of loops in poll() and select(), the events are those that were copied as the call returned (ready.bpf.h); of those in
 * io_uring, the completions that were in the queue then (uring.bpf.h).
 */

static __always_inline void end_part(struct turns *turns, u64 now_ns)
{
	u32 at = turns->at;
	u64 ns;

	if (at >= TURNS_MAX)
		return;
	ns = turns->turn[at].service_ns + (now_ns - turns->start_ns);
	turns->turn[at].service_ns = ns < ~0u ? (u32)ns : ~0u;
	turns->at = TURNS_MAX;
}

static __always_inline bool is_event(const struct turns *turns, u32 at, u64 data)
{
	return turns->event[at].data_low == (u32)data && turns->event[at].data_high == (u32)(data >> 32) &&
	       !(turns->had >> at & 1);
}

/* Which event of the iteration, that had no turn yet, has this data; TURNS_MAX: none. Mostly they come in order. */
__noinline u32 find_event(struct turns *turns, u64 data)
{
	u32 at;

	if (!turns)
		return TURNS_MAX;
	at = turns->cursor;
	if (at < TURNS_MAX && at < turns->len && is_event(turns, at, data))
		return at;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= turns->len)
			break;
		if (is_event(turns, i, data))
			return i;
	}
	return TURNS_MAX;
}

/* The first system call of this iteration on a descriptor that was ready. Returns its place, or TURNS_MAX. */
__noinline u32 begin_turn(struct thread *thread, struct descriptor *descriptor, s32 fd, u64 now_ns)
{
	struct role_counters *role;
	struct turns *turns;
	u32 at;

	if (!thread || !descriptor)
		return TURNS_MAX;
	turns = &thread->turns;
	at = turns->left ? find_event(turns, descriptor->data) : TURNS_MAX;
	if (descriptor->left_ns)
		end_left(thread, descriptor, fd, now_ns, at < TURNS_MAX);
	if (at >= TURNS_MAX)
		return TURNS_MAX;
	turns->had |= 1ull << at;
	turns->turn[at].fd = fd;
	turns->left--;
	turns->cursor = at + 1;
	turns->flags &= ~TURNS_READ_SEEN;
	if (!(descriptor->flags & DESCRIPTOR_SETTLED))
		settle_descriptor(descriptor, fd);
	if (descriptor->flags & DESCRIPTOR_BLOCKING && thread->wait == RECORD_WAIT_EPOLL)
		turns->blocking |= 1ull << at;
	descriptor->used_ns = now_ns;
	descriptor->turn_id = turn_id(thread);
	descriptor->ready_at = at;
	turns->turn[at].service_ns = 0;
	turns->turn[at].role_slot = descriptor_role(thread, descriptor);
	role = role_at(turns->turn[at].role_slot);
	if (role && thread->wait != RECORD_WAIT_IO_URING) /* there, its completion tells more */
		count_role(role, ROLE_WAIT, now_ns - thread->start_ns);
	return at;
}

/* The descriptor, if its turn may begin or go on. */
static __always_inline struct descriptor *find_turn(struct thread *thread, s32 fd)
{
	struct descriptor *descriptor = find_descriptor(thread->pid, thread->epfd, fd);

	if (thread->wait == RECORD_WAIT_EPOLL)
		return descriptor && !(descriptor->flags & DESCRIPTOR_REMOVED) ? descriptor : NULL;
	if (descriptor && descriptor->turn_id == turn_id(thread))
		return descriptor;
	if (find_event(&thread->turns, (u32)fd) >= TURNS_MAX)
		return NULL;
	return polled_descriptor(descriptor, thread->pid, thread->epfd, fd);
}

static __always_inline bool is_back(const struct turns *turns, u32 at, s32 fd)
{
	return at < TURNS_MAX && (turns->had & ~turns->closed) >> at & 1 && turns->turn[at].fd == fd;
}

/*
 * The place of a descriptor that had its turn and comes back, found without a look-up: programs that read from all and
 * then write to all (redis) come back in the same order, or in the reverse. TURNS_MAX: it is none of these.
 */
static __always_inline u32 find_back(const struct turns *turns, s32 fd)
{
	u32 next = turns->last + 1 < turns->len ? turns->last + 1 : 0;

	if (is_back(turns, next, fd))
		return next;
	return is_back(turns, turns->last - 1, fd) ? turns->last - 1 : TURNS_MAX;
}

static __always_inline void know_descriptor(struct turns *turns, const struct descriptor *descriptor)
{
	turns->sock = descriptor->sock;
	turns->registered = descriptor->events;
	turns->flags &= ~TURNS_BACK;
}

static __always_inline u32 look_up_turn(struct thread *thread, s32 fd, u64 now_ns)
{
	struct descriptor *descriptor = find_turn(thread, fd);
	u32 at;

	if (!descriptor)
		return TURNS_MAX;
	if (descriptor->turn_id == turn_id(thread)) {
		at = descriptor->ready_at;
		thread->turns.flags |= TURNS_READ_SEEN;
	} else {
		at = begin_turn(thread, descriptor, fd, now_ns);
	}
	if (at < TURNS_MAX)
		know_descriptor(&thread->turns, descriptor);
	return at;
}

__noinline int change_turn(struct thread *thread, s32 fd, u64 now_ns)
{
	struct turns *turns;
	u32 at;

	if (!thread)
		return 0;
	turns = &thread->turns;
	at = find_back(turns, fd);
	if (at < TURNS_MAX)
		turns->flags |= TURNS_READ_SEEN | TURNS_BACK;
	else
		at = look_up_turn(thread, fd, now_ns);
	if (at >= TURNS_MAX)
		return 0;
	end_part(turns, now_ns);
	turns->at = at;
	turns->last = at;
	turns->fd = fd;
	turns->start_ns = now_ns;
	return 0;
}

/* Not so: most files. Of poll() and select(), the descriptors are added at their first turn. */
static __always_inline bool may_have_turn(const struct thread *thread, s32 fd)
{
	return thread->wait != RECORD_WAIT_EPOLL || is_descriptor_marked(thread->pid, fd);
}

/* A system call whose first argument is a descriptor begins in an iteration; that of epoll_ctl() is its third. */
static __always_inline void enter_turn(struct thread *thread, long number, const struct pt_regs *regs,
				       u64 now_ns)
{
	struct turns *turns = &thread->turns;
	s32 fd = (s32)(number == NR_epoll_ctl ? regs->dx : regs->di);

	if (!turns->len && !turns->undrained)
		return;
	if ((turns->at >= TURNS_MAX || turns->fd != fd) &&
	    (turns->left || turns->len > 1 || turns->undrained) && may_have_turn(thread, fd))
		change_turn(thread, fd, now_ns);
	turns->flags &= ~(TURNS_MAY_BLOCK | TURNS_IN_CALL);
	if (turns->at >= TURNS_MAX || turns->fd != fd || number == NR_epoll_ctl)
		return;
	turns->flags |= TURNS_IN_CALL;
	if (!(turns->blocking >> turns->at & 1) || !may_block(number, regs))
		return;
	turns->flags |= TURNS_MAY_BLOCK;
	turns->blocked_before_ns = thread->blocked_sum_ns;
}

/* A descriptor is about to be closed: another one may have its number from now on. */
static __always_inline void close_turn(struct turns *turns, s32 fd)
{
	if (turns->at < TURNS_MAX && turns->fd == fd)
		turns->closed |= 1ull << turns->at;
}

/* A TCP socket is followed from its registration on: one that is not has made way for others. */
static __always_inline bool made_way(u64 sk)
{
	return is_place_marked(socket_place_of(sk)) && is_tcp((const struct sock *)sk);
}

static __always_inline void exit_read(struct thread *thread, struct role_counters *role, u64 requested,
				      long result, u64 now_ns)
{
	struct turns *turns = &thread->turns;
	bool emptied = result <= 0 || (requested && (u64)result < requested);
	struct arrival *arrival = find_arrival(socket_place_of(turns->sock));
	u64 arrived_ns = arrival ? first_arrival(arrival, thread->syscall_start_ns, now_ns) : 0;

	if (arrived_ns && role && result >= 0 && !(turns->flags & TURNS_READ_SEEN))
		count_arrival(role, thread, arrival->added_ns, arrived_ns, now_ns);
	if (result > 0 && (arrival ? !arrived_ns && arrival->is_whole : made_way(turns->sock)))
		lost_arrival();
	if (result >= 0)
		turns->flags |= TURNS_READ_SEEN;
	if (arrival)
		forget_read(arrival, turns->sock, thread->syscall_start_ns, emptied);
	if (!(turns->registered & EPOLLET))
		return;
	if (!emptied && has_unread(turns->sock)) {
		note_left(thread, turns->fd, now_ns);
	} else if (turns->undrained) {
		struct descriptor *descriptor = find_descriptor(thread->pid, thread->epfd, turns->fd);

		if (descriptor && descriptor->left_ns) {
			descriptor->left_ns = 0;
			turns->undrained--;
		}
	}
}

/* A connection was accepted on the listener whose turn it is, or on any other. */
__noinline int exit_accept(struct thread *thread, s32 listener, s32 fd, u64 now_ns)
{
	struct sock *sk = file_to_sock((struct file *)fd_to_file(fd));
	struct role_counters *role;
	struct arrival *arrival;
	u32 at;

	if (!sk || !is_tcp(sk))
		return 0;
	know_port((u64)sk);
	if (!thread || thread->state != THREAD_DISPATCHING)
		return 0;
	at = thread->turns.at;
	if (at >= TURNS_MAX || thread->turns.fd != listener)
		return 0;
	role = role_at(thread->turns.turn[at].role_slot);
	arrival = find_arrival(socket_place_of((u64)sk));
	if (role && arrival && arrival->established_ns)
		count_arrival(role, thread, 1, arrival->established_ns, now_ns);
	return 0;
}

/* A system call on the descriptor whose turn it is has returned. `requested`: as read_requested() has it. */
__noinline int exit_turn(struct thread *thread, bool takes, u64 requested, long result, u64 now_ns)
{
	struct turns *turns;
	struct descriptor *descriptor;
	u32 at;

	if (!thread)
		return 0;
	turns = &thread->turns;
	at = turns->at;
	if (at >= TURNS_MAX)
		return 0;
	if (turns->flags & TURNS_MAY_BLOCK) {
		turns->flags &= ~TURNS_MAY_BLOCK;
		descriptor = find_descriptor(thread->pid, thread->epfd, turns->fd);
		if (descriptor)
			note_finding(thread, turns->fd, FINDING_BLOCKING, &descriptor->role, 1,
				     thread->blocked_sum_ns - turns->blocked_before_ns);
	}
	if (!takes)
		return 0;
	if (turns->flags & TURNS_BACK) {
		descriptor = find_descriptor(thread->pid, thread->epfd, turns->fd);
		if (!descriptor)
			return 0;
		know_descriptor(turns, descriptor);
	}
	if (turns->sock)
		exit_read(thread, role_at(turns->turn[at].role_slot), requested, result, now_ns);
	return 0;
}

static __always_inline void reset_turns(struct turns *turns)
{
	turns->flags = 0;
	turns->at = TURNS_MAX;
	turns->cursor = 0;
	turns->last = 0;
	turns->had = 0;
	turns->closed = 0;
	turns->identified = 0;
	turns->blocking = 0;
	turns->len = 0;
	turns->left = 0;
	turns->undrained_len = 0;
	turns->outs = 0;
}

__noinline int begin_turns(struct thread *thread, u64 events, long result, u64 max_events)
{
	u32 len = result > 0 ? (u32)result : 0;
	struct turns *turns;

	if (!thread)
		return 0;
	turns = &thread->turns;
	if (len > TURNS_MAX)
		len = TURNS_MAX;
	reset_turns(turns);
	if (result > 0 && (u64)result == max_events)
		turns->flags = TURNS_FULL;
	if (!len)
		return 0;
	if (bpf_probe_read_user(turns->event, len * sizeof(turns->event[0]), (void *)events) != 0)
		return 0;
	turns->len = len;
	turns->left = len;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= len)
			break;
		if ((turns->event[i].events & (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP)) != EPOLLOUT)
			continue;
		turns->outs++;
		note_writable(thread, &turns->event[i]);
	}
	if (turns->outs == len && turns->flags & TURNS_OUTS)
		turns->flags |= TURNS_ONLY_OUT;
	return 0;
}

static __always_inline void add_polled(struct turns *turns, u32 at, u32 fd)
{
	asm volatile("" : "+r"(at)); /* so that the mask stays, without which the verifier knows no bound */
	at &= TURNS_MAX - 1;
	turns->event[at].data_low = fd;
	turns->event[at].data_high = 0;
}

static __always_inline u32 add_slots(struct thread *thread)
{
	u32 len = thread->ready_len < TURNS_MAX ? thread->ready_len : TURNS_MAX;

	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= len)
			break;
		add_polled(&thread->turns, i, (u32)thread->ready[i]);
	}
	return len;
}

/*
 * The descriptors of one word of a select's sets: one may be in several of the three. These two are global, so that the
 * verifier goes through each once, and not once for each number of descriptors and bits before.
 */
__noinline u32 lowest_bit(u64 bits)
{
	return log2_floor(bits & -bits);
}

__noinline u32 add_word(struct thread *thread, u32 word, u32 len)
{
	u64 bits;

	if (!thread || word >= SET_WORDS)
		return len;
	bits = thread->ready[word] | thread->ready[SET_WORDS + word] | thread->ready[2 * SET_WORDS + word];
	for (u32 i = 0; i < 64; i++) {
		if (!bits || len >= TURNS_MAX)
			break;
		add_polled(&thread->turns, len, word * 64 + lowest_bit(bits));
		bits &= bits - 1;
		len++;
	}
	return len;
}

static __always_inline u32 add_sets(struct thread *thread)
{
	u32 len = 0;

	if (!thread->ready_len)
		return 0;
	for (u32 word = 0; word < SET_WORDS; word++)
		len = add_word(thread, word, len);
	return len < TURNS_MAX ? len : TURNS_MAX;
}

/* poll() or select() has returned. A thread that polled just once so far may be no loop at all, and is left alone. */
__noinline int begin_polled_turns(struct thread *thread)
{
	struct turns *turns;

	if (!thread)
		return 0;
	turns = &thread->turns;
	reset_turns(turns);
	if (thread->loop_slot >= LOOPS_MAX) {
		turns->flags = TURNS_SKIPPED;
		return 0;
	}
	turns->len = thread->wait == RECORD_WAIT_POLL ? add_slots(thread) : add_sets(thread);
	turns->left = turns->len;
	return 0;
}

/* Events that the wait told of and that were not looked at. A descriptor in two of a select's sets is two of its events. */
static __always_inline u32 count_beyond(const struct thread *thread)
{
	if (thread->turns.flags & TURNS_SKIPPED)
		return 0;
	if (thread->wait == RECORD_WAIT_SELECT && thread->turns.len < TURNS_MAX)
		return 0;
	if (thread->ready_events == RECORD_READY_UNKNOWN)
		return 0;
	return thread->ready_events > thread->turns.len ? thread->ready_events - thread->turns.len : 0;
}

__noinline int count_service(u32 slot, u32 service_ns)
{
	struct role_counters *role = role_at(slot);

	if (role)
		count_role(role, ROLE_SERVICE, service_ns);
	return 0;
}

/* There was one completion in the ring. If the program took it and no other, all of the iteration was its. */
static __always_inline void end_turn_alone(struct thread *thread, u64 now_ns)
{
	struct io_ring_ctx *ring = (struct io_ring_ctx *)thread->ring;
	struct turns *turns = &thread->turns;
	u64 ns = now_ns - thread->start_ns;

	if (BPF_CORE_READ(ring, rings, cq.head) - turns->ring_head != 1)
		return;
	turns->turn[0].service_ns = ns < ~0u ? (u32)ns : ~0u;
	if (turns->had & 1)
		return;
	turns->had |= 1;
	turns->left = 0;
	turns->turn[0].fd = turns->event[0].data_high ? -1 : (s32)turns->event[0].data_low;
}

/* The next wait begins. */
__noinline int end_turns(struct thread *thread, u64 now_ns)
{
	struct loop_habits *habits;
	struct turns *turns;

	if (!thread)
		return 0;
	turns = &thread->turns;
	end_part(turns, now_ns);
	if (turns->flags & TURNS_ALONE)
		end_turn_alone(thread, now_ns);
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= turns->len)
			break;
		if (turns->had >> i & 1)
			count_service(turns->turn[i].role_slot, turns->turn[i].service_ns);
	}
	if (turns->undrained_len)
		note_lying(thread);
	habits = thread_habits(thread);
	if (!habits)
		return 0;
	habits->events += turns->len;
	habits->attributed += turns->len - turns->left;
	habits->not_looked_at += count_beyond(thread);
	if (thread->wait == RECORD_WAIT_EPOLL)
		note_iteration(thread, habits, now_ns);
	return 0;
}

#endif
