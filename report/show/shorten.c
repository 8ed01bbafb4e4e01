/* SPDX-License-Identifier: MIT */
#include "report/show/shorten.h"

#include <stdbool.h>
#include <string.h>

static bool continues(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

void shorten(struct buffer *out, const char *text, size_t head, size_t tail)
{
	size_t len = strlen(text), end = len - tail;

	if (len <= head + 3 + tail) {
		buffer_put(out, text, len);
		return;
	}
	while (head > 0 && continues(text[head]))
		head--;
	while (continues(text[end]))
		end++;
	buffer_put(out, text, head);
	buffer_string(out, "...");
	buffer_string(out, text + end);
}
