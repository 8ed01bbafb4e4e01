/* SPDX-License-Identifier: MIT */
#include "report/model/loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/model/model_file.h"
#include "stint/histogram.h"

static void failed(struct loader *loader)
{
	if (!loader->err)
		loader->err = model_file_error(loader->db, loader->error, loader->error_size);
}

void loader_no_memory(struct loader *loader)
{
	if (loader->err)
		return;
	snprintf(loader->error, loader->error_size, "out of memory");
	loader->err = -ENOMEM;
}

/* ---- columns, whatever their type ---- */

/* NULL, a negative number and what is no number are unknown. */
uint64_t loader_known(sqlite3_stmt *row, int column)
{
	int type = sqlite3_column_type(row, column);
	sqlite3_int64 value = sqlite3_column_int64(row, column);

	if ((type != SQLITE_INTEGER && type != SQLITE_FLOAT) || value < 0)
		return MODEL_UNKNOWN;
	return (uint64_t)value;
}

/* For what the schema holds to be there: a broken value counts as 0. */
uint64_t loader_number(sqlite3_stmt *row, int column)
{
	uint64_t value = loader_known(row, column);

	return value == MODEL_UNKNOWN ? 0 : value;
}

int loader_fd(sqlite3_stmt *row, int column)
{
	uint64_t value = loader_known(row, column);

	return value > INT32_MAX ? -1 : (int)value;
}

char *loader_text(struct loader *loader, sqlite3_stmt *row, int column, size_t limit)
{
	const char *text = (const char *)sqlite3_column_text(row, column);
	char *copy;

	if (!text)
		return NULL;
	copy = strndup(text, limit);
	if (!copy)
		loader_no_memory(loader);
	return copy;
}

/* Never NULL but when out of memory, which ends the loading. */
char *loader_name(struct loader *loader, sqlite3_stmt *row, int column)
{
	char *name = loader_text(loader, row, column, LOADER_TEXT_BYTES);

	if (!name && !(name = strdup("?")))
		loader_no_memory(loader);
	return name;
}

bool loader_is_text(sqlite3_stmt *row, int column, const char *text)
{
	const char *have = (const char *)sqlite3_column_text(row, column);

	return have && strcmp(have, text) == 0;
}

enum model_source loader_source(sqlite3_stmt *row, int column)
{
	if (loader_is_text(row, column, "probes"))
		return MODEL_PROBES;
	return loader_is_text(row, column, "both") ? MODEL_BOTH : MODEL_METER;
}

/* ---- tables ---- */

sqlite3_stmt *loader_prepare(struct loader *loader, const char *sql)
{
	sqlite3_stmt *row = NULL;

	if (!loader->err && sqlite3_prepare_v2(loader->db, sql, -1, &row, NULL) != SQLITE_OK)
		failed(loader);
	return row;
}

/* Steps to the next row; false at the end and on failure. */
bool loader_next(struct loader *loader, sqlite3_stmt *row)
{
	int code;

	if (loader->err || !row)
		return false;
	code = sqlite3_step(row);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		failed(loader);
	return code == SQLITE_ROW;
}

static size_t count_rows(struct loader *loader, const char *table)
{
	char sql[128];
	sqlite3_stmt *row;
	size_t count = 0;

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
	row = loader_prepare(loader, sql);
	if (loader_next(loader, row))
		count = (size_t)loader_number(row, 0);
	sqlite3_finalize(row);
	return count;
}

void loader_table(struct loader *loader, const struct loader_table *table, void *array, size_t *len,
		  size_t *total)
{
	size_t want = count_rows(loader, table->name);
	char *items;
	sqlite3_stmt *row;

	*total = want;
	if (want > table->limit)
		want = table->limit;
	items = calloc(want ? want : 1, table->item_bytes);
	if (!items)
		loader_no_memory(loader);
	memcpy(array, &items, sizeof(items));
	row = loader_prepare(loader, table->sql);
	while (*len < want && loader_next(loader, row)) {
		if (table->take(loader, row, items + *len * table->item_bytes))
			(*len)++;
	}
	sqlite3_finalize(row);
}

int loader_compare_ids(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_process(const void *key, const void *item)
{
	return loader_compare_ids(*(const int64_t *)key, ((const struct model_process *)item)->id);
}

const struct model_process *loader_process(struct loader *loader, sqlite3_stmt *row, int column)
{
	struct model *model = loader->model;
	int64_t id = sqlite3_column_int64(row, column);
	const struct model_process *process =
		bsearch(&id, model->processes, model->processes_len, sizeof(*process), compare_process);

	return process ? process : &model->nobody;
}

/* ---- histograms ---- */

static void add_bucket(struct loader *loader, struct model_metric *metric, uint32_t bucket, uint64_t count)
{
	struct model_bucket *last = metric->buckets_len ? &metric->buckets[metric->buckets_len - 1] : NULL;
	size_t len = metric->buckets_len;

	if (last && last->bucket == bucket) {
		last->count = count > UINT64_MAX - last->count ? UINT64_MAX : last->count + count;
		return;
	}
	if ((len & (len - 1)) == 0) {
		struct model_bucket *more = realloc(metric->buckets, (len ? 2 * len : 1) * sizeof(*more));

		if (!more) {
			loader_no_memory(loader);
			return;
		}
		metric->buckets = more;
	}
	metric->buckets[metric->buckets_len++] = (struct model_bucket){bucket, count};
}

static void bind_owner(sqlite3_stmt *row, int64_t owner, const char *name)
{
	sqlite3_reset(row);
	sqlite3_bind_int64(row, 1, owner);
	sqlite3_bind_text(row, 2, name, -1, SQLITE_STATIC);
}

/* Where there is no total (the recorder was killed before it), buckets tell what they can. */
static void sum_up_buckets(struct model_metric *metric)
{
	metric->min = MODEL_UNKNOWN;
	metric->max = MODEL_UNKNOWN;
	metric->known = metric->buckets_len > 0;
	for (size_t i = 0; i < metric->buckets_len; i++) {
		uint64_t low = stint_histogram_bucket_low(metric->buckets[i].bucket);

		metric->count += metric->buckets[i].count;
		metric->sum += metric->buckets[i].count * low;
	}
}

void loader_metric(struct loader *loader, sqlite3_stmt *buckets, sqlite3_stmt *total, int64_t owner,
		   const char *name, struct model_metric *metric)
{
	if (loader->err)
		return;
	bind_owner(buckets, owner, name);
	while (loader_next(loader, buckets)) {
		uint64_t bucket = loader_known(buckets, 0), count = loader_number(buckets, 1);

		if (bucket < STINT_HISTOGRAM_BUCKETS && count > 0)
			add_bucket(loader, metric, (uint32_t)bucket, count);
	}
	bind_owner(total, owner, name);
	if (!loader_next(loader, total)) {
		sum_up_buckets(metric);
		return;
	}
	metric->known = true;
	metric->count = loader_number(total, 0);
	metric->sum = loader_number(total, 1);
	metric->min = loader_known(total, 2);
	metric->max = loader_known(total, 3);
	metric->overflow = loader_number(total, 4);
}
