/* SPDX-License-Identifier: MIT */
#include "probes/process.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "probes/asleep.h"
#include "probes/convert.h"
#include "probes/cut.h"
#include "probes/descriptor_name.h"
#include "probes/epoll_fds.h"
#include "probes/handler_name.h"
#include "probes/identity_name.h"
#include "probes/idle_sleep.h"
#include "probes/image.h"
#include "probes/moment.h"
#include "probes/open_files.h"
#include "probes/own_stacks.h"
#include "probes/ready.h"
#include "probes/role_records.h"
#include "probes/unpack.h"
#include "probes/unwind.h"
#include "probes/verdict.h"

/*
 * Stacks are kept raw and only the one that explains an overrun is unwound: unwinding costs some hundred
 * microseconds, copying a few. A thread has at most one stack a doubling of its overrun, so a ring of
 * STACKS_KEPT, and of so many bytes, holds those of many threads at once; what it cannot hold is the oldest.
 */
#define STACKS_KEPT       256
#define STACKS_BYTES_MAX  (4u << 20)
#define FRAMES_MAX        512
#define LOOP_FRAMES_MAX   256
#define SHOWN_MAX         (1 + FRAMES_MAX + RECORD_KERNEL_FRAMES)
#define REGISTRATIONS_MAX 65536
#define CONDITION_WORD    4 /* from one of the two of a condition variable to the other: glibc's __g_signals */
#define REG_SI            4          /* a call's second argument, which it leaves there */
#define REG_DI            5          /* its first */
#define SLEEP_FRAMES_MAX  16         /* of a stack of which only its innermost functions matter */
#define REREAD_NS         100000000u /* the registrations are read again at most this often */

struct registration {
	uint64_t data;
	int32_t fd;
};

/* `shown` to `handler`: of the overrun, or hang, that was completed last. */
struct stint_process_shared {
	struct stint_kernel_symbols *kernel;
	struct stint_images *images;
	struct stint_frame frames[FRAMES_MAX];
	struct stint_probes_frame shown[SHOWN_MAX]; /* outermost first, the kernel's last */
	char kernel_names[RECORD_KERNEL_FRAMES][64];
	const char *names[SHOWN_MAX];
	char handler[256];
};

struct stint_process {
	uint32_t pid;
	struct stint_process_shared *shared;
	struct stint_unwinder *unwinder;
	struct stint_descriptors *descriptors;
	struct record_stack *stacks[STACKS_KEPT];
	uint32_t stacks_next;
	size_t stacks_bytes; /* of all that are kept */
	struct stint_own_stacks *own_stacks;
	bool is_locked;         /* its memory, when it was last to be read */
	struct stint_idle idle; /* of the overrun completed last; its tid is 0: none */

	int32_t registrations_epfd;
	uint64_t registrations_read_ns;
	struct registration *registrations;
	uint32_t registrations_len;
	uint32_t registrations_capacity;
};

int stint_process_shared_new(struct stint_process_shared **ret, struct stint_kernel_symbols *kernel)
{
	struct stint_process_shared *shared = calloc(1, sizeof(*shared));

	if (!shared)
		return -ENOMEM;
	shared->kernel = kernel;
	if (stint_images_new(&shared->images) != 0) {
		free(shared);
		return -ENOMEM;
	}
	*ret = shared;
	return 0;
}

struct stint_process_shared *stint_process_shared_free(struct stint_process_shared *shared)
{
	if (shared)
		stint_images_free(shared->images);
	free(shared);
	return NULL;
}

int stint_process_new(struct stint_process **ret, uint32_t pid, struct stint_process_shared *shared)
{
	struct stint_process *process = calloc(1, sizeof(*process));
	int err;

	if (!process)
		return -ENOMEM;
	process->pid = pid;
	process->registrations_epfd = -1;
	process->shared = shared;
	err = stint_unwinder_new(&process->unwinder, shared->images, pid);
	if (!err)
		err = stint_descriptors_new(&process->descriptors, pid);
	if (!err)
		err = stint_own_stacks_new(&process->own_stacks);
	if (err) {
		stint_process_free(process);
		return err;
	}
	*ret = process;
	return 0;
}

