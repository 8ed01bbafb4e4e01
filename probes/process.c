/* SPDX-License-Identifier: MIT */
#include "probes/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/convert.h"
#include "probes/epoll_fds.h"
#include "probes/handler_name.h"
#include "probes/unwind.h"

/*
 * Stacks are kept raw and only the one that explains an overrun is unwound: unwinding costs some hundred
 * microseconds, copying a few. A thread has at most one stack a doubling of its overrun, so a ring of
 * STACKS_KEPT, 16 KiB each, holds those of several threads at once; what it cannot hold is the oldest.
 */
#define STACKS_KEPT       64
#define FRAMES_MAX        256
#define LOOPS_KEPT        64
#define REGISTRATIONS_MAX 65536
#define REREAD_NS         100000000u /* the registrations are read again at most this often */

struct loop_stack {
	uint32_t tid;
	int32_t epfd;
	size_t len;
	struct stint_frame frames[FRAMES_MAX]; /* innermost first */
};

struct registration {
	uint64_t data;
	int32_t fd;
};

struct stint_process {
	uint32_t pid;
	struct stint_unwinder *unwinder;
	struct record_stack *stacks[STACKS_KEPT];
	uint32_t stacks_next;
	struct loop_stack *loops[LOOPS_KEPT];
	struct stint_frame frames[FRAMES_MAX];
	const char *names[FRAMES_MAX];
	char handler[256];

	int32_t registrations_epfd;
	uint64_t registrations_read_ns;
	struct registration *registrations;
	uint32_t registrations_len;
	uint32_t registrations_capacity;
};

