/* SPDX-License-Identifier: MIT */
#include "report/model/late.h"

#include <stdlib.h>
#include <string.h>

#include "report/model/where.h"

/* What is told apart in a sum; the rest counts, but has no name. */
#define PARTIES_MAX  64
#define HANDLERS_MAX 64

struct handler_sum {
	const struct model_handler *handler;
	const struct model_overrun *longest;
	uint64_t longest_ns;
	uint64_t own_ns;
	uint64_t overruns;
};

struct sums {
	struct late_party parties[LATE_KINDS][PARTIES_MAX];
	size_t parties_len[LATE_KINDS];
	struct handler_sum handlers[HANDLERS_MAX];
	size_t handlers_len;
};

/* Figures of a hostile file may be anything. */
static void add(uint64_t *sum, uint64_t value)
{
	if (value == MODEL_UNKNOWN)
		return;
	if (__builtin_add_overflow(*sum, value, sum) || *sum > INT64_MAX)
		*sum = INT64_MAX;
}

static uint64_t budget_of(const struct model *model, const struct model_overrun *overrun)
{
	uint64_t budget_ns =
		overrun->handler ? overrun->handler->budget_ns : model_meta_number(model, "budget_ns");

	return budget_ns == MODEL_UNKNOWN ? 0 : budget_ns;
}

static uint64_t over_ns_of(const struct model *model, const struct model_overrun *overrun)
{
	uint64_t budget_ns = budget_of(model, overrun);

	return overrun->duration_ns > budget_ns ? overrun->duration_ns - budget_ns : 0;
}

bool late_is_of_machine(enum late_kind kind)
{
	return kind == LATE_RUNNABLE || kind == LATE_THROTTLED || kind == LATE_STOLEN || kind == LATE_STOPPED;
}

static uint64_t part_ns(const struct model_verdict *verdict)
{
	uint64_t ns = verdict->verdict == MODEL_VERDICTS ? 0 : verdict->parts_ns[verdict->verdict];

	return ns == MODEL_UNKNOWN ? 0 : ns;
}

/* What is no system call, and had most of the time blocked. One block that is most of it says by what it was stopped. */
static const char *faults_or_stops(const struct model_verdict *verdict, uint64_t blocked_ns)
{
	if (verdict->fault_blocked_ns > blocked_ns / 2)
		return "page faults";
	if (verdict->blocked_in && verdict->block_ns != MODEL_UNKNOWN && verdict->block_ns > blocked_ns / 2)
		return verdict->blocked_in;
	return verdict->stopped_ns > blocked_ns / 2 ? "stops by a tracer or a signal" : NULL;
}

/* The system call that took longest in sum, of those that are known; NULL if none is. Many may have been of the same. */
static const char *longest_call(const struct model_overrun *overrun, uint64_t *ret_ns)
{
	const char *longest = NULL;

	*ret_ns = 0;
	for (size_t i = 0; i < overrun->syscalls_len; i++) {
		uint64_t sum_ns = 0;

		for (size_t at = 0; at < overrun->syscalls_len; at++)
			if (strcmp(overrun->syscalls[at].name, overrun->syscalls[i].name) == 0)
				add(&sum_ns, overrun->syscalls[at].duration_ns);
		if (sum_ns <= *ret_ns)
			continue;
		*ret_ns = sum_ns;
		longest = overrun->syscalls[i].name;
	}
	return longest;
}

const char *late_call(const struct model_overrun *overrun)
{
	const struct model_verdict *verdict = overrun->verdict;
	const char *other, *call;
	uint64_t call_ns;

	call = longest_call(overrun, &call_ns);
	if (!verdict)
		return call;
	/* One block for most of the time says more than the longest call, which may have waited for a CPU. */
	other = verdict->verdict == MODEL_BLOCKED ? faults_or_stops(verdict, part_ns(verdict)) : NULL;
	if (other)
		return other;
	return call_ns > part_ns(verdict) / 2 ? call : NULL;
}

/* ---- what an overrun was spent on ---- */

/* Of its time blocked; figures of a hostile file may be anything. */
static uint64_t stopped_part_ns(const struct model_verdict *verdict)
{
	uint64_t blocked_ns = verdict->parts_ns[MODEL_BLOCKED];

	if (blocked_ns == MODEL_UNKNOWN)
		return 0;
	return verdict->stopped_ns < blocked_ns ? verdict->stopped_ns : blocked_ns;
}

