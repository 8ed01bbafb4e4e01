/* SPDX-License-Identifier: MIT */
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include "report/model/model.h"
#include "report/show/buffer.h"

/*
 * The report as one page that needs nothing else. If plots cannot be drawn, the page says why in their place, and
 * so does `why_no_plots`, which is empty else. Running out of memory shows in the buffer.
 */
void html_report(struct buffer *out, const struct model *model, char *why_no_plots, size_t why_size);

#endif
