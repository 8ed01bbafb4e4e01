/* SPDX-License-Identifier: MIT */
#include "report/record/join.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/cut.h"

/* Calls of join_settle() that a dispatch waits for its iteration, which is reported when it ends. */
#define ROUNDS_HELD 3

struct dispatch {
	struct dispatch *next;
	unsigned rounds;
	struct join_dispatch told; /* its frames are our own copies */
	const char *frames[];
};

struct iteration {
	struct iteration *next;
	int64_t process;
	struct stint_probes_overrun overrun; /* its stack, frames and handler are our own copies */
	struct stint_probes_frame *frames;
	const char *stack[];
};

struct join {
	struct recording *recording;
	struct roster *roster;
	uint64_t budget_ns;
	struct dispatch *dispatches; /* newest first, as are iterations */
	struct iteration *iterations;
};

int join_new(struct join **ret, struct recording *recording, struct roster *roster, uint64_t budget_ns)
{
	struct join *join = calloc(1, sizeof(*join));

	if (!join)
		return -ENOMEM;
	join->recording = recording;
	join->roster = roster;
	join->budget_ns = budget_ns;
	*ret = join;
	return 0;
}

static void free_texts(const char *const *texts, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		free((void *)(uintptr_t)texts[i]);
}

/* Fills `copies`, and says in *copied how far it came. */
static int copy_texts(const char **copies, uint32_t *copied, const char *const *texts, uint32_t len)
{
	for (*copied = 0; *copied < len; (*copied)++) {
		copies[*copied] = strdup(texts[*copied]);
		if (!copies[*copied])
			return -ENOMEM;
	}
	return 0;
}

static void free_dispatch(struct dispatch *dispatch)
{
	free_texts(dispatch->frames, dispatch->told.frames_len);
	free(dispatch);
}

static void free_iteration(struct iteration *iteration)
{
	free_texts(iteration->stack, iteration->overrun.stack_len);
	free((void *)(uintptr_t)iteration->overrun.handler);
	free(iteration->frames);
	free(iteration);
}

struct join *join_free(struct join *join)
{
	if (!join)
		return NULL;
	for (struct dispatch *at = join->dispatches, *next; at; at = next) {
		next = at->next;
		free_dispatch(at);
	}
	for (struct iteration *at = join->iterations, *next; at; at = next) {
		next = at->next;
		free_iteration(at);
	}
	free(join);
	return NULL;
}

int join_add_dispatch(struct join *join, const struct join_dispatch *told)
{
	struct dispatch *dispatch =
		calloc(1, sizeof(*dispatch) + told->frames_len * sizeof(dispatch->frames[0]));
	int err;

	if (!dispatch)
		return -ENOMEM;
	dispatch->told = *told;
	dispatch->told.frames = dispatch->frames;
	err = copy_texts(dispatch->frames, &dispatch->told.frames_len, told->frames, told->frames_len);
	if (err) {
		free_dispatch(dispatch);
		return err;
	}
	dispatch->next = join->dispatches;
	join->dispatches = dispatch;
	return 0;
}

int join_add_iteration(struct join *join, int64_t process, const struct stint_probes_overrun *overrun)
{
	struct iteration *copy = calloc(1, sizeof(*copy) + overrun->stack_len * sizeof(copy->stack[0]));

	if (!copy)
		return -ENOMEM;
	copy->process = process;
	copy->overrun = *overrun;
	copy->overrun.stack = copy->stack;
	copy->overrun.frames = NULL;
	copy->overrun.stack_len = 0;
	copy->overrun.handler = strdup(overrun->handler);
	if (!copy->overrun.handler)
		goto out_of_memory;
	if (overrun->frames && overrun->stack_len) {
		copy->frames = calloc(overrun->stack_len, sizeof(*copy->frames));
		if (!copy->frames)
			goto out_of_memory;
		memcpy(copy->frames, overrun->frames, overrun->stack_len * sizeof(*copy->frames));
		copy->overrun.frames = copy->frames;
	}
	if (copy_texts(copy->stack, &copy->overrun.stack_len, overrun->stack, overrun->stack_len))
		goto out_of_memory;
	copy->next = join->iterations;
	join->iterations = copy;
	return 0;

out_of_memory:
	free_iteration(copy);
	return -ENOMEM;
}

/* ---- what the kernel knows of a dispatch ---- */

/*
 * By its middle: the two clocks agree to a few us, and an overrun is many of those long. One that had not ended was
 * looked at when its thread may have been gone: by the middle of its budget, which it has used up.
 */
