/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_IDENTITY_BPF_H
#define STINT_PROBES_IDENTITY_BPF_H

/*
 * What the ready descriptors of an overrun are: user space, which looks at a number some time later, may find nothing
 * there any more, or another descriptor. So it is noted as the iteration ends, and of what is closed before, as that
 * begins; either way only where the time tells of an overrun.
 *
 * A number may have been given anew without a close() of this thread's: by another thread, dup2(), close_range(). So
 * what is there counts only if it is the file that was registered, or had the turn, by its inode and its address:
 * eventfds, timerfds and the like share one inode, and the address of a file that is gone is another's soon. Else
 * nothing is noted but what was found at its turn, and user space says that it looked later.
 */

static __always_inline bool is_file_of(const struct descriptor *descriptor, const struct file *file)
{
	return descriptor->inode && descriptor->inode == inode_of(file) && descriptor->file == (u64)file;
}

/* What is closed earlier waited less than this, and is not noted: most iterations are over by then. */
#define IDENTIFIED_NS (budget_ns / 8)

/* Is it the descriptor of that event, and has it not been closed since? */
static __always_inline bool is_event_of(const struct thread *thread, const struct descriptor *descriptor,
					u32 at)
{
	const struct user_event *event = &thread->turns.event[at];

	if (thread->turns.had >> at & 1)
		return descriptor->turn_id == turn_id(thread) && descriptor->ready_at == at;
	return descriptor->data == ((u64)event->data_high << 32 | event->data_low);
}

/* The descriptor of an event that had no turn; -1: it is not known. */
static __always_inline s32 event_fd(const struct thread *thread, const struct user_event *event)
{
	struct data_key key = {.pid = thread->pid, .epfd = thread->epfd};
	s32 *fd;

	if (thread->wait != RECORD_WAIT_EPOLL)
		return (s32)event->data_low;
	key.data = (u64)event->data_high << 32 | event->data_low;
	fd = bpf_map_lookup_elem(&descriptors_by_data, &key);
	return fd ? *fd : -1;
}

/* Of a struct file. Not static: the verifier goes through it once. */
__noinline u32 file_kind(u64 address)
{
	const struct file *file = (const struct file *)address;
	struct role_key role = {0};

	classify_file(&role, file, file_to_sock((struct file *)address), file_type(file));
	return role.kind;
}

/* Found at its turn, and all that there is to tell of it. */
static __always_inline bool is_kind_enough(const struct descriptor *descriptor)
{
	u16 kind = descriptor->role.kind;

	return descriptor->flags & DESCRIPTOR_SETTLED && kind != ROLE_LISTENER && kind != ROLE_CLIENTS &&
	       kind != ROLE_UPSTREAM;
}

static __always_inline void put_identity(struct record_identity *identity,
					 const struct descriptor *descriptor, const struct file *file)
{
	struct sock *sk = file_to_sock(file);

	if (sk && is_tcp(sk))
		read_addresses(&identity->addresses, (u64)sk);
	identity->kind = descriptor->flags & DESCRIPTOR_SETTLED ? descriptor->role.kind
								: (u16)file_kind(as_number((u64)file));
	identity->state = RECORD_IDENTITY_NOTED;
}

/*
 * Of the thread's event `at`, at one of the moments above. `table`: its descriptors (files.bpf.h). What a ring completed is
 * no descriptor that waits.
 */
__noinline int identify(struct thread *thread, u32 at, u64 table)
{
	struct record_identity *identity;
	struct descriptor *descriptor;
	struct turns *turns;
	struct file *file;
	s32 fd;

	if (!thread)
		return 0;
	turns = &thread->turns;
	asm volatile("" : "+r"(at)); /* so that the mask stays, without which the verifier knows no bound */
	at &= TURNS_MAX - 1;
	if (turns->identified >> at & 1)
		return 0;
	identity = &thread->identities[at];
	identity->state = RECORD_IDENTITY_UNKNOWN;
	if (thread->wait == RECORD_WAIT_IO_URING)
		return 0;
	fd = turns->had >> at & 1 ? turns->turn[at].fd : event_fd(thread, &turns->event[at]);
	identity->fd = fd;
	if (turns->closed >> at & 1) {
		identity->state = RECORD_IDENTITY_GONE;
		return 0;
	}
	descriptor = find_descriptor(thread->pid, thread->epfd, fd);
	file = (struct file *)file_in((const struct fdtable *)table, fd);
	if (!descriptor || !is_event_of(thread, descriptor, at))
		return 0;
	if (file && is_file_of(descriptor, file))
		put_identity(identity, descriptor, file);
	else if (is_kind_enough(descriptor)) {
		identity->kind = descriptor->role.kind;
		identity->state = RECORD_IDENTITY_NOTED;
	}
	return 0;
}

__noinline int identify_all(struct thread *thread, u64 table)
{
	u32 len = thread ? thread->turns.len : 0;

	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= len)
			break;
		identify(thread, i, table);
	}
	return 0;
}

/* The descriptor of event `at`, whose turn it has had, is about to be closed. One alone has nobody to wait for. */
static __always_inline void keep_identity(struct thread *thread, u32 at, u64 now_ns)
{
	if (thread->turns.len < 2 || now_ns - thread->start_ns < IDENTIFIED_NS)
		return;
	identify(thread, at, table_of(bpf_get_current_task_btf()));
	thread->turns.identified |= 1ull << (at & (TURNS_MAX - 1));
}

/* The same file as an event's descriptor was, or nobody else could have given its number away. */
static __always_inline bool is_number_certain(struct thread *thread, s32 fd, const struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct descriptor *descriptor;

	if (BPF_CORE_READ(task, files, count.counter) == 1)
		return true;
	descriptor = find_descriptor(thread->pid, thread->epfd, fd);
	return descriptor && is_file_of(descriptor, file);
}

/* Files, directories, devices have names in the file system; what has no type at all is told by the kernel's name of it. */
static __always_inline u16 blocked_kind(const struct file *file)
{
	u32 type = file_type(file);

	if (type && type != S_IFSOCK && type != S_IFIFO)
		return ROLE_FILE;
	return (u16)file_kind(as_number((u64)file));
}

/* A close() has none any more, and its number may be another's. */
__noinline int note_blocked_on(struct thread *thread)
{
	struct record_blocked_on *on;
	struct file *file;
	struct sock *sk;

	if (!thread)
		return 0;
	on = &thread->blocked_on;
	on->start_ns = thread->verdict.sums.block.start_ns;
	on->is.fd = thread->syscall_fd;
	on->is.state = thread->syscall_number == NR_close ? RECORD_IDENTITY_GONE : RECORD_IDENTITY_UNKNOWN;
	if (on->is.state == RECORD_IDENTITY_GONE || !takes_fd(thread->syscall_number))
		return 0;
	file = (struct file *)fd_to_file(thread->syscall_fd);
	if (!file)
		return 0;
	sk = file_to_sock(file);
	if (sk && is_tcp(sk))
		read_addresses(&on->is.addresses, (u64)sk);
	on->inode = BPF_CORE_READ(file, f_inode, i_ino);
	on->device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	on->is_certain = is_number_certain(thread, thread->syscall_fd, file);
	on->is.kind = blocked_kind(file);
	on->is.state = RECORD_IDENTITY_NOTED;
	return 0;
}

#endif
