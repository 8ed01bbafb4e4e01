/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_DESCRIPTOR_BPF_H
#define STINT_PROBES_DESCRIPTOR_BPF_H

/*
 * What the descriptors of an epoll set are. epoll_ctl() tells of new ones; user space fills in those that were
 * there before, and those registered in ways that are no system call (io_uring). Those of poll() and select() are
 * known from their first turn on. What a descriptor is, is
 * found at its first turn: by then a connect has begun, and O_NONBLOCK has been set if it ever is.
 *
 * A descriptor that was pushed out of the table has no turns until it is added again, and its events count as not
 * attributed.
 */

#define DESCRIPTORS_MAX 16384 /* that can be found by their data */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DESCRIPTOR_SETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct descriptor_set);
} descriptors SEC(".maps");

/* From what epoll_wait() returns to the descriptor. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DESCRIPTORS_MAX);
	__type(key, struct data_key);
	__type(value, s32);
} descriptors_by_data SEC(".maps");

__u64 descriptor_marks[DESCRIPTOR_MARKS / 64]; /* of role_records.h */

static __always_inline bool is_descriptor_marked(u32 pid, s32 fd)
{
	u32 mark = DESCRIPTOR_MARK(pid, fd);

	return descriptor_marks[mark / 64] >> (mark % 64) & 1;
}

static __always_inline void mark_descriptor(u32 pid, s32 fd)
{
	u32 mark = DESCRIPTOR_MARK(pid, fd);

	__sync_fetch_and_or(&descriptor_marks[mark / 64], 1ull << (mark % 64));
}

static __always_inline struct descriptor_set *descriptor_set(u32 at)
{
	return bpf_map_lookup_elem(&descriptors, &at);
}

static __always_inline bool is_descriptor(const struct descriptor *descriptor, u64 tag, s32 epfd)
{
	return descriptor->tag == tag && descriptor->epfd == epfd;
}

/*
 * Which way of a set it has; DESCRIPTOR_WAYS: none. This and the next two are global, so that the verifier goes through
 * each once, and callers get a number and not a way for each.
 */
__noinline u32 descriptor_way(u32 at, u64 tag, s32 epfd)
{
	struct descriptor_set *set = descriptor_set(at);

	for (u32 i = 0; set && i < DESCRIPTOR_WAYS; i++) {
		u32 way = DESCRIPTOR_WAY(tag, i);

		if (is_descriptor(&set->way[way], tag, epfd))
			return way;
	}
	return DESCRIPTOR_WAYS;
}

/* Takes a way, for the caller alone until it puts its tag there. DESCRIPTOR_WAYS: others were faster. */
__noinline u32 take_descriptor_way(u32 at, s32 fd)
{
	struct descriptor_set *set = descriptor_set(at);
	u64 before, oldest_ns = ~0ull;
	u32 oldest = 0;

	if (!set)
		return DESCRIPTOR_WAYS;
	for (u32 i = 0; i < DESCRIPTOR_WAYS; i++) {
		u32 way = DESCRIPTOR_WAY(fd, i);
		struct descriptor *descriptor = &set->way[way];

		if (!descriptor->tag &&
		    __sync_val_compare_and_swap(&descriptor->tag, 0, DESCRIPTOR_TAKEN) == 0)
			return way;
		if (descriptor->used_ns >= oldest_ns)
			continue;
		oldest = way;
		oldest_ns = descriptor->used_ns;
	}
	asm volatile("" : "+r"(oldest)); /* so that the mask stays: without it the verifier knows no bound */
	oldest &= DESCRIPTOR_WAYS - 1;
	before = set->way[oldest].tag;
	if (before == DESCRIPTOR_TAKEN ||
	    __sync_val_compare_and_swap(&set->way[oldest].tag, before, DESCRIPTOR_TAKEN) != before)
		return DESCRIPTOR_WAYS;
	return oldest;
}

/*
 * All there are of it, from the way `first` on. If it is told from two sides at once, each drops what is behind its own, so
 * that one stays in any case; two may, until it is closed.
 */
__noinline int drop_descriptor(u32 at, u64 tag, s32 epfd, u32 first)
{
	struct descriptor_set *set = descriptor_set(at);

	for (u32 way = 0; set && way < DESCRIPTOR_WAYS; way++)
		if (way >= first && is_descriptor(&set->way[way], tag, epfd))
			__sync_val_compare_and_swap(&set->way[way].tag, tag, 0);
	return 0;
}

