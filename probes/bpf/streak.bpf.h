/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_STREAK_BPF_H
#define STINT_PROBES_STREAK_BPF_H

/*
 * Descriptors that one wait after the other returns, and that nobody serves: the loop never sleeps. A streak is a row of
 * waits of one loop that returned the descriptor, not for EPOLLOUT alone, and did not sleep, with no system call on it in
 * between, by any thread of the process. It is told only of who certainly could have been served by nothing else:
 *
 *   - the registration is level-triggered, and on the set's list of what is ready as the iteration ends. That is the
 *     kernel's own word, so two registrations that share their data are not taken for each other;
 *   - its open file is not used from elsewhere: there is one reference to it. A copy of the descriptor, another process, a
 *     ring and memory that is mapped (a ring of perf's or of eBPF's) would each be one more. Or it is a TCP socket, and what
 *     lies first in it, or in the queue of a listener, is what lay there before;
 *   - no ring is entered in its process, and its thread has none.
 *
 * It is looked at once it was returned STREAK_LOOK times in a row without a turn, and each so many times from then on; the
 * waits between two looks count if both found it so. Not seen are those beyond the first RECORD_READY of a batch, beyond
 * STREAKS_MAX at once, of more that are ready than a wait has room for, and of sets that one thread waits in by turns.
 */

#define STREAK_LOOK              16
#define STREAK_LONG              (STREAK_LOOK + FINDING_LEFT_READY_MIN)
#define STREAK_REGISTRATIONS_MAX 8
#define STREAK_CALLS             4096

_Static_assert(STREAK_LONG % STREAK_LOOK == 0, "it is told at a look");

/* How many calls there were on each descriptor (modulo) of who is watched, while streaks are looked at. */
__u32 streak_calls[STREAK_CALLS];

/* How many of them are looked at, in all threads. */
__s32 streaks_open;

static __always_inline u32 *calls_on(u32 pid, s32 fd)
{
	return &streak_calls[(pid * 509u + (u32)fd) % STREAK_CALLS];
}

/* That may be on any descriptor: through a ring, or closing many. */
#define ANY_DESCRIPTOR (-1)

static __always_inline u32 count_calls(u32 pid, s32 fd)
{
	return *calls_on(pid, fd) + *calls_on(pid, ANY_DESCRIPTOR);
}

static __always_inline void note_call_on(u32 pid, s32 fd)
{
	__sync_fetch_and_add(calls_on(pid, fd), 1);
}

/* A system call of a watched process begins, in whichever of its threads. */
static __always_inline void note_call(u32 pid, long number, const struct pt_regs *regs)
{
	if (takes_fd(number))
		note_call_on(pid, (s32)regs->di);
	switch (number) {
	case NR_sendfile:
	case NR_tee:
	case NR_dup2:
	case NR_dup3:
	case NR_waitid:
		note_call_on(pid, (s32)regs->si);
		return;
	case NR_epoll_ctl:
	case NR_splice:
	case NR_copy_file_range:
		note_call_on(pid, (s32)regs->dx);
		return;
	case NR_io_uring_enter:
	case NR_close_range:
		note_call_on(pid, ANY_DESCRIPTOR);
		return;
	}
}

/* ---- what the kernel says of it ---- */

static __always_inline bool is_on_ready_list(const struct epitem *item)
{
	u64 link = (u64)item + bpf_core_field_offset(struct epitem, rdllink);

	return (u64)BPF_CORE_READ(item, rdllink.next) != link;
}

/* Is the file registered in the set with that data, level-triggered, and ready? */
__noinline bool is_left_ready(u64 file, u64 set, u64 data)
{
	struct hlist_head *registrations = BPF_CORE_READ((struct file *)file, f_ep);
	struct hlist_node *node = registrations ? BPF_CORE_READ(registrations, first) : NULL;
	u64 offset = bpf_core_field_offset(struct epitem, fllink);

	for (u32 i = 0; i < STREAK_REGISTRATIONS_MAX && node; i++) {
		struct epitem *item = (struct epitem *)((u64)node - offset);

		if ((u64)BPF_CORE_READ(item, ep) == set && BPF_CORE_READ(item, event.data) == data &&
		    !(BPF_CORE_READ(item, event.events) & (EPOLLET | EPOLLONESHOT)) && is_on_ready_list(item))
			return true;
		node = BPF_CORE_READ(node, next);
	}
	return false;
}