static bool contains(const struct iteration *iteration, const struct dispatch *dispatch)
{
	const struct stint_probes_overrun *outer = &iteration->overrun;
	const struct join_dispatch *told = &dispatch->told;
	uint64_t length_ns = told->running && told->overrun.budget_ns ? told->overrun.budget_ns
								      : told->overrun.duration_ns;
	uint64_t middle_ns = told->overrun.start_ns + length_ns / 2;

	return iteration->process == told->process && outer->tid == told->tid &&
	       middle_ns >= outer->start_ns && middle_ns - outer->start_ns <= outer->duration_ns;
}

/* ---- rows ---- */

static struct recording_overrun dispatch_row(const struct dispatch *dispatch)
{
	const struct join_dispatch *told = &dispatch->told;
	const struct stint_meter_file_overrun *overrun = &told->overrun;
	uint64_t victims = overrun->victims, blame_ns;

	if (__builtin_mul_overflow(victims, overrun->duration_ns, &blame_ns))
		blame_ns = UINT64_MAX - 1; /* only a hostile file says so */
	return (struct recording_overrun){
		.source = RECORDING_METER,
		.process = told->process,
		.handler = told->handler,
		.tid = told->tid,
		.running = told->running,
		.fd = overrun->fd,
		.start_ns = overrun->start_ns,
		.duration_ns = overrun->duration_ns,
		.iteration_ns = RECORDING_UNKNOWN,
		.on_cpu_ns = RECORDING_UNKNOWN,
		.runnable_ns = RECORDING_UNKNOWN,
		.blocked_ns = RECORDING_UNKNOWN,
		.cpu_min_ns = overrun->cpu_min_ns,
		.cpu_max_ns = overrun->cpu_max_ns,
		.victims = victims,
		.blame_ns = blame_ns,
		.ready_events = RECORDING_UNKNOWN,
		.syscall_count = RECORDING_UNKNOWN,
		.stack_kind = told->stack_kind,
		.frames = told->frames,
		.frames_len = told->frames_len,
	};
}

/* `longest` of the dispatches in it: to that goes what is known of the iteration as a whole only. */
static void write_joined(struct join *join, const struct dispatch *dispatch,
			 const struct iteration *iteration, bool longest)
{
	const struct stint_probes_overrun *outer = &iteration->overrun;
	struct recording_overrun row = dispatch_row(dispatch);
	struct stint_probes_overrun own = *outer;
	uint64_t end_ns = outer->start_ns + outer->duration_ns;

	/* It had not ended when its process told of it; but where the iteration has, so it has. */
	row.running = row.running && outer->running;
	if (dispatch->told.running && row.start_ns < end_ns && row.duration_ns > end_ns - row.start_ns)
		row.duration_ns = end_ns - row.start_ns;
	if (stint_cut(&own, row.start_ns, row.start_ns + row.duration_ns)) {
		row.on_cpu_ns = own.on_cpu_ns;
		row.runnable_ns = own.runnable_ns;
		row.blocked_ns = own.blocked_ns;
	}
	if (longest)
		memcpy(own.functions, outer->functions, sizeof(own.functions));
	if (longest && own.fd == row.fd) {
		memcpy(own.victims_list, outer->victims_list, sizeof(own.victims_list));
		own.victims_len = outer->victims_len;
	}
	row.source = RECORDING_BOTH;
	row.iteration_ns = outer->duration_ns;
	row.ready_events = outer->ready_unknown ? RECORDING_UNKNOWN : outer->ready_events;
	row.syscalls_len = own.syscalls_len;
	row.syscalls = own.syscalls;
	row.segments_len = own.segments_len;
	row.segments = own.segments;
	if (own.stack_len) {
		row.stack_kind = own.stack_kind;
		row.frames = own.stack;
		row.frames_len = own.stack_len;
		row.places = own.frames;
	}
	row.probed = &own;
	recording_overrun(join->recording, &row);
}

/* Without a stack it is what the descriptor was: one row for all of a role, not one for each descriptor. */
static void name_handler(char *ret, size_t ret_bytes, const struct stint_probes_overrun *overrun)
{
	if (overrun->stack_len)
		snprintf(ret, ret_bytes, "%s", overrun->handler);
	else if (*overrun->role)
		snprintf(ret, ret_bytes, "%s (no stack)", overrun->role);
	else
		snprintf(ret, ret_bytes, "unknown (no stack)");
}

