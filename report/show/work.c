/* SPDX-License-Identifier: MIT */
#include "report/show/work.h"

#include <inttypes.h>

#include "report/show/escape.h"
#include "report/show/html_page.h"
#include "report/show/tables.h"
#include "report/show/units.h"

#define HANDLERS_SHOWN 50

static const char *const heads[] = {"pid",     "handler", "jobs",       "queue p50",  "queue p99",
				    "run p50", "run p99", "return p50", "return p99", "refused"};
static const char meaning[] =
	"Queue: from the submission of a job to its start in a thread. Run: how long it took there, which delays "
	"nobody on the loop. Return: from its end to the start of its handler. Refused: the queue was full.";

static bool has_jobs(const struct model_handler *handler)
{
	return handler->metrics[MODEL_WORK_RUN].count > 0 || handler->jobs_refused > 0;
}

static bool has_reads(const struct model_handler *handler)
{
	return handler->file_reads_cached > 0 || handler->file_reads_missed > 0;
}

static size_t count_handlers(const struct model *model, bool (*has)(const struct model_handler *))
{
	size_t count = 0;

	for (size_t i = 0; i < model->handlers_len; i++)
		count += has(&model->handlers[i]);
	return count;
}

/* The six times of a row. */
static uint64_t time_of(const struct model_handler *handler, int column)
{
	const struct model_metric *metric = &handler->metrics[MODEL_WORK_QUEUE + column / 2];

	return model_percentile(metric, column % 2 ? 9900 : 5000);
}

static void words_reads(struct buffer *out, void (*escape)(struct buffer *, const char *),
			const struct model_handler *handler)
{
	uint64_t chunks = handler->file_reads_cached + handler->file_reads_missed;

	escape(out, handler->name);
	buffer_printf(out, " (pid %" PRIu64 ") read %s chunks of files: %s from the page cache,",
		      handler->process->pid, units_count(chunks).text,
		      units_count(handler->file_reads_cached).text);
	buffer_printf(out, " %s by a thread, as the cache had them not or could not tell (%s).",
		      units_count(handler->file_reads_missed).text,
		      units_share(handler->file_reads_missed, chunks).text);
}

static struct table *jobs_table(const struct model *model)
{
	struct table *table = tables_new(model, heads, "RLrrrrrrrr");
	size_t shown = 0;

	for (size_t i = 0; i < model->handlers_len && shown < HANDLERS_SHOWN; i++) {
		const struct model_handler *handler = &model->handlers[i];

		if (!has_jobs(handler))
			continue;
		table_number(table, handler->process->pid);
		table_name(table, handler->name, false);
		table_count(table, handler->metrics[MODEL_WORK_RUN].count);
		for (int column = 0; column < 6; column++)
			table_ns(table, time_of(handler, column));
		table_count(table, handler->jobs_refused);
		shown++;
	}
	return table;
}

static void put_text_jobs(struct text_page *page, size_t total)
{
	struct buffer line = {0};

	text_table(page, jobs_table(page->model));
	text_left_out(page, HANDLERS_SHOWN, total, "handlers");
	buffer_string(&line, meaning);
	text_sentence(page, &line, 2);
}

void work_text(struct text_page *page)
{
	const struct model *model = page->model;
	size_t jobs = count_handlers(model, has_jobs), reads = count_handlers(model, has_reads), shown = 0;
	struct buffer line = {0};

	if (jobs + reads == 0)
		return;
	text_heading(page, "Offloaded work",
		     "jobs that handlers gave to a pool of threads, files that they read");
	if (jobs > 0)
		put_text_jobs(page, jobs);
	for (size_t i = 0; i < model->handlers_len && shown < HANDLERS_SHOWN; i++) {
		if (!has_reads(&model->handlers[i]))
			continue;
		words_reads(&line, escape_terminal, &model->handlers[i]);
		text_sentence(page, &line, 2);
		shown++;
	}
	text_left_out(page, shown, reads, "handlers that read files");
}

static void put_html_jobs(struct buffer *out, const struct model *model, size_t total)
{
	table_html(jobs_table(model), out);
	html_left_out(out, HANDLERS_SHOWN, total, "handlers");
	buffer_printf(out, "<p class=\"soft\">%s</p>\n", meaning);
}

void work_html(struct buffer *out, const struct model *model)
{
	size_t jobs = count_handlers(model, has_jobs), reads = count_handlers(model, has_reads), shown = 0;

	if (jobs + reads == 0)
		return;
	buffer_string(out, "<h2>Offloaded work</h2>\n");
	if (jobs > 0)
		put_html_jobs(out, model, jobs);
	for (size_t i = 0; i < model->handlers_len && shown < HANDLERS_SHOWN; i++) {
		if (!has_reads(&model->handlers[i]))
			continue;
		buffer_string(out, "<p>");
		words_reads(out, escape_html, &model->handlers[i]);
		buffer_string(out, "</p>\n");
		shown++;
	}
	html_left_out(out, shown, reads, "handlers that read files");
}