struct stint_process *stint_process_free(struct stint_process *process)
{
	if (!process)
		return NULL;
	for (uint32_t i = 0; i < STACKS_KEPT; i++)
		free(process->stacks[i]);
	stint_own_stacks_free(process->own_stacks);
	free(process->registrations);
	stint_descriptors_free(process->descriptors);
	stint_unwinder_free(process->unwinder);
	free(process);
	return NULL;
}

uint32_t stint_process_pid(const struct stint_process *process)
{
	return process->pid;
}

/*
 * A process whose first thread has left is a zombie by its state, but it has other threads beside that one.
 * The name, between brackets, may hold anything, brackets too.
 */
bool stint_process_runs(const struct stint_process *process)
{
	char path[64], text[1024];
	long threads;
	char state;
	size_t len;
	FILE *file;
	char *at;

	snprintf(path, sizeof(path), "/proc/%u/stat", process->pid);
	file = fopen(path, "re");
	if (!file)
		return errno != ENOENT && errno != ESRCH;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	at = strrchr(text, ')');
	if (!at || sscanf(at, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld",
			  &state, &threads) != 2)
		return len > 0;
	return (state != 'Z' && state != 'X') || threads > 1;
}

static int unwind(struct stint_process *process, const struct record_stack *record,
		  struct stint_frame *frames, size_t frames_max, bool *complete)
{
	struct stint_unwind_regs regs;
	size_t bytes = record->stack_bytes;

	if (bytes > RECORD_STACK_BYTES)
		bytes = RECORD_STACK_BYTES;
	_Static_assert(sizeof(regs.reg) == sizeof(record->reg), "both in DWARF order");
	memcpy(regs.reg, record->reg, sizeof(regs.reg));
	regs.absent = record->absent;
	return stint_unwinder_run(process->unwinder, &regs, record->stack, bytes, frames, frames_max,
				  complete);
}

/* The stack at the wait is the loop's own: unwound at once, as there is just one a loop. */
static int add_own_stack(struct stint_process *process, const struct record_stack *record)
{
	bool complete;
	int len = unwind(process, record, process->shared->frames, LOOP_FRAMES_MAX, &complete);

	return stint_own_stacks_put(process->own_stacks, record->tid, record->epfd, process->shared->frames,
				    len > 0 ? (size_t)len : 0);
}

/* Where its memory is locked, it is so for all of its threads. */
static int read_asleep(struct stint_process *process, struct record_stack *stack)
{
	int err = process->is_locked ? -ETIMEDOUT : stint_asleep_read(stack);

	process->is_locked |= err == -ETIMEDOUT;
	return err;
}

static void drop_stack(struct stint_process *process, uint32_t at)
{
	struct record_stack **stack = &process->stacks[at % STACKS_KEPT];

	if (*stack)
		process->stacks_bytes -= stint_unpack_stack_bytes((*stack)->stack_bytes);
	free(*stack);
	*stack = NULL;
}

/* What it takes to keep that of a thread that sleeps is known once it is read. */
static int copy_stack(struct stint_process *process, struct record_stack **ret,
		      const struct record_stack *record)
{
	size_t bytes = stint_unpack_stack_bytes(record->stack_bytes);
	struct record_stack *copy = malloc(record->is_asleep ? sizeof(*copy) : bytes), *smaller;
	int err;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, record, bytes);
	err = record->is_asleep ? read_asleep(process, copy) : 0;
	if (err) {
		free(copy);
		return err;
	}
	smaller = record->is_asleep ? realloc(copy, stint_unpack_stack_bytes(copy->stack_bytes)) : NULL;
	*ret = smaller ? smaller : copy;
	return 0;
}

