/* SPDX-License-Identifier: MIT */
#include "report/show/headline.h"

#include <inttypes.h>
#include <string.h>

#include "report/show/roles.h"
#include "report/show/units.h"
#include "report/show/verdict_words.h"
#include "report/show/words_writes.h"

#define CAUSES_NAMED 4
#define WHOLE_MAX    4 /* processes with all their lines */
#define SHOWN_MAX    12

static const char *const kind_words[LATE_KINDS] = {
	[LATE_USER] = "computing in user space",
	[LATE_KERNEL] = "computing in the kernel",
	[LATE_RUNNABLE] = "waiting for a CPU",
	[LATE_THROTTLED] = "throttled by its cgroup",
	[LATE_BLOCKED] = "blocked",
	[LATE_STOLEN] = "its CPU stolen by the hypervisor",
	[LATE_STOPPED] = "stopped by a signal or a tracer",
	[LATE_COMPUTING] = "computing",
	[LATE_OFF_CPU] = "off the CPU (blocked, or waiting for one)",
	[LATE_UNKNOWN] = "on what is not known",
};

/* ---- pieces ---- */

static void put_party(struct buffer *out, words_escape escape, const struct late_party *party)
{
	if (party->is_recorder)
		buffer_string(out, "this recorder");
	else if (party->is_own)
		buffer_string(out, "threads of its own (");
	if (!party->is_recorder)
		escape(out, party->name);
	if (party->is_own)
		buffer_string(out, ")");
	else if (!party->is_recorder && party->pid != MODEL_UNKNOWN)
		buffer_printf(out, " (pid %" PRIu64 ")", party->pid);
}

/* How many of them are worth a name: those that were most of it. */
static size_t count_named(const struct late_cause *cause, uint64_t *ret_ns)
{
	size_t named = 0;

	*ret_ns = 0;
	while (named < cause->parties_len && *ret_ns < cause->parties_ns / 10 * 9) {
		const struct late_party *party = &cause->parties[named];

		if (named > 0 && party->sum_ns < cause->parties_ns / 10)
			break;
		*ret_ns += party->sum_ns;
		named++;
	}
	return named;
}

/* The one that it was, or those that were most of it: "cc1, wrk (pid 7) and others". */
static void put_parties(struct buffer *out, words_escape escape, const struct late_cause *cause)
{
	uint64_t named_ns;
	size_t named = count_named(cause, &named_ns);

	for (size_t i = 0; i < named; i++) {
		buffer_string(out, i ? ", " : "");
		put_party(out, escape, &cause->parties[i]);
	}
	if (named_ns < cause->parties_ns / 10 * 9)
		buffer_string(out, " and others");
}

static void put_cause(struct buffer *out, words_escape escape, const struct late_cause *cause)
{
	bool by_others = cause->kind == LATE_RUNNABLE;
	uint64_t named_ns;

	buffer_string(out, kind_words[cause->kind]);
	/* Of system calls, what is named is what is known: it has to be most of it. */
	if (count_named(cause, &named_ns) == 0 || (!by_others && named_ns < cause->parties_ns / 2))
		return;
	buffer_string(out, by_others ? " behind " : cause->kind == LATE_BLOCKED ? " in " : ", in ");
	put_parties(out, escape, cause);
}

/* ---- the first line ---- */

struct tally {
	uint64_t dispatches; /* beyond budget, as the program counted them */
	uint64_t iterations; /* beyond budget, seen by the probes alone */
	uint64_t running;    /* of both: had not ended */
	uint64_t budget_ns;  /* MODEL_UNKNOWN: handlers differ */
	uint64_t longest_ns; /* of all, late or not */
	uint64_t count;
	bool has_meter;
	bool was_watched;
};

static void note_longest(struct tally *tally, const struct model_metric *metric)
{
	uint64_t longest_ns = metric->count ? model_maximum(metric) : MODEL_UNKNOWN;

	if (longest_ns == MODEL_UNKNOWN)
		return;
	tally->count += metric->count;
	if (longest_ns > tally->longest_ns)
		tally->longest_ns = longest_ns;
}