static void split_by_verdict(uint64_t *parts_ns, const struct model_overrun *overrun)
{
	const struct model_verdict *verdict = overrun->verdict;
	double scale = (double)overrun->duration_ns / (double)verdict->whole_ns;

	for (int kind = 0; kind < MODEL_VERDICTS; kind++)
		if (verdict->parts_ns[kind] != MODEL_UNKNOWN)
			parts_ns[kind] = (uint64_t)((double)verdict->parts_ns[kind] * scale);
	parts_ns[LATE_STOPPED] = (uint64_t)((double)stopped_part_ns(verdict) * scale);
	parts_ns[LATE_BLOCKED] -= parts_ns[LATE_STOPPED];
}

static void split(uint64_t *parts_ns, const struct model_overrun *overrun)
{
	uint64_t half_ns = overrun->duration_ns / 2;

	memset(parts_ns, 0, LATE_KINDS * sizeof(*parts_ns));
	if (overrun->verdict && overrun->verdict->whole_ns) {
		split_by_verdict(parts_ns, overrun);
	} else if (overrun->on_cpu_ns != MODEL_UNKNOWN && overrun->runnable_ns != MODEL_UNKNOWN &&
		   overrun->blocked_ns != MODEL_UNKNOWN) {
		parts_ns[LATE_COMPUTING] = overrun->on_cpu_ns;
		parts_ns[LATE_RUNNABLE] = overrun->runnable_ns;
		parts_ns[LATE_BLOCKED] = overrun->blocked_ns;
	} else if (overrun->cpu_min_ns != MODEL_UNKNOWN && overrun->cpu_min_ns > half_ns) {
		parts_ns[LATE_COMPUTING] = overrun->duration_ns;
	} else if (overrun->cpu_max_ns != MODEL_UNKNOWN && overrun->cpu_max_ns < half_ns) {
		parts_ns[LATE_OFF_CPU] = overrun->duration_ns;
	} else {
		parts_ns[LATE_UNKNOWN] = overrun->duration_ns;
	}
}

/* ---- sums ---- */

static void add_party(struct sums *sums, enum late_kind kind, const struct late_party *party)
{
	for (size_t i = 0; i < sums->parties_len[kind]; i++) {
		struct late_party *at = &sums->parties[kind][i];

		if (at->is_own != party->is_own || at->is_recorder != party->is_recorder ||
		    strcmp(at->name, party->name) != 0)
			continue;
		if (at->pid != party->pid)
			at->pid = MODEL_UNKNOWN;
		add(&at->sum_ns, party->sum_ns);
		return;
	}
	if (sums->parties_len[kind] < PARTIES_MAX)
		sums->parties[kind][sums->parties_len[kind]++] = *party;
}

static void add_rivals(struct sums *sums, struct late_cause *cause, const struct model_verdict *verdict)
{
	for (size_t i = 0; i < verdict->rivals_len; i++) {
		const struct model_rival *rival = &verdict->rivals[i];

		add(&cause->parties_ns, rival->duration_ns);
		if (rival->pid) /* else the CPU was asleep */
			add_party(sums, LATE_RUNNABLE,
				  &(struct late_party){rival->comm, rival->pid, rival->is_own,
						       rival->is_recorder, rival->duration_ns});
	}
}

/* The longest call, unless most of it may have been the stop, which counts as the call's. */
static const char *blocked_besides_stops(const struct model_overrun *overrun, uint64_t blocked_ns)
{
	uint64_t call_ns;
	const char *call = longest_call(overrun, &call_ns);

	if (overrun->verdict->fault_blocked_ns > blocked_ns / 2)
		return "page faults";
	return call_ns > blocked_ns / 2 && call_ns / 2 < blocked_ns ? call : NULL;
}

/*
 * Of an overrun that was mostly something else, the longest call says nothing of the time blocked; the longest block
 * does, unless that was a stop: then what is known is the longest call.
 */
static const char *blocked_in(const struct model_overrun *overrun, uint64_t blocked_ns)
{
	const struct model_verdict *verdict = overrun->verdict;

	if (verdict && stopped_part_ns(verdict) > blocked_ns)
		return blocked_besides_stops(overrun, blocked_ns);
	if (!verdict || verdict->verdict == MODEL_BLOCKED)
		return late_call(overrun);
	return faults_or_stops(verdict, blocked_ns);
}

/*
 * In which most of its time in the kernel was; of an overrun that was mostly something else, the longest call says nothing.
 */
