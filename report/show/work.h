/* SPDX-License-Identifier: MIT */
#ifndef REPORT_WORK_H
#define REPORT_WORK_H

/* The section on work that handlers gave to a pool of threads, and on the files they read. Empty if there is none. */

#include "report/model/model.h"
#include "report/show/buffer.h"
#include "report/show/text_page.h"

void work_text(struct text_page *page);
void work_html(struct buffer *out, const struct model *model);

#endif
