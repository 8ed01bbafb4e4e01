/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_LOOP_BPF_H
#define STINT_PROBES_LOOP_BPF_H

/*
 * Iterations: from the return of the loop's own wait (waits.bpf.h) to its next one.
 *
 * A wait with a timeout of 0 that returns nothing does not begin an iteration that is worth the name: if the
 * thread waits again without a system call in between and within the budget, that time is not counted as an
 * iteration (libuv asks once more with a timeout of 0 when it measures its idle time).
 *
 * The length of an iteration is on CPU + runnable + blocked by construction: the last two are summed over
 * the thread's switches, the first is what remains.
 *
 * A loop is over when its thread is, or when that thread closes what it waits in: the iteration under way ends there. So
 * does one in which the thread closes the only descriptor that it polls, though the loop is not over: threads of a pool
 * that serve one connection at a time are wanted no more then, and sleep until they are.
 * What it counted stays until user space has read it, and only then has the slot another one (`free_loops`); so the
 * difference of two readings is always one loop's. If its number comes back before that, that is another loop.
 */

#define SYSCALL_NOTED_NS 10000 /* shorter system calls are counted, but not listed */
#define THREAD_LOOPS_MAX 256   /* of one thread, that are given back */
#define BEFORE_LEAST_NS  100000000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct loop_counters);
} loop_table SEC(".maps");

struct loop_key {
	u32 pid;
	u32 tid;
	s32 epfd;
	u32 wait;
};

/* The slots of the loops that go on. User space sets the size of this one and the next. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct loop_key);
	__type(value, u32);
} loop_index SEC(".maps");

/* The slots that nobody has; user space puts all of them in. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 64);
	__type(value, u32);
} free_loops SEC(".maps");

__u32 loops_used; /* user space takes off what it gives back */
__u64 loop_numbers;

static __always_inline struct loop_counters *loop_at(u32 slot)
{
	return bpf_map_lookup_elem(&loop_table, &slot);
}

/*
 * Threads that sleep in poll() may be many that have no loop worth the name, so half of the table is kept for those with
 * sets and rings.
 */
static __noinline u32 new_loop(struct thread *thread, const struct loop_key *key)
{
	u32 slot, limit = has_object(key->wait) || loop_limit == 1 ? loop_limit : loop_limit / 2;
	struct loop_counters *loop = NULL;

	if (thread && loops_used < limit)
		loop = take_slot(&loop_table, &loop_index, &free_loops, key, &slot);
	if (!loop) {
		lost_entry();
		return LOOPS_MAX;
	}
	__sync_fetch_and_add(&loops_used, 1);
	loop->pid = key->pid;
	loop->tid = key->tid;
	loop->epfd = key->epfd;
	loop->number = __sync_fetch_and_add(&loop_numbers, 1) + 1;
	loop->busy_min_ns = ~0ull;
	loop->poll_min_ns = ~0ull;
	loop->first_return_ns = thread->first_return_ns;
	thread->first_return_ns = 0;
	loop->next = thread->loops;
	thread->loops = slot + 1;
	thread->loop_fds |= 1ull << (key->epfd & 63);
	loop->wait = key->wait; /* last: it says that the slot is in use */
	thread->stack_wanted = 1;
	return slot;
}

/* The slot of a thread's loop; LOOPS_MAX (and counted as lost) if the table is full. */
__noinline u32 loop_slot(struct thread *thread)
{
	struct loop_key key = {0};
	u32 *known;

	if (!thread)
		return LOOPS_MAX;
	key.pid = thread->pid;
	key.tid = thread->tid;
	key.epfd = thread->epfd;
	key.wait = thread->wait;
	known = bpf_map_lookup_elem(&loop_index, &key);
	return known ? *known : new_loop(thread, &key);
}

static __always_inline void end_loop(struct loop_counters *loop, u32 how)
{
	struct loop_key key = {.pid = loop->pid, .tid = loop->tid, .epfd = loop->epfd, .wait = loop->wait};

	bpf_map_delete_elem(&loop_index, &key);
	*(volatile u32 *)&loop->ended = how;
}

