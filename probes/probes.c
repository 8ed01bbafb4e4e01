/* SPDX-License-Identifier: MIT */
#include "probes/probes.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/before.h"
#include "probes/bpf_object.h"
#include "probes/convert.h"
#include "probes/epoll_fds.h"
#include "probes/function.h"
#include "probes/hygiene.h"
#include "probes/kernel_symbols.h"
#include "probes/loops.h"
#include "probes/now.h"
#include "probes/process.h"
#include "probes/ready.h"
#include "probes/registrations.h"
#include "probes/ring.h"
#include "probes/roles.h"
#include "probes/samplers.h"
#include "probes/steal.h"
#include "probes/unix_names.h"
#include "probes/unpack.h"
#include "probes/verdict.h"

#define DEFAULT_BUDGET_NS  1000000u
#define CLOSER_SAMPLE_NS   1000000u
#define FAULTS_PART        4 /* of the budget, outside of system calls: less of it is not looked into */
#define LOOK_CLOSER_NS     UINT64_C(10000000000)
#define DEFAULT_RING_BYTES (8u << 20)
#define DEFAULT_LOOPS      64u
#define DEFAULT_ROLES      128u
#define ROLES_MAX          1024u
#define LOOPS_MAX          1024u
#define PROCESSES_MAX      1024
#define LOOK_FOR_EXITS_NS  100000000u
#define SURVEY_NS          200000000u
#define HANG_SURVEYS       5           /* in the time that makes a hang */
#define TAKE_NS            1000000000u /* what one call takes from the ring takes no longer */

struct stint_probes {
	struct stint_probes_options options;
	struct stint_probes_callbacks callbacks;
	void *ctx;
	struct stint_bpf *bpf;
	struct stint_samplers *samplers;
	struct stint_ring *ring;
	struct stint_kernel_symbols *kernel;
	bool steal_is_told;
	struct stint_bpf_role_maps role_maps;
	struct stint_loops *loops;
	struct stint_registrations *registrations;
	struct stint_before *before;
	struct stint_roles *roles;
	struct stint_functions *functions; /* NULL: none are asked for */
	struct stint_unix_names *unix_names;
	struct stint_process *processes[PROCESSES_MAX];
	uint32_t processes_len;
	uint64_t stacks_cut;
	uint64_t refused; /* records */
	uint64_t not_sampled;
	bool samples_always;
	uint64_t taking_ns; /* when the present call took its first record; 0: none yet */
	uint64_t end_at_ns;
	bool is_stopped;
	uint64_t exits_looked_ns;
	uint64_t surveyed_ns;
	uint64_t hangs_surveyed_ns;
	struct record_overrun unpacked;
	char error[512];
};

static int fail(struct stint_probes *probes, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct stint_probes *probes, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(probes->error, sizeof(probes->error), format, args);
	va_end(args);
	return err;
}

const char *stint_probes_error(const struct stint_probes *probes)
{
	return probes ? probes->error : "";
}

static struct stint_process *find_process(const struct stint_probes *probes, uint32_t pid)
{
	for (uint32_t i = 0; i < probes->processes_len; i++)
		if (stint_process_pid(probes->processes[i]) == pid)
			return probes->processes[i];
	return NULL;
}

/* Without samples, where it computed is not known, and how much of that page faults were; all else is. */
static void sample_thread(struct stint_probes *probes, enum stint_sampler_kind kind, uint32_t tid,
			  uint64_t end_ns)
{
	if (probes->is_stopped)
		return;
	if (stint_samplers_add(probes->samplers, kind, tid, end_ns) != 0)
		probes->not_sampled++;
}

/*
 * It computed, and no tick fell into what was over the budget, or much of it may have been page faults: the next one of that
 * thread is not to get away.
 */
