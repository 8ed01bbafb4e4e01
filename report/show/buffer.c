/* SPDX-License-Identifier: MIT */
#include "report/show/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct buffer *buffer, size_t more)
{
	size_t size = buffer->size ? buffer->size : 256;
	char *data;

	if (buffer->err)
		return buffer->err;
	if (more >= SIZE_MAX / 4 - buffer->len)
		return buffer->err = -ENOMEM;
	while (size < buffer->len + more + 1)
		size *= 2;
	if (size == buffer->size)
		return 0;
	data = realloc(buffer->data, size);
	if (!data)
		return buffer->err = -ENOMEM;
	buffer->data = data;
	buffer->size = size;
	return 0;
}

void buffer_put(struct buffer *buffer, const char *bytes, size_t len)
{
	if (reserve(buffer, len) < 0)
		return;
	memcpy(buffer->data + buffer->len, bytes, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';
}

void buffer_string(struct buffer *buffer, const char *text)
{
	buffer_put(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list args, again;
	int len;

	va_start(args, format);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, args);
	if (len < 0)
		buffer->err = -ENOMEM;
	else if (reserve(buffer, (size_t)len) == 0)
		buffer->len += (size_t)vsnprintf(buffer->data + buffer->len, (size_t)len + 1, format, again);
	va_end(again);
	va_end(args);
}

void buffer_append(struct buffer *buffer, const struct buffer *text)
{
	if (text->err && !buffer->err)
		buffer->err = text->err;
	buffer_put(buffer, text->data ? text->data : "", text->len);
}

bool buffer_is_empty(const struct buffer *buffer)
{
	return buffer->len == 0 && !buffer->err;
}

const char *buffer_text(const struct buffer *buffer)
{
	if (buffer->err)
		return NULL;
	return buffer->data ? buffer->data : "";
}

void buffer_clear(struct buffer *buffer)
{
	buffer->len = 0;
	if (buffer->data)
		buffer->data[0] = '\0';
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct buffer){0};
}
