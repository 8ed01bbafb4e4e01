/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

/*
 * A table of text in columns as wide as their widest cell, filled row by row. As with a buffer, the first
 * failure sticks and shows when the table is put into one.
 */

#include "report/show/buffer.h"

struct table;

/* `heads` are `columns` texts, which must outlive it; `align` has 'l' or 'r' for each. NULL: no memory. */
struct table *table_new(const char *const *heads, const char *align);

/* The next cell; what it holds is put as it is. NULL table is allowed in all of these. */
void table_cell(struct table *table, const char *text);
__attribute__((format(printf, 2, 3))) void table_format(struct table *table, const char *format, ...);

/* Puts the table, each line after two spaces, and frees it. */
void table_put(struct table *table, struct buffer *out);

#endif