static void tally_handlers(struct tally *tally, const struct model *model,
			   const struct model_process *process)
{
	bool first = true;

	for (size_t i = 0; i < model->handlers_len; i++) {
		const struct model_handler *handler = &model->handlers[i];

		if (handler->process != process)
			continue;
		if (first || tally->budget_ns == handler->budget_ns)
			tally->budget_ns = handler->budget_ns;
		else
			tally->budget_ns = MODEL_UNKNOWN;
		first = false;
		if (handler->source == MODEL_PROBES)
			continue;
		tally->has_meter = true;
		tally->dispatches += handler->overruns;
		note_longest(tally, &handler->metrics[MODEL_SERVICE]);
	}
}

static struct tally tally_of(const struct model *model, const struct model_process *process)
{
	struct tally tally = {.budget_ns = model_meta_number(model, "budget_ns")};
	uint64_t rows = 0;

	tally_handlers(&tally, model, process);
	for (size_t i = 0; i < model->overruns_len; i++) {
		const struct model_overrun *overrun = &model->overruns[i];

		if (overrun->process != process)
			continue;
		if (overrun->source == MODEL_PROBES)
			tally.iterations++;
		else
			rows++;
		tally.running += overrun->running;
	}
	if (rows > tally.dispatches)
		tally.dispatches = rows;
	for (size_t i = 0; i < model->loops_len; i++) {
		if (model->loops[i].process != process)
			continue;
		tally.was_watched = true;
		if (!tally.has_meter)
			note_longest(&tally, &model->loops[i].metrics[MODEL_BUSY]);
	}
	return tally;
}

static void put_budget(struct buffer *out, const struct tally *tally, uint64_t count)
{
	if (tally->budget_ns == MODEL_UNKNOWN || tally->budget_ns == 0)
		buffer_string(out, count == 1 ? "its budget" : "their budgets");
	else
		buffer_string(out, units_ns(tally->budget_ns).text);
}

static bool is_unseen(const struct tally *tally)
{
	return !tally->was_watched && !tally->has_meter && tally->dispatches + tally->iterations == 0;
}

static void put_unseen(struct buffer *out, const struct model *model)
{
	if (words_has_probes(model))
		buffer_string(
			out,
			"nothing of it was seen: no thread of it came to a wait for events while it was recorded, or returned from one");
	else
		buffer_string(
			out,
			"nothing is known of it: it has no meter, and the kernel's side was not recorded");
}

static void put_not_late(struct buffer *out, const struct tally *tally)
{
	buffer_string(out,
		      tally->has_meter ? "no dispatch took longer than " : "no iteration took longer than ");
	put_budget(out, tally, 1);
	if (tally->count)
		buffer_printf(out, " (of %s the longest %s)", units_count(tally->count).text,
			      units_ns(tally->longest_ns).text);
}

/* False if nothing was seen of it. */
static bool put_first(struct buffer *out, const struct model *model, const struct model_process *process)
{
	struct tally tally = tally_of(model, process);

	if (tally.dispatches > 0) {
		buffer_printf(out, "%s dispatch%s beyond ", units_count(tally.dispatches).text,
			      tally.dispatches == 1 ? "" : "es");
		put_budget(out, &tally, tally.dispatches);
	}
	if (tally.dispatches > 0 && tally.iterations > 0)
		buffer_printf(out, ", and %s iteration%s in which no single dispatch was",
			      units_count(tally.iterations).text, tally.iterations == 1 ? "" : "s");
	else if (tally.iterations > 0) {
		buffer_printf(out, "%s iteration%s beyond ", units_count(tally.iterations).text,
			      tally.iterations == 1 ? "" : "s");
		put_budget(out, &tally, tally.iterations);
	} else if (is_unseen(&tally)) {
		put_unseen(out, model);
	} else if (tally.dispatches == 0) {
		put_not_late(out, &tally);
	}
	if (tally.running > 0 && tally.running == tally.dispatches + tally.iterations)
		buffer_string(out,
			      tally.running == 1 ? ", and it had not ended" : ", and they had not ended");
	else if (tally.running > 0)
		buffer_printf(out, ", of which %s had not ended", units_count(tally.running).text);
	if (process->appeared_ns != MODEL_UNKNOWN)
		buffer_printf(out, "; it came at %.3f s", model_seconds(model, process->appeared_ns));
	if (process->exited_ns != MODEL_UNKNOWN)
		buffer_printf(out, "; it exited at %.3f s", model_seconds(model, process->exited_ns));
	return !is_unseen(&tally);
}

