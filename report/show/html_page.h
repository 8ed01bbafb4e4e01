/* SPDX-License-Identifier: MIT */
#ifndef REPORT_HTML_PAGE_H
#define REPORT_HTML_PAGE_H

/* What the sections of the HTML report share. */

#include <stddef.h>

#include "report/show/buffer.h"

/* Says how many were not shown, if any were not. */
void html_left_out(struct buffer *out, size_t shown, size_t total, const char *what);

#endif
