/* SPDX-License-Identifier: MIT */
#include "report/record/series.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stint/histogram.h"

#define HASH_SLOTS 1024 /* a power of two */

/* What one set of counters held when it was last read. */
struct source {
	struct source *next;
	struct series_source key;
	bool known_min,
		known_max; /* an extreme was there at the baseline: it may be older than the recording */
	uint64_t min, max; /* as of the baseline */
	bool is_behind; /* the count was ahead of its buckets as they were read: they are looked at again */
	struct stint_histogram last;
};

/* The totals of one figure. */
struct figure {
	struct figure *next;
	int64_t process; /* without its sign */
	struct recording_owner owner;
	char metric[24];
	char unit[8];
	bool changed;
	struct recording_total total;
};

struct series_set {
	struct recording *recording;
	struct source *sources[HASH_SLOTS];
	struct figure *figures[HASH_SLOTS];
};

int series_new(struct series_set **ret, struct recording *recording)
{
	struct series_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->recording = recording;
	*ret = set;
	return 0;
}

struct series_set *series_free(struct series_set *set)
{
	if (!set)
		return NULL;
	for (size_t slot = 0; slot < HASH_SLOTS; slot++) {
		for (struct source *source = set->sources[slot], *next; source; source = next) {
			next = source->next;
			free(source);
		}
		for (struct figure *figure = set->figures[slot], *next; figure; figure = next) {
			next = figure->next;
			free(figure);
		}
	}
	free(set);
	return NULL;
}

static size_t mix(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t hash = a * 0x9e3779b97f4a7c15u;

	hash = (hash ^ b) * 0x9e3779b97f4a7c15u;
	hash = (hash ^ c) * 0x9e3779b97f4a7c15u;
	return (size_t)(hash >> 32) % HASH_SLOTS;
}

static struct source **source_slot(struct series_set *set, struct series_source key)
{
	return &set->sources[mix((uint64_t)key.process ^ (uint64_t)key.loop << 20, (uint64_t)key.handler,
				 key.metric)];
}

static bool is_source(const struct source *source, struct series_source key)
{
	return source->key.process == key.process && source->key.loop == key.loop &&
	       source->key.handler == key.handler && source->key.metric == key.metric;
}

static struct source *find_source(struct series_set *set, struct series_source key, bool *made)
{
	struct source **slot = source_slot(set, key);
	struct source *source;

	*made = false;
	for (source = *slot; source; source = source->next)
		if (is_source(source, key))
			return source;
	source = calloc(1, sizeof(*source));
	if (!source)
		return NULL;
	*made = true;
	source->key = key;
	source->next = *slot;
	*slot = source;
	return source;
}

static struct figure **figure_slot(struct series_set *set, struct recording_owner owner, const char *metric)
{
	return &set->figures[mix((uint64_t)owner.handler ^ (uint64_t)owner.role << 32,
				 (uint64_t)owner.loop ^ (uint64_t)owner.function << 32,
				 (unsigned char)*metric)];
}

static bool is_figure(const struct figure *figure, struct recording_owner owner, const char *metric)
{
	return figure->owner.handler == owner.handler && figure->owner.loop == owner.loop &&
	       figure->owner.role == owner.role && figure->owner.function == owner.function &&
	       strncmp(figure->metric, metric, sizeof(figure->metric) - 1) == 0;
}

static struct figure *find_figure(struct series_set *set, struct recording_owner owner, const char *metric,
				  const char *unit)
{
	struct figure **slot = figure_slot(set, owner, metric);
	struct figure *figure;

	for (figure = *slot; figure; figure = figure->next)
		if (is_figure(figure, owner, metric))
			return figure;
	figure = calloc(1, sizeof(*figure));
	if (!figure)
		return NULL;
	figure->owner = owner;
	snprintf(figure->metric, sizeof(figure->metric), "%s", metric);
	snprintf(figure->unit, sizeof(figure->unit), "%s", unit);
	figure->total.min = UINT64_MAX;
	figure->next = *slot;
	*slot = figure;
	return figure;
}

