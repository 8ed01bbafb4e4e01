/* SPDX-License-Identifier: MIT */
#include "probes/probes.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/before.h"
#include "probes/bpf_object.h"
#include "probes/function.h"
#include "probes/hygiene.h"
#include "probes/kernel_symbols.h"
#include "probes/known.h"
#include "probes/loops.h"
#include "probes/now.h"
#include "probes/registrations.h"
#include "probes/ring.h"
#include "probes/roles.h"
#include "probes/samplers.h"
#include "probes/taker.h"
#include "probes/unix_names.h"

#define DEFAULT_BUDGET_NS  1000000u
#define CLOSER_SAMPLE_NS   1000000u
#define DEFAULT_RING_BYTES (8u << 20)
#define DEFAULT_LOOPS      64u
#define DEFAULT_ROLES      128u
#define ROLES_MAX          1024u
#define LOOPS_MAX          1024u
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
	struct stint_bpf_role_maps role_maps;
	struct stint_loops *loops;
	struct stint_registrations *registrations;
	struct stint_before *before;
	struct stint_roles *roles;
	struct stint_functions *functions; /* NULL: none are asked for */
	struct stint_unix_names *unix_names;
	struct stint_known *known;
	struct stint_taker *taker;
	bool samples_always;
	uint64_t taking_ns; /* when the present call took its first record; 0: none yet */
	uint64_t end_at_ns;
	bool is_stopped;
	uint64_t surveyed_ns;
	uint64_t hangs_surveyed_ns;
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

static int take_record(void *ctx, const void *data, size_t bytes)
{
	struct stint_probes *probes = ctx;

	stint_taker_take(probes->taker, data, bytes);
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

static int new_taker(struct stint_probes *probes)
{
	struct stint_taker_means means = {
		.options = &probes->options,
		.callbacks = &probes->callbacks,
		.ctx = probes->ctx,
		.bpf = probes->bpf,
		.functions = probes->functions,
		.samplers = probes->samplers,
		.loops = probes->loops,
		.before = probes->before,
		.roles = probes->roles,
		.unix_names = probes->unix_names,
		.samples_always = probes->samples_always,
	};
	int err = stint_known_new(&probes->known, probes->bpf, probes->kernel, probes->functions,
				  &probes->callbacks, probes->ctx);

	if (err)
		return err;
	means.known = probes->known;
	return stint_taker_new(&probes->taker, &means);
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
	if (probes->options.functions_len)
		err = stint_functions_new(&probes->functions, probes->bpf, &probes->options);
	if (err)
		return fail(probes, err, "the table of functions could not be mapped: %s", strerror(-err));
	err = new_taker(probes);
	return err ? fail(probes, err, "out of memory") : 0;
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

	if (!probes || !probes->known || !pid)
		return -EINVAL;
	if (stint_known_find(probes->known, pid))
		return -EEXIST;
	err = stint_known_add(probes->known, pid, &process);
	if (err == -ENOSPC)
		return fail(probes, err, "more than %d processes are not watched at once", STINT_KNOWN_MAX);
	if (err == -ESRCH)
		return fail(probes, err, "there is no process %u", pid);
	if (err)
		return fail(probes, err, "process %u cannot be inspected: %s", pid, strerror(-err));
	err = stint_bpf_watch(probes->bpf, pid, stint_before_find(probes->before, pid, true));
	if (!err)
		stint_registrations_scan(probes->registrations, pid);
	if (!err)
		stint_functions_add(probes->functions, pid);
	if (!err && stint_process_runs(process))
		return 0;
	stint_known_drop(probes->known, pid);
	if (err)
		return fail(probes, err, "process %u cannot be watched: %s", pid, strerror(-err));
	stint_bpf_unwatch(probes->bpf, pid); /* it ended meanwhile, and perhaps nobody noted that */
	return fail(probes, -ESRCH, "there is no process %u", pid);
}

int stint_probes_follow(struct stint_probes *probes, uint32_t pid)
{
	int err;

	if (!probes || !probes->known || !pid)
		return -EINVAL;
	if (stint_known_find(probes->known, pid))
		return 0;
	err = stint_bpf_watch(probes->bpf, pid, stint_before_find(probes->before, pid, false));
	if (!err)
		stint_registrations_scan(probes->registrations, pid);
	return err;
}

bool stint_probes_is_watching(const struct stint_probes *probes)
{
	return probes && probes->bpf && stint_bpf_is_watching(probes->bpf);
}

int stint_probes_poll(struct stint_probes *probes, int timeout_ms)
{
	int taken, err;

	if (!probes || !probes->taker)
		return -EINVAL;
	probes->taking_ns = 0;
	taken = stint_ring_poll(probes->ring, timeout_ms);
	stint_known_find_lost_exits(probes->known);
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
	if (!probes || !probes->taker || probes->is_stopped)
		return 0;
	probes->is_stopped = true;
	stint_taker_stop(probes->taker);
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
	*ret = (struct stint_probes_losses){0};
	ret->ring_full = counters.ring_full;
	ret->no_draft = counters.no_draft;
	ret->table_full = counters.table_full;
	ret->roles_full = counters.roles_full;
	ret->stacks_cut = counters.stacks_unread;
	ret->functions = stint_functions_lost(probes->functions);
	ret->functions_late = stint_functions_late(probes->functions);
	ret->acks_unseen = counters.acks_unseen;
	ret->arrivals_unseen = counters.arrivals_unseen;
	if (probes->taker)
		stint_taker_add_losses(probes->taker, ret);
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
	stint_taker_free(probes->taker);
	stint_functions_free(probes->functions, probes->callbacks.lingers, probes->ctx);
	stint_loops_free(probes->loops);
	stint_samplers_free(probes->samplers);
	stint_unix_names_free(probes->unix_names);
	stint_roles_free(probes->roles);
	stint_registrations_free(probes->registrations);
	stint_before_free(probes->before);
	stint_bpf_free(probes->bpf);
	stint_known_free(probes->known);
	stint_kernel_symbols_free(probes->kernel);
	free(probes);
	return NULL;
}