static __always_inline struct descriptor *find_descriptor(u32 pid, s32 epfd, s32 fd)
{
	u32 at = DESCRIPTOR_SET(pid, epfd, fd), way = DESCRIPTOR_WAY(fd, 0);
	u64 tag = DESCRIPTOR_TAG(pid, fd);
	struct descriptor_set *set;

	if (!is_descriptor_marked(pid, fd))
		return NULL;
	set = descriptor_set(at);
	if (!set)
		return NULL;
	if (!is_descriptor(&set->way[way], tag, epfd))
		way = descriptor_way(at, tag, epfd);
	if (way >= DESCRIPTOR_WAYS)
		return NULL;
	asm volatile("" : "+r"(way)); /* as above */
	return &set->way[way & (DESCRIPTOR_WAYS - 1)];
}

/* What tells the turns of one iteration from those of others. */
static __always_inline u64 turn_id(const struct thread *thread)
{
	return (u64)thread->tid << 40 | (thread->iteration & ((1ull << 40) - 1));
}

static __always_inline bool is_tcp(const struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/*
 * One that was accepted began as a copy of its listener, and has the length of that one's queue still, whoever that was and
 * wherever it listened. Where that is 0, the port has to tell.
 */
static __always_inline bool was_accepted(const struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_max_ack_backlog) || is_listened_on((u64)sk);
}

static __always_inline void classify_tcp(struct role_key *role, const struct sock *sk)
{
	bool listens = BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN;

	if (listens || was_accepted(sk)) {
		role->kind = listens ? ROLE_LISTENER : ROLE_CLIENTS;
		role->port = local_port(sk);
		return;
	}
	role->kind = ROLE_UPSTREAM;
	role->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	role->port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (role->family == AF_INET6)
		BPF_CORE_READ_INTO(&role->address, sk, __sk_common.skc_v6_daddr);
	else
		BPF_CORE_READ_INTO((u32 *)role->address, sk, __sk_common.skc_daddr);
}

static __always_inline void classify_socket(struct role_key *role, const struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (is_tcp(sk))
		classify_tcp(role, sk);
	else if (family == AF_UNIX)
		role->kind = BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN ? ROLE_UNIX_LISTENER
										    : ROLE_UNIX;
	else if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_UDP)
		role->kind = ROLE_UDP;
	else
		role->kind = ROLE_SOCKET;
}

/* Descriptors without an inode of their own are told apart by the name that the kernel gives them. */
static __always_inline u16 classify_by_name(const struct file *file)
{
	const unsigned char *from = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	char name[12] = {0};

	if (bpf_probe_read_kernel_str(name, sizeof(name), from) < 0)
		return ROLE_OTHER;
	if (name[0] == 'i' || name[1] == 'i')
		return name[1] == 'n' || name[2] == 'n' ? ROLE_INOTIFY : ROLE_OTHER;
	if (name[0] != '[')
		return ROLE_OTHER;
	if (name[1] == 't' && name[2] == 'i')
		return ROLE_TIMERFD;
	if (name[1] == 's' && name[2] == 'i')
		return ROLE_SIGNALFD;
	if (name[1] == 'e' && name[2] == 'v' && name[6] == 'f')
		return ROLE_EVENTFD;
	return name[1] == 'e' && name[2] == 'v' && name[6] == 'p' ? ROLE_EPOLL : ROLE_OTHER;
}

/* The socket's address, if what arrives on it, or is left in it, can be followed. */
static __noinline u64 followed_sock(const struct sock *sk)
{
	if (!sk)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		return (u64)sk;
	if (!is_tcp(sk))
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		know_port((u64)sk);
		return 0;
	}
	follow_arrivals((u64)sk);
	return (u64)sk;
}

static __always_inline void classify_file(struct role_key *role, const struct file *file,
					  const struct sock *sk, u32 mode)
{
	if (sk)
		classify_socket(role, sk);
	else if (mode == S_IFIFO)
		role->kind = ROLE_PIPE;
	else if (mode == S_IFCHR)
		role->kind = ROLE_TERMINAL;
	else if (mode == S_IFREG)
		role->kind = ROLE_FILE;
	else
		role->kind = classify_by_name(file);
}

static __always_inline u32 file_type(const struct file *file)
{
	return BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
}

static __always_inline u32 inode_of(const struct file *file)
{
	return (u32)BPF_CORE_READ(file, f_inode, i_ino);
}

/* Once, at its first turn. */
__noinline int settle_descriptor(struct descriptor *descriptor, s32 fd)
{
	struct file *file = (struct file *)fd_to_file(fd);
	struct sock *sk = file_to_sock(file);
	u32 mode;

	if (!descriptor || !file)
		return 0;
	mode = file_type(file);
	classify_file(&descriptor->role, file, sk, mode);
	if (!(BPF_CORE_READ(file, f_flags) & O_NONBLOCK) && (sk || mode == S_IFIFO))
		descriptor->flags |= DESCRIPTOR_BLOCKING;
	if (!descriptor->sock)
		descriptor->sock = followed_sock(sk);
	if (!descriptor->inode) {
		descriptor->inode = inode_of(file);
		descriptor->file = as_number((u64)file);
	}
	descriptor->flags |= DESCRIPTOR_SETTLED;
	return 0;
}