int stint_process_new(struct stint_process **ret, uint32_t pid)
{
	struct stint_process *process = calloc(1, sizeof(*process));
	int err;

	if (!process)
		return -ENOMEM;
	process->pid = pid;
	process->registrations_epfd = -1;
	err = stint_unwinder_new(&process->unwinder, pid);
	if (err) {
		free(process);
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
	for (uint32_t i = 0; i < LOOPS_KEPT; i++)
		free(process->loops[i]);
	free(process->registrations);
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
		  struct stint_frame *frames, bool *complete)
{
	struct stint_unwind_regs regs;
	size_t bytes = record->stack_bytes;

	if (bytes > RECORD_STACK_BYTES)
		bytes = RECORD_STACK_BYTES;
	_Static_assert(sizeof(regs.reg) == sizeof(record->reg), "both in DWARF order");
	memcpy(regs.reg, record->reg, sizeof(regs.reg));
	return stint_unwinder_run(process->unwinder, &regs, record->stack, bytes, frames, FRAMES_MAX,
				  complete);
}

/* The stack at the wait is the loop's own: unwound at once, as there is just one a loop. */
static int add_loop_stack(struct stint_process *process, const struct record_stack *record)
{
	uint32_t slot = 0;
	struct loop_stack *loop;
	bool complete;
	int len;

	while (slot < LOOPS_KEPT && process->loops[slot] &&
	       (process->loops[slot]->tid != record->tid || process->loops[slot]->epfd != record->epfd))
		slot++;
	if (slot == LOOPS_KEPT)
		return 0; /* handlers of further loops are named without it */
	loop = process->loops[slot] ? process->loops[slot] : malloc(sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	process->loops[slot] = loop;
	loop->tid = record->tid;
	loop->epfd = record->epfd;
	len = unwind(process, record, loop->frames, &complete);
	loop->len = len > 0 ? (size_t)len : 0;
	return 0;
}

int stint_process_add_stack(struct stint_process *process, const struct record_stack *record)
{
	struct record_stack **slot;

	if (record->kind == RECORD_STACK_WAIT)
		return add_loop_stack(process, record);
	slot = &process->stacks[process->stacks_next % STACKS_KEPT];
	if (!*slot)
		*slot = malloc(sizeof(**slot));
	if (!*slot)
		return -ENOMEM;
	memcpy(*slot, record, sizeof(**slot));
	process->stacks_next++;
	return 0;
}

/*
 * The stack that explains the overrun's longest part: taken at the end of the system call, if that was it;
 * else the last sample within it; else any sample of the iteration.
 */
static const struct record_stack *choose_stack(const struct stint_process *process,
					       const struct record_overrun *overrun)
{
	uint64_t end_ns = overrun->longest_start_ns + overrun->longest_ns;
	uint32_t wanted = overrun->longest_in_syscall ? RECORD_STACK_BLOCKED : RECORD_STACK_COMPUTED;
	const struct record_stack *best = NULL;
	int best_rank = -1;

	for (uint32_t i = 0; i < STACKS_KEPT; i++) {
		const struct record_stack *stack = process->stacks[i];
		int rank;

		if (!stack || stack->tid != overrun->tid || stack->iteration != overrun->iteration)
			continue;
		rank = stack->time_ns >= overrun->longest_start_ns && stack->time_ns <= end_ns;
		rank += 2 * (stack->kind == wanted);
		if (rank > best_rank || (rank == best_rank && stack->time_ns > best->time_ns)) {
			best = stack;
			best_rank = rank;
		}
	}
	return best;
}

static const struct loop_stack *find_loop(const struct stint_process *process, uint32_t tid, int32_t epfd)
{
	for (uint32_t i = 0; i < LOOPS_KEPT && process->loops[i]; i++)
		if (process->loops[i]->tid == tid && process->loops[i]->epfd == epfd)
			return process->loops[i];
	return NULL;
}

static void name_handler(struct stint_process *process, struct stint_probes_overrun *overrun, size_t len)
{
	const struct loop_stack *loop = find_loop(process, overrun->tid, overrun->epfd);

	stint_handler_name(process->handler, sizeof(process->handler), loop ? loop->frames : NULL,
			   loop ? loop->len : 0, process->frames, len, overrun->fd);
	overrun->handler = process->handler;
}

static bool complete_stack(struct stint_process *process, struct stint_probes_overrun *overrun,
			   const struct record_overrun *record)
{
	const struct record_stack *stack = choose_stack(process, record);
	bool complete = true;
	int len = stack ? unwind(process, stack, process->frames, &complete) : 0;

	if (len < 0)
		len = 0;
	for (int i = 0; i < len; i++)
		process->names[i] = process->frames[len - 1 - i].name;
	overrun->stack = process->names;
	overrun->stack_len = (uint32_t)len;
	if (len)
		overrun->stack_kind = stack->kind == RECORD_STACK_BLOCKED ? STINT_PROBES_STACK_BLOCKED
									  : STINT_PROBES_STACK_COMPUTED;
	name_handler(process, overrun, (size_t)len);
	return stack && (!len || !complete);
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

static void complete_victims(struct stint_process *process, struct stint_probes_overrun *overrun,
			     const struct record_overrun *record)
{
	uint32_t len = record->ready_len < RECORD_READY ? record->ready_len : RECORD_READY;
	int32_t fds[RECORD_READY];
	uint64_t now_ns = record->start_ns + record->duration_ns;
	bool may_reread = process->registrations_epfd != record->epfd ||
			  now_ns - process->registrations_read_ns > REREAD_NS;

	for (uint32_t i = 0; i < len; i++) {
		fds[i] = process->registrations_epfd == record->epfd
				 ? find_registration(process, record->ready[i].data)
				 : -1;
		if (fds[i] >= 0 || !may_reread)
			continue;
		may_reread = false;
		read_registrations(process, record->epfd, now_ns);
		fds[i] = find_registration(process, record->ready[i].data);
	}
	stint_convert_victims(overrun, record, fds, len);
}

bool stint_process_complete(struct stint_process *process, struct stint_probes_overrun *overrun,
			    const struct record_overrun *record)
{
	complete_victims(process, overrun, record);
	return complete_stack(process, overrun, record);
}