/* ---- the others ---- */

static struct buffer *add_line(struct headline *headline, const char *label)
{
	struct headline_line *line = &headline->lines[headline->len++];

	line->label = label;
	return &line->text;
}

static void add_sum(struct headline *headline, words_escape escape, const struct model *model,
		    const struct late *late)
{
	struct buffer *out = add_line(headline, "in sum");

	if (model->overruns_len < model->overruns_total)
		buffer_printf(out, "the %s longest: ", units_count(late->overruns).text);
	buffer_printf(out, "%s beyond budget. Of the %s that they took: ", units_ns(late->over_ns).text,
		      units_ns(late->sum_ns).text);
	for (size_t i = 0; i < late->causes_len && i < CAUSES_NAMED; i++) {
		if (i > 0 && late->causes[i].sum_ns < late->sum_ns / 100)
			break;
		buffer_string(out, i ? "; " : "");
		buffer_printf(out, "%s ", units_percent(late->causes[i].sum_ns, late->sum_ns).text);
		put_cause(out, escape, &late->causes[i]);
	}
}

static void add_longest(struct headline *headline, words_escape escape, const struct model *model,
			const struct model_overrun *overrun)
{
	struct buffer *out = add_line(headline, "longest");

	buffer_printf(out, "%s at %.3f s", units_ns(overrun->duration_ns).text,
		      model_seconds(model, overrun->start_ns));
	if (overrun->handler) {
		buffer_printf(out, " in %s", overrun->handler->source == MODEL_PROBES ? "~" : "");
		escape(out, overrun->handler->name);
	}
	buffer_string(out, ": ");
	words_cause(out, escape, overrun);
	if (overrun->victims > 0 && overrun->victims != MODEL_UNKNOWN)
		buffer_printf(out, "; it held up %s other event%s", units_count(overrun->victims).text,
			      overrun->victims == 1 ? "" : "s");
}

static const struct late_cause *cause_of_machine(const struct late *late, uint64_t *sum_ns)
{
	const struct late_cause *most = NULL;

	*sum_ns = 0;
	for (size_t i = 0; i < late->causes_len; i++) {
		if (!late_is_of_machine(late->causes[i].kind))
			continue;
		most = most ? most : &late->causes[i];
		*sum_ns += late->causes[i].sum_ns;
	}
	return most;
}

static void put_machine(struct buffer *out, words_escape escape, const struct late_cause *cause)
{
	if (cause->kind == LATE_THROTTLED) {
		buffer_string(out, "the CPU quota of its cgroup: it was used up");
	} else if (cause->kind == LATE_STOLEN) {
		buffer_string(out, "the hypervisor: it gave the CPU to others");
	} else if (cause->kind == LATE_STOPPED) {
		buffer_string(out, "who stopped it: a signal (SIGSTOP), a tracer, or its cgroup's freezer");
	} else if (cause->parties_len && cause->parties[0].is_own) {
		buffer_string(out, "its own threads: they had the CPU that it wanted (");
		escape(out, cause->parties[0].name);
		buffer_string(out, ")");
	} else {
		buffer_string(out, "the machine: others had the CPU that it wanted");
	}
}

/* What would have been late on an idle machine. */
static void put_own(struct buffer *out, words_escape escape, const struct late_own *own)
{
	bool inferred = own->handler->source == MODEL_PROBES;

	buffer_string(out, inferred ? "~" : "");
	escape(out, own->handler->name);
	buffer_printf(out, ": late %s by its own doing, %s in sum, at most %s, %s",
		      units_times(own->handler_overruns).text, units_ns(own->handler_own_ns).text,
		      units_ns(own->longest_ns).text, kind_words[own->longest_kind]);
	if (own->longest_call) {
		buffer_string(out, own->longest_kind == LATE_BLOCKED ? " in " : ", in ");
		escape(out, own->longest_call);
	}
	/* A system call's own name has been said. */
	if (!own->where || (own->longest_call && strcmp(own->where, own->longest_call) == 0))
		return;
	buffer_string(out, "; most of it in ");
	escape(out, own->where);
}

