/* SPDX-License-Identifier: MIT */
#include "report/show/text_page.h"

#include <errno.h>
#include <string.h>

#include "report/show/escape.h"
#include "report/show/units.h"

#define NAME_COLUMNS 40
#define LINE_COLUMNS 108

void text_heading(struct text_page *page, const char *title, const char *remark)
{
	buffer_printf(page->out, "\n%s%s%s", page->colour ? "\033[1m" : "", title,
		      page->colour ? "\033[0m" : "");
	buffer_printf(page->out, "%s%s\n", *remark ? "  " : "", remark);
}

/* Words of `text` in lines, each after `indent` spaces, but for the first, which goes on after `column`. */
void text_wrapped(struct buffer *out, const char *text, size_t column, int indent)
{
	while (*text) {
		size_t len = strcspn(text, " ");

		if (column > (size_t)indent && column + len > LINE_COLUMNS) {
			buffer_printf(out, "\n%*s", indent, "");
			column = (size_t)indent;
		}
		buffer_put(out, text, len);
		text += len;
		column += len;
		if (*text == ' ') {
			if (column + 1 + strcspn(text + 1, " ") <= LINE_COLUMNS)
				buffer_string(out, " ");
			text++;
			column++;
		}
	}
	buffer_string(out, "\n");
}

/* A sentence on lines of its own. Takes the buffer's content. */
void text_sentence(struct text_page *page, struct buffer *sentence, int indent)
{
	const char *text = buffer_text(sentence);

	if (!text) {
		page->out->err = -ENOMEM;
	} else {
		buffer_printf(page->out, "%*s", indent, "");
		text_wrapped(page->out, text, (size_t)indent, indent);
	}
	buffer_free(sentence);
}

/* A name as a cell: escaped, cut in its middle where it is long, and with ~ before it if it was inferred. */
void text_name(struct text_page *page, struct table *table, const char *name, bool inferred)
{
	struct buffer escaped = {0};
	const char *text;
	size_t len;

	escape_terminal(&escaped, name);
	text = buffer_text(&escaped);
	if (!text) {
		page->out->err = -ENOMEM;
		text = "";
	}
	page->inferred |= inferred;
	len = strlen(text);
	if (len <= NAME_COLUMNS) {
		table_format(table, "%s%s", inferred ? "~" : "", text);
	} else {
		const char *tail = text + len - NAME_COLUMNS / 2;
		int head = NAME_COLUMNS / 2 - 3;

		while (head > 0 && ((unsigned char)text[head] & 0xc0) == 0x80)
			head--;
		while (((unsigned char)*tail & 0xc0) == 0x80)
			tail++;
		table_format(table, "%s%.*s...%s", inferred ? "~" : "", head, text, tail);
	}
	buffer_free(&escaped);
}

void text_ns(struct table *table, uint64_t ns)
{
	table_cell(table, units_ns(ns).text);
}

void text_count(struct table *table, uint64_t count)
{
	table_cell(table, units_count(count).text);
}

void text_left_out(struct text_page *page, size_t shown, size_t total, const char *what)
{
	if (total > shown)
		buffer_printf(page->out, "  ... and %s %s more: --json has them.\n",
			      units_count(total - shown).text, what);
}
