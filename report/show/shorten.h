/* SPDX-License-Identifier: MIT */
#ifndef REPORT_SHORTEN_H
#define REPORT_SHORTEN_H

#include "report/show/buffer.h"

/*
 * Puts a text as it is or, where it is longer than that, its first `head` and its last `tail` bytes with "..."
 * between them: fewer where those would cut a character of UTF-8.
 */
void shorten(struct buffer *out, const char *text, size_t head, size_t tail);

#endif
