/* SPDX-License-Identifier: MIT */
#ifndef REPORT_BUFFER_H
#define REPORT_BUFFER_H

/*
 * Text that grows. The first failure sticks: later calls do nothing, and whoever uses the text at the end
 * asks buffer_text(), so that callers need not check every piece.
 */

#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data; /* NUL-terminated once anything was put */
	size_t len;
	size_t size;
	int err; /* 0, or -ENOMEM */
};

void buffer_put(struct buffer *buffer, const char *bytes, size_t len);
void buffer_string(struct buffer *buffer, const char *text);
__attribute__((format(printf, 2, 3))) void buffer_printf(struct buffer *buffer, const char *format, ...);

/* The other's text, and its failure. */
void buffer_append(struct buffer *buffer, const struct buffer *text);

/* Nothing was put, and nothing failed. */
bool buffer_is_empty(const struct buffer *buffer);

/* The text, "" if nothing was put; NULL if memory ran out. Belongs to the buffer. */
const char *buffer_text(const struct buffer *buffer);

void buffer_clear(struct buffer *buffer);

/* Frees what it holds; it is empty and good for use again. */
void buffer_free(struct buffer *buffer);

#endif
