/* SPDX-License-Identifier: MIT */
#include "report/show/html.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/model/stalls.h"
#include "report/model/traces.h"
#include "report/show/css.h"
#include "report/show/escape.h"
#include "report/show/functions.h"
#include "report/show/headline.h"
#include "report/show/html_page.h"
#include "report/show/html_writes.h"
#include "report/show/plots.h"
#include "report/show/roles.h"
#include "report/show/tables.h"
#include "report/show/units.h"
#include "report/show/verdict_words.h"
#include "report/show/words.h"
#include "report/show/words_writes.h"
#include "report/show/work.h"

#define HANDLERS_DRAWN  24
#define FUNCTIONS_DRAWN 8
#define HANDLERS_SHOWN  500
#define LOOPS_SHOWN     200
#define OVERRUNS_SHOWN  30
#define OVERRUNS_ALIKE  4
#define SOCKETS_SHOWN   8
#define TRACES_DRAWN    4
#define CYCLES_DRAWN    3

struct page {
	struct buffer *out;
	const struct model *model;
	struct traces *traces;
	struct stall_groups *stalls;
	struct plots *plots;
	const char *no_plots; /* why there are none; empty if there are */
	int services[HANDLERS_DRAWN];
	struct pick_distribution drawn[HANDLERS_DRAWN];
	size_t drawn_len;
	int functions[FUNCTIONS_DRAWN];
	struct pick_distribution functions_drawn[FUNCTIONS_DRAWN];
	size_t functions_len;
	int overruns;
	int buffers[TRACES_DRAWN];
};

/* ---- pieces ---- */

static void put(struct page *page, const char *html)
{
	buffer_string(page->out, html);
}

/* The plot, or why there is none. */
static void put_plot(struct page *page, int plot)
{
	if (plot < 0)
		return;
	if (*page->no_plots) {
		put(page, "<p class=\"soft\">No plot here: ");
		escape_html(page->out, page->no_plots);
		put(page, ".</p>\n");
		return;
	}
	put(page, "<div class=\"scroll\">");
	plots_put_inline(page->plots, plot, page->out);
	put(page, "</div>\n");
}

/* ---- head ---- */

static void put_headline(struct page *page, const struct model_process *process, bool first_only)
{
	struct headline headline;

	headline_of(&headline, escape_html, page->model, process, first_only);
	buffer_printf(page->out, "<div class=\"headline%s\"><p><strong>",
		      headline.late     ? " late"
		      : headline.unseen ? " unseen"
					: "");
	words_process(page->out, escape_html, process);
	put(page, "</strong>: ");
	for (size_t i = 0; i < headline.len; i++) {
		if (i > 0)
			buffer_printf(page->out, "<dt>%s</dt><dd>", headline.lines[i].label);
		buffer_append(page->out, &headline.lines[i].text);
		put(page, i > 0 ? "</dd>\n" : headline.len > 1 ? "</p><dl>\n" : "</p>");
	}
	put(page, headline.len > 1 ? "</dl></div>\n" : "</div>\n");
	headline_free(&headline);
}

static void put_headlines(struct page *page)
{
	struct headline_order order;

	headline_order(&order, page->model);
	for (size_t i = 0; i < order.shown; i++)
		put_headline(page, order.processes[i], i >= order.whole);
	put(page, "<p class=\"soft\">");
	headline_rest(page->out, &order, page->model);
	put(page, "</p>\n");
}