static const char *computed_in(const struct model_overrun *overrun, uint64_t kernel_ns)
{
	const struct model_verdict *verdict = overrun->verdict;

	if (!verdict)
		return NULL;
	if (verdict->faulted_ns > kernel_ns / 2)
		return "page faults";
	return verdict->verdict == MODEL_KERNEL ? late_call(overrun) : NULL;
}

static void add_call(struct sums *sums, struct late_cause *cause, const char *call, uint64_t ns)
{
	add(&cause->parties_ns, ns);
	if (call)
		add_party(sums, cause->kind, &(struct late_party){call, MODEL_UNKNOWN, false, false, ns});
}

static void add_parts(struct late *late, struct sums *sums, const struct model_overrun *overrun,
		      const uint64_t *parts_ns)
{
	const struct model_verdict *verdict = overrun->verdict;

	for (size_t kind = 0; kind < LATE_KINDS; kind++)
		add(&late->causes[kind].sum_ns, parts_ns[kind]);
	if (verdict)
		add_rivals(sums, &late->causes[LATE_RUNNABLE], verdict);
	if (parts_ns[LATE_BLOCKED])
		add_call(sums, &late->causes[LATE_BLOCKED], blocked_in(overrun, parts_ns[LATE_BLOCKED]),
			 parts_ns[LATE_BLOCKED]);
	if (parts_ns[LATE_KERNEL])
		add_call(sums, &late->causes[LATE_KERNEL], computed_in(overrun, parts_ns[LATE_KERNEL]),
			 parts_ns[LATE_KERNEL]);
}

static void add_handler(struct sums *sums, const struct model_overrun *overrun, uint64_t own_ns)
{
	struct handler_sum *at;
	size_t i = 0;

	while (i < sums->handlers_len && sums->handlers[i].handler != overrun->handler)
		i++;
	if (i == HANDLERS_MAX || !overrun->handler)
		return;
	at = &sums->handlers[i];
	if (i == sums->handlers_len) {
		*at = (struct handler_sum){.handler = overrun->handler};
		sums->handlers_len++;
	}
	add(&at->own_ns, own_ns);
	at->overruns++;
	if (at->longest && own_ns <= at->longest_ns)
		return;
	at->longest = overrun;
	at->longest_ns = own_ns;
}

/* What was not the machine's doing. */
static uint64_t own_ns_of(const uint64_t *parts_ns)
{
	uint64_t own_ns = 0;

	for (size_t kind = 0; kind < LATE_KINDS; kind++)
		if (!late_is_of_machine((enum late_kind)kind) && kind != LATE_OFF_CPU && kind != LATE_UNKNOWN)
			add(&own_ns, parts_ns[kind]);
	return own_ns;
}

/* Unless it was not late without what others did, or that is not known. */
static void add_own(struct late *late, struct sums *sums, const struct model *model,
		    const struct model_overrun *overrun, const uint64_t *parts_ns)
{
	uint64_t own_ns = own_ns_of(parts_ns);

	if (own_ns <= budget_of(model, overrun))
		return;
	late->own.overruns++;
	add_handler(sums, overrun, own_ns);
}

static int compare_parties(const void *a, const void *b)
{
	const struct late_party *x = a, *y = b;

	return (x->sum_ns < y->sum_ns) - (x->sum_ns > y->sum_ns);
}

static int compare_causes(const void *a, const void *b)
{
	const struct late_cause *x = a, *y = b;

	if (x->sum_ns != y->sum_ns)
		return x->sum_ns < y->sum_ns ? 1 : -1;
	return (int)x->kind - (int)y->kind;
}

static void pick_parties(struct late_cause *cause, struct sums *sums)
{
	struct late_party *parties = sums->parties[cause->kind];
	size_t len = sums->parties_len[cause->kind];

	qsort(parties, len, sizeof(*parties), compare_parties);
	cause->parties_len = len < LATE_PARTIES ? len : LATE_PARTIES;
	for (size_t i = 0; i < cause->parties_len; i++)
		cause->parties[i] = parties[i];
}

/* What most of an overrun was, but for what the machine did. */
static void find_longest(struct late_own *own, const struct model_overrun *overrun)
{
	uint64_t parts_ns[LATE_KINDS];

	split(parts_ns, overrun);
	own->longest_kind = LATE_USER;
	for (size_t kind = 0; kind < LATE_OFF_CPU; kind++)
		if (!late_is_of_machine((enum late_kind)kind) && parts_ns[kind] > parts_ns[own->longest_kind])
			own->longest_kind = (enum late_kind)kind;
	own->longest_call = NULL;
	if (own->longest_kind == LATE_BLOCKED)
		own->longest_call = blocked_in(overrun, parts_ns[LATE_BLOCKED]);
	else if (own->longest_kind == LATE_KERNEL)
		own->longest_call = computed_in(overrun, parts_ns[LATE_KERNEL]);
}