/* Since 6.13 it counts those beyond the first. */
static __always_inline bool is_used_elsewhere(const struct file *file)
{
	const struct file___6_13 *newer = (const void *)file;

	if (bpf_core_field_exists(newer->f_ref))
		return BPF_CORE_READ(newer, f_ref.refcnt.counter) != 0;
	return BPF_CORE_READ(file, f_count.counter) != 1;
}

/* What lies first in a TCP socket; 0: nothing, or it is none. */
static __always_inline u64 first_in(const struct sock *sk)
{
	struct request_sock *first;
	u32 copied_seq;

	if (!sk || !is_tcp(sk))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		first = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_accept_queue.rskq_accept_head);
		return first ? (u64)first ^ BPF_CORE_READ((struct tcp_request_sock *)first, snt_isn) : 0;
	}
	copied_seq = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	return copied_seq != BPF_CORE_READ((struct tcp_sock *)sk, rcv_nxt) ? 1ull << 32 | copied_seq : 0;
}

/* ---- streaks ---- */

static __always_inline struct streak *streak_at(struct thread *thread, u32 which)
{
	asm volatile("" : "+r"(which)); /* so that the mask stays: without it the verifier knows no bound */
	return &thread->streaks[which & (STREAKS_MAX - 1)];
}

/* The first look at it: who has it, and what it is compared with from now on. */
static __always_inline bool look_at(struct thread *thread, struct streak *streak)
{
	struct data_key key = {.data = streak->data, .pid = thread->pid, .epfd = thread->epfd};
	s32 *fd = bpf_map_lookup_elem(&descriptors_by_data, &key);
	struct file *file;

	if (!fd || *fd < 0)
		return false;
	file = (struct file *)fd_to_file(*fd);
	if (!file || BPF_CORE_READ(bpf_get_current_task_btf(), io_uring))
		return false;
	__sync_fetch_and_add(&streaks_open, 1);
	streak->fd = *fd;
	streak->calls = count_calls(thread->pid, *fd);
	streak->first = first_in(file_to_sock(file));
	streak->part = (struct streak_part){0};
	return true;
}

/* As far as the kernel knows, now and as it was looked at. */
static __always_inline bool is_still_there(const struct thread *thread, const struct streak *streak)
{
	struct file *file = (struct file *)fd_to_file(streak->fd);

	if (!file || !is_left_ready((u64)file, epoll_set(thread->epfd), streak->data))
		return false;
	return !is_used_elsewhere(file) || (streak->first && streak->first == first_in(file_to_sock(file)));
}

static __always_inline bool is_time_to_look(const struct streak *streak)
{
	return streak->waits % STREAK_LOOK == 0;
}

static __always_inline bool is_long(const struct streak *streak)
{
	return streak->waits >= STREAK_LONG;
}

static __always_inline bool is_out_alone(const struct user_event *event)
{
	return (event->events & (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP)) == EPOLLOUT;
}

/* Is it that once more? Its place among the events is the same as a rule. */
static __always_inline bool continues(struct thread *thread, struct streak *streak)
{
	struct turns *turns = &thread->turns;
	u32 at;

	turns->cursor = streak->at;
	at = find_event(turns, streak->data);
	if (at >= TURNS_MAX || is_out_alone(&turns->event[at]))
		return false;
	streak->at = at;
	streak->waits++;
	if (streak->waits < STREAK_LOOK)
		return true;
	if (streak->waits == STREAK_LOOK)
		return look_at(thread, streak) && is_still_there(thread, streak);
	streak->part.waits++;
	return streak->calls == count_calls(thread->pid, streak->fd) &&
	       (!is_time_to_look(streak) || is_still_there(thread, streak));
}

__noinline int close_streak(struct thread *thread, u32 which)
{
	if (thread && streak_at(thread, which)->fd >= 0)
		__sync_fetch_and_add(&streaks_open, -1);
	return 0;
}

/* Returns the bit of its event; 0: it is over, and the last one has its place. */
__noinline u64 continue_streak(struct thread *thread, u32 which)
{
	struct streak *streak;

	if (!thread)
		return 0;
	streak = streak_at(thread, which);
	if (continues(thread, streak))
		return 1ull << (streak->at & (TURNS_MAX - 1));
	close_streak(thread, which);
	thread->turns.streaks--;
	*streak = *streak_at(thread, thread->turns.streaks);
	return 0;
}

__noinline int end_streaks(struct thread *thread)
{
	if (!thread)
		return 0;
	for (u32 i = 0; i < STREAKS_MAX; i++)
		if (i < thread->turns.streaks)
			close_streak(thread, i);
	thread->turns.streaks = 0;
	return 0;
}

