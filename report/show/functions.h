/* SPDX-License-Identifier: MIT */
#ifndef REPORT_FUNCTIONS_H
#define REPORT_FUNCTIONS_H

/* The section on functions that were timed on request, with what that cost, and their part of an overrun. */

#include "report/show/text_page.h"
#include "report/show/words.h"

/* Nothing is put where none were asked for. */
void functions_text(struct text_page *page);

/* The table and the words; the distributions are drawn by who calls. */
void functions_html(struct buffer *out, const struct model *model);

/* "processCommand 4 times, 2.21 ms of it": nothing if none of them ran in it. */
void functions_words_overrun(struct buffer *out, words_escape escape, const struct model_overrun *overrun);

/* What all calls of a function were longer for being timed; MODEL_UNKNOWN if that was not measured. */
uint64_t functions_cost_ns(const struct model_function *function);

#endif
