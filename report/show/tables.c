/* SPDX-License-Identifier: MIT */
#include "report/show/tables.h"

#include <stdlib.h>
#include <string.h>

#include "report/show/units.h"
#include "report/show/verdict_words.h"

static void put_p50_p99_max(struct table *table, const struct model_metric *metric)
{
	table_ns(table, model_percentile(metric, 5000));
	table_ns(table, model_percentile(metric, 9900));
	table_ns(table, model_maximum(metric));
}

struct table *tables_new(const struct model *model, const char *const *heads, const char *align)
{
	struct table *table = table_new(heads, align);

	if (strcmp(heads[0], "pid") == 0 && model->processes_len == 1)
		table_drop(table, 0);
	return table;
}

/* ---- handlers ---- */

static int compare_handlers(const void *a, const void *b)
{
	const struct model_handler *x = *(const struct model_handler *const *)a;
	const struct model_handler *y = *(const struct model_handler *const *)b;
	const struct model_metric *x_service = &x->metrics[MODEL_SERVICE];
	const struct model_metric *y_service = &y->metrics[MODEL_SERVICE];

	if (x->over_ns != y->over_ns)
		return x->over_ns < y->over_ns ? 1 : -1;
	if (x_service->sum != y_service->sum)
		return x_service->sum < y_service->sum ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id);
}

static bool is_worth_showing(const struct model_handler *handler)
{
	return handler->overruns > 0 || handler->metrics[MODEL_SERVICE].count > 0;
}

/* NULL: no memory. */
static const struct model_handler **sort_handlers(const struct model *model, bool inferred, size_t *len)
{
	const struct model_handler **sorted = calloc(model->handlers_len + 1, sizeof(*sorted));

	*len = 0;
	for (size_t i = 0; sorted && i < model->handlers_len; i++)
		if ((model->handlers[i].source == MODEL_PROBES) == inferred &&
		    is_worth_showing(&model->handlers[i]))
			sorted[(*len)++] = &model->handlers[i];
	if (sorted)
		qsort(sorted, *len, sizeof(*sorted), compare_handlers);
	return sorted;
}

static void put_overruns(struct table *table, const struct model_handler *handler)
{
	table_count(table, handler->overruns);
	if (handler->overruns)
		table_mark(table);
	table_ns(table, handler->over_ns);
}

static void put_blame(struct table *table, const struct model_handler *handler)
{
	table_ns(table, handler->blame_ns);
	table_count(table, handler->victims);
}

static void put_handler(struct table *table, const struct model_handler *handler)
{
	const struct model_metric *service = &handler->metrics[MODEL_SERVICE];

	table_number(table, handler->process->pid);
	table_name(table, handler->name, false);
	table_count(table, service->known ? service->count : MODEL_UNKNOWN);
	put_p50_p99_max(table, service);
	table_ns(table, model_percentile(&handler->metrics[MODEL_WAIT], 9900));
	table_ns(table, handler->budget_ns);
	put_overruns(table, handler);
	put_blame(table, handler);
}

struct table *tables_handlers(const struct model *model, size_t max, struct tables_rows *rows)
{
	static const char *const heads[] = {"pid",      "handler", "dispatches", "p50",
					    "p99",      "max",     "wait p99",   "budget",
					    "overruns", "beyond",  "blame",      "victims"};
	struct table *table = tables_new(model, heads, "RLrrrrrrrrrr");
	const struct model_handler **sorted = sort_handlers(model, false, &rows->total);

	rows->shown = rows->total < max ? rows->total : max;
	if (!sorted)
		return table_free(table);
	for (size_t i = 0; i < rows->shown; i++)
		put_handler(table, sorted[i]);
	free(sorted);
	return table;
}

static void put_inferred(struct table *table, const struct model *model, const struct model_handler *handler)
{
	struct buffer mostly = {0};
	struct late late;

	late_of(&late, model, handler->process, handler);
	verdict_words_mostly(&mostly, &late);
	table_number(table, handler->process->pid);
	table_name(table, handler->name, true);
	put_overruns(table, handler);
	table_ns(table, late.longest ? late.longest->duration_ns : MODEL_UNKNOWN);
	table_buffer(table, &mostly);
	put_blame(table, handler);
	buffer_free(&mostly);
}

struct table *tables_inferred(const struct model *model, size_t max, struct tables_rows *rows)
{
	static const char *const heads[] = {"pid",     "handler", "overruns", "beyond",
					    "longest", "mostly",  "blame",    "victims"};
	struct table *table = tables_new(model, heads, "RLrrrlrr");
	const struct model_handler **sorted = sort_handlers(model, true, &rows->total);

	rows->shown = rows->total < max ? rows->total : max;
	if (!sorted)
		return table_free(table);
	for (size_t i = 0; i < rows->shown; i++)
		put_inferred(table, model, sorted[i]);
	free(sorted);
	return table;
}

/* ---- loops ---- */

