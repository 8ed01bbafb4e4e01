/* SPDX-License-Identifier: MIT */
#ifndef REPORT_CSS_H
#define REPORT_CSS_H

/* The text of report.css, NUL-terminated. */
extern const char report_css[];

#endif
