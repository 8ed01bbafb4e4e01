/* SPDX-License-Identifier: MIT */
#include "report/show/text_writes.h"

#include <errno.h>
#include <inttypes.h>

#include "report/show/escape.h"
#include "report/show/words_writes.h"

#define ALARMS_SHOWN 5
#define ACKS_SHOWN   5

void text_alarms(struct text_page *page)
{
	const struct model *model = page->model;

	if (model->alarms_len == 0)
		return;
	text_heading(page, "Alarms", "sockets that could be written to, and nobody told their owner");
	for (size_t i = 0; i < model->alarms_len && i < ALARMS_SHOWN; i++) {
		struct buffer line = {0};

		words_alarm(&line, escape_terminal, model, &model->alarms[i]);
		text_sentence(page, &line, 2);
	}
	text_left_out(page, ALARMS_SHOWN, model->alarms_total, "alarms");
}

void text_acks(struct text_page *page)
{
	static const char *const heads[] = {"pid",       "fd",           "remote",    "ACKs", "told",
					    "above 2/3", "unsent",       "not armed", "edge", "replaced",
					    "loop busy", "already told", "other"};
	const struct model *model = page->model;
	struct table *table;

	if (model->acks_len == 0)
		return;
	text_heading(page, "Why no EPOLLOUT",
		     "what became of each ACK on a socket whose sender had found it full");
	table = table_new(heads, "rrlrrrrrrrrrr");
	if (!table) {
		page->out->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < model->acks_len && i < ACKS_SHOWN; i++) {
		const struct model_acks *acks = &model->acks[i];

		table_format(table, "%" PRIu64, acks->process->pid);
		table_format(table, "%d", acks->fd);
		text_name(page, table, acks->remote, false);
		text_count(table, acks->acks);
		text_count(table, acks->told);
		for (int why = 0; why < MODEL_NO_EVENTS; why++)
			text_count(table, acks->no_event[why]);
	}
	table_put(table, page->out);
	text_left_out(page, ACKS_SHOWN, model->acks_total, "sockets");
}