static void put_loop(struct table *table, const struct model_loop *loop)
{
	table_number(table, loop->process->pid);
	table_number(table, loop->tid);
	table_name(table, loop->name, false);
	table_cell(table, loop->source == MODEL_PROBES ? "kernel" : "process");
	table_count(table, loop->iterations);
	table_cell(table,
		   loop->is_shared ? "-" : units_share(model_busy_ns(loop), model_whole_ns(loop)).text);
	put_p50_p99_max(table, &loop->metrics[MODEL_BUSY]);
	table_ns(table, model_percentile(&loop->metrics[MODEL_POLL], 5000));
	table_count(table, model_percentile(&loop->metrics[MODEL_BATCH], 9900));
}

struct table *tables_loops(const struct model *model, size_t max, struct tables_rows *rows)
{
	static const char *const heads[] = {"pid",        "tid",         "loop",     "seen by",
					    "iterations", "utilization", "busy p50", "busy p99",
					    "busy max",   "poll p50",    "batch p99"};
	struct table *table = tables_new(model, heads, "RRLlrrrrrrr");

	rows->total = model->loops_total;
	rows->shown = model->loops_len < max ? model->loops_len : max;
	for (size_t i = 0; i < rows->shown; i++)
		put_loop(table, &model->loops[i]);
	return table;
}

/* ---- write stalls ---- */

struct table *tables_stages(const struct stall_group *group)
{
	static const char *const heads[] = {"stage", "p50", "p99", "max", "share", ""};
	struct table *table = table_new(heads, "Lrrrrl");

	for (int stage = 0; stage < STALL_COLUMNS; stage++) {
		table_cell(table, stall_stage_names[stage]);
		table_ns(table, group->p50_ns[stage]);
		table_ns(table, group->p99_ns[stage]);
		table_ns(table, group->max_ns[stage]);
		table_cell(table, units_share(group->sum_ns[stage], group->sum_ns[STALL_WHOLE]).text);
		if (stage == (int)group->worst)
			table_mark(table);
		table_cell(table, stall_stage_ends[stage]);
	}
	return table;
}

struct table *tables_sockets(const struct stall_group *groups, size_t len, size_t max,
			     struct tables_rows *rows)
{
	static const char *const heads[] = {"fd",  "local", "remote", "stalls",  "closed",     "open",
					    "p50", "p99",   "max",    "ACK p50", "worst stage"};
	struct table *table = table_new(heads, "RlLrrrrrrrl");
	size_t i = 1;

	for (; i < len && groups[i].process == groups->process; i++) {
		const struct stall_group *group = &groups[i];

		if (i > max)
			continue;
		table_format(table, "%d", group->first->fd);
		table_name(table, group->first->local, false);
		table_name(table, group->first->remote, false);
		table_count(table, group->count + group->closed + group->open);
		table_count(table, group->closed);
		table_count(table, group->open);
		table_ns(table, group->p50_ns[STALL_WHOLE]);
		table_ns(table, group->p99_ns[STALL_WHOLE]);
		table_ns(table, group->max_ns[STALL_WHOLE]);
		table_ns(table, group->p50_ns[STALL_ACK]);
		table_cell(table, group->count ? stall_stage_names[group->worst] : "");
	}
	rows->total = i - 1;
	rows->shown = rows->total < max ? rows->total : max;
	return table;
}

struct table *tables_own_stalls(const struct model *model, struct tables_rows *rows)
{
	static const char *const heads[] = {"pid", "handler", "stalls", "p50", "p99", "max"};
	struct table *table = tables_new(model, heads, "RLrrrr");

	*rows = (struct tables_rows){0};
	for (size_t i = 0; i < model->handlers_len; i++) {
		const struct model_handler *handler = &model->handlers[i];
		const struct model_metric *stall = &handler->metrics[MODEL_WRITE_STALL];

		if (!stall->known || stall->count == 0)
			continue;
		table_number(table, handler->process->pid);
		table_name(table, handler->name, false);
		table_count(table, stall->count);
		put_p50_p99_max(table, stall);
		rows->shown++;
		rows->total++;
	}
	return table;
}

struct table *tables_acks(const struct model *model, size_t max, struct tables_rows *rows)
{
	static const char *const heads[] = {"pid",      "fd",        "local",        "remote",    "ACKs",
					    "told",     "above 2/3", "unsent",       "not armed", "edge",
					    "replaced", "loop busy", "already told", "other"};
	struct table *table = tables_new(model, heads, "RRlLrrrrrrrrrr");

	rows->total = model->acks_total;
	rows->shown = model->acks_len < max ? model->acks_len : max;
	for (size_t i = 0; i < rows->shown; i++) {
		const struct model_acks *acks = &model->acks[i];

		table_number(table, acks->process->pid);
		table_format(table, "%d", acks->fd);
		table_name(table, acks->local, false);
		table_name(table, acks->remote, false);
		table_count(table, acks->acks);
		table_count(table, acks->told);
		for (int why = 0; why < MODEL_NO_EVENTS; why++)
			table_count(table, acks->no_event[why]);
	}
	return table;
}
