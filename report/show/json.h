/* SPDX-License-Identifier: MIT */
#ifndef REPORT_JSON_H
#define REPORT_JSON_H

#include "report/model/model.h"
#include "report/show/buffer.h"

/*
 * The report as JSON, "schema": 1. What is not known is null. Times are ns, but for `time_s` and
 * `duration_s`, seconds from the recording's start. `totals` says how many there are of what was cut to a bound.
 */
void json_report(struct buffer *out, const struct model *model);

#endif
