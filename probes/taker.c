/* SPDX-License-Identifier: MIT */
#include "probes/taker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "probes/convert.h"
#include "probes/now.h"
#include "probes/process.h"
#include "probes/ready.h"
#include "probes/steal.h"
#include "probes/unpack.h"
#include "probes/verdict.h"

#define FAULTS_PART    4 /* of the budget, outside of system calls: less of it is not looked into */
#define LOOK_CLOSER_NS UINT64_C(10000000000)

struct stint_taker {
	struct stint_taker_means with;
	bool steal_is_told;
	bool is_stopped;
	uint64_t stacks_cut;
	uint64_t not_sampled;
	uint64_t refused;
	struct record_overrun unpacked;
};

int stint_taker_new(struct stint_taker **ret, const struct stint_taker_means *means)
{
	struct stint_taker *taker = calloc(1, sizeof(*taker));

	if (!taker)
		return -ENOMEM;
	taker->with = *means;
	taker->steal_is_told = stint_steal_is_told();
	*ret = taker;
	return 0;
}

struct stint_taker *stint_taker_free(struct stint_taker *taker)
{
	free(taker);
	return NULL;
}

void stint_taker_stop(struct stint_taker *taker)
{
	taker->is_stopped = true;
}

void stint_taker_add_losses(const struct stint_taker *taker, struct stint_probes_losses *losses)
{
	losses->refused += taker->refused;
	losses->stacks_cut += taker->stacks_cut;
	losses->not_sampled += taker->not_sampled;
}

/* Without samples, where it computed is not known, and how much of that page faults were; all else is. */
static void sample_thread(struct stint_taker *taker, enum stint_sampler_kind kind, uint32_t tid,
			  uint64_t end_ns)
{
	if (taker->is_stopped)
		return;
	if (stint_samplers_add(taker->with.samplers, kind, tid, end_ns) != 0)
		taker->not_sampled++;
}

/*
 * It computed, and no tick fell into what was over the budget, or much of it may have been page faults: the next one of
 * that thread is not to get away.
 */
static void look_closer(struct stint_taker *taker, const struct stint_probes_overrun *overrun)
{
	uint64_t computed_ns = overrun->duration_ns - overrun->runnable_ns - overrun->blocked_ns;
	uint64_t outside_ns = stint_verdict_outside_ns(&overrun->parts);
	uint64_t end_ns = stint_now_ns() + LOOK_CLOSER_NS;

	if (!overrun->stack_len && computed_ns > taker->with.options->budget_ns)
		sample_thread(taker, STINT_SAMPLER_CLOCK, overrun->tid, end_ns);
	/* Not of one that slept: what its faults take does not make it late. */
	if (outside_ns > taker->with.options->budget_ns / FAULTS_PART && stint_verdict_wants_faults(overrun))
		sample_thread(taker, STINT_SAMPLER_FAULTS, overrun->tid, end_ns);
}

/* Nobody has come to a wait in one of the sets that were not waited in as it was first looked at. */
static bool hangs_since_before(struct stint_taker *taker, uint32_t pid)
{
	stint_loops_tell_waited(taker->with.loops, pid, taker->with.before);
	return stint_before_has_unwaited(taker->with.before, pid);
}

/* The same of an iteration that goes on; without a set, only one that mostly computes. */
static bool hangs_in_loop(struct stint_taker *taker, uint32_t pid, uint64_t blocked_ns, uint64_t duration_ns)
{
	if (stint_before_is_without_set(taker->with.before, pid) && blocked_ns >= duration_ns / 2)
		return false;
	return hangs_since_before(taker, pid);
}

/* It has come to a wait, in a set if there are any; or not, and nobody else of its process has. */
static bool is_of_loop(struct stint_taker *taker, const struct record_overrun *record)
{
	if (!record->began_before || record->wait == RECORD_WAIT_EPOLL)
		return true;
	if (record->wait != RECORD_WAIT_NONE)
		return stint_before_is_without_set(taker->with.before, record->pid);
	return hangs_in_loop(taker, record->pid, record->blocked_ns, record->duration_ns);
}

/*
 * A thread beside one with a set, which found the one descriptor that it polls ready to be written to, and nothing that
 * came in, is given pieces of work, and what it sleeps for is the next one: memcached's crawler. Alone, such a thread may
 * well be a loop that does nothing but send.
 */
static bool sleeps_between_work(const struct stint_taker *taker, const struct record_overrun *record)
{
	struct stint_ready ready[RECORD_READY];

	if (record->wait != RECORD_WAIT_POLL || record->blocked_ns < record->duration_ns / 2)
		return false;
	return stint_ready_read(ready, record) == 1 && !(ready[0].events & ~(uint32_t)POLLOUT) &&
	       stint_loops_has_set_beside(taker->with.loops, record->pid, record->tid, -1);
}

