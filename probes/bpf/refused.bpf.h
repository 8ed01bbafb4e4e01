/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_REFUSED_BPF_H
#define STINT_PROBES_REFUSED_BPF_H

/*
 * Connections in a listener's queue, and no descriptor left to accept them with: from the accept that fails so until the
 * thread's next one that does not, or until it closes the listener. Meanwhile others may take them that have the listener
 * too: so it is no figure of how long they waited.
 */

#define ENFILE 23
#define EMFILE 24

/* The kernel takes a descriptor before it looks at the queue: so it also fails where nobody is there. */
static __always_inline bool has_connection(const struct sock *sk)
{
	if (is_tcp(sk))
		return BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_accept_queue.rskq_accept_head);
	return BPF_CORE_READ(sk, sk_receive_queue.qlen);
}

/* In that set: an accept is of the one that its thread waited in last, which may be another by now. */
__noinline int end_refused_in(struct thread *thread, s32 epfd, s32 listener, u64 now_ns)
{
	struct finding_key key = {.epfd = epfd, .fd = listener, .kind = FINDING_NO_DESCRIPTOR};
	struct finding_counters *finding;
	u64 took_ns;

	if (!thread)
		return 0;
	key.pid = thread->pid;
	key.tid = thread->tid;
	finding = bpf_map_lookup_elem(&findings, &key);
	if (!finding || !finding->open_ns)
		return 0;
	took_ns = now_ns - finding->open_ns;
	finding->open_ns = 0;
	finding->cost_ns += took_ns;
	if (took_ns > finding->longest_ns)
		finding->longest_ns = took_ns;
	return 0;
}

static __always_inline void end_refused(struct thread *thread, s32 listener, u64 now_ns)
{
	end_refused_in(thread, thread->epfd, listener, now_ns);
	if (thread->refused_epfd != thread->epfd)
		end_refused_in(thread, thread->refused_epfd, listener, now_ns);
}

static __noinline int note_refused(struct thread *thread, s32 listener, u64 now_ns)
{
	struct sock *sk = file_to_sock((struct file *)fd_to_file(listener));
	struct finding_counters *finding;
	struct role_key role = {0};

	if (!thread || !sk || !has_connection(sk))
		return 0;
	classify_socket(&role, sk);
	finding = get_finding(thread, listener, FINDING_NO_DESCRIPTOR, &role);
	if (!finding)
		return 0;
	finding->count++;
	if (!finding->open_ns)
		finding->open_ns = now_ns;
	if (thread->has_refused && thread->refused_epfd != thread->epfd)
		end_refused_in(thread, thread->refused_epfd, listener, now_ns);
	thread->has_refused = 1;
	thread->refused_epfd = thread->epfd;
	return 0;
}

/* A call of the accept family on `listener` has returned. */
static __always_inline void note_accept(struct thread *thread, s32 listener, long result, u64 now_ns)
{
	if (result == -EMFILE || result == -ENFILE)
		note_refused(thread, listener, now_ns);
	else if (thread->has_refused)
		end_refused(thread, listener, now_ns);
}

#endif