int stint_process_add_stack(struct stint_process *process, const struct record_stack *record)
{
	uint32_t at = process->stacks_next;
	struct record_stack *copy;
	int err;

	if (record->kind == RECORD_STACK_WAIT)
		return add_own_stack(process, record);
	err = copy_stack(process, &copy, record);
	if (err)
		return err;
	drop_stack(process, at);
	process->stacks[at % STACKS_KEPT] = copy;
	process->stacks_bytes += stint_unpack_stack_bytes(copy->stack_bytes);
	process->stacks_next++;
	for (uint32_t oldest = at + 1; process->stacks_bytes > STACKS_BYTES_MAX && oldest != at + STACKS_KEPT;
	     oldest++)
		drop_stack(process, oldest);
	return 0;
}

/* Which kind of stack tells where the time went: where most of it went, else the longest part of it. */
static uint32_t wanted_stack(const struct stint_probes_overrun *overrun, const struct record_overrun *record)
{
	if (stint_verdict_ns(&overrun->parts, overrun->verdict) <= overrun->duration_ns / 2)
		return record->longest_in_syscall ? RECORD_STACK_BLOCKED : RECORD_STACK_COMPUTED;
	/* A stop is in no system call as a rule, as a page fault is. */
	if (overrun->verdict == STINT_PROBES_BLOCKED)
		return record->verdict.fault_blocked_ns + record->verdict.stopped_ns > overrun->blocked_ns / 2
			       ? RECORD_STACK_FAULT
			       : RECORD_STACK_BLOCKED;
	if (overrun->verdict == STINT_PROBES_USER || overrun->verdict == STINT_PROBES_KERNEL)
		return RECORD_STACK_COMPUTED;
	return record->longest_in_syscall ? RECORD_STACK_BLOCKED : RECORD_STACK_COMPUTED;
}

/* Whether it shows the block that the verdict is about. */
static bool is_of_main_block(const struct stint_probes_overrun *overrun, const struct record_stack *stack)
{
	if (overrun->verdict != STINT_PROBES_BLOCKED ||
	    !stint_moment_in_block(overrun, (enum record_stack_kind)stack->kind, stack->time_ns))
		return false;
	return stack->kind == RECORD_STACK_FAULT || overrun->block.duration_ns > overrun->blocked_ns / 2;
}

/*
 * The stack that explains the overrun: that of the block that it was mostly, else the last of the kind that its
 * verdict asks for, within its longest part if there is one; else any of the iteration, but for those of page faults,
 * which are taken before it is known whether they matter.
 */
static const struct record_stack *choose_stack(const struct stint_process *process,
					       const struct stint_probes_overrun *overrun,
					       const struct record_overrun *record, uint64_t start_ns,
					       uint64_t end_ns)
{
	uint64_t longest_end_ns = record->longest_start_ns + record->longest_ns;
	uint32_t wanted = wanted_stack(overrun, record);
	const struct record_stack *best = NULL;
	int best_rank = -1;

	for (uint32_t i = 0; i < STACKS_KEPT; i++) {
		const struct record_stack *stack = process->stacks[i];
		int rank;

		if (!stack || stack->tid != overrun->tid || stack->iteration != record->iteration ||
		    stack->time_ns <= start_ns || stack->time_ns > end_ns ||
		    (stack->kind == RECORD_STACK_FAULT && wanted != RECORD_STACK_FAULT))
			continue;
		rank = stack->time_ns >= record->longest_start_ns && stack->time_ns <= longest_end_ns;
		rank += 2 * (stack->kind == wanted) + 4 * is_of_main_block(overrun, stack);
		if (rank > best_rank || (rank == best_rank && stack->time_ns > best->time_ns)) {
			best = stack;
			best_rank = rank;
		}
	}
	return best;
}

