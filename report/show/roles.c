/* SPDX-License-Identifier: MIT */
#include "report/show/roles.h"

#include <inttypes.h>
#include <string.h>

#include "report/show/escape.h"
#include "report/show/html_page.h"
#include "report/show/tables.h"
#include "report/show/units.h"
#include "report/show/words.h"

#define ROLES_SHOWN    40
#define FINDINGS_SHOWN 30
#define STAGES         (MODEL_ROLE_METRICS - MODEL_ROLE_LEFT)

static const char *const role_heads[] = {"pid", "role",     "events",   "p50",     "p99",
					 "max", "wait p50", "wait p99", "wait max"};
static const char *const stage_heads[] = {"pid",  "role",   "arrivals",  "age p50", "age p99", "left",
					  "busy", "kernel", "scheduler", "return",  "queue"};
static const char roles_meaning[] =
	"Inferred from the order of system calls: an event's turn begins with the first one on its descriptor, and what "
	"its handler computes before that counts as the turn before. p50, p99, max: the turn. Wait: from the return of "
	"the wait to the turn.";
static const char stages_meaning[] =
	"Age: from the arrival in the kernel (data; of a listener, the end of the handshake) to the return of the first "
	"read. Of that, in per cent of the sum: left, waits returned, and the program had not asked for it, or did not read "
	"it; busy, the loop did other things and did not wait; kernel, to the wake-up; scheduler, to a CPU; return, to the "
	"return of the wait; queue, handlers before it, and the read.";

static uint64_t p50(const struct model_metric *metric)
{
	return model_percentile(metric, 5000);
}

static uint64_t p99(const struct model_metric *metric)
{
	return model_percentile(metric, 9900);
}

static uint64_t role_time(const struct model_role *role, int column)
{
	const struct model_metric *metric = &role->metrics[column < 3 ? MODEL_ROLE_SERVICE : MODEL_ROLE_WAIT];

	return column % 3 == 0 ? p50(metric) : column % 3 == 1 ? p99(metric) : model_maximum(metric);
}

static bool has_age(const struct model_role *role)
{
	return role->metrics[MODEL_ROLE_AGE].count > 0;
}

static double mean_age_ns(const struct model_role *role)
{
	return (double)role->metrics[MODEL_ROLE_AGE].sum / (double)role->metrics[MODEL_ROLE_AGE].count;
}

static struct figure stage_share(const struct model_role *role, int stage)
{
	return units_share(role->metrics[MODEL_ROLE_LEFT + stage].sum, role->metrics[MODEL_ROLE_AGE].sum);
}

static size_t count_ages(const struct model *model)
{
	size_t count = 0;

	for (size_t i = 0; i < model->roles_len; i++)
		count += has_age(&model->roles[i]);
	return count;
}

static struct table *roles_table(const struct model *model)
{
	struct table *table = tables_new(model, role_heads, "RLrrrrrrr");

	for (size_t i = 0; i < model->roles_len && i < ROLES_SHOWN; i++) {
		const struct model_role *role = &model->roles[i];

		table_number(table, role->process->pid);
		table_name(table, role->name, true);
		table_count(table, role->metrics[MODEL_ROLE_WAIT].count);
		for (int column = 0; column < 6; column++)
			table_ns(table, role_time(role, column));
	}
	return table;
}

static struct table *stages_table(const struct model *model)
{
	struct table *table = tables_new(model, stage_heads, "RLrrrrrrrrr");
	size_t shown = 0;

	for (size_t i = 0; i < model->roles_len && shown < ROLES_SHOWN; i++) {
		const struct model_role *role = &model->roles[i];

		if (!has_age(role))
			continue;
		table_number(table, role->process->pid);
		table_name(table, role->name, false);
		table_count(table, role->metrics[MODEL_ROLE_AGE].count);
		table_ns(table, p50(&role->metrics[MODEL_ROLE_AGE]));
		table_ns(table, p99(&role->metrics[MODEL_ROLE_AGE]));
		for (int stage = 0; stage < STAGES; stage++)
			table_cell(table, stage_share(role, stage).text);
		shown++;
	}
	return table;
}

/* ---- findings in words ---- */

