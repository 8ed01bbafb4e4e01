/* SPDX-License-Identifier: MIT */
#ifndef REPORT_HTML_PAGE_H
#define REPORT_HTML_PAGE_H

/* The pieces that the HTML report's tables are made of, for its sections. */

#include <stdbool.h>

#include "report/show/buffer.h"
#include "report/show/units.h"

void html_table(struct buffer *out, const char *const *heads, size_t len);
void html_end_table(struct buffer *out);

/* Cells. A name is escaped. */
void html_cell(struct buffer *out, struct figure figure);
void html_ns(struct buffer *out, uint64_t ns);
void html_count(struct buffer *out, uint64_t count);
void html_name(struct buffer *out, const char *name, bool inferred);

/* Says how many were not shown, if any were not. */
void html_left_out(struct buffer *out, size_t shown, size_t total, const char *what);

#endif
