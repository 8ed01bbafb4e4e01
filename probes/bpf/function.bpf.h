/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_FUNCTION_BPF_H
#define STINT_PROBES_FUNCTION_BPF_H

/*
 * Functions of the program that the user has named, timed by a uprobe at their entry and one at their return. Loaded
 * only if there are any: each call costs microseconds.
 *
 * The calls under way of a thread are kept as a stack, each by the place of its return address: what tells a call that
 * returns from one that was left by longjmp(). The kernel makes a function come back to it by replacing its return
 * address; the one that was there is kept too, so that stacks can be unwound past it.
 */

#include "probes/function_records.h"

const volatile bool functions_asked = false;

struct function_frame {
	u64 sp;      /* where the return address is */
	u64 address; /* the return address that was there */
	u64 start_ns;
	u32 number;
	u16 slot;
	u8 function;
	u8 is_outermost;
};

/* What a probe is told: the slot of its counters, and for which number it is there. */
struct function_cookie {
	u32 slot;
	u32 number;
};

struct function_place {
	u64 iteration; /* that `in_iteration` is of */
	u32 len;
	u32 reserved;
	struct record_function in_iteration[RECORD_FUNCTIONS];
	struct function_frame frames[FUNCTION_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space makes both larger where functions are asked for */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct function_counters);
} function_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct function_place);
} function_places SEC(".maps");

/* Always zero, as empty_thread. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct function_place);
} empty_place SEC(".maps");

/* The address that the kernel puts in place of a return address: the beginning of its page in the process. 0: none. */
static __always_inline u64 return_trampoline(struct task_struct *task)
{
	struct xol_area *area = BPF_CORE_READ(task, mm, uprobes_state.xol_area);

	return area ? BPF_CORE_READ(area, vaddr) : 0;
}

static __always_inline u64 user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

/* Whether its return address is replaced still. Where that cannot be read, as it is swapped out, it is held to be. */
static __always_inline bool is_hijacked(const struct function_frame *frame, u64 trampoline)
{
	u64 word;

	return bpf_probe_read_user(&word, sizeof(word), (void *)frame->sp) != 0 || word == trampoline;
}

static __always_inline struct function_frame *top_frame(struct function_place *place)
{
	u32 len = place->len;

	if (!len || len > FUNCTION_FRAMES)
		return NULL;
	return &place->frames[(len - 1) & (FUNCTION_FRAMES - 1)];
}

/* NULL, too, where the slot is no more, or not yet, that number's. */
static __always_inline struct function_counters *find_function(u32 slot, u32 number)
{
	struct function_counters *counters = bpf_map_lookup_elem(&function_table, &slot);

	return counters && number && counters->number == number ? counters : NULL;
}

/* A frame that was taken off without having returned. */
static __always_inline void count_left(const struct function_frame *frame)
{
	struct function_counters *counters =
		frame->is_outermost ? find_function(frame->slot, frame->number) : NULL;

	if (counters)
		__sync_fetch_and_add(&counters->left, 1);
}

/*
 * Takes off the calls that cannot be under way any more as one begins with its return address at `sp`: the stack is
 * below them, or the place of their return address was used for something else. At the same place there may be the
 * one that jumped here in place of a call: then the trampoline is there still.
 */
static __always_inline void drop_left(struct function_place *place, u64 sp, u64 trampoline)
{
	for (u32 i = 0; i < FUNCTION_FRAMES; i++) {
		struct function_frame *frame = top_frame(place);

		if (!frame || (frame->sp >= sp && is_hijacked(frame, trampoline)))
			return;
		count_left(frame);
		place->len--;
	}
}

static __always_inline bool is_under_way(const struct function_place *place, u32 number)
{
	for (u32 i = 0; i < FUNCTION_FRAMES; i++) {
		if (i >= place->len)
			return false;
		if (place->frames[i].number == number)
			return true;
	}
	return false;
}

static __always_inline struct function_place *get_place(u32 tid)
{
	struct function_place *place = bpf_map_lookup_elem(&function_places, &tid);
	u32 zero = 0;

	if (place)
		return place;
	place = bpf_map_lookup_elem(&empty_place, &zero);
	if (!place)
		return NULL;
	bpf_map_update_elem(&function_places, &tid, place, BPF_NOEXIST);
	return bpf_map_lookup_elem(&function_places, &tid);
}