static const char *habit(enum model_finding_kind kind)
{
	static const char *const habits[MODEL_FINDINGS_KINDS] = {
		[MODEL_IDLE_EPOLLOUT] = "EPOLLOUT stays armed with nothing to write",
		[MODEL_NOT_DRAINED] = "edge-triggered, and not read until it is empty",
		[MODEL_MAXEVENTS_FULL] = "maxevents is too small",
		[MODEL_CTL_STORM] = "a storm of epoll_ctl",
		[MODEL_ZERO_TIMEOUT] = "it polls with a timeout of 0",
		[MODEL_BLOCKING] = "a blocking descriptor in the epoll set",
		[MODEL_LEFT_READY] = "level-triggered, ready, and nobody serves it",
		[MODEL_NO_DESCRIPTOR] = "no descriptor left to accept with",
	};

	return habits[kind];
}

static const char *remedy(enum model_finding_kind kind)
{
	static const char *const remedies[MODEL_FINDINGS_KINDS] = {
		[MODEL_IDLE_EPOLLOUT] = "Ask for EPOLLOUT only while a send came back short.",
		[MODEL_NOT_DRAINED] = "Read until EAGAIN, or go without EPOLLET.",
		[MODEL_MAXEVENTS_FULL] = "Give epoll_wait() room for more events.",
		[MODEL_CTL_STORM] = "Change a registration only when what is wanted of it changes.",
		[MODEL_ZERO_TIMEOUT] =
			"Let the wait sleep until something is ready, or the next timer is due.",
		[MODEL_BLOCKING] = "Set O_NONBLOCK: one call that has to wait stops the whole loop.",
		[MODEL_LEFT_READY] =
			"Read, accept or close it, or take it out of the set: the loop never sleeps while it is ready.",
		[MODEL_NO_DESCRIPTOR] =
			"Raise its limit of open files (ulimit -n; with ENFILE fs.file-max), or close idle ones before.",
	};

	return remedies[kind];
}

static void put_amount(struct buffer *out, const struct model *model, const struct model_finding *finding)
{
	struct figure count = units_count(finding->count), cost = units_ns(finding->cost_ns);
	double seconds = (double)model->duration_ns / 1e9;

	switch (finding->kind) {
	case MODEL_IDLE_EPOLLOUT:
		buffer_printf(out, "returned %s", units_times(finding->count).text);
		if (seconds > 0)
			buffer_printf(out, " (%.0f a second)", (double)finding->count / seconds);
		buffer_printf(out,
			      " with no send after it; in %s iterations nothing else was ready, %s in sum",
			      units_count(finding->idle_iterations).text, cost.text);
		return;
	case MODEL_NOT_DRAINED:
		buffer_printf(out, "data left behind lay there %s until more came, %s in sum, at most %s",
			      units_times(finding->count).text, cost.text,
			      units_ns(finding->longest_ns).text);
		return;
	case MODEL_MAXEVENTS_FULL:
		buffer_printf(
			out,
			"after %s of %s waits that were full the next one had events at once; those took "
			"%s in sum",
			count.text, units_count(finding->of).text, cost.text);
		return;
	case MODEL_CTL_STORM:
		buffer_printf(out, "%s changes of registrations for %s events", count.text,
			      units_count(finding->of).text);
		if (finding->same > 0)
			buffer_printf(out, ", of which %s changed nothing", units_count(finding->same).text);
		buffer_printf(out, "; all its calls took %s", cost.text);
		return;
	case MODEL_ZERO_TIMEOUT:
		buffer_printf(out, "%s of %s waits returned nothing at once, %s in sum", count.text,
			      units_count(finding->of).text, cost.text);
		return;
	case MODEL_LEFT_READY:
		buffer_printf(
			out,
			"%s of %s waits returned it, and no system call was made on it; %s of them returned "
			"nothing else that was served, and took %s in sum with their iterations",
			count.text, units_count(finding->of).text, units_count(finding->idle_iterations).text,
			cost.text);
		return;
	case MODEL_NO_DESCRIPTOR:
		buffer_printf(
			out,
			"accept() failed %s with EMFILE or ENFILE while connections were in the queue; until its thread "
			"accepted again it was %s in sum, at most %s",
			units_times(finding->count).text, cost.text, units_ns(finding->longest_ns).text);
		return;
	default:
		buffer_printf(out, "%s call%s on it could have blocked, and ", count.text,
			      finding->count == 1 ? "" : "s");
		if (finding->cost_ns == 0)
			buffer_string(out, finding->count == 1 ? "did not" : "none did");
		else
			buffer_printf(out, "did for %s in sum, at most %s", cost.text,
				      units_ns(finding->longest_ns).text);
	}
}