/* Of the process's frames; `complete`: these are all that the stack has. */
static const char *name_handler(struct stint_process *process, uint32_t tid, int32_t epfd, size_t len,
				bool complete, int32_t fd)
{
	const struct stint_own_stack *loop = stint_own_stacks_find(process->own_stacks, tid, epfd);

	stint_handler_name(process->shared->handler, sizeof(process->shared->handler),
			   loop ? loop->frames : NULL, loop ? loop->len : 0, process->shared->frames, len,
			   complete, fd);
	return process->shared->handler;
}

/* In the place of the frames before, of a stack whose beginning is not known. Returns how many frames there are then. */
static int show_incomplete(struct stint_process *process)
{
	static const char name[] = "[incomplete]";

	process->shared->shown[0] = (struct stint_probes_frame){0};
	memcpy(process->shared->shown[0].name, name, sizeof(name));
	process->shared->names[0] = name;
	return 1;
}

_Static_assert(sizeof(((struct stint_probes_frame *)NULL)->name) ==
			       sizeof(((struct stint_frame *)NULL)->name) &&
		       sizeof(((struct stint_probes_frame *)NULL)->module) ==
			       sizeof(((struct stint_frame *)NULL)->module) &&
		       sizeof(((struct stint_probes_frame *)NULL)->file) ==
			       sizeof(((struct stint_frame *)NULL)->file),
	       "texts have the same room in both");

/* Appends the process's frames to `shown_len` that are there. Returns how many there are then. */
static int show_user_frames(struct stint_process *process, int shown_len, int len)
{
	for (int i = 0; i < len; i++) {
		const struct stint_frame *frame = &process->shared->frames[len - 1 - i];
		struct stint_probes_frame *shown = &process->shared->shown[shown_len + i];

		process->shared->names[shown_len + i] = frame->name;
		*shown = (struct stint_probes_frame){.line = frame->line};
		memcpy(shown->name, frame->name, sizeof(shown->name));
		memcpy(shown->module, frame->module, sizeof(shown->module));
		memcpy(shown->file, frame->file, sizeof(shown->file));
	}
	return shown_len + len;
}

/* What looked at it: our own programs, on top of the kernel's stack. */
static bool is_machinery(const char *name)
{
	return strncmp(name, "bpf_", 4) == 0 || strncmp(name, "__bpf_", 6) == 0 ||
	       strncmp(name, "__traceiter_", 12) == 0;
}

/* Appends the kernel's frames, `stack` innermost first, to `len` that are there. Returns how many there are then. */
static int show_kernel_frames(struct stint_process *process, int len, const __u64 *stack, uint32_t stack_len)
{
	uint32_t used = 0;

	if (stack_len > RECORD_KERNEL_FRAMES)
		stack_len = RECORD_KERNEL_FRAMES;
	for (uint32_t i = stack_len; i-- > 0;) {
		const char *name = stint_kernel_symbol(process->shared->kernel, stack[i]);
		struct stint_probes_frame *shown = &process->shared->shown[len];

		if (!name || is_machinery(name))
			continue;
		snprintf(process->shared->kernel_names[used], sizeof(process->shared->kernel_names[used]),
			 "[k] %s", name);
		process->shared->names[len] = process->shared->kernel_names[used++];
		memset(shown, 0, sizeof(*shown));
		snprintf(shown->name, sizeof(shown->name), "%s", name);
		snprintf(shown->module, sizeof(shown->module), "kernel");
		shown->kernel = true;
		len++;
	}
	return len;
}

/* Of a sample: what the timer's interrupt came upon, without that itself. Nothing if it was user space. */
static int show_interrupted(struct stint_process *process, int len, const struct record_stack *stack)
{
	uint32_t frames = stack->kernel_len < RECORD_KERNEL_FRAMES ? stack->kernel_len : RECORD_KERNEL_FRAMES;

	for (uint32_t i = 0; i < frames; i++) {
		const char *name = stint_kernel_symbol(process->shared->kernel, stack->kernel[i]);

		if (name && stint_kernel_is_timer_entry(name))
			return show_kernel_frames(process, len, stack->kernel + i + 1, frames - i - 1);
	}
	return len;
}

