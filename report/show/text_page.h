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
	size_t columns; /* of the terminal */
	bool inferred;  /* something was marked with ~ */
};

void text_heading(struct text_page *page, const char *title, const char *remark);

/* A sentence on lines of its own, after `indent` spaces. Takes the buffer's content. */
void text_sentence(struct text_page *page, struct buffer *sentence, int indent);

/* One that is there already, after two spaces. */
void text_plain(struct text_page *page, const char *sentence);

/* The same, with `label` in the indentation of its first line, which it may make longer. */
void text_labelled(struct text_page *page, const char *label, struct buffer *sentence, int indent);

/* The same, on a line that has `column` columns already. */
void text_continued(struct text_page *page, size_t column, struct buffer *sentence, int indent);

/* Takes the table. */
void text_table(struct text_page *page, struct table *table);

/* Says how many were not shown, if any were not. */
void text_left_out(struct text_page *page, size_t shown, size_t total, const char *what);

#endif