/* A thread is over. */
static __noinline int end_loops(struct thread *thread)
{
	u32 slot;

	if (!thread)
		return 0;
	slot = thread->loops;
	thread->loops = 0;
	for (u32 i = 0; i < THREAD_LOOPS_MAX && slot; i++) {
		struct loop_counters *loop = loop_at(slot - 1);

		if (!loop)
			break;
		slot = loop->next;
		end_loop(loop, LOOP_THREAD_OVER);
	}
	return 0;
}

/* A thread is about to close a descriptor. If one of its loops waits in that, there is no such loop any more. */
static __noinline int end_loop_in(struct thread *thread, s32 fd)
{
	struct loop_counters *before = NULL;
	u32 slot;

	if (!thread)
		return 0;
	slot = thread->loops;
	for (u32 i = 0; i < THREAD_LOOPS_MAX && slot; i++) {
		struct loop_counters *loop = loop_at(slot - 1);

		if (!loop)
			break;
		slot = loop->next;
		if (loop->epfd != fd) {
			before = loop;
			continue;
		}
		if (before)
			before->next = slot;
		else
			thread->loops = slot;
		end_loop(loop, LOOP_CLOSED);
		break;
	}
	return 0;
}

static __always_inline void count_busy(struct loop_counters *loop, u64 busy_ns)
{
	u32 bucket = histogram_bucket(busy_ns);

	loop->iterations++;
	loop->busy_sum_ns += busy_ns;
	if (busy_ns < loop->busy_min_ns)
		loop->busy_min_ns = busy_ns;
	if (busy_ns > loop->busy_max_ns)
		loop->busy_max_ns = busy_ns;
	if (busy_ns > budget_ns)
		loop->overruns++;
	if (bucket < RECORD_BUCKETS)
		loop->busy[bucket]++;
	else
		loop->overflow++;
}

/* `events` negative: not known. */
static __always_inline void count_poll(struct loop_counters *loop, u64 poll_ns, long events)
{
	u32 bucket = histogram_bucket(poll_ns);

	loop->poll_sum_ns += poll_ns;
	if (poll_ns < loop->poll_min_ns)
		loop->poll_min_ns = poll_ns;
	if (poll_ns > loop->poll_max_ns)
		loop->poll_max_ns = poll_ns;
	if (bucket < RECORD_BUCKETS)
		loop->poll[bucket]++;
	else
		loop->overflow++;
	if (events < 0)
		return;
	loop->events += (u64)events;
	if ((u64)events > loop->batch_max)
		loop->batch_max = (u64)events;
	bucket = histogram_bucket(events);
	if (bucket < RECORD_BUCKETS)
		loop->batch[bucket]++;
}

static __always_inline struct loop_counters *thread_loop(struct thread *thread)
{
	u32 slot = thread->loop_slot;

	return slot < LOOPS_MAX ? bpf_map_lookup_elem(&loop_table, &slot) : NULL;
}

static __always_inline void note_part(struct thread *thread, u64 start_ns, u64 length_ns, u32 in_syscall)
{
	if (length_ns <= thread->longest_ns)
		return;
	thread->longest_ns = length_ns;
	thread->longest_start_ns = start_ns;
	thread->longest_in_syscall = in_syscall;
}

static __always_inline void fill_overrun(struct record_overrun *record, const struct thread *thread,
					 u64 now_ns, u32 running)
{
	record->type = RECORD_OVERRUN;
	record->pid = thread->pid;
	record->tid = thread->tid;
	record->epfd = thread->epfd;
	record->iteration = thread->iteration;
	record->start_ns = thread->start_ns;
	record->duration_ns = now_ns - thread->start_ns;
	record->runnable_ns = thread->runnable_sum_ns;
	record->blocked_ns = thread->blocked_sum_ns;
	record->longest_start_ns = thread->longest_start_ns;
	record->longest_ns = thread->longest_ns;
	record->longest_in_syscall = thread->longest_in_syscall;
	record->syscall_count = thread->syscall_count;
	record->syscalls_len = thread->syscalls_len;
	record->segments_len = thread->segments_len;
	record->segments_lost = thread->segments_lost;
	record->ready_events = thread->ready_events;
	record->touches_len = thread->touches_len;
	record->touches_lost = thread->touches_lost;
	record->wait = thread->wait;
	record->turns_len = thread->turns.len;
	record->marks_len = thread->verdict.marks_len;
	record->running = running;
	record->began_before = thread->began_before;
	__builtin_memcpy(&record->blocked_on, &thread->blocked_on, sizeof(record->blocked_on));
	__builtin_memcpy(&record->verdict, &thread->verdict.sums, sizeof(record->verdict));
}