/* Makes a role that thread's. Returns its slot. */
static __noinline u32 thread_role(struct thread *thread, struct role_key *role)
{
	struct role_key key;
	u32 *known;

	if (!thread || !role)
		return ROLE_NO_SLOT;
	key = *role;
	key.pid = thread->pid;
	key.tid = thread->tid;
	known = bpf_map_lookup_elem(&role_index, &key);
	if (!known && key.kind == ROLE_UPSTREAM && key.family) {
		if (thread->turns.upstreams < ROLE_UPSTREAMS) {
			thread->turns.upstreams++;
		} else {
			key.family = 0;
			key.port = 0;
			__builtin_memset(key.address, 0, sizeof(key.address));
		}
	}
	*role = key;
	return known ? *known : role_slot(thread, &key);
}

/* The role's slot for this thread: a descriptor may change hands. */
__noinline u32 descriptor_role(struct thread *thread, struct descriptor *descriptor)
{
	if (!thread || !descriptor)
		return ROLE_NO_SLOT;
	if (descriptor->role_owner == thread->number && descriptor->role_slot != ROLE_NO_SLOT)
		return descriptor->role_slot;
	descriptor->role_slot = thread_role(thread, &descriptor->role);
	descriptor->role_owner = thread->number;
	return descriptor->role_slot;
}

static __always_inline void begin_descriptor(struct descriptor *descriptor, s32 epfd, u64 data,
					     const struct file *file)
{
	descriptor->epfd = epfd;
	descriptor->data = data;
	descriptor->events = 0;
	descriptor->used_ns = bpf_ktime_get_ns();
	descriptor->turn_id = 0;
	descriptor->ready_at = 0;
	descriptor->flags = 0;
	descriptor->sock = followed_sock(file_to_sock(file));
	descriptor->role_slot = ROLE_NO_SLOT;
	descriptor->role_owner = 0;
	descriptor->left_ns = 0;
	descriptor->inode = inode_of(file);
	descriptor->idle_outs = 0;
	descriptor->rearms = 0;
	__builtin_memset(&descriptor->role, 0, sizeof(descriptor->role));
	descriptor->file = as_number((u64)file);
}

/* A new descriptor of the current process; what was known under its number is not any more. */
static __noinline struct descriptor *new_descriptor(u32 pid, s32 epfd, s32 fd, u64 data,
						    const struct file *file)
{
	u32 at = DESCRIPTOR_SET(pid, epfd, fd);
	u64 tag = DESCRIPTOR_TAG(pid, fd);
	struct descriptor_set *set = descriptor_set(at);
	u32 way = descriptor_way(at, tag, epfd);
	bool is_known = way < DESCRIPTOR_WAYS;
	struct descriptor *descriptor;

	if (!is_known)
		way = take_descriptor_way(at, fd);
	if (!set || way >= DESCRIPTOR_WAYS)
		return NULL;
	asm volatile("" : "+r"(way)); /* as above */
	descriptor = &set->way[way & (DESCRIPTOR_WAYS - 1)];
	begin_descriptor(descriptor, epfd, data, file);
	mark_descriptor(pid, fd);
	__sync_lock_test_and_set(&descriptor->tag, tag); /* seen by all before the look for others */
	if (!is_known)
		drop_descriptor(at, tag, epfd, way + 1);
	return descriptor;
}

/* A descriptor of the current process, as it was given to epoll_ctl(). */
__noinline int add_descriptor(u64 epfd_and_fd, u64 data, u32 events)
{
	s32 epfd = (s32)(epfd_and_fd >> 32), fd = (s32)epfd_and_fd;
	struct data_key by_data = {.data = data, .epfd = epfd};
	struct descriptor *descriptor;

	by_data.pid = bpf_get_current_pid_tgid() >> 32;
	descriptor = new_descriptor(by_data.pid, epfd, fd, data, (struct file *)fd_to_file(fd));
	if (!descriptor)
		return 0;
	descriptor->events = events;
	bpf_map_update_elem(&descriptors_by_data, &by_data, &fd, BPF_ANY);
	return 0;
}

/*
 * A descriptor that poll(), select() or a ring (`epfd`) returned, `known` being what is known under its number: that
 * may be another file, closed since by another thread. Nothing registers them, so each is added at its first turn.
 */
static __noinline struct descriptor *polled_descriptor(struct descriptor *known, u32 pid, s32 epfd, s32 fd)
{
	u64 file = fd_to_file(fd);

	if (known && known->file == file)
		return known;
	return new_descriptor(pid, epfd, fd, (u32)fd, (struct file *)file);
}

#endif
