/* SPDX-License-Identifier: MIT */
#include "report/show/html_page.h"

#include <string.h>

#include "report/show/escape.h"

static bool is_text_column(const char *head)
{
	static const char *const texts[] = {"handler", "loop",       "local", "remote",
					    "stage",   "what it is", "role",  "function"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(head, texts[i]) == 0)
			return true;
	}
	return false;
}

static void put_heads(struct buffer *out, const char *const *heads, size_t len)
{
	buffer_string(out, "<tr>");
	for (size_t i = 0; i < len; i++)
		buffer_printf(out, "<th%s>%s</th>", is_text_column(heads[i]) ? " class=\"l\"" : "", heads[i]);
	buffer_string(out, "</tr>\n");
}

void html_table(struct buffer *out, const char *const *heads, size_t len)
{
	buffer_string(out, "<div class=\"scroll\"><table>\n");
	put_heads(out, heads, len);
}

void html_end_table(struct buffer *out)
{
	buffer_string(out, "</table></div>\n");
}

void html_cell(struct buffer *out, struct figure figure)
{
	buffer_printf(out, "<td>%s</td>", figure.text);
}

void html_ns(struct buffer *out, uint64_t ns)
{
	html_cell(out, units_ns(ns));
}

void html_count(struct buffer *out, uint64_t count)
{
	html_cell(out, units_count(count));
}

void html_name(struct buffer *out, const char *name, bool inferred)
{
	buffer_printf(out, "<td class=\"name\">%s", inferred ? "<abbr title=\"inferred\">~</abbr>" : "");
	escape_html(out, name);
	buffer_string(out, "</td>");
}

void html_left_out(struct buffer *out, size_t shown, size_t total, const char *what)
{
	if (total > shown)
		buffer_printf(
			out,
			"<p class=\"soft\">%s %s more are not shown here: <code>stint report --json</code> "
			"has them.</p>\n",
			units_count(total - shown).text, what);
}