#define PACK(field, from, len)                                                                         \
	(at = pack(draft, at, from, len, sizeof(draft->record.field) / sizeof(draft->record.field[0]), \
		   sizeof(draft->record.field[0])))

/* Not static, as put_copied_ready(). */
__noinline int put_turns(struct overrun_draft *draft, const struct turns *turns)
{
	u32 len;

	if (!draft || !turns)
		return 0;
	len = turns->len;
	for (u32 i = 0; i < TURNS_MAX; i++) {
		if (i >= len)
			break;
		draft->turns[i].fd = turns->had >> i & 1 ? turns->turn[i].fd : -1;
		draft->turns[i].role_slot = turns->turn[i].role_slot;
	}
	return 0;
}

/*
 * In the order of the record. Returns how long it is. What loops is in functions of its own: the verifier goes through what
 * comes after a loop once for each way out of it.
 */
static __always_inline u32 pack_overrun(struct overrun_draft *draft, struct thread *thread, u64 now_ns,
					u32 running)
{
	struct record_overrun *record = &draft->record;
	u32 at = offsetof(struct record_overrun, syscalls);

	fill_overrun(record, thread, now_ns, running);
	PACK(syscalls, thread->syscalls, record->syscalls_len);
	PACK(segments, thread->segments, record->segments_len);
	PACK(touches, thread->touches, record->touches_len);
	put_turns(draft, &thread->turns);
	PACK(turns, draft->turns, record->turns_len);
	PACK(identities, thread->identities, record->turns_len);
	PACK(marks, thread->marks, record->marks_len);
	record->functions_len = functions_asked ? RECORD_FUNCTIONS : 0;
	if (functions_asked)
		put_functions(draft, thread, now_ns, running);
	PACK(functions, draft->functions, record->functions_len);
	record->ready_len = put_ready(draft, thread, running);
	PACK(ready, draft->ready, record->ready_len);
	return at;
}

/*
 * Not static: the verifier goes through it once, not for each way that leads here. `running`: it is not over, and its
 * events have been identified.
 */
__noinline int report_overrun(struct thread *thread, u64 now_ns, u32 running)
{
	struct draft *draft;
	u32 bytes;

	if (!thread)
		return 0;
	if (!running)
		identify_all(thread, table_of(bpf_get_current_task_btf()));
	draft = take_draft();
	if (!draft)
		return 0;
	bytes = pack_overrun(&draft->overrun, thread, now_ns, running);
	if (bytes > sizeof(struct record_overrun))
		bytes = sizeof(struct record_overrun);
	send_draft(draft, &draft->overrun.record, bytes);
	return 0;
}

/* Of the current thread. */
static __always_inline void end_iteration(struct thread *thread, u64 now_ns)
{
	u64 busy_ns = now_ns - thread->start_ns;
	struct loop_counters *loop;

	if (thread->after_empty_poll && !thread->syscall_count && busy_ns <= budget_ns)
		return;
	*(volatile u32 *)&thread->state = THREAD_OUTSIDE;
	loop = thread_loop(thread);
	if (loop)
		count_busy(loop, busy_ns);
	note_part(thread, thread->last_exit_ns, now_ns - thread->last_exit_ns, 0);
	if (busy_ns <= budget_ns)
		return;
	verdict_end(&thread->verdict, bpf_get_current_task_btf(), own_steal_clock());
	report_overrun(thread, now_ns, 0);
}

/* One that was under way when stint came may have been about to end. */
static __always_inline bool is_worth_telling(const struct thread *thread, u64 now_ns)
{
	return !thread->began_before || now_ns - thread->start_ns >= BEFORE_LEAST_NS;
}