/* The kernel's side of the same moment, if it is known: the sample's own, or where it was blocked for longest. */
static int complete_kernel_stack(struct stint_process *process, const struct stint_probes_overrun *overrun,
				 const struct record_overrun *record, const struct record_stack *stack,
				 int len)
{
	const struct record_block *block = &record->verdict.block;

	if (stack->kind == RECORD_STACK_COMPUTED)
		return show_interrupted(process, len, stack);
	if (stint_moment_in_block(overrun, (enum record_stack_kind)stack->kind, stack->time_ns))
		return show_kernel_frames(process, len, block->stack, block->stack_len);
	return len;
}

bool stint_process_is_idle_call(const struct stint_idle *idle, const struct stint_probes_syscall *call)
{
	if (idle->is_in_stack)
		return call->start_ns == idle->start_ns;
	return call->number == idle->place.number &&
	       (call->argument | idle->either) == (idle->argument | idle->either);
}

/* How it sleeps in that call, with that argument. `len` of the process's frames are the stack's. */
static bool judge_sleep(const struct stint_process *process, const struct record_stack *stack, size_t len,
			uint32_t number, uint64_t argument, struct stint_idle *ret)
{
	bool is_on_condition = stint_idle_sleep_is_condition(process->shared->frames, len);

	if (is_on_condition && (stack->reg[REG_SI] & FUTEX_CMD_MASK) != FUTEX_WAIT_BITSET)
		return false; /* for the lock: libc's function for that may have no name */
	*ret = (struct stint_idle){
		.place = {.tid = stack->tid,
			  .number = number,
			  .at = number == SYS_futex ? argument : stack->sp},
		.argument = argument,
		.either = is_on_condition ? CONDITION_WORD : 0,
		.sp = stack->sp,
		.is_in_stack = stint_idle_sleep_is_park(process->shared->frames, len),
		.is_idle = stint_idle_sleep(process->shared->frames, len),
	};
	return ret->is_idle || ret->is_in_stack;
}

bool stint_process_judge_sleep(struct stint_process *process, const struct record_stack *record,
			       struct stint_idle *ret)
{
	bool complete;
	int len = unwind(process, record, process->shared->frames, SLEEP_FRAMES_MAX, &complete);

	return len > 0 && judge_sleep(process, record, (size_t)len, record->number, record->reg[REG_DI], ret);
}

static void find_idle(struct stint_process *process, const struct stint_probes_overrun *overrun,
		      const struct record_stack *stack, size_t len)
{
	const struct stint_probes_syscall *call = stint_moment_call(overrun, stack->time_ns);
	uint64_t idle_ns = 0, listed_ns = 0;
	struct stint_idle idle;

	if (!call || stack->kind != RECORD_STACK_BLOCKED ||
	    !judge_sleep(process, stack, len, call->number, call->argument, &idle) || !idle.is_idle)
		return;
	idle.start_ns = call->start_ns;
	process->idle = idle;
	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		listed_ns += overrun->syscalls[i].duration_ns;
		if (stint_process_is_idle_call(&process->idle, &overrun->syscalls[i]))
			idle_ns += overrun->syscalls[i].duration_ns;
	}
	/* Those that are not listed are shorter: sysmon naps some 50 times between two looks. */
	process->idle.is_most = overrun->verdict == STINT_PROBES_BLOCKED && 2 * idle_ns >= listed_ns;
}

/*
 * By the stacks that were taken in between. That of a system call is taken as it ends: at `start_ns`, of what was before.
 */
