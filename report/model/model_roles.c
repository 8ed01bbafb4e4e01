/* SPDX-License-Identifier: MIT */
#include "report/model/model_roles.h"

#include <stdlib.h>

#include "report/model/loader.h"

static bool take_role(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_role *role = item;

	role->id = sqlite3_column_int64(row, 0);
	role->process = loader_process(loader, row, 1);
	role->name = loader_name(loader, row, 2);
	role->kind = loader_name(loader, row, 3);
	return true;
}

static bool take_finding(struct loader *loader, sqlite3_stmt *row, void *item)
{
	static const char *const kinds[MODEL_FINDINGS_KINDS] = {"idle_epollout",  "not_drained",
								"maxevents_full", "ctl_storm",
								"zero_timeout",   "blocking",
								"left_ready",     "no_descriptor"};
	struct model_finding *finding = item;
	int kind = 0;

	while (kind < MODEL_FINDINGS_KINDS && !loader_is_text(row, 3, kinds[kind]))
		kind++;
	if (kind == MODEL_FINDINGS_KINDS)
		return false; /* of a newer recorder, which says nothing to this one */
	finding->kind = (enum model_finding_kind)kind;
	finding->process = loader_process(loader, row, 0);
	finding->tid = loader_number(row, 1);
	finding->fd = loader_fd(row, 2);
	finding->role = loader_text(loader, row, 4, LOADER_TEXT_BYTES);
	finding->count = loader_number(row, 5);
	finding->of = loader_number(row, 6);
	finding->cost_ns = loader_number(row, 7);
	finding->longest_ns = loader_number(row, 8);
	finding->same = loader_number(row, 9);
	finding->idle_iterations = loader_number(row, 10);
	return true;
}

static const struct loader_table role_table = {
	"role",
	"SELECT id, process, name, kind FROM role ORDER BY process,"
	" (SELECT sum FROM role_total WHERE role = id AND metric = 'service') DESC, id",
	MODEL_ROLES, sizeof(struct model_role), take_role};
/*
 * Sets that a thread has made one after the other, with one number, are one loop: what was found of them is added up, in a
 * way that no figure of a file makes an error of.
 */
static const struct loader_table finding_table = {
	"(SELECT DISTINCT process, tid, epfd, fd, kind, role FROM finding)",
	"SELECT process, tid, fd, kind, role, CAST(total(count) AS INTEGER) AS counts,"
	" CAST(total(of) AS INTEGER), CAST(total(cost_ns) AS INTEGER) AS costs_ns, max(longest_ns),"
	" CAST(total(same) AS INTEGER), CAST(total(idle_iterations) AS INTEGER) FROM finding"
	" GROUP BY process, tid, epfd, fd, kind, role ORDER BY process, costs_ns DESC, counts DESC, fd",
	MODEL_FINDINGS, sizeof(struct model_finding), take_finding};

static void load_metrics(struct loader *loader)
{
	static const char *const names[MODEL_ROLE_METRICS] = {"wait",   "service",   "age",    "left", "busy",
							      "kernel", "scheduler", "return", "queue"};
	sqlite3_stmt *buckets = loader_prepare(
		loader,
		"SELECT bucket, count FROM role_histogram WHERE role = ? AND metric = ? ORDER BY bucket");
	sqlite3_stmt *total = loader_prepare(
		loader,
		"SELECT count, sum, min, max, overflow FROM role_total WHERE role = ? AND metric = ?");

	for (size_t i = 0; i < loader->model->roles_len; i++) {
		struct model_role *role = &loader->model->roles[i];

		for (int metric = 0; metric < MODEL_ROLE_METRICS; metric++)
			loader_metric(loader, buckets, total, role->id, names[metric],
				      &role->metrics[metric]);
	}
	sqlite3_finalize(buckets);
	sqlite3_finalize(total);
}

void model_load_roles(struct loader *loader)
{
	struct model *model = loader->model;

	loader_table(loader, &role_table, &model->roles, &model->roles_len, &model->roles_total);
	load_metrics(loader);
	loader_table(loader, &finding_table, &model->findings, &model->findings_len, &model->findings_total);
}

void model_free_roles(struct model *model)
{
	for (size_t i = 0; i < model->roles_len; i++) {
		for (int metric = 0; metric < MODEL_ROLE_METRICS; metric++)
			free(model->roles[i].metrics[metric].buckets);
		free(model->roles[i].name);
		free(model->roles[i].kind);
	}
	for (size_t i = 0; i < model->findings_len; i++)
		free(model->findings[i].role);
	free(model->roles);
	free(model->findings);
}