static void look_closer(struct stint_probes *probes, const struct stint_probes_overrun *overrun)
{
	uint64_t computed_ns = overrun->duration_ns - overrun->runnable_ns - overrun->blocked_ns;
	uint64_t outside_ns = stint_verdict_outside_ns(&overrun->parts);
	uint64_t end_ns = stint_now_ns() + LOOK_CLOSER_NS;

	if (!overrun->stack_len && computed_ns > probes->options.budget_ns)
		sample_thread(probes, STINT_SAMPLER_CLOCK, overrun->tid, end_ns);
	/* Not of one that slept: what its faults take does not make it late. */
	if (outside_ns > probes->options.budget_ns / FAULTS_PART && stint_verdict_wants_faults(overrun))
		sample_thread(probes, STINT_SAMPLER_FAULTS, overrun->tid, end_ns);
}

static void refuse(struct stint_probes *probes, uint32_t pid, int err)
{
	stint_bpf_unwatch(probes->bpf, pid);
	if (err != -ESRCH && probes->callbacks.refused)
		probes->callbacks.refused(probes->ctx, pid, err);
}

/* The process that a record is of. One that is not known yet was followed, and has come to its first loop. */
static struct stint_process *know_process(struct stint_probes *probes, uint32_t pid, uint64_t time_ns)
{
	struct stint_process *process = find_process(probes, pid);
	int err;

	if (process)
		return process;
	err = probes->processes_len == PROCESSES_MAX ? -ENOSPC : stint_probes_may_inspect(pid);
	if (!err)
		err = stint_process_new(&process, pid, probes->kernel);
	if (err) {
		refuse(probes, pid, err);
		return NULL;
	}
	probes->processes[probes->processes_len++] = process;
	stint_functions_add(probes->functions, pid);
	if (probes->callbacks.appeared)
		probes->callbacks.appeared(probes->ctx, pid, time_ns);
	return process;
}

/* Nobody has come to a wait in one of the sets that were not waited in as it was first looked at. */
static bool hangs_since_before(struct stint_probes *probes, uint32_t pid)
{
	stint_loops_tell_waited(probes->loops, pid, probes->before);
	return stint_before_has_unwaited(probes->before, pid);
}

/* The same of an iteration that goes on; without a set, only one that mostly computes. */
static bool hangs_in_loop(struct stint_probes *probes, uint32_t pid, uint64_t blocked_ns,
			  uint64_t duration_ns)
{
	if (stint_before_is_without_set(probes->before, pid) && blocked_ns >= duration_ns / 2)
		return false;
	return hangs_since_before(probes, pid);
}

/* It has come to a wait, in a set if there are any; or not, and nobody else of its process has. */
static bool is_of_loop(struct stint_probes *probes, const struct record_overrun *record)
{
	if (!record->began_before || record->wait == RECORD_WAIT_EPOLL)
		return true;
	if (record->wait != RECORD_WAIT_NONE)
		return stint_before_is_without_set(probes->before, record->pid);
	return hangs_in_loop(probes, record->pid, record->blocked_ns, record->duration_ns);
}

/*
 * A thread beside one with a set, which found the one descriptor that it polls ready to be written to, and nothing that came
 * in, is given pieces of work, and what it sleeps for is the next one: memcached's crawler. Alone, such a thread may well be
 * a loop that does nothing but send.
 */
static bool sleeps_between_work(const struct stint_probes *probes, const struct record_overrun *record)
{
	struct stint_ready ready[RECORD_READY];

	if (record->wait != RECORD_WAIT_POLL || record->blocked_ns < record->duration_ns / 2)
		return false;
	return stint_ready_read(ready, record) == 1 && !(ready[0].events & ~(uint32_t)POLLOUT) &&
	       stint_loops_has_set_beside(probes->loops, record->pid, record->tid, -1);
}

static void take_overrun(struct stint_probes *probes, const struct record_overrun *record)
{
	struct stint_process *process;
	struct stint_probes_overrun overrun;

	if (!is_of_loop(probes, record) || sleeps_between_work(probes, record))
		return;
	process = know_process(probes, record->pid, record->start_ns);
	if (!process || !probes->callbacks.overrun)
		return;
	stint_convert_overrun(&overrun, record);
	for (uint32_t i = 0; i < probes->options.functions_len; i++)
		overrun.functions[i].asked = probes->options.functions[i];
	overrun.parts.stolen_known &= probes->steal_is_told || overrun.parts.stolen_ns > 0;
	if (stint_process_complete(process, &overrun, record))
		probes->stacks_cut++;
	stint_roles_name_turn(probes->roles, overrun.role, sizeof(overrun.role), record, overrun.fd);
	look_closer(probes, &overrun);
	probes->callbacks.overrun(probes->ctx, &overrun);
}