static bool complete_stack(struct stint_process *process, struct stint_probes_overrun *overrun,
			   const struct record_overrun *record, uint64_t start_ns, uint64_t end_ns)
{
	const struct record_stack *stack = choose_stack(process, overrun, record, start_ns, end_ns);
	bool complete = true;
	int len = stack ? unwind(process, stack, process->shared->frames, FRAMES_MAX, &complete) : 0,
	    shown_len;

	if (len < 0)
		len = 0;
	shown_len = show_user_frames(process, complete ? 0 : show_incomplete(process), len);
	overrun->handler =
		name_handler(process, overrun->tid, overrun->epfd, (size_t)len, complete, overrun->fd);
	overrun->stack = process->shared->names;
	overrun->frames = process->shared->shown;
	overrun->stack_len =
		(uint32_t)(len ? complete_kernel_stack(process, overrun, record, stack, shown_len) : 0);
	overrun->stack_time_ns = stack ? stack->time_ns : 0;
	overrun->stack_kind = STINT_PROBES_STACK_NONE;
	if (len)
		overrun->stack_kind =
			stint_moment_blocked(overrun, (enum record_stack_kind)stack->kind, stack->time_ns)
				? STINT_PROBES_STACK_BLOCKED
				: STINT_PROBES_STACK_COMPUTED;
	process->idle.place.tid = 0;
	if (len)
		find_idle(process, overrun, stack, (size_t)len);
	return stack && (!len || !complete);
}

/* ---- on what it was blocked, and whom it held up ---- */

static bool is_futex(const struct stint_probes_syscall *call)
{
	return strncmp(call->name, "futex", 5) == 0;
}

/* That it was one is known from the task's state; by what, only from the stack, so where the kernel's symbols are known. */
static void tell_stop(struct stint_process *process, struct stint_probes_overrun *overrun,
		      const struct record_block *block)
{
	uint32_t len = block->stack_len < RECORD_KERNEL_FRAMES ? block->stack_len : RECORD_KERNEL_FRAMES;
	const char *stop = stint_kernel_stop(process->shared->kernel, block->stack, len);

	snprintf(overrun->block.in, sizeof(overrun->block.in), "%s", stop ? stop : "a stop");
}

/*
 * By what the programs noted as the call returned. What has a name in a file system is looked up, which is certain
 * where it is the same inode still.
 */
static void name_blocked_on(struct stint_process *process, const struct record_overrun *record, int32_t fd,
			    struct stint_probes_block *block)
{
	const struct record_blocked_on *on = &record->blocked_on;
	bool is_noted = on->start_ns == block->start_ns && on->is.fd == fd;
	bool is_same = is_noted && on->is.state == RECORD_IDENTITY_NOTED &&
		       (on->is.kind == ROLE_FILE || on->is.kind == ROLE_PIPE) &&
		       stint_fd_is_inode(process->pid, fd, on->inode, on->device);

	if (is_noted && on->is.state == RECORD_IDENTITY_GONE)
		return;
	block->on_inferred = !is_noted || !on->is_certain;
	if (is_noted && !is_same && stint_identity_name(&on->is, block->on, sizeof(block->on)))
		return;
	stint_descriptor_name(process->descriptors, fd, block->on, sizeof(block->on));
	if (!is_same)
		block->on_inferred = true;
}

/* The first descriptor of sendfile() is where it sends to; what it waits for may be pages of the other. */
static bool reads_what_it_sends(const struct stint_probes_syscall *call, const char *woken_by)
{
	return strcmp(call->name, "sendfile") == 0 && strcmp(woken_by, "wake_page_function") == 0;
}

