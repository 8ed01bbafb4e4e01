/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TEXT_WRITES_H
#define REPORT_TEXT_WRITES_H

/* The sections of the report in the terminal on who was not told that a socket can be written to. */

#include "report/show/text_page.h"

/* Nothing is put where there is nothing to tell. */
void text_alarms(struct text_page *page);
void text_acks(struct text_page *page);

#endif
