/* SPDX-License-Identifier: MIT */
#ifndef REPORT_HTML_WRITES_H
#define REPORT_HTML_WRITES_H

/* The sections of the HTML report on who was not told that a socket can be written to. */

#include "report/model/model.h"
#include "report/show/buffer.h"

/* Nothing is put where there is nothing to tell. */
void html_alarms(struct buffer *out, const struct model *model);
void html_acks(struct buffer *out, const struct model *model);

#endif