static void tell_overrun(struct stint_taker *taker, const struct record_overrun *record,
			 struct stint_probes_overrun *overrun)
{
	stint_roles_name_turn(taker->with.roles, overrun->role, sizeof(overrun->role), record, overrun->fd);
	look_closer(taker, overrun);
	taker->with.callbacks->overrun(taker->with.ctx, overrun);
}

/* What it did in between, if that is an overrun by itself, and no row of such sleeps that were too short to be listed. */
static void tell_part(struct stint_taker *taker, struct stint_process *process,
		      const struct record_overrun *record, const struct stint_probes_overrun *whole,
		      uint64_t start_ns, uint64_t end_ns)
{
	struct stint_probes_overrun part = *whole;
	struct stint_idle idle;

	if (end_ns <= start_ns || end_ns - start_ns <= taker->with.options->budget_ns)
		return;
	stint_process_complete_part(process, &part, record, start_ns, end_ns);
	if (!stint_process_idle(process, &idle) || !idle.is_most)
		tell_overrun(taker, record, &part);
}

/* The first such sleep that begins at `from_ns` or later, and ends after that; NULL: there is none. */
static const struct stint_probes_syscall *next_idle_call(const struct stint_probes_overrun *overrun,
							 const struct stint_idle *idle, uint64_t from_ns)
{
	const struct stint_probes_syscall *next = NULL;

	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &overrun->syscalls[i];

		if (call->start_ns >= from_ns && call->start_ns + call->duration_ns > from_ns &&
		    stint_process_is_idle_call(idle, call) && (!next || call->start_ns < next->start_ns))
			next = call;
	}
	return next;
}

/* From now on it is known as it begins. */
static void tell_idle_places(const struct stint_taker *taker, const struct stint_idle *idle)
{
	enum idle_known known = idle->is_in_stack ? PLACE_IN_STACK : PLACE_IDLE;
	struct idle_place twin = idle->place, in_stack = idle->place;

	twin.at ^= idle->either;
	in_stack.at = idle->sp;
	stint_bpf_tell_idle_place(taker->with.bpf, &idle->place, known);
	if (idle->either)
		stint_bpf_tell_idle_place(taker->with.bpf, &twin, known);
	if (idle->is_in_stack && idle->is_idle)
		stint_bpf_tell_idle_place(taker->with.bpf, &in_stack, PLACE_IDLE);
}

/*
 * An overrun of a thread that, for most of it, had nothing to do is what it did before, in between, and after. The next
 * time that sleep is known as it begins, and ends the iteration. True: that was told.
 */
static bool tell_around_idle(struct stint_taker *taker, struct stint_process *process,
			     const struct record_overrun *record, const struct stint_probes_overrun *whole)
{
	const struct stint_probes_syscall *call;
	uint64_t from_ns = whole->start_ns;
	struct stint_idle idle;

	if (!stint_process_idle(process, &idle))
		return false;
	tell_idle_places(taker, &idle);
	if (!idle.is_most)
		return false;
	while ((call = next_idle_call(whole, &idle, from_ns))) {
		tell_part(taker, process, record, whole, from_ns, call->start_ns);
		from_ns = call->start_ns + call->duration_ns;
	}
	tell_part(taker, process, record, whole, from_ns, whole->start_ns + whole->duration_ns);
	return true;
}

static void take_overrun(struct stint_taker *taker, const struct record_overrun *record)
{
	struct stint_process *process;
	struct stint_probes_overrun overrun;

	if (!is_of_loop(taker, record) || sleeps_between_work(taker, record))
		return;
	process = stint_known_meet(taker->with.known, record->pid, record->start_ns);
	if (!process || !taker->with.callbacks->overrun)
		return;
	stint_convert_overrun(&overrun, record);
	for (uint32_t i = 0; i < taker->with.options->functions_len; i++)
		overrun.functions[i].asked = taker->with.options->functions[i];
	overrun.parts.stolen_known &= taker->steal_is_told || overrun.parts.stolen_ns > 0;
	if (stint_process_complete(process, &overrun, record))
		taker->stacks_cut++;
	if (!tell_around_idle(taker, process, record, &overrun))
		tell_overrun(taker, record, &overrun);
	stint_process_forget_stacks(process, record->tid, record->iteration);
}

static void take_sleep(struct stint_taker *taker, const struct record_stack *record)
{
	struct stint_process *process = stint_known_meet(taker->with.known, record->pid, record->time_ns);
	struct stint_idle idle;

	if (process && stint_process_judge_sleep(process, record, &idle))
		tell_idle_places(taker, &idle);
}