/* There is no wait that would end it: the thread exits, or closes what its loop waits in, or all that it polls. */
__noinline int end_last_iteration(struct thread *thread, u64 now_ns)
{
	if (!thread || thread->state != THREAD_DISPATCHING)
		return 0;
	if (ended_ns) { /* what it did since then is not known */
		thread->state = THREAD_OUTSIDE;
		return 0;
	}
	end_turns(thread, now_ns);
	if (is_worth_telling(thread, now_ns))
		end_iteration(thread, now_ns);
	thread->state = THREAD_OUTSIDE;
	return 0;
}

/* The iteration ends with what the loop waits in: what the thread does until its next wait is no loop's. */
__noinline int close_loop(struct thread *thread, s32 fd, u64 now_ns)
{
	if (!thread)
		return 0;
	if (has_object(thread->wait) && thread->epfd == fd) {
		end_last_iteration(thread, now_ns);
		thread->state = THREAD_OUTSIDE;
		thread->wait = RECORD_WAIT_NONE;
		thread->epfd = -1;
		thread->wait_sp = 0;
		forget_own_waits(thread);
		thread->loop_slot = LOOPS_MAX;
		end_streaks(thread);
	}
	return end_loop_in(thread, fd);
}

static __always_inline bool may_have_loop_in(const struct thread *thread, s32 fd)
{
	return thread->loop_fds >> (fd & 63) & 1;
}

static __always_inline void begin_iteration(struct thread *thread, const struct task_struct *task,
					    u64 steal_ns, u64 now_ns, long events)
{
	thread->after_empty_poll = thread->wait_is_zero && events == 0;
	thread->iteration++;
	thread->start_ns = now_ns;
	thread->last_exit_ns = now_ns;
	thread->ready_events = events < 0 ? RECORD_READY_UNKNOWN : (u32)events;
	thread->runnable_sum_ns = 0;
	thread->blocked_sum_ns = 0;
	thread->next_sample_ns = 0;
	thread->longest_ns = 0;
	thread->longest_start_ns = now_ns;
	thread->longest_in_syscall = 0;
	thread->syscall_count = 0;
	thread->syscalls_len = 0;
	thread->segments_len = 0;
	thread->segments_lost = 0;
	thread->touches_len = 0;
	thread->touches_lost = 0;
	thread->in_syscall = 0;
	begin_marks(thread, now_ns);
	verdict_begin(&thread->verdict, task, steal_ns);
	thread->state = THREAD_DISPATCHING;
}

static __always_inline void find_slot(struct thread *thread)
{
	if (thread->loop_slot >= LOOPS_MAX)
		thread->loop_slot = loop_slot(thread);
}

static __always_inline void begin_wait(struct thread *thread, u64 now_ns, u32 kind,
				       const struct pt_regs *regs, bool zero)
{
	adopt_wait(thread, kind, wait_fd(kind, regs), regs->sp);
	count_own_wait(thread, regs->sp, zero);
	note_wait_place(thread, regs->sp);
	note_ready_place(thread, kind, regs);
	if (has_object(kind))
		find_slot(thread);
	thread->wait_start_ns = now_ns;
	thread->wait_is_zero = zero;
	thread->turns.woken_ns = 0;
	*(volatile u32 *)&thread->state = THREAD_WAITING; /* last: under_way.bpf.h */
}

/* False: to this thread that is a system call like others. */
static __always_inline bool enter_wait(struct thread *thread, u64 now_ns, u32 kind,
				       const struct pt_regs *regs, bool zero)
{
	enum wait_role role;

	if (thread->state == THREAD_DISPATCHING || (thread->is_idle && !has_object(kind))) {
		role = judge_wait(thread, kind, regs, zero);
		if (role == WAIT_IS_CALL)
			return false;
	}
	thread->is_idle = 0;
	if (thread->state == THREAD_DISPATCHING) {
		/* Many programs poll once, and are no loops: the table has them only now. */
		if (role == WAIT_OWN)
			find_slot(thread);
		end_turns(thread, now_ns);
		if (thread->wait == RECORD_WAIT_EPOLL && (thread->turns.left || thread->turns.streaks))
			note_left_ready(thread, now_ns);
		/* Before the first overrun of a loop, which is named by it. */
		if (role == WAIT_OWN)
			report_wanted_stack(thread, regs, now_ns);
		if (role == WAIT_TAKES_OVER)
			forget_own_waits(thread);
		else
			end_iteration(thread, now_ns);
	}
	begin_wait(thread, now_ns, kind, regs, zero);
	return true;
}

