/* SPDX-License-Identifier: MIT */
#include "report/show/html_page.h"

#include "report/show/units.h"

void html_left_out(struct buffer *out, size_t shown, size_t total, const char *what)
{
	if (total > shown)
		buffer_printf(
			out,
			"<p class=\"soft\">Shown: %s of %s %s; <code>stint report --json</code> has all.</p>\n",
			units_count(shown).text, units_count(total).text, what);
}
