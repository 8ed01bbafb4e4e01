/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TEXT_PAGE_H
#define REPORT_TEXT_PAGE_H

/* The pieces that the report in the terminal is made of, for its sections. */

#include <stdbool.h>

#include "report/model/model.h"
#include "report/show/buffer.h"
#include "report/show/table.h"

struct text_page {
	struct buffer *out;
	const struct model *model;
	bool colour;
	bool inferred; /* something was marked with ~ */
};

void text_heading(struct text_page *page, const char *title, const char *remark);

/* Words of `text` in lines, each after `indent` spaces, but for the first, which goes on after `column`. */
void text_wrapped(struct buffer *out, const char *text, size_t column, int indent);

/* A sentence on lines of its own. Takes the buffer's content. */
void text_sentence(struct text_page *page, struct buffer *sentence, int indent);

/* A name as a cell: escaped, cut in its middle where it is long, and with ~ before it if it was inferred. */
void text_name(struct text_page *page, struct table *table, const char *name, bool inferred);
void text_ns(struct table *table, uint64_t ns);
void text_count(struct table *table, uint64_t count);

/* Says how many were not shown, if any were not. */
void text_left_out(struct text_page *page, size_t shown, size_t total, const char *what);

#endif
