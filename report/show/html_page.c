/* SPDX-License-Identifier: MIT */
#include "report/show/html_page.h"

#include "report/show/units.h"

void html_left_out(struct buffer *out, size_t shown, size_t total, const char *what)
{
	if (total > shown)
		buffer_printf(
			out,
			"<p class=\"soft\">%s %s more are not shown here: <code>stint report --json</code> "
			"has them.</p>\n",
			units_count(total - shown).text, what);
}
