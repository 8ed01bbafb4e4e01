/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

/*
 * A table, filled row by row, and then put as text or as HTML. Columns with nothing but 0 or - are left out. As with a
 * buffer, the first failure sticks and shows when the table is put into one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/show/buffer.h"

struct table;

/*
 * `heads` are texts that must outlive it; `align` has a letter for each: 'l' or 'r'. Those in capitals name the row: they
 * come first, are always there, and stand again where a table is cut. NULL: no memory.
 */
struct table *table_new(const char *const *heads, const char *align);

/* The next cell; what it holds is put as it is. NULL table is allowed in all of these. */
void table_cell(struct table *table, const char *text);
__attribute__((format(printf, 2, 3))) void table_format(struct table *table, const char *format, ...);
void table_number(struct table *table, uint64_t number);
void table_ns(struct table *table, uint64_t ns);
void table_count(struct table *table, uint64_t count);

/* What a buffer holds, put as it is; a failure to fill it is the table's. */
void table_buffer(struct table *table, const struct buffer *text);

/* A name from a program under watch: escaped as the output needs it, and cut in its middle where it is long. */
void table_name(struct table *table, const char *name, bool inferred);

/* The last cell is what a reader should look at. */
void table_mark(struct table *table);

/* Leaves a column out. */
void table_drop(struct table *table, size_t column);

/*
 * A table without rows is nothing at all; no table (NULL), or one that memory ran out for, is a failure of `out`.
 * As text each line comes after two spaces. Where it is wider than `width`, the columns that are too many follow in a
 * second table below, and so on. Sets *inferred, which is else left alone, if a name is marked so. Frees it, as the
 * next one does.
 */
void table_text(struct table *table, struct buffer *out, size_t width, bool *inferred);
void table_html(struct table *table, struct buffer *out);
struct table *table_free(struct table *table);

#endif