static void take_stack(struct stint_probes *probes, const struct record_stack *record)
{
	struct stint_process *process = find_process(probes, record->pid);

	/* The stack at its first wait tells of a new loop; any other one, of one that comes to no wait. */
	if (!process && (record->kind == RECORD_STACK_WAIT || hangs_since_before(probes, record->pid)))
		process = know_process(probes, record->pid, record->time_ns);
	if (process && record->kind == RECORD_STACK_WAIT && probes->samples_always)
		sample_thread(probes, STINT_SAMPLER_CLOCK, record->tid, UINT64_MAX);
	/* By then, libraries are there that were not. */
	if (process && record->kind == RECORD_STACK_WAIT)
		stint_functions_add(probes->functions, record->pid);
	if (process && stint_process_add_stack(process, record) != 0)
		probes->stacks_cut++;
}

/*
 * Threads of some runtimes (Go's, tokio's) wait in one set by turns, and sleep elsewhere while another does: that keeps
 * nobody waiting.
 */
static bool shares_its_set(const struct stint_probes *probes, const struct record_hang *record)
{
	return record->wait == RECORD_WAIT_EPOLL &&
	       stint_loops_has_set_beside(probes->loops, record->pid, record->tid, record->epfd);
}

static void take_hang(struct stint_probes *probes, const struct record_hang *record)
{
	struct stint_process *process = NULL;
	struct stint_probes_hang hang;

	if (!probes->callbacks.hang || shares_its_set(probes, record))
		return;
	if (!record->began_before ||
	    hangs_in_loop(probes, record->pid, record->blocked_ns, record->time_ns - record->start_ns))
		process = know_process(probes, record->pid, record->start_ns);
	if (!process)
		return;
	stint_convert_hang(&hang, record);
	stint_process_complete_hang(process, &hang, record);
	probes->callbacks.hang(probes->ctx, &hang);
}

static void take_stall(struct stint_probes *probes, const struct record_stall *record)
{
	struct stint_probes_stall stall;

	if (!probes->callbacks.stall)
		return;
	stint_convert_stall(&stall, record);
	stint_unix_name(probes->unix_names, stall.socket, stall.local, stall.remote, sizeof(stall.local));
	probes->callbacks.stall(probes->ctx, &stall);
}

static void take_socket(struct stint_probes *probes, const struct record_socket *record)
{
	struct stint_probes_socket_event event;

	if (!probes->callbacks.socket)
		return;
	stint_convert_socket(&event, record);
	stint_unix_name(probes->unix_names, event.socket, event.local, event.remote, sizeof(event.local));
	probes->callbacks.socket(probes->ctx, &event);
}

static void take_acks(struct stint_probes *probes, const struct record_why *record)
{
	struct stint_probes_acks acks;

	if (!probes->callbacks.acks)
		return;
	stint_convert_acks(&acks, record);
	probes->callbacks.acks(probes->ctx, &acks);
}

static void take_alarm(struct stint_probes *probes, const struct record_alarm *record)
{
	struct stint_probes_alarm alarm;

	if (!probes->callbacks.alarm)
		return;
	stint_convert_alarm(&alarm, record);
	stint_unix_name(probes->unix_names, alarm.socket, alarm.local, alarm.remote, sizeof(alarm.local));
	probes->callbacks.alarm(probes->ctx, &alarm);
}

static void forget_process(struct stint_probes *probes, const struct stint_process *process)
{
	for (uint32_t i = 0; i < probes->processes_len; i++) {
		if (probes->processes[i] != process)
			continue;
		stint_process_free(probes->processes[i]);
		probes->processes[i] = probes->processes[--probes->processes_len];
		return;
	}
}

