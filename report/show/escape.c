/* SPDX-License-Identifier: MIT */
#include "report/show/escape.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads one character. Returns its length in bytes, or 0 if what is there is not UTF-8. */
static size_t decode(const unsigned char *text, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = text[0] < 0x80             ? 1
		     : (text[0] & 0xe0) == 0xc0 ? 2
		     : (text[0] & 0xf0) == 0xe0 ? 3
		     : (text[0] & 0xf8) == 0xf0 ? 4
						: 0;
	uint32_t code;

	if (len == 0)
		return 0;
	code = len == 1 ? text[0] : text[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret = code;
	return len;
}

/* Controls, marks of direction, what takes no width, private use, and what is no character. */
static bool is_treacherous(uint32_t code)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {{0x00, 0x1f},     {0x7f, 0x9f},       {0xad, 0xad},     {0x61c, 0x61c},
		      {0x180e, 0x180e}, {0x200b, 0x200f},   {0x2028, 0x202e}, {0x2060, 0x206f},
		      {0xe000, 0xf8ff}, {0xfeff, 0xfeff},   {0xfdd0, 0xfdef}, {0xfff0, 0xfffb},
		      {0xfffe, 0xffff}, {0xe0000, 0x10ffff}};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (code >= ranges[i].first && code <= ranges[i].last)
			return true;
	}
	return false;
}

typedef void (*put_character)(struct buffer *out, uint32_t code, const char *bytes, size_t len);

/* Calls `put` for each harmless character and writes the others as escapes. */
static void escape_visible(struct buffer *out, const char *text, put_character put)
{
	while (*text) {
		uint32_t code;
		size_t len = decode((const unsigned char *)text, &code);

		if (len == 0)
			buffer_printf(out, "\\x%02x", (unsigned char)*text);
		else if (is_treacherous(code))
			buffer_printf(out, code < 0x80 ? "\\x%02x" : "\\u%04x", code);
		else
			put(out, code, text, len);
		text += len ? len : 1;
	}
}

static void put_plain(struct buffer *out, uint32_t code, const char *bytes, size_t len)
{
	(void)code;
	buffer_put(out, bytes, len);
}

void escape_terminal(struct buffer *out, const char *text)
{
	escape_visible(out, text, put_plain);
}

static void put_html(struct buffer *out, uint32_t code, const char *bytes, size_t len)
{
	switch (code) {
	case '&':
		buffer_string(out, "&amp;");
		break;
	case '<':
		buffer_string(out, "&lt;");
		break;
	case '>':
		buffer_string(out, "&gt;");
		break;
	case '"':
		buffer_string(out, "&quot;");
		break;
	case '\'':
		buffer_string(out, "&#39;");
		break;
	default:
		buffer_put(out, bytes, len);
	}
}

void escape_html(struct buffer *out, const char *text)
{
	escape_visible(out, text, put_html);
}

static void put_gnuplot(struct buffer *out, uint32_t code, const char *bytes, size_t len)
{
	if (code == '\'')
		buffer_string(out, "''");
	else
		buffer_put(out, bytes, len);
}

void escape_gnuplot(struct buffer *out, const char *text)
{
	buffer_string(out, "'");
	escape_visible(out, text, put_gnuplot);
	buffer_string(out, "'");
}

static void put_json(struct buffer *out, uint32_t code, const char *bytes, size_t len)
{
	if (code == '"' || code == '\\')
		buffer_printf(out, "\\%c", (char)code);
	else if (code < 0x10000 && is_treacherous(code))
		buffer_printf(out, "\\u%04x", code);
	else
		buffer_put(out, bytes, len);
}

void escape_json(struct buffer *out, const char *text)
{
	buffer_string(out, "\"");
	while (*text) {
		uint32_t code;
		size_t len = decode((const unsigned char *)text, &code);

		if (len == 0)
			buffer_string(out, "\xef\xbf\xbd");
		else
			put_json(out, code, text, len);
		text += len ? len : 1;
	}
	buffer_string(out, "\"");
}