static void words_finding(struct buffer *out, words_escape escape, const struct model *model,
			  const struct model_finding *finding)
{
	words_process(out, escape, finding->process);
	if (finding->tid != finding->process->pid)
		buffer_printf(out, ", thread %" PRIu64, finding->tid);
	if (finding->role) {
		buffer_string(out, ", ");
		escape(out, finding->role);
	}
	if (finding->fd >= 0)
		buffer_printf(out, " (fd %d)", finding->fd);
	buffer_printf(out, ": %s: ", habit(finding->kind));
	put_amount(out, model, finding);
	buffer_printf(out, ". %s", remedy(finding->kind));
}

/* Of a process: in sum at least a hundredth of the recording, or once more than the budget. */
static bool is_worth_a_headline(const struct model *model, const struct model_process *process,
				enum model_finding_kind kind)
{
	uint64_t budget_ns = model_meta_number(model, "budget_ns"), cost_ns = 0, longest_ns = 0;

	for (size_t i = 0; i < model->findings_len; i++) {
		const struct model_finding *finding = &model->findings[i];

		if (finding->process != process || finding->kind != kind)
			continue;
		cost_ns += finding->cost_ns;
		if (finding->longest_ns > longest_ns)
			longest_ns = finding->longest_ns;
	}
	return cost_ns >= model->duration_ns / 100 || (budget_ns != MODEL_UNKNOWN && longest_ns > budget_ns);
}

bool roles_words_habits(struct buffer *out, const struct model *model, const struct model_process *process)
{
	bool told[MODEL_FINDINGS_KINDS] = {false}, any = false;

	for (size_t i = 0; i < model->findings_len; i++) {
		enum model_finding_kind kind = model->findings[i].kind;

		if (model->findings[i].process != process || told[kind] ||
		    !is_worth_a_headline(model, process, kind))
			continue;
		buffer_printf(out, "%s%s", any ? "; " : "", habit(kind));
		told[kind] = true;
		any = true;
	}
	if (any)
		buffer_string(out, ": see Findings");
	return any;
}

static bool words_attribution(struct buffer *out, const struct model *model)
{
	uint64_t events = model_meta_number(model, "events");
	uint64_t missing = model_meta_number(model, "events_not_attributed");

	if (events == MODEL_UNKNOWN || missing == MODEL_UNKNOWN || missing == 0 || events == 0)
		return false;
	buffer_printf(
		out,
		"%s of %s events (%s) had no system call of the loop's thread on their descriptor, or were beyond "
		"the first 64 of a batch: not attributed.",
		units_count(missing).text, units_count(events).text, units_share(missing, events).text);
	return true;
}

static bool has_roles(const struct model *model, const struct model_process *process)
{
	for (size_t i = 0; i < model->roles_len; i++)
		if (model->roles[i].process == process)
			return true;
	return false;
}

/* Loops in io_uring, as probe_source.c names them. */
size_t roles_untold_rings(const struct model *model)
{
	size_t count = 0;

	for (size_t i = 0; i < model->loops_len; i++)
		count += model->loops[i].source == MODEL_PROBES &&
			 strncmp(model->loops[i].name, "io_uring ", 9) == 0 &&
			 !has_roles(model, model->loops[i].process);
	return count;
}

static bool words_rings(struct buffer *out, const struct model *model)
{
	size_t count = roles_untold_rings(model);

	if (count > 0)
		buffer_printf(
			out,
			"Of %zu loop%s in io_uring no roles are told: nothing completed there, or this kernel does "
			"not tell of requests (stint doctor).",
			count, count == 1 ? "" : "s");
	return count > 0;
}

/* ---- in the terminal ---- */

static void text_roles_table(struct text_page *page)
{
	const struct model *model = page->model;
	struct buffer line = {0};

	text_table(page, roles_table(model));
	text_left_out(page, ROLES_SHOWN, model->roles_total, "roles");
	buffer_string(&line, roles_meaning);
	text_sentence(page, &line, 2);
	if (words_attribution(&line, model))
		text_sentence(page, &line, 2);
}

static void text_stages_table(struct text_page *page)
{
	const struct model *model = page->model;
	struct buffer line = {0};

	text_table(page, stages_table(model));
	text_left_out(page, ROLES_SHOWN, count_ages(model), "roles");
	buffer_string(&line, stages_meaning);
	text_sentence(page, &line, 2);
}