static void put_head(struct page *page)
{
	const struct model *model = page->model;

	put(page,
	    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>stint report");
	for (size_t i = 0; i < model->processes_len && i < 3; i++) {
		put(page, i ? ", " : ": ");
		escape_html(page->out, model->processes[i].command);
	}
	put(page, "</title>\n<style>\n");
	put(page, report_css);
	put(page, "</style></head><body>\n<h1>Event loop latency</h1>\n<p class=\"soft\">");
	words_recording(page->out, escape_html, model);
	put(page, "</p>\n");
	put_headlines(page);
	if (model->processes_len == 0) {
		put(page, "<p class=\"headline unseen\">");
		put(page, words_no_process(model));
		put(page, "</p>\n");
	}
}

/* ---- handlers and loops ---- */

static void put_distribution(struct page *page, const struct pick_distribution *distribution, int plot)
{
	put(page, "<figure><h3>");
	escape_html(page->out, distribution->name);
	put(page, "</h3>\n");
	put_plot(page, plot);
	put(page, "<figcaption>");
	words_distribution(page->out, distribution);
	put(page, "</figcaption></figure>\n");
}

static void put_distributions(struct page *page)
{
	size_t known = 0;

	put(page, "<h2>Distributions</h2>\n");
	for (size_t i = 0; i < page->drawn_len; i++)
		put_distribution(page, &page->drawn[i], page->services[i]);
	for (size_t i = 0; i < page->model->handlers_len; i++)
		known += page->model->handlers[i].metrics[MODEL_SERVICE].count > 0;
	if (page->drawn_len == 0)
		put(page,
		    "<p>There is no distribution to draw: nothing was dispatched while it was recorded.</p>\n");
	else if (known > page->drawn_len)
		buffer_printf(page->out,
			      "<p class=\"soft\">Drawn are the %zu with most overruns of %zu handlers.</p>\n",
			      page->drawn_len, known);
	if (known < page->model->handlers_len)
		put(page,
		    "<p class=\"soft\">Handlers marked ~ have no distribution of their own: only a program with "
		    "libstint's meter tells how long each dispatch took. Of others, it is the iterations' that is "
		    "drawn.</p>\n");
}

/* False: there are none. */
static bool put_inferred(struct page *page)
{
	struct tables_rows rows;
	struct table *table = tables_inferred(page->model, HANDLERS_SHOWN, &rows);

	table_html(table, page->out);
	if (rows.total == 0)
		return false;
	html_left_out(page->out, rows.shown, rows.total, "handlers");
	put(page,
	    "<p class=\"soft\">Inferred from stacks, where they overran. Beyond: in sum beyond budget; mostly: what "
	    "most of that was. Where no stack could be taken, as of a thread that waited for a CPU, what the "
	    "descriptor was stands for the handler.</p>\n");
	return true;
}

static void put_handlers(struct page *page)
{
	struct tables_rows rows;
	struct table *table = tables_handlers(page->model, HANDLERS_SHOWN, &rows);

	put(page, "<h2>Handlers</h2>\n");
	table_html(table, page->out);
	if (rows.total > 0) {
		html_left_out(page->out, rows.shown, rows.total, "handlers");
		put(page,
		    "<p class=\"soft\">p50, p99 and max are service time, the length of one dispatch. Wait is a lower "
		    "bound: from when the poll returned the event to its handler. Beyond: in sum beyond budget. Blame is "
		    "the delay inflicted on victims, events that were ready and had to wait.</p>\n");
	}
	if (!put_inferred(page) && rows.total == 0)
		put(page, "<p>Nothing was dispatched that has a name, and nothing overran.</p>\n");
}

static void put_loops(struct page *page)
{
	struct tables_rows rows;
	struct table *table = tables_loops(page->model, LOOPS_SHOWN, &rows);

	put(page, "<h2>Loops</h2>\n");
	table_html(table, page->out);
	if (rows.shown == 0) {
		put(page, "<p>No thread was seen to wait in epoll.</p>\n");
		return;
	}
	html_left_out(page->out, rows.shown, rows.total, "loops");
	put(page,
	    "<p class=\"soft\">Busy is an iteration without its poll, utilization the busy share of the loop's time in "
	    "the recording (not known of threads that wait in one set by turns), a batch the events that one poll returned. A loop "
	    "with a meter is told of twice: by its process and by the kernel, whose batches have no timers in them; those of "
	    "libev and libevent do.</p>\n");
}

/* ---- overruns ---- */

static void put_parts(struct page *page, const struct model_verdict *verdict)
{
	struct buffer words = {0};

	buffer_string(page->out, "<div class=\"bar\">");
	for (int kind = 0; kind < MODEL_VERDICTS && verdict->whole_ns; kind++)
		if (verdict->parts_ns[kind] != MODEL_UNKNOWN && verdict->parts_ns[kind] > 0)
			buffer_printf(page->out, "<i class=\"%s\" style=\"width:%.2f%%\"></i>",
				      kind == MODEL_USER ? "cpu" : verdict_names[kind],
				      100 * (double)verdict->parts_ns[kind] / (double)verdict->whole_ns);
	verdict_words_parts(&words, verdict);
	buffer_string(page->out, "</div>\n<p>");
	buffer_append(page->out, &words);
	buffer_string(page->out, ".</p>\n");
	buffer_free(&words);
}

static void put_evidence(struct page *page, const struct model_verdict *verdict)
{
	size_t before = page->out->len;

	buffer_string(page->out, "<p>");
	verdict_words_rivals(page->out, escape_html, verdict);
	if (page->out->len > before + 3)
		buffer_string(page->out, ".</p>\n<p>");
	before = page->out->len;
	verdict_words_faults(page->out, verdict);
	if (page->out->len > before)
		buffer_string(page->out, ".</p>\n<p>");
	verdict_words_victims(page->out, escape_html, verdict);
	buffer_string(page->out, "</p>\n");
}

static void put_bar(struct page *page, const struct model_overrun *overrun)
{
	double whole =
		(double)overrun->on_cpu_ns + (double)overrun->runnable_ns + (double)overrun->blocked_ns;

	if (overrun->on_cpu_ns == MODEL_UNKNOWN || overrun->runnable_ns == MODEL_UNKNOWN ||
	    overrun->blocked_ns == MODEL_UNKNOWN) {
		if (overrun->cpu_min_ns != MODEL_UNKNOWN && overrun->cpu_max_ns != MODEL_UNKNOWN)
			buffer_printf(page->out, "<p>CPU time between %s and %s.</p>\n",
				      units_ns(overrun->cpu_min_ns).text, units_ns(overrun->cpu_max_ns).text);
		return;
	}
	if (whole > 0)
		buffer_printf(
			page->out,
			"<div class=\"bar\"><i class=\"cpu\" style=\"width:%.2f%%\"></i><i class=\"runnable\" "
			"style=\"width:%.2f%%\"></i><i class=\"blocked\" style=\"width:%.2f%%\"></i></div>\n",
			100 * (double)overrun->on_cpu_ns / whole, 100 * (double)overrun->runnable_ns / whole,
			100 * (double)overrun->blocked_ns / whole);
	buffer_printf(page->out, "<p>On CPU %s, runnable %s, blocked %s.</p>\n",
		      units_ns(overrun->on_cpu_ns).text, units_ns(overrun->runnable_ns).text,
		      units_ns(overrun->blocked_ns).text);
}

static void put_place(struct page *page, const struct model_overrun *overrun, size_t frame)
{
	const struct model_place *place = overrun->places ? &overrun->places[frame] : NULL;

	if (!place || (!place->file && !place->module) || place->kernel)
		return;
	put(page, " <span class=\"soft\">");
	escape_html(page->out, place->file ? place->file : place->module);
	if (place->file && place->line != MODEL_UNKNOWN)
		buffer_printf(page->out, ":%" PRIu64, place->line);
	put(page, "</span>");
}

static void put_details(struct page *page, const struct model_overrun *overrun)
{
	if (overrun->victims > 0 && overrun->victims != MODEL_UNKNOWN)
		buffer_printf(page->out, "<p>It held up %s%s other event%s, by %s in sum.</p>\n",
			      overrun->source == MODEL_PROBES ? "~" : "", units_count(overrun->victims).text,
			      overrun->victims == 1 ? "" : "s", units_ns(overrun->blame_ns).text);
	if (overrun->syscalls_len > 0) {
		put(page, "<p>Longest system calls: ");
		for (size_t i = 0; i < overrun->syscalls_len; i++) {
			put(page, i ? ", <code>" : "<code>");
			escape_html(page->out, overrun->syscalls[i].name);
			put(page, "</code>");
			if (overrun->syscalls[i].fd >= 0)
				buffer_printf(page->out, " on fd %d", overrun->syscalls[i].fd);
			buffer_printf(page->out, " %s", units_ns(overrun->syscalls[i].duration_ns).text);
		}
		put(page, ".</p>\n");
	}
	if (overrun->functions_len > 0) {
		put(page, "<p>Functions: ");
		functions_words_overrun(page->out, escape_html, overrun);
		put(page, ".</p>\n");
	}
	if (overrun->frames_len == 0)
		return;
	buffer_printf(page->out, "<p>Stack where it %s, outermost first:</p><ol class=\"stack\">\n",
		      overrun->stack_kind == MODEL_STACK_BLOCKED    ? "blocked"
		      : overrun->stack_kind == MODEL_STACK_COMPUTED ? "computed"
								    : "was");
	for (size_t i = 0; i < overrun->frames_len; i++) {
		put(page, "<li>");
		escape_html(page->out, overrun->frames[i]);
		put_place(page, overrun, i);
		put(page, "</li>\n");
	}
	put(page, "</ol>\n");
}

static void put_overrun(struct page *page, const struct model_overrun *overrun)
{
	buffer_printf(page->out, "<details><summary><b>%s</b>", units_ns(overrun->duration_ns).text);
	words_cause(page->out, escape_html, overrun);
	if (words_has_no_stack(overrun)) {
		put(page, ", no stack");
	} else if (overrun->handler) {
		put(page, overrun->handler->source == MODEL_PROBES ? ", in <code>~" : ", in <code>");
		escape_html(page->out, overrun->handler->name);
		put(page, "</code>");
	}
	buffer_printf(page->out, " <span class=\"soft\">at %.3f s",
		      model_seconds(page->model, overrun->start_ns));
	if (page->model->processes_len > 1)
		buffer_printf(page->out, ", pid %" PRIu64, overrun->process->pid);
	words_descriptor(page->out, escape_html, overrun);
	put(page, "</span></summary>\n");
	if (overrun->verdict) {
		put_parts(page, overrun->verdict);
		put_evidence(page, overrun->verdict);
	} else {
		put_bar(page, overrun);
	}
	put_details(page, overrun);
	put(page, "</details>\n");
}

/* What the time line shows: how many, and when most of them. */
static void put_overruns_words(struct page *page)
{
	const struct model *model = page->model;
	const struct model_overrun *longest = &model->overruns[0];
	size_t half = 0;

	for (size_t i = 0; i < model->overruns_len; i++)
		half += model_seconds(model, model->overruns[i].start_ns) * 2e9 < (double)model->duration_ns;
	buffer_printf(
		page->out,
		"<figcaption>%s overrun%s in %s, the longest of %s at %.3f s; %zu in the first half of the "
		"recording, %zu in the second.</figcaption>",
		units_count(model->overruns_total).text, model->overruns_total == 1 ? "" : "s",
		units_ns(model->duration_ns).text, units_ns(longest->duration_ns).text,
		model_seconds(model, longest->start_ns), half, model->overruns_len - half);
}

/* What the colours of an overrun's bar are. */
static void put_key(struct page *page)
{
	static const struct {
		const char *class, *words;
	} colours[] = {
		{"cpu", "on CPU in user space"},
		{"kernel", "in the kernel"},
		{"runnable", "runnable, waiting for a CPU"},
		{"throttled", "throttled by its cgroup"},
		{"blocked", "blocked"},
		{"stolen", "stolen by the hypervisor"},
	};

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		buffer_printf(page->out, "<span><i class=\"%s\"></i>%s</span> ", colours[i].class,
			      colours[i].words);
}

static void put_overruns(struct page *page)
{
	const struct model *model = page->model;
	const struct model_overrun *picked[OVERRUNS_SHOWN];
	size_t shown = pick_overruns(picked, OVERRUNS_SHOWN, OVERRUNS_ALIKE, model);

	put(page, "<h2>Overruns</h2>\n");
	if (shown == 0) {
		put(page, "<p>None was recorded.</p>\n");
		return;
	}
	put(page, "<figure>");
	put_plot(page, page->overruns);
	put_overruns_words(page);
	put(page, "</figure>\n<p class=\"soft key\">");
	put_key(page);
	put(page, "Longest first; open one for its system calls and stack.</p>\n");
	for (size_t i = 0; i < shown; i++)
		put_overrun(page, picked[i]);
	html_left_out(page->out, shown, model->overruns_total, "overruns");
}

static void put_functions(struct page *page)
{
	functions_html(page->out, page->model);
	for (size_t i = 0; i < page->functions_len; i++)
		put_distribution(page, &page->functions_drawn[i], page->functions[i]);
}

/* ---- write stalls ---- */

static size_t put_sockets(struct page *page, const struct stall_group *groups, size_t len)
{
	struct tables_rows rows;
	struct table *table = tables_sockets(groups, len, SOCKETS_SHOWN, &rows);

	table_html(table, page->out);
	html_left_out(page->out, rows.shown, rows.total, "sockets");
	return rows.total + 1;
}

static void put_meter_stalls(struct page *page)
{
	for (size_t i = 0; i < page->model->handlers_len; i++) {
		const struct model_handler *handler = &page->model->handlers[i];
		const struct model_metric *stall = &handler->metrics[MODEL_WRITE_STALL];

		if (!stall->known || stall->count == 0)
			continue;
		put(page, "<p>As the program saw it, <code>");
		escape_html(page->out, handler->name);
		buffer_printf(
			page->out,
			"</code> had %s write stalls: half of them %s or shorter, 99 in 100 %s or shorter, "
			"the longest %s.</p>\n",
			units_count(stall->count).text, units_ns(model_percentile(stall, 5000)).text,
			units_ns(model_percentile(stall, 9900)).text, units_ns(model_maximum(stall)).text);
	}
}

static void put_stalls(struct page *page)
{
	struct buffer unseen = {0};

	put(page,
	    "<h2>Write stalls</h2>\n<p class=\"soft\">From a send that found the buffer full, or filled it, to the next send "
	    "on that socket.</p>\n");
	put_meter_stalls(page);
	for (size_t i = 0; i < page->stalls->len;) {
		put(page, "<p>");
		words_stalls(page->out, escape_html, &page->stalls->items[i]);
		words_limits(page->out, &page->stalls->items[i]);
		words_not_sent(page->out, escape_html, &page->stalls->items[i]);
		put(page, "</p>\n");
		if (page->stalls->items[i].count > 0)
			table_html(tables_stages(&page->stalls->items[i]), page->out);
		i += put_sockets(page, &page->stalls->items[i], page->stalls->len - i);
	}
	if (page->model->stalls_total > page->model->stalls_len)
		buffer_printf(page->out, "<p class=\"soft\">These are the first %s of %s stalls.</p>\n",
			      units_count(page->model->stalls_len).text,
			      units_count(page->model->stalls_total).text);
	if (page->stalls->len == 0)
		put(page,
		    words_has_probes(page->model)
			    ? "<p>The kernel's side was watched, and no send found its buffer full.</p>\n"
			    : "<p>The stages of a stall are known only with the probes: run <code>stint record</code> as "
			      "root; <code>stint doctor</code> says what is missing.</p>\n");
	if (words_sends_unseen(&unseen, page->model)) {
		put(page, "<p class=\"soft\">");
		buffer_append(page->out, &unseen);
		put(page, "</p>\n");
	}
	buffer_free(&unseen);
}

static void put_trace(struct page *page, const struct trace *trace, int plot)
{
	put(page, "<figure><h3>");
	words_process(page->out, escape_html, trace->process);
	buffer_printf(page->out, ", fd %d", trace->fd);
	if (trace->local && trace->remote) {
		put(page, ", ");
		escape_html(page->out, trace->local);
		put(page, " to ");
		escape_html(page->out, trace->remote);
	}
	put(page, "</h3>\n");
	put_plot(page, plot);
	put(page, "<figcaption>");
	if (trace->cycles_len > CYCLES_DRAWN && plot >= 0 && !*page->no_plots)
		buffer_printf(page->out,
			      "Drawn are the longest of %zu stalls and those around it, %d in all. ",
			      trace->cycles_len, CYCLES_DRAWN);
	if (trace->cycles_len > 0)
		words_cycle(page->out, trace, words_best_cycle(trace));
	else
		put(page, "No send on it found the buffer full, so there is nothing to draw.");
	words_life(page->out, page->model, trace);
	if (!trace->from_probes)
		put(page, " This is the process's own view: an ACK is known only where it ends a send.");
	put(page, "</figcaption></figure>\n");
}

static void put_traces(struct page *page)
{
	size_t shown = page->traces->len < TRACES_DRAWN ? page->traces->len : TRACES_DRAWN;
	size_t total = page->traces->len + page->traces->left_out;
	struct buffer none = {0};

	put(page, "<h2>Write buffers</h2>\n");
	if (words_none_traced(&none, escape_html, page->model)) {
		put(page, "<p>");
		buffer_append(page->out, &none);
		put(page, "</p>\n");
	} else if (shown == 0) {
		put(page,
		    "<p>No socket was traced. <code>stint record --trace-socket</code> as root records each send, ACK "
		    "and write event of sockets that stall.</p>\n");
	}
	buffer_free(&none);
	for (size_t i = 0; i < shown; i++)
		put_trace(page, &page->traces->items[i], page->buffers[i]);
	if (total > shown)
		buffer_printf(
			page->out,
			"<p class=\"soft\">Drawn are %zu of %zu traced sockets; all are in the recording's "
			"table <code>socket_event</code>.</p>\n",
			shown, total);
}

/* ---- what limits the truth of all this ---- */

static void put_losses(struct page *page)
{
	const struct model *model = page->model;

	put(page, "<h2>Lost</h2>\n");
	if (model->losses_len == 0)
		put(page, "<p>Not known: the recording has no account of it.</p>\n");
	else if (model_lost(model) == 0)
		put(page, "<p>Nothing: every ring and table had room.</p>\n");
	for (size_t i = 0; i < model->losses_len; i++) {
		if (model->losses[i].count == 0)
			continue;
		put(page, model->losses[i].of_stacks ? "<p>" : "<p class=\"late-figure\">");
		words_loss(page->out, escape_html, &model->losses[i]);
		put(page, "</p>\n");
	}
}

static void put_limits(struct page *page)
{
	const char *rule = model_meta_text(page->model, "epollout_rule");

	put(page, "<h2>How this was measured</h2>\n<p>");
	if (!words_has_probes(page->model)) {
		words_no_probes(page->out, escape_html, page->model);
		put(page, "</p>\n<p>");
	}
	words_cost(page->out, page->model);
	put(page, "</p>\n");
	if (rule) {
		put(page, "<p>This kernel's rule for the write event: ");
		escape_html(page->out, rule);
		put(page, "</p>\n");
	}
	put(page,
	    "<p>Percentiles are middles of histogram buckets, within 0.8 % of the value. <b>-</b> is not known. <b>~</b> "
	    "is inferred, from stacks or from the order of system calls.</p>\n</body></html>\n");
}

/* ---- the whole ---- */

static void describe_plots(struct page *page)
{
	page->drawn_len = pick_distributions(page->drawn, HANDLERS_DRAWN, page->model);
	for (size_t i = 0; i < page->drawn_len; i++)
		page->services[i] = plots_distribution(page->plots, &page->drawn[i]);
	page->functions_len = pick_functions(page->functions_drawn, FUNCTIONS_DRAWN, page->model);
	for (size_t i = 0; i < page->functions_len; i++)
		page->functions[i] = plots_distribution(page->plots, &page->functions_drawn[i]);
	page->overruns = plots_overruns(page->plots, page->model);
	for (size_t i = 0; i < page->traces->len && i < TRACES_DRAWN; i++)
		page->buffers[i] = plots_trace(page->plots, &page->traces->items[i], CYCLES_DRAWN);
}

void html_report(struct buffer *out, const struct model *model, char *why_no_plots, size_t why_size)
{
	struct page page = {.out = out, .model = model, .no_plots = why_no_plots, .overruns = -1};

	*why_no_plots = '\0';
	if (traces_new(&page.traces, model) < 0 || stall_groups_new(&page.stalls, model) < 0 ||
	    plots_new(&page.plots, false) < 0) {
		out->err = -ENOMEM;
	} else {
		describe_plots(&page);
		if (plots_draw(page.plots, why_no_plots, why_size) == -ENOMEM)
			out->err = -ENOMEM;
		put_head(&page);
		html_alarms(out, model);
		put_handlers(&page);
		put_overruns(&page);
		put_functions(&page);
		roles_html(out, model);
		put_loops(&page);
		put_stalls(&page);
		html_acks(out, model);
		put_traces(&page);
		work_html(page.out, page.model);
		put_distributions(&page);
		put_losses(&page);
		put_limits(&page);
	}
	plots_free(page.plots);
	stall_groups_free(page.stalls);
	traces_free(page.traces);
}