/* Would a wait that returned so many have returned more, if there were? */
static __always_inline bool had_room(u32 kind, const struct pt_regs *regs, long events)
{
	return kind != RECORD_WAIT_EPOLL || events < (s32)regs->dx;
}

/*
 * When the last wait but this one returned that had room for all that was ready: what had arrived by then, and is read
 * after this one, was left. 0: not known, or none, as where sets are waited in by turns.
 */
static __always_inline void note_return(struct thread *thread, u64 now_ns, u32 kind,
					const struct pt_regs *regs, long events)
{
	const s32 epfd = wait_fd(kind, regs);
	const bool same = thread->returned_wait == kind && thread->returned_epfd == epfd;

	thread->before_ns = same ? thread->returned_ns : 0;
	thread->returned_wait = kind;
	thread->returned_epfd = epfd;
	if (had_room(kind, regs, events))
		thread->returned_ns = now_ns;
	else if (!same)
		thread->returned_ns = 0;
}

/* How long a wait took that was under way when stint came is not known, so it is in no distribution. */
static __always_inline void exit_wait(struct thread *thread, u64 now_ns, u32 kind, const struct pt_regs *regs,
				      long result)
{
	long events = wait_events(kind, regs, result);
	struct loop_counters *loop;

	copy_ready(thread, kind, regs, result);
	note_return(thread, now_ns, kind, regs, events);
	if (!thread->wait_start_ns) {
		adopt_wait(thread, kind, wait_fd(kind, regs), regs->sp);
		count_own_wait(thread, regs->sp, false);
		note_ready_place(thread, kind, regs);
		thread->first_return_ns = is_watched_from_start(thread->pid) ? now_ns : 0;
		if (has_object(kind))
			find_slot(thread);
		begin_iteration(thread, bpf_get_current_task_btf(), own_steal_clock(), now_ns, events);
		return;
	}
	*(volatile u32 *)&thread->state = THREAD_OUTSIDE;
	loop = thread_loop(thread);
	if (loop)
		count_poll(loop, now_ns - thread->wait_start_ns, events);
	begin_iteration(thread, bpf_get_current_task_btf(), own_steal_clock(), now_ns, events);
}

static __always_inline void note_touch(struct thread *thread, u64 now_ns, s32 fd)
{
	u32 at = thread->touches_len;

	if (at > 0 && at <= RECORD_TOUCHES && thread->touches[at - 1].fd == fd)
		return;
	if (at >= RECORD_TOUCHES) {
		thread->touches_lost++;
		return;
	}
	thread->touches[at].offset_us = (u32)((now_ns - thread->start_ns) / 1000);
	thread->touches[at].fd = fd;
	thread->touches_len = at + 1;
}

static __always_inline void enter_syscall(struct thread *thread, u64 now_ns, long number, u64 arg1, u64 arg3,
					  bool takes_first)
{
	set_mark(thread, now_ns);
	thread->in_syscall = 1;
	thread->syscall_number = (u32)number;
	thread->syscall_fd = (s32)arg1;
	thread->syscall_argument = arg1;
	thread->syscall_arg2 = arg3;
	thread->syscall_start_ns = now_ns;
	thread->syscall_count++;
	verdict_enter_syscall(&thread->verdict, thread->blocked_sum_ns + thread->runnable_sum_ns);
	note_part(thread, thread->last_exit_ns, now_ns - thread->last_exit_ns, 0);
	if (takes_first)
		note_touch(thread, now_ns, (s32)arg1);
}

/* Keeps the longest, longest first: a new one moves up past the shorter ones. */
static __always_inline void list_syscall(struct thread *thread, u64 duration_ns)
{
	struct record_syscall entry = {
		.start_ns = thread->syscall_start_ns,
		.duration_ns = duration_ns,
		.number = thread->syscall_number,
		.fd = thread->syscall_fd,
		.argument = thread->syscall_argument,
	};

	for (u32 i = 0; i < RECORD_SYSCALLS; i++) {
		struct record_syscall *at = &thread->syscalls[i];

		if (i >= thread->syscalls_len) {
			*at = entry;
			thread->syscalls_len = i + 1;
			return;
		}
		if (at->duration_ns < entry.duration_ns) {
			struct record_syscall shorter = *at;

			*at = entry;
			entry = shorter;
		}
	}
}

