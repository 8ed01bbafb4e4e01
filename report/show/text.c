/* SPDX-License-Identifier: MIT */
#include "report/show/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/model/pick.h"
#include "report/model/stalls.h"
#include "report/model/traces.h"
#include "report/show/escape.h"
#include "report/show/functions.h"
#include "report/show/headline.h"
#include "report/show/roles.h"
#include "report/show/tables.h"
#include "report/show/text_page.h"
#include "report/show/text_writes.h"
#include "report/show/units.h"
#include "report/show/verdict_words.h"
#include "report/show/words.h"
#include "report/show/words_writes.h"
#include "report/show/work.h"

#define OVERRUNS_SHOWN      10
#define OVERRUNS_ALIKE      2
#define HANDLERS_SHOWN      40
#define LOOPS_SHOWN         40
#define SOCKETS_SHOWN       5
#define TRACES_SHOWN        3
#define FRAMES_SHOWN        14
#define HEAD_SHOWN          4
#define KERNEL_FRAMES_SHOWN 4
#define WIDE                100
#define OVERRUN_INDENT      11

/* ---- the first lines ---- */

static void put_headline(struct text_page *page, const struct model_process *process, bool first_only)
{
	struct headline headline;
	struct buffer name = {0}, line = {0};

	words_process(&name, escape_terminal, process);
	headline_of(&headline, escape_terminal, page->model, process, first_only);
	if (page->colour)
		buffer_string(page->out, headline.late     ? "\033[1;31m"
					 : headline.unseen ? "\033[1m"
							   : "\033[1;32m");
	buffer_append(page->out, &name);
	buffer_printf(page->out, ":%s", page->colour ? "\033[0m" : "");
	buffer_string(&line, " ");
	buffer_append(&line, &headline.lines[0].text);
	text_continued(page, name.len + 1, &line, 4);
	for (size_t i = 1; i < headline.len; i++) {
		char label[32];

		snprintf(label, sizeof(label), "  %s", headline.lines[i].label);
		text_labelled(page, label, &headline.lines[i].text, 11);
	}
	headline_free(&headline);
	buffer_free(&name);
}

static void put_headlines(struct text_page *page)
{
	const struct model *model = page->model;
	struct headline_order order;
	struct buffer line = {0};

	words_recording(&line, escape_terminal, model);
	text_sentence(page, &line, 0);
	buffer_string(page->out, "\n");
	headline_order(&order, model);
	for (size_t i = 0; i < order.shown; i++)
		put_headline(page, order.processes[i], i >= order.whole);
	headline_rest(&line, &order, model);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, 0);
	if (model->processes_len == 0)
		buffer_printf(page->out, "%s\n", words_no_process(model));
}

/* ---- handlers and loops ---- */

static void put_handlers(struct text_page *page)
{
	const struct model *model = page->model;
	struct tables_rows own, inferred;
	struct table *own_table = tables_handlers(model, HANDLERS_SHOWN, &own);
	struct table *inferred_table = tables_inferred(model, HANDLERS_SHOWN, &inferred);

	if (page->columns < WIDE)
		table_drop(inferred_table, 7); /* how many victims; blame says how much */
	text_heading(page, "Handlers",
		     own.total + inferred.total == 0 ? ""
		     : own.total == 0
			     ? "those that overran; beyond: in sum beyond budget"
			     : "p50, p99, max: service time. wait: from when the poll returned the event, a "
			       "lower bound. beyond: in sum beyond budget");
	if (own.total + inferred.total == 0)
		text_plain(page, "None: nothing was dispatched that has a name, and nothing overran.");
	text_table(page, own_table);
	text_left_out(page, own.shown, own.total + model->handlers_total - model->handlers_len, "handlers");
	if (own.total > 0 && inferred.total > 0)
		buffer_string(page->out, "\n");
	text_table(page, inferred_table);
	text_left_out(page, inferred.shown, inferred.total, "handlers");
}

