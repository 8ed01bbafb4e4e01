/* SPDX-License-Identifier: MIT */
#include "report/show/html_writes.h"

#include "report/show/escape.h"
#include "report/show/html_page.h"
#include "report/show/tables.h"
#include "report/show/words_writes.h"

#define ALARMS_SHOWN 20
#define ACKS_SHOWN   20

void html_alarms(struct buffer *out, const struct model *model)
{
	if (model->alarms_len == 0)
		return;
	buffer_string(out,
		      "<h2>Alarms</h2>\n<p class=\"soft\">Sockets that could be written to, and on which for "
		      "a second nothing was sent.</p>\n");
	for (size_t i = 0; i < model->alarms_len && i < ALARMS_SHOWN; i++) {
		buffer_string(out, "<p class=\"late-figure\">");
		words_alarm(out, escape_html, model, &model->alarms[i]);
		buffer_string(out, "</p>\n");
	}
	html_left_out(out, ALARMS_SHOWN, model->alarms_total, "alarms");
}

static void put_meanings(struct buffer *out, const struct model *model)
{
	bool first = true;

	for (int why = 0; why < MODEL_NO_EVENTS; why++) {
		uint64_t count = 0;

		for (size_t i = 0; i < model->acks_len; i++)
			count += model->acks[i].no_event[why];
		if (count == 0)
			continue;
		buffer_printf(out, "%s<b>%s</b>: %s", first ? "<p class=\"soft\">" : "; ",
			      words_no_event_heads[why], words_no_event_meanings[why]);
		first = false;
	}
	if (!first)
		buffer_string(out, ".</p>\n");
}

void html_acks(struct buffer *out, const struct model *model)
{
	struct tables_rows rows;

	if (model->acks_len == 0)
		return;
	buffer_string(out,
		      "<h2>Why no EPOLLOUT</h2>\n<p class=\"soft\">What became of each ACK on a socket whose "
		      "sender had found it full.</p>\n");
	table_html(tables_acks(model, ACKS_SHOWN, &rows), out);
	html_left_out(out, rows.shown, rows.total, "sockets");
	put_meanings(out, model);
}
