/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_STACK_BPF_H
#define STINT_PROBES_STACK_BPF_H

/*
 * Copies the user registers and the top of the user stack to the ring buffer. Distributions build without
 * frame pointers, so the kernel's own unwinder sees nothing: user space unwinds the copy by .eh_frame.
 */

/* What lies above the place where the program began: the number of its arguments, and the first of them. */
#define STACK_BEYOND 64

#define STACK_BYTES_BLIND 16384     /* copied where it is not known how much there is */
#define STACK_BYTES_SLEEP 4096      /* of one of which only the innermost functions are asked for */
#define STACK_BYTES_OWN   (8 << 20) /* what is further away is no stack of the thread's */

/*
 * How much of the stack is to be copied: a process's first thread began at a place that is known, and the stacks of all
 * others end, with glibc and musl, at what is their own, of which their FS register tells. What is nowhere near either, as
 * the stack of a coroutine, may end anywhere.
 */
static __always_inline u32 stack_len(struct task_struct *task, u64 sp)
{
	u64 first = BPF_CORE_READ(task, mm, start_stack) + STACK_BEYOND - sp;
	u64 own = BPF_CORE_READ(task, thread.fsbase) - sp;
	u64 len = first < own ? first : own;

	if (len > STACK_BYTES_OWN)
		return STACK_BYTES_BLIND;
	return len < RECORD_STACK_BYTES ? len : RECORD_STACK_BYTES;
}

/*
 * Of the piece of `len` bytes at `at`, which could not be read whole: it lies in two pages, of which the first has `first`
 * bytes of it, or in that one. Returns where what was read of it ends; 0: nothing was.
 */
static __always_inline u32 copy_piece(struct record_stack *record, u64 sp, u32 at, u32 len, u32 first)
{
	u32 page = at / STACK_PAGE, second = len - first;

	if (len <= first || second > STACK_PAGE) {
		record->absent |= 1u << page;
		return 0;
	}
	if (bpf_probe_read_user(record->stack + at, first, (void *)(sp + at)) == 0) {
		record->absent |= 2u << page;
		return at + first;
	}
	record->absent |= 1u << page;
	at += first;
	if (bpf_probe_read_user(record->stack + at, second, (void *)(sp + at)) == 0)
		return at + second;
	return 0;
}

/* Not static: the verifier goes through it once, and not for each page. Returns as copy_piece(). */
__noinline u32 copy_page(struct draft *draft, u64 sp, u32 page, u32 len)
{
	struct record_stack *record = draft ? &draft->stack : NULL;
	u32 first = STACK_PAGE - ((u32)sp & (STACK_PAGE - 1)), at = page * STACK_PAGE;
	u32 left = len - at;

	if (!record || page >= RECORD_STACK_BYTES / STACK_PAGE)
		return 0;
	if (left > STACK_PAGE)
		left = STACK_PAGE;
	if (bpf_probe_read_user(record->stack + at, left, (void *)(sp + at)) != 0)
		return copy_piece(record, sp, at, left, first);
	return at + left;
}

/*
 * As much of the stack as can be read: it may end anywhere, and pages may be absent, as those amid a large array that
 * nobody has written to yet.
 */
static __always_inline u32 copy_stack(struct draft *draft, u64 sp, u32 len)
{
	u32 bytes = 0, end;

	draft->stack.absent = 0;
	for (u32 page = 0; page < RECORD_STACK_BYTES / STACK_PAGE; page++) {
		if (page * STACK_PAGE >= len)
			break;
		end = copy_page(draft, sp, page, len);
		bytes = end ? end : bytes;
	}
	return bytes;
}

static __always_inline void copy_registers(struct record_stack *record, const struct pt_regs *regs)
{
	record->reg[0] = regs->ax;
	record->reg[1] = regs->dx;
	record->reg[2] = regs->cx;
	record->reg[3] = regs->bx;
	record->reg[4] = regs->si;
	record->reg[5] = regs->di;
	record->reg[6] = regs->bp;
	record->reg[7] = regs->sp;
	record->reg[8] = regs->r8;
	record->reg[9] = regs->r9;
	record->reg[10] = regs->r10;
	record->reg[11] = regs->r11;
	record->reg[12] = regs->r12;
	record->reg[13] = regs->r13;
	record->reg[14] = regs->r14;
	record->reg[15] = regs->r15;
	record->reg[16] = regs->ip;
}

/* Of the current thread, which is `thread`. */
static __always_inline void fill_stack(struct draft *draft, struct thread *thread, u32 kind, u64 now_ns)
{
	struct record_stack *record = &draft->stack;
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct loss_counters *counters;
	u64 trampoline;
	u32 len;

	record->type = RECORD_STACK;
	record->pid = thread->pid;
	record->tid = thread->tid;
	record->kind = kind;
	record->iteration = thread->iteration;
	record->time_ns = now_ns;
	record->epfd = thread->epfd;
	record->number = (u32)regs->orig_ax;
	copy_registers(record, regs);
	record->sp = regs->sp;
	trampoline = functions_asked ? return_trampoline(task) : 0;
	if (trampoline)
		step_out(record, thread->tid, trampoline);
	len = stack_len(task, record->sp);
	if (kind == RECORD_STACK_SLEEP && len > STACK_BYTES_SLEEP)
		len = STACK_BYTES_SLEEP;
	record->stack_bytes = copy_stack(draft, record->sp, len);
	if (trampoline)
		restore_returns(record, thread->tid, trampoline);
	if (!record->stack_bytes) {
		counters = loss();
		if (counters)
			counters->stacks_unread++;
	}
	record->kernel_len = 0;
	record->is_asleep = 0;
}

