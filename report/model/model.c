/* SPDX-License-Identifier: MIT */
#include "report/model/model.h"

#include <errno.h>
#include <stdlib.h>

#include "report/model/model_file.h"
#include "report/model/model_functions.h"
#include "report/model/model_load.h"
#include "report/model/model_roles.h"
#include "report/model/model_sockets.h"
#include "report/model/verdicts.h"

int model_new(struct model **ret, const char *path, char *error, size_t error_size)
{
	struct model *model;
	sqlite3 *db;
	int err = model_file_open(&db, path, error, error_size);

	if (err < 0)
		return err;
	model = calloc(1, sizeof(*model));
	err = model ? model_load(model, db, error, error_size) : -ENOMEM;
	sqlite3_close(db);
	if (err < 0) {
		model_free(model);
		return err;
	}
	*ret = model;
	return 0;
}

static void free_facts(struct model *model)
{
	for (size_t i = 0; i < model->meta_len; i++) {
		free(model->meta[i].key);
		free(model->meta[i].value);
	}
	for (size_t i = 0; i < model->losses_len; i++) {
		free(model->losses[i].name);
		free(model->losses[i].meaning);
	}
	free(model->meta);
	free(model->losses);
}

static void free_owners(struct model *model)
{
	for (size_t i = 0; i < model->processes_len; i++)
		free(model->processes[i].command);
	for (size_t i = 0; i < model->loops_len; i++) {
		for (int metric = 0; metric < MODEL_LOOP_METRICS; metric++)
			free(model->loops[i].metrics[metric].buckets);
		free(model->loops[i].name);
	}
	for (size_t i = 0; i < model->handlers_len; i++) {
		for (int metric = 0; metric < MODEL_HANDLER_METRICS; metric++)
			free(model->handlers[i].metrics[metric].buckets);
		free(model->handlers[i].name);
	}
	free(model->processes);
	free(model->loops);
	free(model->handlers);
}

static void free_overruns(struct model *model)
{
	for (size_t i = 0; i < model->overruns_len; i++) {
		struct model_overrun *overrun = &model->overruns[i];

		for (size_t j = 0; j < MODEL_SYSCALLS; j++)
			free(overrun->syscalls[j].name);
		for (size_t j = 0; overrun->frames && j < MODEL_FRAMES; j++)
			free(overrun->frames[j]);
		for (size_t j = 0; overrun->places && j < MODEL_FRAMES; j++) {
			free(overrun->places[j].module);
			free(overrun->places[j].file);
		}
		free(overrun->frames);
		free(overrun->places);
		verdicts_free(overrun->verdict);
		model_free_function_parts(overrun);
		free(overrun->role);
	}
	free(model->overruns);
}

struct model *model_free(struct model *model)
{
	if (!model)
		return NULL;
	free_facts(model);
	free_owners(model);
	free_overruns(model);
	for (size_t i = 0; i < model->stalls_len; i++) {
		free(model->stalls[i].local);
		free(model->stalls[i].remote);
	}
	for (size_t i = 0; i < model->events_len; i++) {
		free(model->events[i].local);
		free(model->events[i].remote);
	}
	free(model->stalls);
	model_free_sockets(model);
	model_free_roles(model);
	model_free_functions(model);
	free(model->events);
	free(model->nobody.command);
	free(model);
	return NULL;
}