/* Its pid may be given to another process from now on, and be watched anew. */
static void take_exit(struct stint_probes *probes, uint32_t pid)
{
	struct stint_process *process = find_process(probes, pid);

	if (!process)
		return;
	forget_process(probes, process);
	stint_functions_drop(probes->functions, pid);
	stint_bpf_unwatch(probes->bpf, pid);
	if (probes->callbacks.exited)
		probes->callbacks.exited(probes->ctx, pid);
}

/* What is known of its modules and stacks was the program's before. If it is gone already, its exit follows. */
static void take_exec(struct stint_probes *probes, uint32_t pid)
{
	struct stint_process *process = find_process(probes, pid), *fresh;
	int err = process ? stint_probes_may_inspect(pid) : 0;

	if (!process)
		return;
	if (err == -EACCES || err == -EPERM) { /* that program has more rights than this user */
		refuse(probes, pid, err);
		take_exit(probes, pid);
		return;
	}
	if (err || stint_process_new(&fresh, pid, probes->kernel) != 0)
		return;
	forget_process(probes, process);
	probes->processes[probes->processes_len++] = fresh;
	stint_functions_drop(probes->functions, pid);
	stint_functions_add(probes->functions, pid);
}

/*
 * Records of exits get lost like all others when the ring is full. Once that has happened, it is looked now
 * and then who still runs: not only when more is lost, as a process is seen to be gone a little later.
 */
static void find_lost_exits(struct stint_probes *probes)
{
	struct loss_counters counters;
	uint64_t at_ns = stint_now_ns();

	if (at_ns - probes->exits_looked_ns < LOOK_FOR_EXITS_NS)
		return;
	probes->exits_looked_ns = at_ns;
	stint_bpf_losses(probes->bpf, &counters);
	if (!counters.ring_full)
		return;
	for (uint32_t i = probes->processes_len; i-- > 0;)
		if (!stint_process_runs(probes->processes[i]))
			take_exit(probes, stint_process_pid(probes->processes[i]));
}

/* Sockets that were told nothing make no event by which that could be seen: they are looked at by the clock. */
static int survey_sockets(struct stint_probes *probes)
{
	uint64_t at_ns = stint_now_ns();

	if (at_ns - probes->surveyed_ns < SURVEY_NS)
		return 0;
	probes->surveyed_ns = at_ns;
	return stint_bpf_survey_sockets(probes->bpf);
}

/* Nor do iterations that go on. */
static int survey_hangs(struct stint_probes *probes)
{
	uint64_t at_ns = stint_now_ns();

	if (!probes->options.hang_ns ||
	    at_ns - probes->hangs_surveyed_ns < probes->options.hang_ns / HANG_SURVEYS)
		return 0;
	probes->hangs_surveyed_ns = at_ns;
	return stint_bpf_survey_threads(probes->bpf);
}

static bool takes_too_long(const struct stint_probes *probes, uint64_t at_ns)
{
	if (!probes->is_stopped && at_ns >= probes->end_at_ns)
		return true;
	return at_ns - probes->taking_ns > TAKE_NS;
}

static void take_overrun_or_refuse(struct stint_probes *probes, const void *data, size_t bytes)
{
	if (stint_unpack_overrun(&probes->unpacked, data, bytes))
		take_overrun(probes, &probes->unpacked);
	else
		probes->refused++;
}

static int take_record(void *ctx, const void *data, size_t bytes)
{
	struct stint_probes *probes = ctx;

	switch (stint_unpack_type(data, bytes)) {
	case RECORD_OVERRUN:
		take_overrun_or_refuse(probes, data, bytes);
		break;
	case RECORD_STACK:
		take_stack(probes, data);
		break;
	case RECORD_STALL:
		take_stall(probes, data);
		break;
	case RECORD_SOCKET:
		take_socket(probes, data);
		break;
	case RECORD_EXIT:
		take_exit(probes, ((const struct record_exit *)data)->pid);
		break;
	case RECORD_EXEC:
		take_exec(probes, ((const struct record_exit *)data)->pid);
		break;
	case RECORD_JOINED:
		(void)stint_bpf_mark(probes->bpf); /* what fails is as if it had joined later */
		break;
	case RECORD_WHY:
		take_acks(probes, data);
		break;
	case RECORD_ALARM:
		take_alarm(probes, data);
		break;
	case RECORD_HANG:
		take_hang(probes, data);
		break;
	case RECORD_UNIX:
		stint_unix_names_add(probes->unix_names, data);
		break;
	default:
		probes->refused++;
	}
	/* Where records come faster than they are dealt with, the caller has its turn all the same. */
	if (!probes->taking_ns)
		probes->taking_ns = stint_now_ns();
	return takes_too_long(probes, stint_now_ns()) ? -EAGAIN : 0;
}