/* An iteration in which no single dispatch is known to have overrun. */
static void write_iteration(struct join *join, const struct iteration *iteration, bool has_meter)
{
	const struct stint_probes_overrun *overrun = &iteration->overrun;
	struct recording_overrun row = {
		.source = RECORDING_PROBES,
		.process = iteration->process,
		.tid = overrun->tid,
		.running = overrun->running,
		.began_before = overrun->began_before,
		.fd = overrun->fd,
		.role = overrun->role,
		.start_ns = overrun->start_ns,
		.duration_ns = overrun->duration_ns,
		.iteration_ns = overrun->duration_ns,
		.on_cpu_ns = overrun->on_cpu_ns,
		.runnable_ns = overrun->runnable_ns,
		.blocked_ns = overrun->blocked_ns,
		.cpu_min_ns = overrun->on_cpu_ns,
		.cpu_max_ns = overrun->on_cpu_ns,
		.victims = overrun->victims,
		.blame_ns = overrun->blame_ns,
		.ready_events = overrun->ready_unknown ? RECORDING_UNKNOWN : overrun->ready_events,
		.syscall_count = overrun->calls_unknown ? RECORDING_UNKNOWN : overrun->syscall_count,
		.stack_kind = overrun->stack_kind,
		.syscalls = overrun->syscalls,
		.syscalls_len = overrun->syscalls_len,
		.segments = overrun->segments,
		.segments_len = overrun->segments_len,
		.frames = overrun->stack,
		.frames_len = overrun->stack_len,
		.places = overrun->frames,
		.probed = overrun,
	};
	uint64_t over_ns =
		overrun->duration_ns > join->budget_ns ? overrun->duration_ns - join->budget_ns : 0;

	if (!has_meter) {
		char name[sizeof(overrun->role) + 64];

		name_handler(name, sizeof(name), overrun);
		row.handler = roster_handler(join->roster, iteration->process, name, false, join->budget_ns);
		roster_charge(join->roster, row.handler,
			      &(struct recording_handler_counts){1, over_ns, overrun->blame_ns,
								 overrun->victims});
	}
	recording_overrun(join->recording, &row);
}

/* ---- settling ---- */

static const struct dispatch *longest_within(const struct join *join, const struct iteration *iteration)
{
	const struct dispatch *longest = NULL;

	for (const struct dispatch *at = join->dispatches; at; at = at->next)
		if (contains(iteration, at) &&
		    (!longest || at->told.overrun.duration_ns > longest->told.overrun.duration_ns))
			longest = at;
	return longest;
}

static void settle_iteration(struct join *join, const struct iteration *iteration, bool has_meter)
{
	const struct dispatch *longest = longest_within(join, iteration);

	if (!longest) {
		write_iteration(join, iteration, has_meter);
		return;
	}
	for (struct dispatch **link = &join->dispatches; *link;) {
		struct dispatch *dispatch = *link;
		bool is_longest = dispatch == longest;

		if (!contains(iteration, dispatch)) {
			link = &dispatch->next;
			continue;
		}
		*link = dispatch->next;
		write_joined(join, dispatch, iteration, is_longest);
		free_dispatch(dispatch);
	}
}

static void settle_dispatches(struct join *join, int64_t process, unsigned rounds)
{
	for (struct dispatch **link = &join->dispatches; *link;) {
		struct dispatch *dispatch = *link;
		struct recording_overrun row;

		if (dispatch->told.process != process || ++dispatch->rounds < rounds) {
			link = &dispatch->next;
			continue;
		}
		*link = dispatch->next;
		row = dispatch_row(dispatch);
		recording_overrun(join->recording, &row);
		free_dispatch(dispatch);
	}
}

static void settle(struct join *join, int64_t process, bool has_meter, unsigned rounds)
{
	for (struct iteration **link = &join->iterations; *link;) {
		struct iteration *iteration = *link;

		if (iteration->process != process) {
			link = &iteration->next;
			continue;
		}
		*link = iteration->next;
		settle_iteration(join, iteration, has_meter);
		free_iteration(iteration);
	}
	settle_dispatches(join, process, rounds);
}

void join_settle(struct join *join, int64_t process, bool has_meter)
{
	settle(join, process, has_meter, ROUNDS_HELD);
}

void join_settle_last(struct join *join, int64_t process, bool has_meter)
{
	settle(join, process, has_meter, 0);
}
