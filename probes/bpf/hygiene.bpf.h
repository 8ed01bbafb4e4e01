/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_HYGIENE_BPF_H
#define STINT_PROBES_HYGIENE_BPF_H

/*
 * Bad habits of loops, as counters; from where on they are worth a finding, user space decides (hygiene.c). Habits
 * of a whole loop stand beside its counters, those of a descriptor in a table of their own, which is written to
 * only when one shows.
 */

#define FINDINGS_MAX 1024

#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct loop_habits);
} habits_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FINDINGS_MAX);
	__type(key, struct finding_key);
	__type(value, struct finding_counters);
} findings SEC(".maps");

/* Always zero: what new ones start as, which would need too much of a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct finding_counters);
} empty_finding SEC(".maps");

static __always_inline struct loop_habits *thread_habits(const struct thread *thread)
{
	u32 slot = thread->loop_slot;

	return slot < LOOPS_MAX ? bpf_map_lookup_elem(&habits_table, &slot) : NULL;
}

static __noinline struct finding_counters *get_finding(const struct thread *thread, s32 fd, u32 kind,
						       const struct role_key *role)
{
	struct finding_key key = {.fd = fd, .kind = kind};
	struct finding_counters *finding;
	u32 zero = 0;

	if (!thread || !role)
		return NULL;
	key.pid = thread->pid;
	key.tid = thread->tid;
	key.epfd = thread->epfd;
	finding = bpf_map_lookup_elem(&findings, &key);
	if (finding)
		return finding;
	finding = bpf_map_lookup_elem(&empty_finding, &zero);
	if (!finding)
		return NULL;
	if (bpf_map_update_elem(&findings, &key, finding, BPF_NOEXIST) != 0)
		lost_entry();
	finding = bpf_map_lookup_elem(&findings, &key);
	if (finding)
		finding->role = *role;
	return finding;
}

static __always_inline void note_finding(const struct thread *thread, s32 fd, u32 kind,
					 const struct role_key *role, u64 count, u64 cost_ns)
{
	struct finding_counters *finding = get_finding(thread, fd, kind, role);

	if (!finding)
		return;
	finding->count += count;
	finding->cost_ns += cost_ns;
	if (cost_ns > finding->longest_ns)
		finding->longest_ns = cost_ns;
}

/* ---- EPOLLOUT with nothing to write ---- */

/* EPOLLOUT alone was returned. With EPOLLET or EPOLLONESHOT that costs nothing: it comes once. */
__noinline int note_writable(struct thread *thread, const struct user_event *event)
{
	struct data_key key = {0};
	struct descriptor *descriptor;
	s32 *fd;

	if (!thread || !event)
		return 0;
	key.data = (u64)event->data_high << 32 | event->data_low;
	key.pid = thread->pid;
	key.epfd = thread->epfd;
	fd = bpf_map_lookup_elem(&descriptors_by_data, &key);
	descriptor = fd ? find_descriptor(thread->pid, thread->epfd, *fd) : NULL;
	if (!descriptor || descriptor->events & (EPOLLET | EPOLLONESHOT))
		return 0;
	thread->turns.flags |= TURNS_OUTS;
	if (descriptor->flags & DESCRIPTOR_OUT_PENDING) {
		descriptor->idle_outs++;
		if (!(descriptor->flags & DESCRIPTOR_SETTLED))
			settle_descriptor(descriptor, *fd);
		if (descriptor->idle_outs >= FINDING_IDLE_OUTS_MIN)
			note_finding(thread, *fd, FINDING_IDLE_EPOLLOUT, &descriptor->role,
				     descriptor->idle_outs == FINDING_IDLE_OUTS_MIN ? FINDING_IDLE_OUTS_MIN
										    : 1,
				     0);
	}
	descriptor->flags |= DESCRIPTOR_OUT_PENDING;
	return 0;
}