/* Was it in the call that ends now? */
static __always_inline bool has_longest_block(const struct thread *thread)
{
	const struct record_block *block = &thread->verdict.sums.block;

	return block->duration_ns && block->in_syscall && block->start_ns >= thread->syscall_start_ns;
}

/* True if this call is the longest part so far of an iteration that is now over its budget. */
static __always_inline bool exit_syscall(struct thread *thread, u64 now_ns)
{
	u64 duration_ns = now_ns - thread->syscall_start_ns;

	thread->in_syscall = 0;
	thread->last_exit_ns = now_ns;
	verdict_exit_syscall(&thread->verdict, duration_ns, thread->blocked_sum_ns + thread->runnable_sum_ns);
	set_mark(thread, now_ns);
	if (duration_ns < SYSCALL_NOTED_NS)
		return false;
	list_syscall(thread, duration_ns);
	if (has_longest_block(thread))
		note_blocked_on(thread);
	note_part(thread, thread->syscall_start_ns, duration_ns, 1);
	return now_ns - thread->start_ns > budget_ns &&
	       thread->longest_start_ns == thread->syscall_start_ns && duration_ns > budget_ns / 2;
}

static __always_inline void made_runnable(void *ctx, struct thread *thread, struct task_struct *task,
					  u64 now_ns)
{
	u64 off_ns = thread->off_ns;

	if (!off_ns) /* it may be about to leave its CPU, and be woken before it has: switch_in() needs to know */
		*(volatile u64 *)&thread->woken_on_cpu_ns = now_ns;
	if (!off_ns || thread->runnable_ns)
		return;
	if (now_ns < off_ns)
		now_ns =
			off_ns; /* the waker read its clock while the thread, on another CPU, was still leaving that */
	thread->runnable_ns = now_ns;
	if (thread->state == THREAD_DISPATCHING)
		verdict_waking(ctx, &thread->verdict, task, off_ns, now_ns - off_ns, thread->in_syscall,
			       thread->is_stopped);
}

/*
 * From a wake-up on another CPU, as the thread leaves the queue that it slept in, to its switch: some ns, or a
 * hypervisor's turn.
 */
#define WAKE_TO_SWITCH_NS 100000

/*
 * One that slept was woken. If no wake-up was seen since it left its CPU, but one just before, that was it: the waker, on
 * another CPU, came between the thread's leaving its queue and the switch. One long before was another's, and the one
 * that was meant came where no program runs (find_missed_switch()).
 */
static __always_inline u64 since_when_runnable(const struct thread *thread, u64 now_ns)
{
	if (thread->runnable_ns)
		return thread->runnable_ns;
	return thread->off_ns < thread->woken_on_cpu_ns + WAKE_TO_SWITCH_NS ? thread->off_ns : now_ns;
}

/*
 * `task` is the thread's; `prev` had the CPU before, NULL if that is not known, and then the thread runs already. Where no
 * program ran as it was woken (missed_switch.bpf.h has why), who woke it is not known, nor when; but in which call it was
 * blocked is, and where as long as it does not run.
 */