static __always_inline void send_stack(struct draft *draft)
{
	struct record_stack *record = &draft->stack;
	u32 bytes = record->stack_bytes;

	send_draft(draft, record,
		   offsetof(struct record_stack, stack) +
			   (bytes < RECORD_STACK_BYTES ? bytes : RECORD_STACK_BYTES));
}

__noinline int report_stack(struct thread *thread, u32 kind, u64 now_ns)
{
	struct draft *draft = thread ? take_draft() : NULL;

	if (!draft || !thread)
		return 0;
	fill_stack(draft, thread, kind, now_ns);
	send_stack(draft);
	return 0;
}

/* Where the timer's interrupt enters the kernel, if that is known: user space has it from the list of symbols. */
#define TIMER_ENTRIES 4

const volatile struct record_range timer_entries[TIMER_ENTRIES];

static __always_inline bool is_timer_entry(u64 address)
{
	for (u32 i = 0; i < TIMER_ENTRIES; i++)
		if (address >= timer_entries[i].start && address < timer_entries[i].end)
			return true;
	return false;
}

/*
 * Whether the timer interrupted the kernel: then its functions follow the interrupt's entry, which is the outermost frame
 * if it was user space. `stack` of `len` frames, innermost first, is as deep as it was taken. Negative if not known.
 */
static __always_inline int interrupted_kernel(const u64 *stack, u32 len)
{
	if (!timer_entries[0].start)
		return -1;
	for (u32 i = 0; i < RECORD_KERNEL_FRAMES && i < len; i++)
		if (is_timer_entry(stack[i]))
			return i + 1 < len;
	return len == RECORD_KERNEL_FRAMES ? 1 : -1;
}

/* Where a page fault comes to, by whichever way into the kernel; 0: that is not known. */
const volatile struct record_range fault_entry;

struct sampled_stack {
	u64 frames[RECORD_KERNEL_FRAMES]; /* innermost first; 0 beyond the outermost */
};

/*
 * Of a fault that goes deeper than the stack was taken, as one may that frees memory, it is not seen. Not static: the
 * verifier has its loop just once, however it was come to.
 */
__noinline int has_fault_entry(const struct sampled_stack *stack)
{
	if (!stack)
		return 0;
	for (u32 i = 0; i < RECORD_KERNEL_FRAMES; i++)
		if (stack->frames[i] >= fault_entry.start && stack->frames[i] < fault_entry.end)
			return 1;
	return 0;
}

/*
 * A tick that was due while the scheduler had interrupts off comes upon the end of the switch, which tells of the switch
 * and not of what the thread does.
 */
#define SETTLED_NS 50000

static __noinline int count_sample(void *ctx, struct thread *thread, u64 now_ns)
{
	struct record_verdict *sums;
	struct sampled_stack stack;
	long bytes;
	int kernel;

	if (!thread)
		return 0;
	sums = &thread->verdict.sums;
	sums->samples++;
	if (thread->in_syscall || now_ns - thread->last_on_ns < SETTLED_NS)
		return 0;
	bytes = bpf_get_stack(ctx, &stack, sizeof(stack), 0);
	kernel = interrupted_kernel(stack.frames, bytes > 0 ? (u32)bytes / 8 : 0);
	if (kernel > 0 && thread->verdict.fault_start_ns) /* it is timed */
		return 0;
	if (kernel > 0) {
		sums->kernel_samples++;
		sums->fault_samples += has_fault_entry(&stack);
	}
	if (kernel != 0)
		return 0;
	sums->user_samples++;
	thread->verdict.fault_start_ns = 0; /* that one had no end */
	return 0;
}

/* The same from a sample, with the kernel's stack: the timer's interrupt, and behind that what it interrupted. */
static __noinline int report_sample(void *ctx, struct thread *thread, u64 now_ns)
{
	struct draft *draft = thread ? take_draft() : NULL;
	long bytes;

	if (!draft || !thread)
		return 0;
	fill_stack(draft, thread, RECORD_STACK_COMPUTED, now_ns);
	bytes = bpf_get_stack(ctx, draft->stack.kernel, sizeof(draft->stack.kernel), 0);
	draft->stack.kernel_len = bytes > 0 ? (u32)bytes / 8 : 0;
	send_stack(draft);
	return 0;
}

/*
 * First when the budget is used up, then each time the overrun has doubled: a handler that runs for a
 * second costs ten copies, not a thousand.
 */
static __always_inline void sample_overrun(void *ctx, struct thread *thread, u64 now_ns)
{
	u64 so_far_ns;

	if (thread->state != THREAD_DISPATCHING || now_ns < thread->start_ns)
		return;
	count_sample(ctx, thread, now_ns);
	if (!thread->in_syscall)
		set_mark(thread, now_ns);
	so_far_ns = now_ns - thread->start_ns;
	if (so_far_ns <= budget_ns || now_ns < thread->next_sample_ns)
		return;
	thread->next_sample_ns = now_ns + (so_far_ns > sample_ns ? so_far_ns : sample_ns);
	report_sample(ctx, thread, now_ns);
}

#endif