/* Returns the new frame; its start is the caller's to set, as late as can be. */
static __noinline struct function_frame *push_frame(struct function_place *place,
						    const struct function_cookie *cookie, u64 sp)
{
	u64 trampoline = return_trampoline(bpf_get_current_task_btf());
	struct function_counters *counters = find_function(cookie->slot, cookie->number);
	struct function_frame *frame, *caller;
	u64 address = user_word(sp);
	bool nested;

	if (!place || !counters)
		return NULL;
	drop_left(place, sp, trampoline);
	caller = top_frame(place);
	if (caller && caller->sp == sp)
		address = caller->address;
	nested = is_under_way(place, cookie->number);
	if (nested)
		__sync_fetch_and_add(&counters->nested, 1);
	if (place->len >= FUNCTION_FRAMES) {
		if (!nested)
			__sync_fetch_and_add(&counters->not_kept, 1);
		return NULL;
	}
	if (!nested)
		__sync_fetch_and_add(&counters->begun, 1);
	place->len++;
	frame = top_frame(place);
	if (!frame)
		return NULL;
	frame->sp = sp;
	frame->address = address;
	frame->number = cookie->number;
	frame->slot = (u16)cookie->slot;
	frame->function = (u8)counters->function;
	frame->is_outermost = !nested;
	return frame;
}

static __always_inline int begin_function(const struct function_cookie *cookie,
					  struct function_counters *counters, u32 tid, u64 sp)
{
	struct function_place *place = get_place(tid);
	struct function_frame *frame = place ? push_frame(place, cookie, sp) : NULL;

	if (!place)
		__sync_fetch_and_add(&counters->not_kept, 1);
	if (frame)
		frame->start_ns = bpf_ktime_get_ns();
	return 0;
}

/* Others may do the same at once: who comes late with less has nothing to do. */
static __always_inline void raise_to(u64 *most, u64 value)
{
	for (u32 i = 0; i < 16; i++) {
		u64 now = *(volatile u64 *)most;

		if (now >= value || __sync_val_compare_and_swap(most, now, value) == now)
			return;
	}
}

static __always_inline void count_call(struct function_counters *counters, u64 duration_ns)
{
	u32 bucket = histogram_bucket(duration_ns);

	__sync_fetch_and_add(&counters->sum_ns, duration_ns);
	raise_to(&counters->max_ns, duration_ns);
	raise_to(&counters->min_inverse_ns, ~duration_ns);
	if (bucket < RECORD_BUCKETS)
		__sync_fetch_and_add(&counters->bucket[bucket], 1);
	else
		__sync_fetch_and_add(&counters->overflow, 1);
	__sync_fetch_and_add(&counters->ended, 1);
}

/* The part of a call that lies within the iteration that is under way. */
static __always_inline void note_in_iteration(struct function_place *place, const struct thread *thread,
					      u32 function, u64 start_ns, u64 now_ns)
{
	u32 at = function & (RECORD_FUNCTIONS - 1);

	if (thread->state != THREAD_DISPATCHING || now_ns < thread->start_ns)
		return;
	if (place->iteration != thread->iteration) {
		__builtin_memset(place->in_iteration, 0, sizeof(place->in_iteration));
		place->iteration = thread->iteration;
	}
	place->in_iteration[at].calls++;
	place->in_iteration[at].duration_ns +=
		now_ns - (start_ns > thread->start_ns ? start_ns : thread->start_ns);
}

/* The call of `number` whose return address was at `sp`, taken off with all above it; NULL if it is not known. */
static __noinline struct function_frame *pop_frame(struct function_place *place, u32 number, u64 sp)
{
	if (!place)
		return NULL;
	for (u32 i = 0; i < FUNCTION_FRAMES; i++) {
		struct function_frame *frame = top_frame(place);

		if (!frame || frame->sp > sp)
			return NULL;
		place->len--;
		if (frame->sp == sp && frame->number == number)
			return frame;
		count_left(frame);
	}
	return NULL;
}

static __always_inline int end_function(u32 number, struct function_counters *counters, u32 tid, u64 sp,
					u64 now_ns)
{
	struct function_place *place = bpf_map_lookup_elem(&function_places, &tid);
	struct function_frame *frame = place ? pop_frame(place, number, sp) : NULL;
	struct thread *thread;

	if (!frame || !place) {
		__sync_fetch_and_add(&counters->unmatched, 1);
		return 0;
	}
	if (!frame->is_outermost)
		return 0;
	count_call(counters, now_ns - frame->start_ns);
	thread = find_thread(tid);
	if (thread)
		note_in_iteration(place, thread, frame->function, frame->start_ns, now_ns);
	return 0;
}