static int map_tables(struct stint_probes *probes)
{
	int err;

	stint_bpf_role_maps(probes->bpf, &probes->role_maps);
	err = stint_loops_new(&probes->loops, probes->bpf, &probes->role_maps, probes->options.loop_limit);
	if (!err)
		err = stint_roles_new(&probes->roles, &probes->role_maps);
	if (err)
		return err;
	return stint_registrations_new(&probes->registrations, &probes->role_maps,
				       stint_loops_counters(probes->loops), stint_loops_habits(probes->loops),
				       probes->options.loop_limit);
}

/* Capabilities that lack have been told of before: this is a kernel that stint does not know. */
static int fail_to_load(struct stint_probes *probes, int err)
{
	const char *program = stint_bpf_refused_program();

	return fail(
		probes, err,
		"the kernel refused stint's eBPF program%s%s: %s (its log: STINT_LIBBPF_DEBUG=1 stint doctor)",
		*program ? " " : "s", program, strerror(-err));
}

static int new_samplers(struct stint_probes *probes)
{
	int begin, end;

	stint_bpf_fault_programs(probes->bpf, &begin, &end);
	return stint_samplers_new(&probes->samplers, probes->options.sample_ns, begin, end);
}

static int start(struct stint_probes *probes)
{
	struct stint_probes_support support;
	int err = stint_probes_supported(&support);

	if (err)
		return fail(probes, err, "%s", support.why);
	if (probes->options.loop_limit > LOOPS_MAX)
		return fail(probes, -EINVAL, "more than %u loops are not watched at once", LOOPS_MAX);
	if (probes->options.functions_len > STINT_PROBES_FUNCTIONS)
		return fail(probes, -EINVAL, "more than %d functions are not timed at once",
			    STINT_PROBES_FUNCTIONS);
	if (probes->options.function_limit > STINT_PROBES_TIMED)
		return fail(probes, -EINVAL,
			    "more than %d functions, in all processes, are not timed at once",
			    STINT_PROBES_TIMED);
	if (probes->options.role_limit > ROLES_MAX)
		return fail(probes, -EINVAL, "more than %u roles are not told apart at once", ROLES_MAX);
	err = stint_kernel_symbols_new(&probes->kernel, NULL);
	if (err)
		return fail(probes, err, "out of memory");
	probes->steal_is_told = stint_steal_is_told();
	err = stint_bpf_new(&probes->bpf, &probes->options, probes->kernel);
	if (err)
		return fail_to_load(probes, err);
	err = new_samplers(probes);
	if (!err)
		err = stint_unix_names_new(&probes->unix_names);
	if (!err)
		err = stint_before_new(&probes->before);
	if (err)
		return fail(probes, err, "out of memory");
	err = stint_ring_new(&probes->ring, stint_bpf_ring(probes->bpf), probes->options.ring_bytes,
			     take_record, probes);
	if (err)
		return fail(probes, err, "the ring buffer could not be mapped: %s", strerror(-err));
	err = map_tables(probes);
	if (err)
		return fail(probes, err, "the table of loops could not be mapped: %s", strerror(-err));
	malloc_trim(0); /* what it took to load the programs is some MB */
	if (!probes->options.functions_len)
		return 0;
	err = stint_functions_new(&probes->functions, probes->bpf, &probes->options);
	return err ? fail(probes, err, "the table of functions could not be mapped: %s", strerror(-err)) : 0;
}

