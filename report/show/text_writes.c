/* SPDX-License-Identifier: MIT */
#include "report/show/text_writes.h"

#include "report/show/escape.h"
#include "report/show/tables.h"
#include "report/show/words_writes.h"

#define ALARMS_SHOWN 5
#define ACKS_SHOWN   5

void text_alarms(struct text_page *page)
{
	const struct model *model = page->model;

	if (model->alarms_len == 0)
		return;
	text_heading(page, "Alarms",
		     "sockets that could be written to, and on which for a second nothing was sent");
	for (size_t i = 0; i < model->alarms_len && i < ALARMS_SHOWN; i++) {
		struct buffer line = {0};

		words_alarm(&line, escape_terminal, model, &model->alarms[i]);
		text_sentence(page, &line, 2);
	}
	text_left_out(page, ALARMS_SHOWN, model->alarms_total, "alarms");
}

void text_acks(struct text_page *page)
{
	const struct model *model = page->model;
	struct tables_rows rows;

	if (model->acks_len == 0)
		return;
	text_heading(page, "Why no EPOLLOUT",
		     "what became of each ACK on a socket whose sender had found it full");
	text_table(page, tables_acks(model, ACKS_SHOWN, &rows));
	text_left_out(page, rows.shown, rows.total, "sockets");
}