static __always_inline void switch_in(struct thread *thread, struct task_struct *task,
				      const struct cfs_rq *queue, struct task_struct *prev, u64 now_ns)
{
	u64 off_ns = thread->off_ns;
	u64 runnable_ns = since_when_runnable(thread, now_ns);
	bool was_seen = thread->runnable_ns != 0;
	u32 at = thread->segments_len;
	u64 throttled_ns;

	thread->off_ns = 0;
	thread->woken_on_cpu_ns = 0;
	thread->last_on_ns = now_ns;
	if (!off_ns)
		return;
	thread->runnable_ever_ns += now_ns - runnable_ns;
	if (thread->state != THREAD_DISPATCHING)
		return;
	if (!was_seen)
		verdict_block(&thread->verdict, prev ? task : NULL, off_ns, runnable_ns - off_ns,
			      thread->in_syscall, thread->is_stopped);
	thread->blocked_sum_ns += runnable_ns - off_ns;
	thread->runnable_sum_ns += now_ns - runnable_ns;
	if (thread->is_stopped)
		thread->verdict.sums.stopped_ns += runnable_ns - off_ns;
	else if (!thread->in_syscall)
		thread->verdict.sums.fault_blocked_ns += runnable_ns - off_ns;
	throttled_ns =
		verdict_switch_in(&thread->verdict, queue, now_ns - runnable_ns, runnable_ns != off_ns);
	rivals_back(thread, prev, now_ns, now_ns - runnable_ns - throttled_ns);
	if (at >= RECORD_SEGMENTS) {
		thread->segments_lost++;
		return;
	}
	thread->segments[at].off_ns = off_ns;
	thread->segments[at].runnable_ns = runnable_ns;
	thread->segments[at].on_ns = now_ns;
	thread->segments[at].throttled_us = (u32)(throttled_ns / 1000);
	thread->segments[at].in_syscall = thread->in_syscall;
	thread->segments[at].is_stopped = thread->is_stopped;
	thread->segments_len = at + 1;
}

static __always_inline void find_missed_switch(struct thread *thread, struct task_struct *task, u64 now_ns)
{
	struct missed_switch missed = {.off_ns = thread->off_ns};
	const struct cfs_rq *queue;

	if (!missed.off_ns)
		return;
	queue = queue_of(task);
	missed.runnable_ns = thread->runnable_ns;
	missed.now_ns = now_ns;
	missed.ran_ns = task->se.sum_exec_runtime - thread->off_cpu_clock_ns;
	missed.off_clock_ns = thread->off_clock_ns;
	missed.last_clock_ns = task->se.exec_start;
	missed.same_queue = thread->state == THREAD_DISPATCHING && thread->verdict.queue == (u64)queue;
	switch_in(thread, task, queue, NULL, since_when_on(&missed));
}

/* Of the current thread. Not static: it is rare, and the verifier goes through it once, and not before all that follows. */
__noinline int find_own_missed_switch(struct thread *thread, u64 now_ns)
{
	if (thread)
		find_missed_switch(thread, bpf_get_current_task_btf(), now_ns);
	return 0;
}

/* Where a page fault has it wait, its stack is not to be had later: a system call ends, and is seen to. */
static __always_inline void note_fault_stack(struct thread *thread, u64 now_ns)
{
	u64 so_far_ns = now_ns - thread->start_ns;

	if (now_ns < thread->verdict.next_fault_stack_ns)
		return;
	thread->verdict.next_fault_stack_ns = now_ns + (so_far_ns > sample_ns ? so_far_ns : sample_ns);
	report_stack(thread, RECORD_STACK_FAULT, now_ns);
}

/* Does it leave its CPU for it was stopped? A frozen cgroup's tasks sleep in no state of their own. */
static __always_inline bool is_stop(const struct thread *thread, const struct task_struct *task, u32 state)
{
	if (state & (TASK_STOPPED | TASK_TRACED | TASK_FROZEN))
		return true;
	return state != TASK_RUNNING && !thread->in_syscall && task->jobctl & JOBCTL_FREEZE;
}

/* `task` is the current one still; `state`: that it leaves in. */
static __always_inline void switch_out(struct thread *thread, struct task_struct *task,
				       const struct task_struct *next, u64 now_ns, u32 state)
{
	bool runnable = state == TASK_RUNNING;

	if (thread->off_ns)
		find_own_missed_switch(thread, now_ns);
	if (thread->state == THREAD_DISPATCHING) {
		const struct cfs_rq *queue = queue_of(task);

		thread->is_stopped = is_stop(thread, task, state);
		verdict_switch_out(&thread->verdict, queue);
		if (runnable && !is_throttled(task, queue))
			rivals_wait(thread, next, now_ns);
		if (!runnable && !thread->in_syscall)
			note_fault_stack(thread, now_ns);
	}
	thread->off_cpu_clock_ns = task->se.sum_exec_runtime;
	thread->off_clock_ns = task->se.exec_start;
	/* In this order: once it is off, who wakes it writes the former. */
	*(volatile u64 *)&thread->runnable_ns = runnable ? now_ns : 0;
	*(volatile u64 *)&thread->off_ns = now_ns;
}

#endif