static void take_stack(struct stint_taker *taker, const struct record_stack *record)
{
	struct stint_process *process = stint_known_find(taker->with.known, record->pid);

	/* The stack at its first wait tells of a new loop; any other one, of one that comes to no wait. */
	if (!process && (record->kind == RECORD_STACK_WAIT || hangs_since_before(taker, record->pid)))
		process = stint_known_meet(taker->with.known, record->pid, record->time_ns);
	if (process && record->kind == RECORD_STACK_WAIT && taker->with.samples_always)
		sample_thread(taker, STINT_SAMPLER_CLOCK, record->tid, UINT64_MAX);
	/* By then, libraries are there that were not. */
	if (process && record->kind == RECORD_STACK_WAIT)
		stint_functions_add(taker->with.functions, record->pid);
	if (process && stint_process_add_stack(process, record) != 0)
		taker->stacks_cut++;
}

/*
 * Threads of some runtimes (Go's, tokio's) wait in one set by turns, and sleep elsewhere while another does: that keeps
 * nobody waiting.
 */
static bool shares_its_set(const struct stint_taker *taker, const struct record_hang *record)
{
	return record->wait == RECORD_WAIT_EPOLL &&
	       stint_loops_has_set_beside(taker->with.loops, record->pid, record->tid, record->epfd);
}

static void take_hang(struct stint_taker *taker, const struct record_hang *record)
{
	struct stint_process *process = NULL;
	struct stint_probes_hang hang;

	if (!taker->with.callbacks->hang || shares_its_set(taker, record))
		return;
	if (!record->began_before ||
	    hangs_in_loop(taker, record->pid, record->blocked_ns, record->time_ns - record->start_ns))
		process = stint_known_meet(taker->with.known, record->pid, record->start_ns);
	if (!process)
		return;
	stint_convert_hang(&hang, record);
	stint_process_complete_hang(process, &hang, record);
	taker->with.callbacks->hang(taker->with.ctx, &hang);
}

static void take_stall(struct stint_taker *taker, const struct record_stall *record)
{
	struct stint_probes_stall stall;

	if (!taker->with.callbacks->stall)
		return;
	stint_convert_stall(&stall, record);
	stint_unix_name(taker->with.unix_names, stall.socket, stall.local, stall.remote, sizeof(stall.local));
	taker->with.callbacks->stall(taker->with.ctx, &stall);
}

static void take_socket(struct stint_taker *taker, const struct record_socket *record)
{
	struct stint_probes_socket_event event;

	if (!taker->with.callbacks->socket)
		return;
	stint_convert_socket(&event, record);
	stint_unix_name(taker->with.unix_names, event.socket, event.local, event.remote, sizeof(event.local));
	taker->with.callbacks->socket(taker->with.ctx, &event);
}

static void take_acks(struct stint_taker *taker, const struct record_why *record)
{
	struct stint_probes_acks acks;

	if (!taker->with.callbacks->acks)
		return;
	stint_convert_acks(&acks, record);
	taker->with.callbacks->acks(taker->with.ctx, &acks);
}

static void take_alarm(struct stint_taker *taker, const struct record_alarm *record)
{
	struct stint_probes_alarm alarm;

	if (!taker->with.callbacks->alarm)
		return;
	stint_convert_alarm(&alarm, record);
	stint_unix_name(taker->with.unix_names, alarm.socket, alarm.local, alarm.remote, sizeof(alarm.local));
	taker->with.callbacks->alarm(taker->with.ctx, &alarm);
}

static void take_overrun_or_refuse(struct stint_taker *taker, const void *data, size_t bytes)
{
	if (stint_unpack_overrun(&taker->unpacked, data, bytes))
		take_overrun(taker, &taker->unpacked);
	else
		taker->refused++;
}

void stint_taker_take(struct stint_taker *taker, const void *data, size_t bytes)
{
	switch (stint_unpack_type(data, bytes)) {
	case RECORD_OVERRUN:
		take_overrun_or_refuse(taker, data, bytes);
		break;
	case RECORD_STACK:
		if (((const struct record_stack *)data)->kind == RECORD_STACK_SLEEP)
			take_sleep(taker, data);
		else
			take_stack(taker, data);
		break;
	case RECORD_STALL:
		take_stall(taker, data);
		break;
	case RECORD_SOCKET:
		take_socket(taker, data);
		break;
	case RECORD_EXIT:
		stint_known_exited(taker->with.known, ((const struct record_exit *)data)->pid);
		break;
	case RECORD_EXEC:
		stint_known_changed(taker->with.known, ((const struct record_exit *)data)->pid);
		break;
	case RECORD_JOINED:
		(void)stint_bpf_mark(taker->with.bpf); /* what fails is as if it had joined later */
		break;
	case RECORD_WHY:
		take_acks(taker, data);
		break;
	case RECORD_ALARM:
		take_alarm(taker, data);
		break;
	case RECORD_HANG:
		take_hang(taker, data);
		break;
	case RECORD_UNIX:
		stint_unix_names_add(taker->with.unix_names, data);
		break;
	default:
		taker->refused++;
	}
}