void roles_text(struct text_page *page)
{
	const struct model *model = page->model;
	struct buffer line = {0};

	if (model->roles_len > 0 || roles_untold_rings(model) > 0)
		text_heading(
			page, "Descriptors by role",
			"how long their events waited and were served (p50, p99, max); longest in sum first");
	if (model->roles_len > 0)
		text_roles_table(page);
	if (words_rings(&line, model))
		text_sentence(page, &line, 2);
	if (count_ages(model) > 0) {
		text_heading(page, "Events' wait", "from the arrival in the kernel to the read");
		text_stages_table(page);
	}
	if (model->findings_len > 0)
		text_heading(page, "Findings", "habits of these loops that cost time or stall connections");
	for (size_t i = 0; i < model->findings_len && i < FINDINGS_SHOWN; i++) {
		words_finding(&line, escape_terminal, model, &model->findings[i]);
		text_sentence(page, &line, 2);
	}
	text_left_out(page, FINDINGS_SHOWN, model->findings_total, "findings");
}

/* ---- in HTML ---- */

static void html_roles_table(struct buffer *out, const struct model *model)
{
	table_html(roles_table(model), out);
	html_left_out(out, ROLES_SHOWN, model->roles_total, "roles");
	buffer_printf(out, "<p class=\"soft\">%s ", roles_meaning);
	words_attribution(out, model);
	buffer_string(out, "</p>\n");
}

/* The mean age of each role's events, cut into its stages: the longest fills the width. */
static void html_stages_bars(struct buffer *out, const struct model *model)
{
	double longest_ns = 0;
	size_t shown = 0;

	for (size_t i = 0; i < model->roles_len; i++)
		if (has_age(&model->roles[i]) && mean_age_ns(&model->roles[i]) > longest_ns)
			longest_ns = mean_age_ns(&model->roles[i]);
	buffer_string(out, "<p class=\"key\">Mean age:");
	for (int stage = 0; stage < STAGES; stage++)
		buffer_printf(out, " <i class=\"stage%d\"></i>%s", stage, stage_heads[5 + stage]);
	buffer_string(out, "</p>\n");
	for (size_t i = 0; i < model->roles_len && shown < ROLES_SHOWN && longest_ns > 0; i++) {
		const struct model_role *role = &model->roles[i];

		if (!has_age(role))
			continue;
		buffer_string(out, "<div class=\"stages\"><span>");
		escape_html(out, role->name);
		buffer_printf(out, " %s</span><div class=\"bar\">",
			      units_ns((uint64_t)mean_age_ns(role)).text);
		for (int stage = 0; stage < STAGES; stage++)
			buffer_printf(out, "<i class=\"stage%d\" style=\"width:%.2f%%\"></i>", stage,
				      100 * (double)role->metrics[MODEL_ROLE_LEFT + stage].sum /
					      (double)role->metrics[MODEL_ROLE_AGE].count / longest_ns);
		buffer_string(out, "</div></div>\n");
		shown++;
	}
}

static void html_stages_table(struct buffer *out, const struct model *model)
{
	table_html(stages_table(model), out);
	html_left_out(out, ROLES_SHOWN, count_ages(model), "roles");
	html_stages_bars(out, model);
	buffer_printf(out, "<p class=\"soft\">%s</p>\n", stages_meaning);
}

void roles_html(struct buffer *out, const struct model *model)
{
	if (model->roles_len > 0 || roles_untold_rings(model) > 0)
		buffer_string(out, "<h2>Descriptors by role</h2>\n");
	if (model->roles_len > 0)
		html_roles_table(out, model);
	if (roles_untold_rings(model) > 0) {
		buffer_string(out, "<p>");
		words_rings(out, model);
		buffer_string(out, "</p>\n");
	}
	if (count_ages(model) > 0) {
		buffer_string(out, "<h2>Events' wait</h2>\n");
		html_stages_table(out, model);
	}
	if (model->findings_len > 0)
		buffer_string(out, "<h2>Findings</h2>\n");
	for (size_t i = 0; i < model->findings_len && i < FINDINGS_SHOWN; i++) {
		buffer_string(out, "<p>");
		words_finding(out, escape_html, model, &model->findings[i]);
		buffer_string(out, "</p>\n");
	}
	html_left_out(out, FINDINGS_SHOWN, model->findings_total, "findings");
}