static void put_loops(struct text_page *page)
{
	struct tables_rows rows;
	struct table *table = tables_loops(page->model, LOOPS_SHOWN, &rows);

	text_heading(
		page, "Loops",
		"busy: an iteration without its poll. utilization: the busy share of its time in the "
		"recording (-: threads wait in its set by turns). batch: events that one poll returned. "
		"One with a meter is told of by its process "
		"and by the kernel, whose batches have no timers in them; those of libev and libevent do.");
	if (rows.shown == 0)
		text_plain(page, "None: no thread was seen to wait in epoll.");
	text_table(page, table);
	text_left_out(page, rows.shown, rows.total, "loops");
}

/* ---- overruns ---- */

static void put_split(struct text_page *page, struct buffer *line, const struct model_overrun *overrun)
{
	if (overrun->verdict)
		verdict_words_parts(line, overrun->verdict);
	else if (overrun->on_cpu_ns != MODEL_UNKNOWN)
		buffer_printf(line, "on CPU %s, runnable %s, blocked %s", units_ns(overrun->on_cpu_ns).text,
			      units_ns(overrun->runnable_ns).text, units_ns(overrun->blocked_ns).text);
	else if (overrun->cpu_min_ns != MODEL_UNKNOWN && overrun->cpu_max_ns != MODEL_UNKNOWN)
		buffer_printf(line, "CPU time between %s and %s", units_ns(overrun->cpu_min_ns).text,
			      units_ns(overrun->cpu_max_ns).text);
	else
		buffer_string(line, "CPU time not known");
	if (overrun->ready_events != MODEL_UNKNOWN)
		buffer_printf(line, "; %s ready event%s", units_count(overrun->ready_events).text,
			      overrun->ready_events == 1 ? "" : "s");
	if (overrun->victims > 0 && overrun->victims != MODEL_UNKNOWN) {
		bool inferred = overrun->source == MODEL_PROBES;

		page->inferred |= inferred;
		buffer_printf(line, "; %s%s victim%s, blame %s", inferred ? "~" : "",
			      units_count(overrun->victims).text, overrun->victims == 1 ? "" : "s",
			      units_ns(overrun->blame_ns).text);
	}
}

static void put_syscalls(struct buffer *line, const struct model_overrun *overrun)
{
	/* Where it was not system calls that took the time, which they were says nothing. */
	if (overrun->syscalls_len == 0 || overrun->syscalls[0].duration_ns < overrun->duration_ns / 20)
		return;
	buffer_string(line, "system calls: ");
	for (size_t i = 0; i < overrun->syscalls_len && i < 3; i++) {
		const struct model_syscall *call = &overrun->syscalls[i];

		buffer_string(line, i ? ", " : "");
		escape_terminal(line, call->name);
		if (call->fd >= 0)
			buffer_printf(line, "(fd %d)", call->fd);
		buffer_printf(line, " %s", units_ns(call->duration_ns).text);
	}
	if (overrun->syscall_count != MODEL_UNKNOWN && overrun->syscall_count > 3)
		buffer_printf(line, "; %s in all", units_count(overrun->syscall_count).text);
}

/* The innermost function of which the source's line is known; frames_len if there is none. */
static size_t last_with_line(const struct model_overrun *overrun)
{
	for (size_t i = overrun->frames_len; overrun->places && i-- > 0;)
		if (overrun->places[i].file && overrun->places[i].line != MODEL_UNKNOWN)
			return i;
	return overrun->frames_len;
}

/* Functions that a compiler made at run time are what the program's author wrote, wherever they stand. */
static bool is_jit(const char *frame)
{
	return strncmp(frame, "JS:", 3) == 0;
}

