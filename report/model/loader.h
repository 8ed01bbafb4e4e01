/* SPDX-License-Identifier: MIT */
#ifndef REPORT_LOADER_H
#define REPORT_LOADER_H

/*
 * How a recording's rows are taken into the model, whatever is in them: the file may be hostile. For the parts of
 * the model only. The first failure sticks in the loader, and everything after it does nothing.
 */

#include <sqlite3.h>

#include "report/model/model.h"

#define LOADER_TEXT_BYTES     256
#define LOADER_SENTENCE_BYTES 1024

struct loader {
	struct model *model;
	sqlite3 *db;
	int err;
	char *error;
	size_t error_size;
};

/* A table of the recording, and the array of the model that it goes to. */
struct loader_table {
	const char *name; /* of the table, or a query in brackets that has as many rows as `sql` */
	const char *sql;
	size_t limit;
	size_t item_bytes;
	/* Returns false if the row is of no use. */
	bool (*take)(struct loader *loader, sqlite3_stmt *row, void *item);
};

/* Sets *array, a pointer to items, which belong to the model; *total is how many rows there are. */
void loader_table(struct loader *loader, const struct loader_table *table, void *array, size_t *len,
		  size_t *total);

/* NULL, a negative number and what is no number are unknown; for loader_number() they are 0. */
uint64_t loader_known(sqlite3_stmt *row, int column);
uint64_t loader_number(sqlite3_stmt *row, int column);
int loader_fd(sqlite3_stmt *row, int column);

/* A copy, cut at `limit`; NULL if there is none. A name is never NULL but when out of memory. */
char *loader_text(struct loader *loader, sqlite3_stmt *row, int column, size_t limit);
char *loader_name(struct loader *loader, sqlite3_stmt *row, int column);
bool loader_is_text(sqlite3_stmt *row, int column, const char *text);
enum model_source loader_source(sqlite3_stmt *row, int column);
const struct model_process *loader_process(struct loader *loader, sqlite3_stmt *row, int column);
int loader_compare_ids(int64_t a, int64_t b);

/* NULL on failure, which loader_next() takes. */
sqlite3_stmt *loader_prepare(struct loader *loader, const char *sql);

/* Steps to the next row; false at the end and on failure. */
bool loader_next(struct loader *loader, sqlite3_stmt *row);

/*
 * One histogram of an owner: `buckets` selects (bucket, count), ascending, `total` (count, sum, min, max, overflow),
 * both by owner and metric.
 */
void loader_metric(struct loader *loader, sqlite3_stmt *buckets, sqlite3_stmt *total, int64_t owner,
		   const char *name, struct model_metric *metric);

void loader_no_memory(struct loader *loader);

#endif
