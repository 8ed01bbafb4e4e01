/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TEXT_H
#define REPORT_TEXT_H

#include "report/model/model.h"
#include "report/show/buffer.h"

/* The report for a terminal of so many columns. Running out of memory shows in the buffer. */
void text_report(struct buffer *out, const struct model *model, bool colour, size_t columns);

#endif