static void put_frame(struct buffer *line, const struct model_overrun *overrun, size_t frame)
{
	escape_terminal(line, overrun->frames[frame]);
	if (frame != last_with_line(overrun))
		return;
	buffer_string(line, " (");
	escape_terminal(line, overrun->places[frame].file);
	buffer_printf(line, ":%" PRIu64 ")", overrun->places[frame].line);
}

/* The frames from `first` to `end`, of which those after `head` that are not among the last `tail` may go. */
static void put_frames(struct buffer *line, const struct model_overrun *overrun, size_t first, size_t end,
		       size_t head, size_t tail)
{
	bool some_go = end - first > head + tail;
	size_t gone = 0;

	for (size_t i = first; i < end; i++) {
		bool goes = some_go && i >= first + head && i < end - tail && !is_jit(overrun->frames[i]);

		gone += goes;
		if (goes)
			continue;
		if (gone)
			buffer_printf(line, "%s[%zu more]", i > gone ? " > " : "", gone);
		gone = 0;
		buffer_string(line, i ? " > " : "");
		put_frame(line, overrun, i);
	}
}

/* The beginning tells the program, the end where it was. Of the kernel's part, the end does. */
static void put_stack(struct buffer *line, const struct model_overrun *overrun)
{
	size_t user_len = overrun->frames_len;

	if (overrun->frames_len == 0)
		return;
	while (overrun->places && user_len > 0 && overrun->places[user_len - 1].kernel)
		user_len--;
	buffer_printf(line, "%s: ",
		      overrun->stack_kind == MODEL_STACK_BLOCKED    ? "blocked at"
		      : overrun->stack_kind == MODEL_STACK_COMPUTED ? "computing at"
								    : "stack");
	put_frames(line, overrun, 0, user_len, HEAD_SHOWN, FRAMES_SHOWN - HEAD_SHOWN);
	put_frames(line, overrun, user_len, overrun->frames_len, 0, KERNEL_FRAMES_SHOWN);
}

/* What the verdict rests on, a line for each thing that is worth one. */
static void put_evidence(struct text_page *page, const struct model_verdict *verdict)
{
	struct buffer line = {0};

	page->inferred = true; /* the word on the iteration is */
	verdict_words_rivals(&line, escape_terminal, verdict);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, OVERRUN_INDENT);
	verdict_words_faults(&line, verdict);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, OVERRUN_INDENT);
	verdict_words_victims(&line, escape_terminal, verdict);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, OVERRUN_INDENT);
}

/* What it was, in the terms of the headline. */
static void put_what(struct text_page *page, struct buffer *line, const struct model_overrun *overrun)
{
	bool inferred = overrun->handler && overrun->handler->source == MODEL_PROBES;

	page->inferred |= inferred || overrun->role;
	if (words_has_no_stack(overrun)) {
		buffer_string(line, "no stack");
	} else if (overrun->handler) {
		buffer_string(line, inferred ? "~" : "");
		escape_terminal(line, overrun->handler->name);
	} else {
		buffer_string(line, "no single handler");
	}
	words_descriptor(line, escape_terminal, overrun);
	buffer_string(line, ": ");
	words_cause(line, escape_terminal, overrun);
}

static void put_overrun(struct text_page *page, const struct model_overrun *overrun)
{
	struct buffer line = {0};
	char label[48];

	put_what(page, &line, overrun);
	snprintf(label, sizeof(label), "%9s  ", units_ns(overrun->duration_ns).text);
	text_labelled(page, label, &line, OVERRUN_INDENT);
	buffer_printf(&line, "at %.3f s", model_seconds(page->model, overrun->start_ns));
	if (page->model->processes_len > 1)
		buffer_printf(&line, ", pid %" PRIu64, overrun->process->pid);
	buffer_string(&line, "; ");
	put_split(page, &line, overrun);
	text_sentence(page, &line, OVERRUN_INDENT);
	if (overrun->verdict)
		put_evidence(page, overrun->verdict);
	put_syscalls(&line, overrun);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, OVERRUN_INDENT);
	if (overrun->functions_len > 0) {
		buffer_string(&line, "functions: ");
		functions_words_overrun(&line, escape_terminal, overrun);
		text_sentence(page, &line, OVERRUN_INDENT);
	}
	put_stack(&line, overrun);
	if (!buffer_is_empty(&line))
		text_sentence(page, &line, OVERRUN_INDENT);
}

