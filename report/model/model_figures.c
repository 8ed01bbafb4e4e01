/* SPDX-License-Identifier: MIT */
#include "report/model/model.h"

#include <string.h>

#include "stint/histogram.h"

/* What can be asked of a model: it is only read. */

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

/* Figures of a hostile file may be anything. */
static uint64_t sum_of(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

uint64_t model_busy_ns(const struct model_loop *loop)
{
	return sum_of(loop->busy_ns, loop->running_ns);
}

uint64_t model_whole_ns(const struct model_loop *loop)
{
	return sum_of(model_busy_ns(loop), loop->poll_ns);
}

double model_seconds(const struct model *model, uint64_t time_ns)
{
	return (double)(int64_t)(time_ns - model->start_ns) / 1e9;
}
