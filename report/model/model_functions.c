/* SPDX-License-Identifier: MIT */
#include "report/model/model_functions.h"

#include <stdlib.h>

static bool take_function(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_function *function = item;

	function->id = sqlite3_column_int64(row, 0);
	function->process = loader_process(loader, row, 1);
	function->asked = loader_name(loader, row, 2);
	function->name = loader_name(loader, row, 3);
	function->module = loader_name(loader, row, 4);
	function->address = loader_number(row, 5);
	function->cost_ns = loader_known(row, 6);
	function->within_ns = loader_known(row, 7);
	function->begun = loader_number(row, 8);
	function->nested = loader_number(row, 9);
	function->left_behind = loader_number(row, 10);
	function->unmatched = loader_number(row, 11);
	function->not_kept = loader_number(row, 12);
	return true;
}

static const struct loader_table function_table = {
	"function",
	"SELECT id, process, asked, name, module, address, cost_ns, within_ns, begun, nested, left_behind, unmatched,"
	" not_kept FROM function ORDER BY process,"
	" (SELECT sum FROM function_total WHERE function = id AND metric = 'duration') DESC, id",
	MODEL_FUNCTIONS, sizeof(struct model_function), take_function};

void model_load_functions(struct loader *loader)
{
	struct model *model = loader->model;
	sqlite3_stmt *buckets, *total;

	loader_table(loader, &function_table, &model->functions, &model->functions_len,
		     &model->functions_total);
	buckets = loader_prepare(
		loader,
		"SELECT bucket, count FROM function_histogram WHERE function = ? AND metric = ? ORDER BY bucket");
	total = loader_prepare(
		loader,
		"SELECT count, sum, min, max, overflow FROM function_total WHERE function = ? AND metric = ?");
	for (size_t i = 0; i < model->functions_len; i++)
		loader_metric(loader, buckets, total, model->functions[i].id, "duration",
			      &model->functions[i].duration);
	sqlite3_finalize(buckets);
	sqlite3_finalize(total);
}

void model_free_functions(struct model *model)
{
	for (size_t i = 0; i < model->functions_len; i++) {
		free(model->functions[i].duration.buckets);
		free(model->functions[i].asked);
		free(model->functions[i].name);
		free(model->functions[i].module);
	}
	free(model->functions);
}

const char model_function_parts_sql[] =
	"SELECT overrun, asked, calls, running, duration_ns FROM overrun_function";

void model_take_function_part(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	struct model_function_part *part;

	if (overrun->functions_len == MODEL_FUNCTION_PARTS)
		return;
	part = &overrun->functions[overrun->functions_len];
	part->asked = loader_name(loader, row, 1);
	if (!part->asked)
		return;
	part->calls = loader_number(row, 2);
	part->running = loader_number(row, 3);
	part->duration_ns = loader_number(row, 4);
	overrun->functions_len++;
}

void model_free_function_parts(struct model_overrun *overrun)
{
	for (size_t i = 0; i < overrun->functions_len; i++)
		free(overrun->functions[i].asked);
}