static void put_overruns(struct text_page *page)
{
	const struct model *model = page->model;
	const struct model_overrun *picked[OVERRUNS_SHOWN];
	size_t shown = pick_overruns(picked, OVERRUNS_SHOWN, OVERRUNS_ALIKE, model);

	text_heading(
		page, "Longest overruns",
		"at most two of those alike (handler, verdict, the calls below it); stacks: outermost first");
	if (shown == 0)
		text_plain(page, "None was recorded.");
	for (size_t i = 0; i < shown; i++)
		put_overrun(page, picked[i]);
	text_left_out(page, shown, model->overruns_total, "overruns");
}

/* ---- write stalls ---- */

/* The sockets of groups[0]'s process. Returns how many groups were passed. */
static size_t put_sockets(struct text_page *page, const struct stall_group *groups, size_t len)
{
	struct tables_rows rows;
	struct table *table = tables_sockets(groups, len, SOCKETS_SHOWN, &rows);

	text_table(page, table);
	text_left_out(page, rows.shown, rows.total, "sockets");
	return rows.total + 1;
}

static bool has_meter_stalls(struct text_page *page)
{
	struct tables_rows rows;
	struct table *table = tables_own_stalls(page->model, &rows);

	text_table(page, table);
	return rows.total > 0;
}

static void put_stall_groups(struct text_page *page, const struct stall_groups *groups)
{
	struct buffer line = {0};

	for (size_t i = 0; i < groups->len;) {
		words_stalls(&line, escape_terminal, &groups->items[i]);
		words_limits(&line, &groups->items[i]);
		words_not_sent(&line, escape_terminal, &groups->items[i]);
		text_sentence(page, &line, 2);
		if (groups->items[i].count > 0)
			text_table(page, tables_stages(&groups->items[i]));
		buffer_string(page->out, "\n");
		i += put_sockets(page, &groups->items[i], groups->len - i);
	}
	if (page->model->stalls_total > page->model->stalls_len)
		buffer_printf(page->out, "  These are the first %s of %s stalls.\n",
			      units_count(page->model->stalls_len).text,
			      units_count(page->model->stalls_total).text);
}

static void put_no_stages(struct text_page *page)
{
	const char *why = model_meta_text(page->model, "probes");
	struct buffer line = {0};

	buffer_string(&line, "By stage they are known only with the probes, ");
	if (words_has_probes(page->model)) {
		buffer_string(&line, "which saw none.");
	} else {
		buffer_string(&line, "and there were none: ");
		escape_terminal(&line, why ? why : "the recording does not say why");
		buffer_string(&line, ".");
	}
	text_sentence(page, &line, 2);
}

static void put_stalls(struct text_page *page)
{
	struct stall_groups *groups;
	struct buffer unseen = {0};
	bool any;

	text_heading(page, "Write stalls",
		     "from a send that found the buffer full, or filled it, to the next send on that socket");
	if (stall_groups_new(&groups, page->model) < 0) {
		page->out->err = -ENOMEM;
		return;
	}
	any = has_meter_stalls(page);
	put_stall_groups(page, groups);
	if (groups->len == 0 && !any)
		text_plain(page,
			   words_has_probes(page->model)
				   ? "None was seen."
				   : "Not known: they are seen by the probes, and by streams of libstint.");
	else if (groups->len == 0)
		put_no_stages(page);
	if (words_sends_unseen(&unseen, page->model))
		text_sentence(page, &unseen, 2);
	stall_groups_free(groups);
}