__noinline bool is_in_streak(const struct thread *thread, u64 data)
{
	if (!thread)
		return true;
	for (u32 i = 0; i < STREAKS_MAX; i++)
		if (i < thread->turns.streaks && thread->streaks[i].data == data)
			return true;
	return false;
}

/*
 * With one of the events `left`, a bit for each: one an iteration, from another place each time, so that those of programs
 * that serve their descriptors in ways that are not seen cost little, and hide none.
 */
__noinline int begin_streak(struct thread *thread, u64 left)
{
	struct streak *streak;
	u64 behind, data;
	u32 at, which;

	if (!thread)
		return 0;
	which = thread->turns.streaks;
	if (!left || which >= STREAKS_MAX)
		return 0;
	behind = left & (~0ull << (thread->iteration & 63));
	at = lowest_bit(behind ? behind : left) & (TURNS_MAX - 1);
	data = (u64)thread->turns.event[at].data_high << 32 | thread->turns.event[at].data_low;
	if (is_out_alone(&thread->turns.event[at]) || is_in_streak(thread, data))
		return 0;
	streak = streak_at(thread, which);
	streak->data = data;
	streak->waits = 1;
	streak->fd = -1;
	streak->at = at;
	thread->turns.streaks = which + 1;
	thread->streaks_epfd = thread->epfd;
	return 0;
}

/* Until the look that has just been had, nobody served it. */
static __always_inline void tell_part(struct thread *thread, struct streak *streak)
{
	struct descriptor *descriptor = find_descriptor(thread->pid, thread->epfd, streak->fd);
	struct finding_counters *finding;

	if (!descriptor)
		return;
	if (!(descriptor->flags & DESCRIPTOR_SETTLED))
		settle_descriptor(descriptor, streak->fd);
	finding = get_finding(thread, streak->fd, FINDING_LEFT_READY, &descriptor->role);
	if (!finding)
		return;
	finding->count += streak->part.waits;
	finding->vain += streak->part.vain;
	finding->cost_ns += streak->part.cost_ns;
}

/* `shared_by`: so many share what the wait and its iteration cost, for it returned nothing else; 0: it did. */
__noinline int count_wait(struct thread *thread, u32 which, u32 shared_by, u64 cost_ns)
{
	struct streak *streak;

	if (!thread)
		return 0;
	streak = streak_at(thread, which);
	if (!is_long(streak))
		return 0;
	if (shared_by) {
		streak->part.vain++;
		streak->part.cost_ns += cost_ns / shared_by;
	}
	if (!is_time_to_look(streak))
		return 0;
	tell_part(thread, streak);
	streak->part = (struct streak_part){0};
	streak->waits = STREAK_LONG;
	return 0;
}

/* From the last one on, as that may take the place of another. Returns the events that are none of theirs. */
__noinline u64 continue_streaks(struct thread *thread, u64 left)
{
	if (!thread)
		return 0;
	for (u32 i = STREAKS_MAX; i > 0; i--)
		if (i <= thread->turns.streaks)
			left &= ~continue_streak(thread, i - 1);
	return left;
}

__noinline u32 count_long(const struct thread *thread)
{
	u32 count = 0;

	if (!thread)
		return 0;
	for (u32 i = 0; i < STREAKS_MAX; i++)
		count += i < thread->turns.streaks && is_long(&thread->streaks[i]);
	return count;
}

__noinline int note_left_ready(struct thread *thread, u64 now_ns)
{
	struct turns *turns;
	u32 len, count, shared_by;
	u64 left;

	if (!thread)
		return 0;
	turns = &thread->turns;
	if (turns->woken_ns || !turns->left) /* nothing was ready as it slept */
		return end_streaks(thread);
	if (turns->streaks && thread->streaks_epfd != thread->epfd)
		end_streaks(thread);
	len = turns->len < TURNS_MAX ? turns->len : TURNS_MAX;
	left = continue_streaks(thread, ~turns->had & (~0ull >> ((TURNS_MAX - len) & 63)));
	count = count_long(thread);
	shared_by = count == len && thread->ready_events == len ? count : 0;
	for (u32 i = 0; count && i < STREAKS_MAX; i++)
		if (i < turns->streaks)
			count_wait(thread, i, shared_by, now_ns - thread->wait_start_ns);
	return begin_streak(thread, left);
}

#endif