static void pick_handler(struct late_own *own, const struct sums *sums)
{
	const struct model_overrun *longest = NULL;

	for (size_t i = 0; i < sums->handlers_len; i++) {
		const struct handler_sum *at = &sums->handlers[i];

		if (own->handler && at->own_ns <= own->handler_own_ns)
			continue;
		own->handler = at->handler;
		own->handler_overruns = at->overruns;
		own->handler_own_ns = at->own_ns;
		own->longest_ns = at->longest_ns;
		longest = at->longest;
	}
	if (longest)
		find_longest(own, longest);
}

static void add_overrun(struct late *late, struct sums *sums, const struct model *model,
			const struct model_overrun *overrun)
{
	uint64_t parts_ns[LATE_KINDS];

	late->overruns++;
	add(&late->sum_ns, overrun->duration_ns);
	add(&late->over_ns, over_ns_of(model, overrun));
	if (!late->longest || overrun->duration_ns > late->longest->duration_ns)
		late->longest = overrun;
	split(parts_ns, overrun);
	add_parts(late, sums, overrun, parts_ns);
	add_own(late, sums, model, overrun, parts_ns);
}

static uint64_t own_ns_in(const struct model *model, const struct model_overrun *overrun)
{
	uint64_t parts_ns[LATE_KINDS], own_ns;

	split(parts_ns, overrun);
	own_ns = own_ns_of(parts_ns);
	return own_ns > budget_of(model, overrun) ? own_ns : 0;
}

void late_of(struct late *ret, const struct model *model, const struct model_process *process,
	     const struct model_handler *handler)
{
	struct sums sums = {.handlers_len = 0};

	*ret = (struct late){0};
	for (size_t kind = 0; kind < LATE_KINDS; kind++)
		ret->causes[kind].kind = (enum late_kind)kind;
	for (size_t i = 0; i < model->overruns_len; i++)
		if (model->overruns[i].process == process &&
		    (!handler || model->overruns[i].handler == handler))
			add_overrun(ret, &sums, model, &model->overruns[i]);
	for (size_t kind = 0; kind < LATE_KINDS; kind++)
		pick_parties(&ret->causes[kind], &sums);
	pick_handler(&ret->own, &sums);
	if (ret->own.handler)
		ret->own.where = where_most(model, ret->own.handler, own_ns_in);
	qsort(ret->causes, LATE_KINDS, sizeof(ret->causes[0]), compare_causes);
	while (ret->causes_len < LATE_KINDS && ret->causes[ret->causes_len].sum_ns)
		ret->causes_len++;
}

/* ---- which process first ---- */

static void add_to(uint64_t *sums_ns, const struct model *model, const struct model_process *process,
		   uint64_t over_ns)
{
	if (process != &model->nobody)
		add(&sums_ns[process - model->processes], over_ns);
}

size_t late_order(const struct model_process **ret, const struct model *model)
{
	uint64_t over_ns[MODEL_PROCESSES], handlers_ns[MODEL_PROCESSES] = {0},
					   overruns_ns[MODEL_PROCESSES] = {0};
	size_t late = 0;

	for (size_t i = 0; i < model->handlers_len; i++)
		add_to(handlers_ns, model, model->handlers[i].process, model->handlers[i].over_ns);
	for (size_t i = 0; i < model->overruns_len; i++)
		add_to(overruns_ns, model, model->overruns[i].process,
		       over_ns_of(model, &model->overruns[i]));
	for (size_t i = 0; i < model->processes_len; i++) {
		/* Where its overruns were not kept, the handlers' counts tell. */
		uint64_t own_ns = overruns_ns[i] > handlers_ns[i] ? overruns_ns[i] : handlers_ns[i];
		size_t place = i;

		for (; place > 0 && over_ns[place - 1] < own_ns; place--) {
			over_ns[place] = over_ns[place - 1];
			ret[place] = ret[place - 1];
		}
		over_ns[place] = own_ns;
		ret[place] = &model->processes[i];
		late += own_ns > 0;
	}
	return late;
}