static void complete_block(struct stint_process *process, struct stint_probes_overrun *overrun,
			   const struct record_overrun *record)
{
	const struct record_block *from = &record->verdict.block;
	const struct stint_probes_syscall *call =
		from->in_syscall && !from->is_stopped ? stint_moment_call(overrun, from->start_ns) : NULL;
	struct stint_probes_block *block = &overrun->block;
	uint32_t len =
		from->waker_stack_len < RECORD_KERNEL_FRAMES ? from->waker_stack_len : RECORD_KERNEL_FRAMES;
	const char *what;

	if (!block->duration_ns)
		return;
	if (call)
		snprintf(block->in, sizeof(block->in), "%s", call->name);
	else if (from->is_stopped)
		tell_stop(process, overrun, from);
	if (call && is_futex(call))
		stint_unwinder_name(process->unwinder, call->argument, "lock ", block->on, sizeof(block->on));
	else if (call && call->fd >= 0)
		name_blocked_on(process, record, call->fd, block);
	/* The idle task wakes nobody, nor does the one that serves interrupts for its own sake. */
	/*
	 * Without names an interrupt is not told from the task that it came upon; its own threads are not that by
	 * chance.
	 */
	if (stint_kernel_waker(process->shared->kernel, from->waker_stack, len, &what) || !block->waker_pid ||
	    strncmp(block->waker, "ksoftirqd/", 10) == 0 ||
	    (!stint_kernel_symbols_known(process->shared->kernel) && block->waker_pid != process->pid))
		*block->waker = '\0';
	block->waker_inferred = *block->waker && !what;
	if (what)
		snprintf(block->waker_what, sizeof(block->waker_what), "%s", what);
	if (call && what && reads_what_it_sends(call, what)) {
		snprintf(block->on, sizeof(block->on), "the file that it sends");
		block->on_inferred = false;
	}
}

/* Of what the programs have not noted: one that has become a file was something else as its event waited in a set. */
static void look_up_victim(struct stint_process *process, const struct stint_probes_overrun *overrun,
			   struct stint_probes_victim *victim)
{
	if (overrun->wait == STINT_PROBES_WAIT_EPOLL && stint_fd_is_file(process->pid, victim->fd))
		return;
	stint_descriptor_name(process->descriptors, victim->fd, victim->name, sizeof(victim->name));
	victim->name_inferred = true;
}

static void name_victims(struct stint_process *process, struct stint_probes_overrun *overrun,
			 const struct record_overrun *record)
{
	for (uint32_t i = 0; i < overrun->victims_len; i++) {
		struct stint_probes_victim *victim = &overrun->victims_list[i];
		const struct record_identity *identity = stint_identity_find(record, victim->fd);

		if (identity && (identity->state == RECORD_IDENTITY_GONE ||
				 stint_identity_name(identity, victim->name, sizeof(victim->name))))
			continue;
		look_up_victim(process, overrun, victim);
	}
}

static int remember_registration(void *ctx, int32_t fd, uint32_t events, uint64_t data)
{
	struct stint_process *process = ctx;

	(void)events;
	if (process->registrations_len == process->registrations_capacity) {
		uint32_t capacity =
			process->registrations_capacity ? 2 * process->registrations_capacity : 64;
		void *larger;

		if (capacity > REGISTRATIONS_MAX)
			return -E2BIG;
		larger = realloc(process->registrations, capacity * sizeof(*process->registrations));
		if (!larger)
			return -ENOMEM;
		process->registrations = larger;
		process->registrations_capacity = capacity;
	}
	process->registrations[process->registrations_len++] = (struct registration){data, fd};
	return 0;
}

/* What could not be read stays unknown: a process may end, or close its epoll descriptor, at any time. */
static void read_registrations(struct stint_process *process, int32_t epfd, uint64_t now_ns)
{
	process->registrations_len = 0;
	process->registrations_epfd = epfd;
	process->registrations_read_ns = now_ns;
	(void)stint_epoll_fds_read(process->pid, epfd, remember_registration, process);
}

static int32_t find_registration(const struct stint_process *process, uint64_t data)
{
	for (uint32_t i = 0; i < process->registrations_len; i++)
		if (process->registrations[i].data == data)
			return process->registrations[i].fd;
	return -1;
}

static int32_t noted_fd(const struct record_overrun *record, uint32_t at)
{
	return at < record->turns_len ? record->identities[at].fd : -1;
}