/* Threads that share a set: their sleep between two waits is as a rule that they are not wanted. */
static void add_shared(struct headline *headline, const struct model_process *process)
{
	if (process->shared_epfd < 0)
		return;
	buffer_printf(
		add_line(headline, "but"),
		"several of its threads wait in one epoll set (fd %d), as those of Go and tokio do: what "
		"one of them does between two of its waits, or sleeps, holds up nothing while another "
		"waits. So these need not be delays",
		process->shared_epfd);
}

/* What it could do nothing about, and what it did itself: what took more time first. */
static void add_look_at(struct headline *headline, words_escape escape, const struct late *late,
			const struct model_process *process)
{
	uint64_t machine_ns;
	const struct late_cause *machine = cause_of_machine(late, &machine_ns);
	bool own = late->own.handler != NULL && process->shared_epfd < 0;
	bool machine_first = machine_ns > late->sum_ns / 2;

	if (machine_ns < late->sum_ns / 10)
		machine = NULL;
	if (machine && machine_first)
		put_machine(add_line(headline, "look at"), escape, machine);
	if (own)
		put_own(add_line(headline, machine && machine_first ? "then at" : "look at"), escape,
			&late->own);
	if (machine && !machine_first)
		put_machine(add_line(headline, own ? "then at" : "look at"), escape, machine);
}

static void add_others(struct headline *headline, const struct model *model,
		       const struct model_process *process)
{
	struct buffer text = {0};

	if (words_alarms(&text, model, process))
		*add_line(headline, "alarm") = text;
	text = (struct buffer){0};
	if (words_stalled(&text, model, process))
		*add_line(headline, "writes") = text;
	text = (struct buffer){0};
	if (roles_words_habits(&text, model, process))
		*add_line(headline, "habits") = text;
}

static bool has_alarm(const struct model *model, const struct model_process *process)
{
	for (size_t i = 0; i < model->alarms_len; i++)
		if (model->alarms[i].process == process)
			return true;
	return false;
}

void headline_of(struct headline *ret, words_escape escape, const struct model *model,
		 const struct model_process *process, bool first_only)
{
	struct late late;

	*ret = (struct headline){.len = 0};
	ret->late = words_is_late(model, process) || has_alarm(model, process);
	ret->unseen = !put_first(add_line(ret, NULL), model, process) && !ret->late;
	if (first_only)
		return;
	late_of(&late, model, process, NULL);
	if (late.overruns > 0) {
		add_sum(ret, escape, model, &late);
		add_longest(ret, escape, model, late.longest);
		add_shared(ret, process);
		add_look_at(ret, escape, &late, process);
	}
	add_others(ret, model, process);
}

void headline_free(struct headline *headline)
{
	for (size_t i = 0; i < headline->len; i++)
		buffer_free(&headline->lines[i].text);
	headline->len = 0;
}

/* ---- which processes ---- */

void headline_order(struct headline_order *ret, const struct model *model)
{
	size_t late = late_order(ret->processes, model);

	ret->shown = model->processes_len < SHOWN_MAX ? model->processes_len : SHOWN_MAX;
	ret->whole = late < WHOLE_MAX ? late : WHOLE_MAX;
	/* One that was not late may still have stalled. */
	if (model->processes_len <= WHOLE_MAX)
		ret->whole = model->processes_len;
}

void headline_rest(struct buffer *out, const struct headline_order *order, const struct model *model)
{
	size_t late = 0;

	for (size_t i = order->shown; i < model->processes_len; i++)
		late += words_is_late(model, order->processes[i]);
	if (model->processes_total > order->shown)
		buffer_printf(out, "... and %s processes more, of which %s had overruns: --json has them.",
			      units_count(model->processes_total - order->shown).text,
			      late ? units_count(late).text : "none");
}