/* A send: so there was something to write. */
__noinline int note_sent(struct thread *thread, s32 fd)
{
	struct descriptor *descriptor;

	if (!thread)
		return 0;
	thread->turns.flags |= TURNS_SENT;
	descriptor = find_descriptor(thread->pid, thread->epfd, fd);
	if (!descriptor)
		return 0;
	descriptor->flags &= ~DESCRIPTOR_OUT_PENDING;
	descriptor->idle_outs = 0;
	return 0;
}

/* ---- edge-triggered, and not drained ---- */

__noinline int note_left(struct thread *thread, s32 fd, u64 now_ns)
{
	struct turns *turns;
	struct descriptor *descriptor;
	u32 at;

	if (!thread)
		return 0;
	turns = &thread->turns;
	descriptor = find_descriptor(thread->pid, thread->epfd, fd);
	if (!descriptor)
		return 0;
	if (!descriptor->left_ns) {
		turns->undrained++;
		at = turns->undrained_len;
		if (at < UNDRAINED_MAX) {
			turns->undrained_fd[at] = fd;
			turns->undrained_len = at + 1;
		}
	}
	descriptor->left_ns = now_ns;
	return 0;
}

/*
 * More had come before the thread waited again: that wait, the first one since, returned without a sleep, as it would have
 * of a descriptor that is level-triggered. So it is of who reads as much as there was, and leaves what came meanwhile to
 * the next event.
 */
static __always_inline bool was_ready_again(const struct thread *thread, const struct descriptor *descriptor)
{
	return descriptor->turn_id + 1 == turn_id(thread) && !thread->turns.woken_ns;
}

/* The data left behind is being seen to. `told`: only because epoll reported more of it. */
__noinline int end_left(struct thread *thread, struct descriptor *descriptor, s32 fd, u64 now_ns, bool told)
{
	struct finding_counters *finding;
	u64 left_ns;

	if (!thread || !descriptor)
		return 0;
	left_ns = descriptor->left_ns;
	descriptor->left_ns = 0;
	if (thread->turns.undrained)
		thread->turns.undrained--;
	finding = get_finding(thread, fd, FINDING_NOT_DRAINED, &descriptor->role);
	if (!finding)
		return 0;
	finding->open_ns = 0;
	if (!told && now_ns - left_ns < FINDING_LYING_NS)
		finding->excused++;
	else if (!told || !was_ready_again(thread, descriptor))
		note_finding(thread, fd, FINDING_NOT_DRAINED, &descriptor->role, 1, now_ns - left_ns);
	return 0;
}

/* The thread waits again: what it left behind now lies there. */
__noinline int note_lying(struct thread *thread)
{
	struct turns *turns;

	if (!thread)
		return 0;
	turns = &thread->turns;
	for (u32 i = 0; i < UNDRAINED_MAX; i++) {
		struct finding_counters *finding;
		struct descriptor *descriptor;
		s32 fd;

		if (i >= turns->undrained_len)
			break;
		fd = turns->undrained_fd[i];
		descriptor = find_descriptor(thread->pid, thread->epfd, fd);
		if (!descriptor || !descriptor->left_ns)
			continue;
		finding = get_finding(thread, fd, FINDING_NOT_DRAINED, &descriptor->role);
		if (finding)
			finding->open_ns = descriptor->left_ns;
	}
	turns->undrained_len = 0;
	return 0;
}

/* ---- whole loops ---- */

/*
 * Whether the first of the events that a wait has written is one of those that the wait before it returned (`turns` has
 * them still). The kernel returns first what found no room the last time, so nothing did.
 */
__noinline int was_returned_before(const struct thread *thread, u64 events)
{
	const struct turns *turns;
	struct user_event first;

	if (!thread || bpf_probe_read_user(&first, sizeof(first), (void *)events) != 0)
		return 0;
	turns = &thread->turns;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= turns->len)
			break;
		if (turns->event[i].data_low == first.data_low &&
		    turns->event[i].data_high == first.data_high)
			return 1;
	}
	return 0;
}