/* Counters never shrink; those of a hostile or torn file may: that is no growth. */
static uint64_t growth(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static void remember(struct source *source, const struct series_sample *sample, uint64_t in_buckets)
{
	source->is_behind = growth(sample->count, sample->overflow) > in_buckets;
	source->last.count = sample->count;
	source->last.sum = sample->sum;
	source->last.overflow = sample->overflow;
}

/* Its owner writes meanwhile: what was not read at this moment has to be there at the next one. */
static uint64_t read_bucket(const struct series_sample *sample, uint32_t bucket)
{
	return __atomic_load_n(&sample->bucket[bucket], __ATOMIC_RELAXED);
}

int series_baseline(struct series_set *set, struct series_source key, const struct series_sample *sample)
{
	bool made;
	struct source *source = find_source(set, key, &made);
	uint64_t in_buckets = 0;

	if (!source)
		return -ENOMEM;
	for (uint32_t i = 0; i < STINT_HISTOGRAM_BUCKETS; i++) {
		uint64_t now = read_bucket(sample, i);

		if (now != source->last.bucket[i])
			source->last.bucket[i] = now;
		in_buckets += now;
	}
	remember(source, sample, in_buckets);
	source->known_min = source->known_max = sample->count != 0;
	source->min = sample->min;
	source->max = sample->max;
	return 0;
}

struct extent {
	uint32_t lowest;
	uint32_t highest;
	bool any;
};

/* Writes the rows of the second and returns the outermost buckets that grew. */
static struct extent write_buckets(struct series_set *set, struct source *source,
				   const struct series_sample *sample, const struct figure *figure,
				   uint64_t second, uint64_t *count, uint64_t *in_buckets)
{
	struct extent extent = {0};

	*count = 0;
	*in_buckets = 0;
	for (uint32_t i = 0; i < STINT_HISTOGRAM_BUCKETS; i++) {
		uint64_t now = read_bucket(sample, i);
		uint64_t grown = growth(now, source->last.bucket[i]);

		*in_buckets += now;
		/* Most never grow: their pages take no memory as long as nothing is written there. */
		if (now != source->last.bucket[i])
			source->last.bucket[i] = now;
		if (!grown)
			continue;
		if (!extent.any)
			extent.lowest = i;
		extent.highest = i;
		extent.any = true;
		*count += grown;
		recording_bucket(set->recording, figure->owner, figure->metric, second, i, grown);
	}
	return extent;
}

/*
 * The extremes within the recording: the counters' own where those have moved since the baseline, else the
 * bounds of the outermost bucket that grew.
 */
static void widen(struct recording_total *total, const struct source *source,
		  const struct series_sample *sample, struct extent extent)
{
	uint64_t low = stint_histogram_bucket_low(extent.lowest);
	uint64_t high = stint_histogram_bucket_low(extent.highest + 1) - 1;
	uint64_t min = !source->known_min || sample->min < source->min ? sample->min : low;
	uint64_t max = !source->known_max || sample->max > source->max ? sample->max : high;

	/* Read while its owner wrote: a bucket may be ahead of the extremes. */
	if (min > high)
		min = low;
	if (max < low)
		max = high;
	if (min < total->min)
		total->min = min;
	if (max > total->max)
		total->max = max;
}

int series_grow(struct series_set *set, struct series_source key, const struct series_sample *sample,
		struct recording_owner owner, const char *metric, const char *unit, uint64_t second)
{
	uint64_t overflow, count, in_buckets;
	struct source *source;
	struct figure *figure;
	struct extent extent;
	bool made;

	source = find_source(set, key, &made);
	figure = source ? find_figure(set, owner, metric, unit) : NULL;
	if (!figure)
		return -ENOMEM;
	figure->process = key.process < 0 ? -key.process : key.process;
	overflow = growth(sample->overflow, source->last.overflow);
	if (!made && sample->count == source->last.count && !overflow && !source->is_behind)
		return 0;
	extent = write_buckets(set, source, sample, figure, second, &count, &in_buckets);
	/* The count is that of the rows, which can be checked, not of a counter read a moment later. */
	figure->total.count += count + overflow;
	figure->total.overflow += overflow;
	figure->total.sum += growth(sample->sum, source->last.sum);
	if (extent.any)
		widen(&figure->total, source, sample, extent);
	figure->changed = true;
	remember(source, sample, in_buckets);
	return 0;
}

static void write_total(struct series_set *set, struct figure *figure)
{
	if (figure->changed)
		recording_total(set->recording, figure->owner, figure->metric, figure->unit, &figure->total);
	figure->changed = false;
}

void series_write_totals(struct series_set *set)
{
	for (size_t slot = 0; slot < HASH_SLOTS; slot++)
		for (struct figure *figure = set->figures[slot]; figure; figure = figure->next)
			write_total(set, figure);
}

static void remove_source(struct source **at)
{
	struct source *source = *at;

	*at = source->next;
	free(source);
}

static void remove_figure(struct series_set *set, struct figure **at)
{
	struct figure *figure = *at;

	write_total(set, figure);
	*at = figure->next;
	free(figure);
}

void series_end_source(struct series_set *set, struct series_source key)
{
	for (struct source **at = source_slot(set, key); *at; at = &(*at)->next) {
		if (!is_source(*at, key))
			continue;
		remove_source(at);
		return;
	}
}

void series_end_loops(struct series_set *set, int64_t process, int64_t first, int64_t last)
{
	for (size_t slot = 0; slot < HASH_SLOTS; slot++)
		for (struct source **at = &set->sources[slot]; *at;)
			if ((*at)->key.process == process && (*at)->key.loop >= first &&
			    (*at)->key.loop <= last)
				remove_source(at);
			else
				at = &(*at)->next;
}

void series_end_figure(struct series_set *set, struct recording_owner owner, const char *metric)
{
	for (struct figure **at = figure_slot(set, owner, metric); *at; at = &(*at)->next) {
		if (!is_figure(*at, owner, metric))
			continue;
		remove_figure(set, at);
		return;
	}
}

void series_end_process(struct series_set *set, int64_t process)
{
	series_end_loops(set, process, INT64_MIN, INT64_MAX);
	series_end_loops(set, -process, INT64_MIN, INT64_MAX);
	for (size_t slot = 0; slot < HASH_SLOTS; slot++)
		for (struct figure **at = &set->figures[slot]; *at;)
			if ((*at)->process == process)
				remove_figure(set, at);
			else
				at = &(*at)->next;
}
