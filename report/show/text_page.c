/* SPDX-License-Identifier: MIT */
#include "report/show/text_page.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "report/show/units.h"

/* Whether a line should not begin with this: "1.00 ms", "56 %". */
static bool is_unit(const char *text, size_t len)
{
	static const char *const units[] = {"%", "ns", "us", "ms", "s"};

	while (len > 0 && strchr(",;.:)", text[len - 1]))
		len--;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i]) == len && strncmp(text, units[i], len) == 0)
			return true;
	return false;
}

/* What is not to be broken: a word, and the unit behind a figure. */
static size_t word_len(const char *text)
{
	size_t len = strcspn(text, " ");
	size_t next = text[len] == ' ' ? strcspn(text + len + 1, " ") : 0;

	if (len > 0 && text[len - 1] >= '0' && text[len - 1] <= '9' && is_unit(text + len + 1, next))
		return len + 1 + next;
	return len;
}

/* Words of `text` in lines, each after `indent` spaces, but for the first, which goes on after `column`. */
static void put_wrapped(struct text_page *page, const char *text, size_t column, int indent)
{
	while (*text) {
		size_t len = word_len(text);

		if (column > (size_t)indent && column + len > page->columns) {
			buffer_printf(page->out, "\n%*s", indent, "");
			column = (size_t)indent;
		}
		buffer_put(page->out, text, len);
		text += len;
		column += len;
		if (*text == ' ') {
			if (column + 1 + word_len(text + 1) <= page->columns)
				buffer_string(page->out, " ");
			text++;
			column++;
		}
	}
	buffer_string(page->out, "\n");
}

void text_heading(struct text_page *page, const char *title, const char *remark)
{
	buffer_printf(page->out, "\n%s%s%s%s", page->colour ? "\033[1m" : "", title,
		      page->colour ? "\033[0m" : "", *remark ? "  " : "");
	put_wrapped(page, remark, strlen(title) + 2, 2);
}

void text_continued(struct text_page *page, size_t column, struct buffer *sentence, int indent)
{
	const char *text = buffer_text(sentence);

	if (text)
		put_wrapped(page, text, column, indent);
	else
		page->out->err = -ENOMEM;
	buffer_free(sentence);
}

void text_labelled(struct text_page *page, const char *label, struct buffer *sentence, int indent)
{
	size_t column = strlen(label);

	buffer_printf(page->out, "%-*s", indent, label);
	text_continued(page, column < (size_t)indent ? (size_t)indent : column, sentence, indent);
}

void text_sentence(struct text_page *page, struct buffer *sentence, int indent)
{
	text_labelled(page, "", sentence, indent);
}

void text_plain(struct text_page *page, const char *sentence)
{
	buffer_string(page->out, "  ");
	put_wrapped(page, sentence, 2, 2);
}

void text_table(struct text_page *page, struct table *table)
{
	table_text(table, page->out, page->columns, &page->inferred);
}

void text_left_out(struct text_page *page, size_t shown, size_t total, const char *what)
{
	if (total > shown)
		buffer_printf(page->out, "  ... and %s %s more: --json has them.\n",
			      units_count(total - shown).text, what);
}