static void complete_victims(struct stint_process *process, struct stint_probes_overrun *overrun,
			     const struct record_overrun *record)
{
	struct stint_ready ready[RECORD_READY];
	uint32_t len = stint_ready_read(ready, record);
	int32_t fds[RECORD_READY];
	uint64_t now_ns = record->start_ns + record->duration_ns;
	bool may_reread = process->registrations_epfd != record->epfd ||
			  now_ns - process->registrations_read_ns > REREAD_NS;

	for (uint32_t i = 0; i < len; i++) {
		if (record->wait != RECORD_WAIT_EPOLL) {
			fds[i] = (int32_t)ready[i].data;
			continue;
		}
		/* Known from its turn or its registration, or else looked for among those that are registered now. */
		fds[i] = noted_fd(record, i);
		if (fds[i] < 0 && process->registrations_epfd == record->epfd)
			fds[i] = find_registration(process, ready[i].data);
		if (fds[i] >= 0 || !may_reread)
			continue;
		may_reread = false;
		read_registrations(process, record->epfd, now_ns);
		fds[i] = find_registration(process, ready[i].data);
	}
	stint_convert_victims(overrun, record, fds, len);
}

bool stint_process_complete(struct stint_process *process, struct stint_probes_overrun *overrun,
			    const struct record_overrun *record)
{
	complete_victims(process, overrun, record);
	name_victims(process, overrun, record);
	complete_block(process, overrun, record);
	return complete_stack(process, overrun, record, 0, UINT64_MAX);
}

void stint_process_complete_part(struct stint_process *process, struct stint_probes_overrun *overrun,
				 const struct record_overrun *record, uint64_t start_ns, uint64_t end_ns)
{
	overrun->began_before = overrun->began_before && start_ns == overrun->start_ns;
	overrun->running = overrun->running && end_ns == overrun->start_ns + overrun->duration_ns;
	(void)stint_cut(overrun, start_ns, end_ns);
	(void)complete_stack(process, overrun, record, start_ns, end_ns);
}

bool stint_process_idle(const struct stint_process *process, struct stint_idle *ret)
{
	*ret = process->idle;
	return ret->place.tid != 0;
}

/* Each has up to RECORD_STACK_BYTES: all that could be kept are 5 MB a process. */
void stint_process_forget_stacks(struct stint_process *process, uint32_t tid, uint64_t iteration)
{
	for (uint32_t i = 0; i < STACKS_KEPT; i++) {
		const struct record_stack *stack = process->stacks[i];

		if (!stack || stack->tid != tid || stack->iteration > iteration)
			continue;
		drop_stack(process, i);
	}
}

/* ---- an iteration that goes on ---- */

static const struct record_stack *last_computed(const struct stint_process *process,
						const struct record_hang *record)
{
	const struct record_stack *last = NULL;

	for (uint32_t i = 0; i < STACKS_KEPT; i++) {
		const struct record_stack *stack = process->stacks[i];

		if (stack && stack->tid == record->tid && stack->iteration == record->iteration &&
		    stack->kind == RECORD_STACK_COMPUTED && (!last || stack->time_ns > last->time_ns))
			last = stack;
	}
	return last;
}

void stint_process_complete_hang(struct stint_process *process, struct stint_probes_hang *hang,
				 const struct record_hang *record)
{
	const struct record_stack *stack =
		hang->state == STINT_PROBES_HANG_COMPUTING ? last_computed(process, record) : NULL;
	bool complete = true;
	int len = stack ? unwind(process, stack, process->shared->frames, FRAMES_MAX, &complete) : 0;

	if (len > 0)
		hang->handler = name_handler(process, record->tid, record->epfd, (size_t)len, complete, -1);
	if (hang->fd >= 0)
		stint_descriptor_name(process->descriptors, hang->fd, hang->on, sizeof(hang->on));
}