static __always_inline void note_wait(struct thread *thread, u32 kind, u64 now_ns, u64 events, long result,
				      u64 max_events)
{
	struct loop_habits *habits = thread_habits(thread);
	bool was_full = thread->turns.flags & TURNS_FULL;

	if (!habits || kind != RECORD_WAIT_EPOLL)
		return;
	if (result > 0)
		habits->waits++;
	else
		habits->waits_empty++;
	if (!thread->wait_start_ns)
		return;
	if (thread->wait_is_zero && result == 0) {
		habits->polls_empty++;
		habits->polls_spun += thread->after_empty_poll;
		habits->polls_empty_ns += now_ns - thread->wait_start_ns;
	}
	if (result > 0 && was_full && !thread->turns.woken_ns && !was_returned_before(thread, events)) {
		habits->waits_full_again++;
		habits->waits_full_again_ns += now_ns - thread->wait_start_ns;
	}
	if (result > 0 && (u64)result == max_events)
		habits->waits_full++;
}

/* The iteration is over: what of it was for nothing. */
static __always_inline void note_iteration(const struct thread *thread, struct loop_habits *habits,
					   u64 now_ns)
{
	u64 busy_ns = now_ns - thread->start_ns;

	if (thread->after_empty_poll && !thread->syscall_count)
		habits->polls_empty_ns += busy_ns;
	if ((thread->turns.flags & (TURNS_ONLY_OUT | TURNS_SENT)) == TURNS_ONLY_OUT) {
		habits->idle_outs++;
		habits->idle_outs_ns += busy_ns;
	}
}

/* ---- epoll_ctl ---- */

static __always_inline void count_rearm(struct thread *thread, s32 fd, struct descriptor *descriptor,
					bool same, u64 cost_ns)
{
	struct loop_habits *habits = thread_habits(thread);

	if (habits) {
		habits->ctl_rearms++;
		habits->ctl_same += same;
	}
	descriptor->rearms++;
	if (descriptor->rearms < FINDING_REARMS_MIN)
		return;
	if (!(descriptor->flags & DESCRIPTOR_SETTLED))
		settle_descriptor(descriptor, fd);
	note_finding(thread, fd, FINDING_CTL_STORM, &descriptor->role,
		     descriptor->rearms == FINDING_REARMS_MIN ? FINDING_REARMS_MIN : 1, cost_ns);
}

static __always_inline struct descriptor *own_descriptor(u64 epfd_and_fd)
{
	return find_descriptor(bpf_get_current_pid_tgid() >> 32, (s32)(epfd_and_fd >> 32), (s32)epfd_and_fd);
}

__noinline int note_added(struct thread *thread, u64 epfd_and_fd, u64 data, u32 events, u64 cost_ns)
{
	struct descriptor *descriptor = own_descriptor(epfd_and_fd);
	bool again = descriptor && descriptor->flags & DESCRIPTOR_REMOVED;
	u64 sock = again ? descriptor->sock : 0;
	u32 rearms = again ? descriptor->rearms : 0;

	add_descriptor(epfd_and_fd, data, events);
	if (!again || !thread)
		return 0;
	descriptor = own_descriptor(epfd_and_fd);
	if (!descriptor || descriptor->sock != sock)
		return 0; /* another socket under the same number */
	descriptor->rearms = rearms;
	count_rearm(thread, (s32)epfd_and_fd, descriptor, false, cost_ns);
	return 0;
}