static void set_defaults(struct stint_probes_options *options)
{
	if (!options->budget_ns)
		options->budget_ns = DEFAULT_BUDGET_NS;

	if (!options->sample_ns)
		options->sample_ns = CLOSER_SAMPLE_NS;
	if (!options->ring_bytes)
		options->ring_bytes = DEFAULT_RING_BYTES;
	if (!options->loop_limit)
		options->loop_limit = DEFAULT_LOOPS;
	if (!options->role_limit)
		options->role_limit = DEFAULT_ROLES;
	if (!options->function_limit)
		options->function_limit = STINT_PROBES_TIMED;
}

int stint_probes_new(struct stint_probes **ret, const struct stint_probes_options *options,
		     const struct stint_probes_callbacks *callbacks, void *ctx)
{
	struct stint_probes *probes;

	if (!ret || !callbacks || (options && options->size != sizeof(*options)))
		return -EINVAL;
	probes = calloc(1, sizeof(*probes));
	if (!probes)
		return -ENOMEM;
	if (options)
		probes->options = *options;
	probes->samples_always = probes->options.sample_ns != 0;
	set_defaults(&probes->options);
	probes->end_at_ns = UINT64_MAX;
	probes->callbacks = *callbacks;
	probes->ctx = ctx;
	*ret = probes; /* also on failure: it holds the reason */
	return start(probes);
}

int stint_probes_watch(struct stint_probes *probes, uint32_t pid)
{
	struct stint_process *process;
	int err;

	if (!probes || !probes->bpf || !pid)
		return -EINVAL;
	if (find_process(probes, pid))
		return -EEXIST;
	if (probes->processes_len == PROCESSES_MAX)
		return fail(probes, -ENOSPC, "more than %d processes are not watched at once", PROCESSES_MAX);
	err = stint_probes_may_inspect(pid);
	if (!err)
		err = stint_process_new(&process, pid, probes->kernel);
	if (err == -ESRCH)
		return fail(probes, err, "there is no process %u", pid);
	if (err)
		return fail(probes, err, "process %u cannot be inspected: %s", pid, strerror(-err));
	probes->processes[probes->processes_len++] = process;
	err = stint_bpf_watch(probes->bpf, pid, stint_before_find(probes->before, pid, true));
	if (!err)
		stint_registrations_scan(probes->registrations, pid);
	if (!err)
		stint_functions_add(probes->functions, pid);
	if (!err && stint_process_runs(process))
		return 0;
	forget_process(probes, process);
	stint_functions_drop(probes->functions, pid);
	if (err)
		return fail(probes, err, "process %u cannot be watched: %s", pid, strerror(-err));
	stint_bpf_unwatch(probes->bpf, pid); /* it ended meanwhile, and perhaps nobody noted that */
	return fail(probes, -ESRCH, "there is no process %u", pid);
}

int stint_probes_follow(struct stint_probes *probes, uint32_t pid)
{
	if (!probes || !probes->bpf || !pid)
		return -EINVAL;
	if (find_process(probes, pid))
		return 0;
	return stint_bpf_watch(probes->bpf, pid, stint_before_find(probes->before, pid, false));
}

bool stint_probes_is_watching(const struct stint_probes *probes)
{
	return probes && probes->bpf && stint_bpf_is_watching(probes->bpf);
}

int stint_probes_poll(struct stint_probes *probes, int timeout_ms)
{
	int taken, err;

	if (!probes || !probes->ring)
		return -EINVAL;
	probes->taking_ns = 0;
	taken = stint_ring_poll(probes->ring, timeout_ms);
	find_lost_exits(probes);
	stint_bpf_follow_rings(probes->bpf);
	stint_samplers_expire(probes->samplers, stint_now_ns());
	stint_registrations_refresh(probes->registrations, stint_now_ns());
	if (taken < 0 && taken != -EINTR && taken != -EAGAIN)
		return taken;
	err = survey_sockets(probes);
	if (!err)
		err = survey_hangs(probes);
	return err ? err : taken == -EAGAIN;
}

int stint_probes_tell_open(struct stint_probes *probes)
{
	if (!probes || !probes->bpf)
		return -EINVAL;
	return stint_bpf_tell_open(probes->bpf);
}

void stint_probes_end_at(struct stint_probes *probes, uint64_t time_ns)
{
	if (probes)
		probes->end_at_ns = time_ns;
}

