/* SPDX-License-Identifier: MIT */
#include "report/show/functions.h"

#include <inttypes.h>

#include "report/show/escape.h"
#include "report/show/html_page.h"
#include "report/show/tables.h"
#include "report/show/units.h"

#define FUNCTIONS_SHOWN 40

static const char *const heads[] = {"pid", "function", "calls",   "p50",         "p99",
				    "max", "in sum",   "of time", "cost a call", "cost in sum"};
static const char meaning[] =
	"A call is the outermost of the function in its thread, from its entry to its return, also while it waits. Of time: "
	"of the recording's length; threads may come to more than all of it. Cost: by which a call is longer for being "
	"timed, measured at the start of the recording by calls of a function that does nothing, with and without probes.";

/* The calls that cost something: all that a probe saw begin. MODEL_UNKNOWN: the file says too many. */
static uint64_t probed_calls(const struct model_function *function)
{
	uint64_t calls;

	if (__builtin_add_overflow(function->begun, function->nested, &calls) ||
	    __builtin_add_overflow(calls, function->not_kept, &calls))
		return MODEL_UNKNOWN;
	return calls;
}

uint64_t functions_cost_ns(const struct model_function *function)
{
	uint64_t calls = probed_calls(function), cost_ns;

	if (function->cost_ns == MODEL_UNKNOWN || calls == MODEL_UNKNOWN ||
	    __builtin_mul_overflow(calls, function->cost_ns, &cost_ns))
		return MODEL_UNKNOWN;
	return cost_ns;
}

static uint64_t time_of(const struct model_function *function, int column)
{
	const struct model_metric *duration = &function->duration;

	switch (column) {
	case 0:
		return model_percentile(duration, 5000);
	case 1:
		return model_percentile(duration, 9900);
	case 2:
		return duration->count ? model_maximum(duration) : MODEL_UNKNOWN;
	default:
		return duration->sum;
	}
}

/* What did not return is neither lost nor in the figures above. */
static uint64_t not_returned(const struct model_function *function)
{
	uint64_t over = function->duration.count + function->left_behind;

	return function->begun > over ? function->begun - over : 0;
}

static void put_remainders(struct buffer *out, const struct model_function *function)
{
	if (function->nested > 0)
		buffer_printf(out, " %s calls of it were within these.", units_count(function->nested).text);
	if (function->left_behind > 0)
		buffer_printf(out, " %s were left without a return, as by longjmp(), and are not timed.",
			      units_count(function->left_behind).text);
	if (not_returned(function) > 0)
		buffer_printf(out, " %s had not returned at the end.",
			      units_count(not_returned(function)).text);
	if (function->unmatched > 0)
		buffer_printf(out, " %s returned that had begun before.",
			      units_count(function->unmatched).text);
}

static void words_function(struct buffer *out, words_escape escape, const struct model *model,
			   const struct model_function *function)
{
	uint64_t cost_ns = functions_cost_ns(function), calls = probed_calls(function);

	escape(out, function->name);
	buffer_string(out, " of ");
	escape(out, function->module);
	buffer_printf(out, " (pid %" PRIu64 "): ", function->process->pid);
	if (cost_ns == MODEL_UNKNOWN)
		buffer_string(out, "what it costs to time it could not be measured.");
	else
		buffer_printf(
			out,
			"to time it cost about %s a call, measured on this machine: %s call%s took %s longer, "
			"%s of the time recorded. Of each duration above, about %s are the probes' own.",
			units_ns(function->cost_ns).text, units_count(calls).text, calls == 1 ? "" : "s",
			units_ns(cost_ns).text, units_share(cost_ns, model->duration_ns).text,
			units_ns(function->within_ns).text);
	put_remainders(out, function);
}

void functions_words_overrun(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	for (size_t i = 0; i < overrun->functions_len; i++) {
		const struct model_function_part *part = &overrun->functions[i];

		buffer_string(out, i ? "; " : "");
		escape(out, part->asked);
		if (part->calls > 0)
			buffer_printf(out, " %s", units_times(part->calls).text);
		if (part->running > 0)
			buffer_printf(out, "%s %s that went on beyond it", part->calls ? " and" : "",
				      units_count(part->running).text);
		buffer_printf(out, ", %s of it", units_ns(part->duration_ns).text);
	}
}

static struct table *functions_table(const struct model *model)
{
	struct table *table = tables_new(model, heads, "RLrrrrrrrr");

	for (size_t i = 0; i < model->functions_len && i < FUNCTIONS_SHOWN; i++) {
		const struct model_function *function = &model->functions[i];

		table_number(table, function->process->pid);
		table_name(table, function->asked, false);
		table_count(table, function->duration.count);
		for (int column = 0; column < 4; column++)
			table_ns(table, time_of(function, column));
		table_cell(table, units_share(function->duration.sum, model->duration_ns).text);
		table_ns(table, function->cost_ns);
		table_ns(table, functions_cost_ns(function));
	}
	return table;
}

/* ---- in the terminal ---- */

void functions_text(struct text_page *page)
{
	const struct model *model = page->model;
	struct buffer line = {0};

	if (model->functions_len == 0)
		return;
	text_heading(page, "Functions", "timed as --function asks");
	text_table(page, functions_table(model));
	text_left_out(page, FUNCTIONS_SHOWN, model->functions_total, "functions");
	for (size_t i = 0; i < model->functions_len && i < FUNCTIONS_SHOWN; i++) {
		words_function(&line, escape_terminal, model, &model->functions[i]);
		text_sentence(page, &line, 2);
	}
	buffer_string(&line, meaning);
	text_sentence(page, &line, 2);
}

/* ---- in HTML ---- */

void functions_html(struct buffer *out, const struct model *model)
{
	if (model->functions_len == 0)
		return;
	buffer_string(out, "<h2>Functions</h2>\n");
	table_html(functions_table(model), out);
	html_left_out(out, FUNCTIONS_SHOWN, model->functions_total, "functions");
	for (size_t i = 0; i < model->functions_len && i < FUNCTIONS_SHOWN; i++) {
		buffer_string(out, "<p>");
		words_function(out, escape_html, model, &model->functions[i]);
		buffer_string(out, "</p>\n");
	}
	buffer_printf(out, "<p class=\"soft\">%s</p>\n", meaning);
}