__noinline int note_modified(struct thread *thread, u64 epfd_and_fd, u64 data, u32 events, u64 cost_ns)
{
	struct descriptor *descriptor = own_descriptor(epfd_and_fd);
	struct data_key by_data = {.data = data, .pid = bpf_get_current_pid_tgid() >> 32};
	s32 fd = (s32)epfd_and_fd;
	bool same;

	by_data.epfd = (s32)(epfd_and_fd >> 32);
	if (!descriptor)
		return add_descriptor(epfd_and_fd, data, events);
	same = descriptor->events == events && descriptor->data == data && !(events & EPOLLET);
	if (descriptor->data != data)
		bpf_map_update_elem(&descriptors_by_data, &by_data, &fd, BPF_ANY);
	descriptor->events = events;
	descriptor->data = data;
	if (!(events & EPOLLOUT))
		descriptor->flags &= ~DESCRIPTOR_OUT_PENDING;
	if (thread && !(events & EPOLLONESHOT))
		count_rearm(thread, fd, descriptor, same, cost_ns);
	return 0;
}

static __always_inline void note_removed(u64 epfd_and_fd)
{
	struct descriptor *descriptor = own_descriptor(epfd_and_fd);

	if (!descriptor)
		return;
	descriptor->flags |= DESCRIPTOR_REMOVED;
	descriptor->flags &= ~DESCRIPTOR_OUT_PENDING;
}

/*
 * The set by the number that the thread waits in it by, as what the wait returns is looked for by that: tokio registers by
 * a duplicate of its descriptor. Others keep theirs.
 */
static __noinline s32 waited_number(const struct thread *thread, s32 epfd)
{
	u64 file;

	if (!thread || thread->wait != RECORD_WAIT_EPOLL || thread->epfd == epfd)
		return epfd;
	file = fd_to_file(epfd);
	return file && file == fd_to_file(thread->epfd) ? thread->epfd : epfd;
}

/* An epoll_ctl() has succeeded. What it costs is the loop's if that is amid an iteration of the same set. */
__noinline int note_ctl(struct thread *thread, u64 op, u64 epfd_and_fd, u64 event_address, u64 now_ns)
{
	struct user_event event = {0};
	struct loop_habits *habits = NULL;
	u64 cost_ns = 0, data;
	s32 epfd = waited_number(thread, (s32)(epfd_and_fd >> 32));

	epfd_and_fd = (u64)(u32)epfd << 32 | (u32)epfd_and_fd;
	if (thread && (thread->state != THREAD_DISPATCHING || thread->epfd != epfd))
		thread = NULL;
	if (thread) {
		habits = thread_habits(thread);
		cost_ns = now_ns - thread->syscall_start_ns;
	}
	if (habits) {
		habits->ctl_ns += cost_ns;
		habits->ctl_adds += op == EPOLL_CTL_ADD;
		habits->ctl_mods += op == EPOLL_CTL_MOD;
		habits->ctl_dels += op == EPOLL_CTL_DEL;
	}
	if (op == EPOLL_CTL_DEL) {
		note_removed(epfd_and_fd);
		return 0;
	}
	if (bpf_probe_read_user(&event, sizeof(event), (void *)event_address) != 0)
		return 0;
	data = (u64)event.data_high << 32 | event.data_low;
	if (op == EPOLL_CTL_ADD)
		return note_added(thread, epfd_and_fd, data, event.events, cost_ns);
	return note_modified(thread, epfd_and_fd, data, event.events, cost_ns);
}

/* The descriptor is about to be closed. */
__noinline int note_close(struct thread *thread, s32 fd, u64 now_ns)
{
	struct descriptor *descriptor;

	if (!thread)
		return 0;
	descriptor = find_descriptor(thread->pid, thread->epfd, fd);
	if (!descriptor)
		return 0;
	if (descriptor->left_ns)
		end_left(thread, descriptor, fd, now_ns, false);
	/* It had its turn, and now it may be another one's. */
	if (descriptor->turn_id == turn_id(thread)) {
		keep_identity(thread, descriptor->ready_at, now_ns);
		thread->turns.closed |= 1ull << (descriptor->ready_at & (TURNS_MAX - 1));
	}
	return drop_descriptor(DESCRIPTOR_SET(thread->pid, thread->epfd, fd), DESCRIPTOR_TAG(thread->pid, fd),
			       thread->epfd, 0);
}

#endif