int stint_probes_stop(struct stint_probes *probes, uint64_t *ret_ns)
{
	*ret_ns = 0;
	if (!probes || !probes->loops || probes->is_stopped)
		return 0;
	probes->is_stopped = true;
	stint_functions_stop(probes->functions);
	stint_samplers_expire(probes->samplers, UINT64_MAX);
	stint_loops_forget_under_way(probes->loops);
	return stint_bpf_stop(probes->bpf, ret_ns);
}

int stint_probes_read_loops(struct stint_probes *probes, stint_probes_loop_visit visit, void *ctx)
{
	int err;

	if (!probes || !probes->loops || !visit)
		return -EINVAL;
	if (!probes->is_stopped)
		stint_loops_forget_under_way(probes->loops);
	err = stint_bpf_survey_threads(probes->bpf);
	return err ? err : stint_loops_read(probes->loops, visit, ctx);
}

int stint_probes_release(struct stint_probes *probes)
{
	int err;

	if (!probes || !probes->roles)
		return -EINVAL;
	err = stint_loops_release(probes->loops, probes->before);
	if (err)
		return err;
	stint_functions_release(probes->functions);
	return stint_roles_release(probes->roles);
}

int stint_probes_read_roles(struct stint_probes *probes, stint_probes_role_visit visit, void *ctx)
{
	if (!probes || !probes->roles || !visit)
		return -EINVAL;
	return stint_roles_read(probes->roles, visit, ctx);
}

int stint_probes_read_findings(struct stint_probes *probes, stint_probes_finding_visit visit, void *ctx)
{
	if (!probes || !probes->loops || !visit)
		return -EINVAL;
	return stint_hygiene_read(&probes->role_maps, stint_loops_counters(probes->loops),
				  stint_loops_habits(probes->loops), probes->options.loop_limit,
				  stint_now_ns(), visit, ctx);
}

int stint_probes_read_functions(struct stint_probes *probes, stint_probes_function_visit visit, void *ctx)
{
	if (!probes || !visit)
		return -EINVAL;
	return stint_functions_read(probes->functions, visit, ctx);
}

const char *stint_probes_function_missing(const struct stint_probes *probes, uint32_t number)
{
	return probes ? stint_functions_missing(probes->functions, number) : NULL;
}

void stint_probes_attribution(const struct stint_probes *probes, struct stint_probes_attribution *ret)
{
	*ret = (struct stint_probes_attribution){0};
	if (probes->loops)
		stint_loops_attribution(probes->loops, ret);
}

void stint_probes_losses(const struct stint_probes *probes, struct stint_probes_losses *ret)
{
	struct loss_counters counters = {0};

	if (probes->bpf)
		stint_bpf_losses(probes->bpf, &counters);
	ret->ring_full = counters.ring_full;
	ret->no_draft = counters.no_draft;
	ret->refused = probes->refused;
	ret->table_full = counters.table_full;
	ret->roles_full = counters.roles_full;
	ret->stacks_cut = counters.stacks_unread + probes->stacks_cut;
	ret->not_sampled = probes->not_sampled;
	ret->functions = stint_functions_lost(probes->functions);
	ret->functions_late = stint_functions_late(probes->functions);
	ret->acks_unseen = counters.acks_unseen;
	ret->arrivals_unseen = counters.arrivals_unseen;
}

uint64_t stint_probes_cost_ns(const struct stint_probes *probes)
{
	return probes->bpf ? stint_bpf_cost_ns(probes->bpf) : 0;
}

struct stint_probes *stint_probes_free(struct stint_probes *probes)
{
	if (!probes)
		return NULL;
	stint_ring_free(probes->ring);
	stint_functions_free(probes->functions);
	stint_loops_free(probes->loops);
	stint_samplers_free(probes->samplers);
	stint_unix_names_free(probes->unix_names);
	stint_roles_free(probes->roles);
	stint_registrations_free(probes->registrations);
	stint_before_free(probes->before);
	stint_bpf_free(probes->bpf);
	for (uint32_t i = 0; i < probes->processes_len; i++)
		stint_process_free(probes->processes[i]);
	stint_kernel_symbols_free(probes->kernel);
	free(probes);
	return NULL;
}
