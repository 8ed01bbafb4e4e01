/* SPDX-License-Identifier: MIT */
#include "report/model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/model/model_file.h"
#include "report/model/model_functions.h"
#include "report/model/model_load.h"
#include "report/model/model_roles.h"
#include "report/model/model_sockets.h"
#include "report/model/verdicts.h"
#include "stint/histogram.h"

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

static const struct model_meta *find_meta(const struct model *model, const char *key)
{
	for (size_t i = 0; i < model->meta_len; i++) {
		if (strcmp(model->meta[i].key, key) == 0)
			return &model->meta[i];
	}
	return NULL;
}

const char *model_meta_text(const struct model *model, const char *key)
{
	const struct model_meta *meta = find_meta(model, key);

	return meta ? meta->value : NULL;
}

uint64_t model_meta_number(const struct model *model, const char *key)
{
	const struct model_meta *meta = find_meta(model, key);

	return meta ? meta->number : MODEL_UNKNOWN;
}

static uint64_t sum_losses(const struct model *model, bool of_stacks)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < model->losses_len; i++)
		if (model->losses[i].of_stacks == of_stacks)
			sum += model->losses[i].count;
	return sum;
}

uint64_t model_lost(const struct model *model)
{
	return sum_losses(model, false);
}

uint64_t model_stacks_incomplete(const struct model *model)
{
	return sum_losses(model, true);
}

static uint64_t within_extremes(const struct model_metric *metric, uint64_t value)
{
	if (metric->min != MODEL_UNKNOWN && value < metric->min)
		return metric->min;
	if (metric->max != MODEL_UNKNOWN && value > metric->max)
		return metric->max;
	return value;
}

uint64_t model_percentile(const struct model_metric *metric, unsigned permyriad)
{
	uint64_t counted = metric->overflow, seen = 0, rank;

	for (size_t i = 0; i < metric->buckets_len; i++)
		counted += metric->buckets[i].count;
	if (!metric->known || counted == 0)
		return MODEL_UNKNOWN;
	/* counted * permyriad would overflow for a count near 2^64. */
	rank = counted / 10000 * permyriad + (counted % 10000 * permyriad + 9999) / 10000;
	for (size_t i = 0; i < metric->buckets_len; i++) {
		uint32_t bucket = metric->buckets[i].bucket;
		uint64_t low = stint_histogram_bucket_low(bucket);
		uint64_t high = stint_histogram_bucket_low(bucket + 1);

		seen += metric->buckets[i].count;
		if (seen >= rank)
			return within_extremes(metric, low + (high - low) / 2);
	}
	return metric->max;
}

uint64_t model_maximum(const struct model_metric *metric)
{
	return metric->max == MODEL_UNKNOWN ? model_percentile(metric, 10000) : metric->max;
}

double model_mean(const struct model_metric *metric, bool *known)
{
	*known = metric->known && metric->count > 0;
	return *known ? (double)metric->sum / (double)metric->count : 0;
}

double model_seconds(const struct model *model, uint64_t time_ns)
{
	return (double)(int64_t)(time_ns - model->start_ns) / 1e9;
}