/* Of which calls that are under way an overrun is told, and since when. */
struct calls_told {
	u64 start_ns;
	u64 now_ns;
	u64 sp; /* those whose return address is further in are not; 0: the stack cannot be looked at */
	u64 trampoline; /* what the return address of those that are is replaced by */
};

/*
 * Adds the call at that place. Not static, nor is restore_return(): the verifier goes through it once, and not for each
 * place.
 */
__noinline int put_call(struct overrun_draft *draft, const struct function_place *place, u32 at,
			const struct calls_told *told)
{
	const struct function_frame *frame;
	struct record_function *function;
	u64 from_ns;

	if (!draft || !place || !told || at >= FUNCTION_FRAMES)
		return 0;
	frame = &place->frames[at];
	if (!frame->is_outermost)
		return 0;
	if (told->sp && (frame->sp < told->sp || !is_hijacked(frame, told->trampoline)))
		return 0;
	function = &draft->functions[frame->function & (RECORD_FUNCTIONS - 1)];
	from_ns = frame->start_ns > told->start_ns ? frame->start_ns : told->start_ns;
	function->running++;
	function->duration_ns += told->now_ns > from_ns ? told->now_ns - from_ns : 0;
	return 0;
}

/*
 * Also the calls that are under way still. `running`: of a thread that is not the current one, whose stack cannot be looked
 * at; so a function that was left without a return, and was not called again, counts as under way.
 */
static __noinline int put_functions(struct overrun_draft *draft, const struct thread *thread, u64 now_ns,
				    u32 running)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct pt_regs *regs = (const struct pt_regs *)bpf_task_pt_regs(task);
	struct calls_told told = {.start_ns = thread->start_ns, .now_ns = now_ns};
	struct function_place *place;
	u32 tid = thread->tid;

	__builtin_memset(draft->functions, 0, sizeof(draft->functions));
	place = functions_asked ? bpf_map_lookup_elem(&function_places, &tid) : NULL;
	if (!place)
		return 0;
	if (place->iteration == thread->iteration)
		__builtin_memcpy(draft->functions, place->in_iteration, sizeof(draft->functions));
	told.trampoline = return_trampoline(task);
	told.sp = running ? 0 : regs->sp;
	for (u32 at = 0; at < FUNCTION_FRAMES; at++) {
		if (at >= place->len)
			break;
		put_call(draft, place, at, &told);
	}
	return 0;
}

__noinline int restore_return(struct record_stack *record, const struct function_place *place, u32 i,
			      u64 trampoline)
{
	const struct function_frame *frame;
	u64 at;

	if (!record || !place || i >= FUNCTION_FRAMES)
		return 0;
	frame = &place->frames[i];
	at = frame->sp - record->sp;
	/* So that it is this that is compared, of which the verifier knows then. */
	asm volatile("" : "+r"(at));
	if (at > RECORD_STACK_BYTES - sizeof(u64) || at & 7)
		return 0;
	if (*(u64 *)(record->stack + at) == trampoline)
		*(u64 *)(record->stack + at) = frame->address;
	return 0;
}

/* Puts the return addresses that the kernel has replaced back into a copy of the stack. */
static __noinline int restore_returns(struct record_stack *record, u32 tid, u64 trampoline)
{
	struct function_place *place = bpf_map_lookup_elem(&function_places, &tid);

	if (!place || !trampoline)
		return 0;
	for (u32 i = 0; i < FUNCTION_FRAMES; i++) {
		if (i >= place->len)
			break;
		restore_return(record, place, i, trampoline);
	}
	return 0;
}

/*
 * Where a probe itself is under way, the registers are in the kernel's page, of which no unwinder knows. The
 * function is about to begin, or has just returned: both look the same to its caller, whose registers they are.
 */
static __always_inline void step_out(struct record_stack *record, u32 tid, u64 trampoline)
{
	struct function_place *place = bpf_map_lookup_elem(&function_places, &tid);
	const struct function_frame *frame = place ? top_frame(place) : NULL;

	if (!frame || !trampoline || record->reg[16] - trampoline >= 4096)
		return;
	record->reg[16] = frame->address;
	record->reg[7] = frame->sp + sizeof(u64);
	record->sp = record->reg[7];
}

static __always_inline void forget_functions(u32 tid)
{
	if (functions_asked)
		bpf_map_delete_elem(&function_places, &tid);
}

#endif
