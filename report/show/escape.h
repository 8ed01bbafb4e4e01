/* SPDX-License-Identifier: MIT */
#ifndef REPORT_ESCAPE_H
#define REPORT_ESCAPE_H

/*
 * Text from programs under watch, made harmless for each output. Bytes that are not UTF-8 (overlong forms
 * and surrogates count as such), control characters, and characters that turn the direction of text or
 * show as nothing are written as `\x1b` or `\u202e`; all else is kept.
 */

#include "report/show/buffer.h"

void escape_terminal(struct buffer *out, const char *text);

/* For element content and for attribute values in either kind of quotes. */
void escape_html(struct buffer *out, const char *text);

/* A JSON string with its quotes. What is not UTF-8 becomes U+FFFD; nothing else is lost. */
void escape_json(struct buffer *out, const char *text);

/*
 * A gnuplot string with its quotes. They are single ones, within which gnuplot expands nothing: no escape,
 * no macro, no command in backquotes.
 */
void escape_gnuplot(struct buffer *out, const char *text);

#endif