static void put_trace(struct text_page *page, const struct trace *trace)
{
	const struct trace_cycle *cycle = words_best_cycle(trace);
	struct buffer line = {0};

	if (page->model->processes_len > 1)
		buffer_printf(&line, "pid %" PRIu64 ", ", trace->process->pid);
	buffer_printf(&line, "fd %d", trace->fd);
	if (trace->local && trace->remote) {
		buffer_string(&line, ", ");
		escape_terminal(&line, trace->local);
		buffer_string(&line, " to ");
		escape_terminal(&line, trace->remote);
	}
	buffer_printf(&line, ", seen by the %s: ",
		      !trace->from_probes ? "process itself"
		      : trace->from_meter ? "kernel and the process"
					  : "kernel");
	if (cycle)
		words_cycle(&line, trace, cycle);
	else
		buffer_string(&line, "no send found the buffer full.");
	words_life(&line, page->model, trace);
	text_sentence(page, &line, 2);
}

static void put_traces(struct text_page *page)
{
	struct buffer none = {0};
	struct traces *traces;
	size_t shown;

	if (words_none_traced(&none, escape_terminal, page->model)) {
		text_heading(page, "Traced sockets", "");
		text_sentence(page, &none, 2);
	}
	if (page->model->events_len == 0)
		return;
	if (traces_new(&traces, page->model) < 0) {
		page->out->err = -ENOMEM;
		return;
	}
	shown = traces->len < TRACES_SHOWN ? traces->len : TRACES_SHOWN;
	text_heading(page, "Traced sockets", "the longest stall of each");
	for (size_t i = 0; i < shown; i++)
		put_trace(page, &traces->items[i]);
	if (traces->len + traces->left_out > shown)
		buffer_printf(page->out, "  ... and %zu sockets more: --html draws the first four.\n",
			      traces->len + traces->left_out - shown);
	traces_free(traces);
}

/* ---- what limits the truth of all this ---- */

static void put_losses(struct text_page *page)
{
	const struct model *model = page->model;
	struct buffer line = {0};

	text_heading(page, "Lost", "");
	if (model->losses_len == 0)
		text_plain(page, "Not known: the recording has no account of it.");
	else if (model_lost(model) == 0)
		text_plain(page, "Nothing: every ring and table had room.");
	for (size_t i = 0; i < model->losses_len; i++) {
		if (model->losses[i].count == 0)
			continue;
		words_loss(&line, escape_terminal, &model->losses[i]);
		text_sentence(page, &line, 2);
	}
}

static void put_limits(struct text_page *page)
{
	const struct model *model = page->model;
	const char *rule = model_meta_text(model, "epollout_rule");
	struct buffer line = {0};

	text_heading(page, "How this was measured", "");
	if (!words_has_probes(model)) {
		words_no_probes(&line, escape_terminal, model);
		text_sentence(page, &line, 2);
	}
	words_cost(&line, model);
	text_sentence(page, &line, 2);
	if (rule) {
		buffer_string(&line, "This kernel's rule for the write event: ");
		escape_terminal(&line, rule);
		text_sentence(page, &line, 2);
	}
	buffer_string(
		&line,
		"Percentiles are middles of buckets, within 0.8 % of the value. - : not known. Columns with nothing but 0 or - are "
		"left out.");
	if (page->inferred)
		buffer_string(&line, " ~ : inferred, from stacks or from the order of system calls.");
	text_sentence(page, &line, 2);
}

void text_report(struct buffer *out, const struct model *model, bool colour, size_t columns)
{
	struct text_page page = {.out = out, .model = model, .colour = colour, .columns = columns};

	put_headlines(&page);
	text_alarms(&page);
	put_handlers(&page);
	put_overruns(&page);
	functions_text(&page);
	roles_text(&page);
	put_loops(&page);
	put_stalls(&page);
	text_acks(&page);
	put_traces(&page);
	work_text(&page);
	put_losses(&page);
	put_limits(&page);
}
