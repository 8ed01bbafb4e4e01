/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_STALL_RECORD_BPF_H
#define STINT_PROBES_STALL_RECORD_BPF_H

/* What stalls of all kinds of sockets have in common: how they are told, and where their thread finds their events. */

static __always_inline void push_raised(struct thread *thread, struct socket_state *state, u64 sk)
{
	u32 at = __sync_fetch_and_add(&thread->raised_head, 1);

	state->raised_at = at;
	thread->raised[at & (RAISED_SLOTS - 1)] = sk;
}

/* The time, ever, that it wanted a CPU: also that since it was last woken, or left its CPU. */
static __always_inline u64 runnable_until(const struct thread *thread, u64 now_ns)
{
	u64 since_ns = thread->runnable_ns;

	if (!thread->off_ns || !since_ns || now_ns < since_ns)
		return thread->runnable_ever_ns;
	return thread->runnable_ever_ns + (now_ns - since_ns);
}

/* The write event is raised for that thread. */
static __always_inline void raise_for(struct socket_state *state, u64 sk, u32 tid, u64 now_ns)
{
	struct thread *thread = find_thread(tid);

	if (!thread)
		return;
	state->runnable_mark_ns = runnable_until(thread, now_ns);
	state->raised_tid = tid;
	push_raised(thread, state, sk);
}

/* How long the thread has wanted a CPU since then. */
static __always_inline u64 runnable_since_raised(const struct socket_state *state, u64 now_ns)
{
	struct thread *thread = state->raised_tid ? find_thread(state->raised_tid) : NULL;
	u64 until_ns = thread ? runnable_until(thread, now_ns) : 0;

	return until_ns > state->runnable_mark_ns ? until_ns - state->runnable_mark_ns : 0;
}

__noinline int report_stall(struct socket_state *state, bool opened, u64 now_ns, u32 ending)
{
	struct record_stall *record;

	if (!state)
		return 0;
	record = reserve_record(sizeof(*record));
	if (!record)
		return 0;
	record->type = RECORD_STALL;
	record->pid = state->pid;
	record->tid = state->tid;
	record->fd = state->fd;
	record->socket = state->id;
	record->start_ns = state->start_ns;
	record->cause_ns = state->cause_ns;
	record->raised_ns = state->raised_ns;
	record->on_cpu_ns = state->on_cpu_ns;
	record->returned_ns = state->returned_ns;
	record->end_ns = now_ns;
	record->runnable_ns = opened ? runnable_since_raised(state, now_ns) : 0;
	record->acked_bytes = state->acked_bytes;
	record->acks = state->acks;
	record->queued_bytes = state->queued_bytes;
	record->sndbuf_bytes = state->sndbuf_bytes;
	record->raise_inferred = state->raise_inferred;
	record->snd_wnd_min_bytes = state->snd_wnd_min_bytes;
	record->retransmits = state->retransmits;
	record->unsent_bytes = state->unsent_bytes;
	record->lowat_bytes = state->lowat_bytes;
	record->by_lowat = state->by_lowat;
	record->by_queue = state->by_queue;
	record->reserved = 0;
	record->alarm = state->alarm;
	record->opened = opened;
	record->ending = ending;
	__builtin_memcpy(record->limit_ns, state->limit_ns, sizeof(record->limit_ns));
	__builtin_memcpy(&record->addresses, &state->addresses, sizeof(record->addresses));
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#endif
