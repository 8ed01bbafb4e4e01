/* SPDX-License-Identifier: MIT */
#include "report/show/plots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/show/escape.h"
#include "report/show/gnuplot.h"
#include "report/show/units.h"
#include "stint/histogram.h"

#define POINTS_LIMIT  2000
#define MOMENTS_LIMIT 4000

/* Colours of files; a page has its own in the place of each, for light and dark. */
#define INK   "#404040"
#define GRID  "#dddddd"
#define BLUE  "#2f6db5"
#define RED   "#c0392b"
#define AMBER "#b7791f"
#define GREEN "#2e8b57"

struct plots {
	struct buffer script;
	bool titled;
	size_t count;
	char names[PLOTS_LIMIT][32];
	struct buffer svg[PLOTS_LIMIT];
};

int plots_new(struct plots **ret, bool titled)
{
	struct plots *plots = calloc(1, sizeof(*plots));

	if (!plots)
		return -ENOMEM;
	plots->titled = titled;
	buffer_string(&plots->script, "set encoding utf8\n");
	*ret = plots;
	return 0;
}

struct plots *plots_free(struct plots *plots)
{
	if (!plots)
		return NULL;
	for (size_t i = 0; i < plots->count; i++)
		buffer_free(&plots->svg[i]);
	buffer_free(&plots->script);
	free(plots);
	return NULL;
}

size_t plots_count(const struct plots *plots)
{
	return plots->count;
}

const char *plots_name(const struct plots *plots, int plot)
{
	return plots->names[plot];
}

/* ---- describing ---- */

static int begin_plot(struct plots *plots, const char *kind, int height)
{
	struct buffer *script = &plots->script;
	int plot = (int)plots->count;

	if (plots->count == PLOTS_LIMIT)
		return -1;
	snprintf(plots->names[plot], sizeof(plots->names[plot]), "%s-%d.svg", kind, plot + 1);
	plots->count++;
	buffer_printf(
		script,
		"reset\nset terminal svg noenhanced size 760,%d dynamic font 'sans-serif,13' name 'p%d'\n"
		"set output '%s'\n"
		"set border 3 lc rgb '" INK "' lw 0.8\nset tics nomirror out scale 0.5 textcolor rgb '" INK
		"'\n"
		"set grid lc rgb '" GRID "' lt 1 lw 0.6\nset key outside top left horizontal reverse Left "
		"samplen 1 maxrows 2 textcolor rgb '" INK "'\nset xlabel textcolor rgb '" INK "'\n"
		"set ylabel textcolor rgb '" INK "'\nset title textcolor rgb '" INK "'\n",
		height, plot + 1, plots->names[plot]);
	return plot;
}

static void put_title(struct plots *plots, const char *what, const char *name)
{
	struct buffer title = {0};

	if (!plots->titled)
		return;
	buffer_printf(&title, "%s%s", what, name);
	buffer_string(&plots->script, "set title ");
	if (title.err)
		plots->script.err = title.err;
	escape_gnuplot(&plots->script, title.data ? title.data : "");
	buffer_string(&plots->script, "\n");
	buffer_free(&title);
}

#define DECADES    13 /* from 1 ns to 1000 s */
#define STEPS_MAX  10
#define TICS_LEAST 2

/* Where in a decade there are tics, in tenths: the coarsest first. */
static const unsigned steps[][STEPS_MAX + 1] = {{10}, {10, 20, 50}, {10, 12, 15, 20, 25, 30, 40, 50, 60, 80}};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static size_t tics_between(const unsigned *step, double low, double high)
{
	double decade = 1;
	size_t tics = 0;

	for (int i = 0; i < DECADES; i++, decade *= 10)
		for (const unsigned *tenths = step; *tenths; tenths++)
			tics += decade * *tenths / 10 >= low && decade * *tenths / 10 <= high;
	return tics;
}

/* Times on a logarithmic axis that goes from `low` to `high`: 1, 10, 100 of each unit, and more if these are too few. */
static void put_time_tics(struct plots *plots, char axis, double low, double high)
{
	static const char *const units[] = {"ns", "us", "ms", "s", "s"};
	static const unsigned of_unit[] = {1, 10, 100};
	const char *comma = "";
	double decade = 1;
	size_t which = 0;

	while (which + 1 < STEPS && tics_between(steps[which], low, high) < TICS_LEAST)
		which++;
	buffer_printf(&plots->script, "set logscale %c\nset %crange [%.1f:%.1f]\nset %ctics (", axis, axis,
		      low, high, axis);
	for (int i = 0; i < DECADES; i++, decade *= 10) {
		double in_unit = i / 3 == 4 ? 1000 : of_unit[i % 3];

		for (const unsigned *tenths = steps[which]; *tenths; tenths++, comma = ", ")
			buffer_printf(&plots->script, "%s'%g %s' %.1f", comma, in_unit * *tenths / 10,
				      units[i / 3], decade * *tenths / 10);
	}
	buffer_string(&plots->script, ")\n");
}

/* Counts, from below 1 on; by itself gnuplot marks decades only. */
static void put_count_tics(struct plots *plots, double most)
{
	buffer_printf(&plots->script, "set logscale y\nset format y '%%.0f'\nset yrange [0.5:%.1f]\n",
		      2 * most);
	if (2 * most < 10)
		buffer_string(&plots->script, "set ytics (1, 2, 3, 5)\n");
}

static void put_marker(struct plots *plots, uint64_t ns, const char *name, const char *colour, double height,
		       const char *align)
{
	if (ns == MODEL_UNKNOWN || ns == 0)
		return;
	buffer_printf(&plots->script,
		      "set arrow from first %" PRIu64 ", graph 0 to first %" PRIu64
		      ", graph %.2f nohead lc rgb '%s' lw 1.2 dt 2 front\n"
		      "set label '%s %s' at first %" PRIu64
		      ", graph %.2f %s offset %s,0 textcolor rgb '%s'\n",
		      ns, ns, height - 0.02, colour, name, units_ns(ns).text, ns, height, align,
		      strcmp(align, "left") == 0 ? "0.3" : "-0.3", colour);
}

/* Eight bins an octave: the histogram's 64 would be thinner than a line. */
static uint32_t bin_of(uint32_t bucket)
{
	return bucket < STINT_HISTOGRAM_SUB_BUCKETS ? bucket : bucket / 8 * 8;
}

static uint64_t put_bins(struct plots *plots, const struct model_metric *metric)
{
	uint64_t most = 0;

	buffer_string(&plots->script, "$d << EOD\n");
	for (size_t i = 0; i < metric->buckets_len;) {
		uint32_t bin = bin_of(metric->buckets[i].bucket);
		uint64_t low = stint_histogram_bucket_low(bin), count = 0, high;

		high = stint_histogram_bucket_low(bin < STINT_HISTOGRAM_SUB_BUCKETS ? bin + 1 : bin + 8);
		for (; i < metric->buckets_len && bin_of(metric->buckets[i].bucket) == bin; i++)
			count += metric->buckets[i].count;
		most = count > most ? count : most;
		buffer_printf(&plots->script, "%.1f %" PRIu64 " %.1f %" PRIu64 "\n", low ? (double)low : 0.5,
			      high, low ? (double)low : 0.5, count);
	}
	buffer_string(&plots->script, "EOD\n");
	return most;
}

int plots_distribution(struct plots *plots, const struct pick_distribution *distribution)
{
	const struct model_metric *metric = distribution->metric;
	uint64_t budget_ns = distribution->budget_ns == MODEL_UNKNOWN ? 0 : distribution->budget_ns;
	uint64_t low, high, most;
	int plot;

	if (metric->buckets_len == 0 || (plot = begin_plot(plots, distribution->what, 260)) < 0)
		return -1;
	low = stint_histogram_bucket_low(metric->buckets[0].bucket);
	high = stint_histogram_bucket_low(metric->buckets[metric->buckets_len - 1].bucket + 1);
	high = budget_ns > high && budget_ns < UINT64_MAX / 4 ? budget_ns : high;
	put_title(plots, "Lengths of the dispatches, iterations or calls of ", distribution->name);
	put_time_tics(plots, 'x', (low ? (double)low : 0.5) / 1.6, (double)high * 2.2);
	most = put_bins(plots, metric);
	put_count_tics(plots, (double)most);
	buffer_printf(&plots->script, "set tmargin %d\nset ylabel '%s'\nset style fill solid 0.85 noborder\n",
		      plots->titled ? 5 : 3, distribution->what);
	put_marker(plots, model_percentile(metric, 5000), "p50", INK, 1.05, "right");
	put_marker(plots, model_percentile(metric, 9900), "p99", INK, 1.05, "left");
	put_marker(plots, budget_ns, "budget", RED, 1.14, budget_ns > high / 8 ? "right" : "left");
	buffer_printf(&plots->script,
		      "plot $d using 1:(0.5):1:2:(0.5):4 with boxxyerror lc rgb '" BLUE "' notitle, "
		      "$d using ($1 >= %" PRIu64 " ? $1 : 1/0):(0.5):1:2:(0.5):4 with boxxyerror lc rgb '" RED
		      "' notitle\n",
		      budget_ns ? budget_ns : INT64_MAX);
	return plot;
}

/* 0 computing, 1 runnable, 2 blocked, 3 not known. */
static int kind_of(const struct model_overrun *overrun)
{
	uint64_t half_ns = overrun->duration_ns / 2;

	if (overrun->on_cpu_ns == MODEL_UNKNOWN || overrun->runnable_ns == MODEL_UNKNOWN ||
	    overrun->blocked_ns == MODEL_UNKNOWN)
		return overrun->cpu_min_ns != MODEL_UNKNOWN && overrun->cpu_min_ns > half_ns ? 0 : 3;
	if (overrun->blocked_ns >= overrun->on_cpu_ns && overrun->blocked_ns >= overrun->runnable_ns)
		return 2;
	return overrun->runnable_ns > overrun->on_cpu_ns;
}

int plots_overruns(struct plots *plots, const struct model *model)
{
	static const char *const names[] = {"computing", "waiting for a CPU", "blocked",
					    "off the CPU, or not known"};
	static const char *const colours[] = {BLUE, AMBER, RED, INK};
	size_t counts[4] = {0};
	size_t len = model->overruns_len < POINTS_LIMIT ? model->overruns_len : POINTS_LIMIT;
	uint64_t budget_ns = model_meta_number(model, "budget_ns"), least;
	const char *comma = "plot ";
	int plot;

	if (len == 0 || (plot = begin_plot(plots, "overruns", 260)) < 0)
		return -1;
	put_title(plots, "Overruns", "");
	least = model->overruns[len - 1].duration_ns;
	least = budget_ns != MODEL_UNKNOWN && budget_ns > 0 && budget_ns < least ? budget_ns : least;
	put_time_tics(plots, 'y', (least ? (double)least : 1) / 1.5,
		      (double)(model->overruns[0].duration_ns ? model->overruns[0].duration_ns : 1) * 1.6);
	buffer_string(&plots->script, "$d << EOD\n");
	for (size_t i = 0; i < len; i++) {
		const struct model_overrun *overrun = &model->overruns[i];

		counts[kind_of(overrun)]++;
		buffer_printf(&plots->script, "%.6f %" PRIu64 " %d\n",
			      model_seconds(model, overrun->start_ns),
			      overrun->duration_ns ? overrun->duration_ns : 1, kind_of(overrun));
	}
	buffer_printf(&plots->script, "EOD\nset xrange [0:%.3f]\nset xlabel 'seconds from the start'\n",
		      model->duration_ns ? (double)model->duration_ns / 1e9 : 1);
	if (budget_ns != MODEL_UNKNOWN && budget_ns > 0)
		buffer_printf(&plots->script,
			      "set arrow from graph 0, first %" PRIu64 " to graph 1, first %" PRIu64
			      " nohead lc rgb '" RED "' dt 2\n",
			      budget_ns, budget_ns);
	for (int kind = 0; kind < 4; kind++) {
		if (counts[kind] == 0)
			continue;
		buffer_printf(
			&plots->script,
			"%s$d using ($3 == %d ? $1 : 1/0):2 with impulses lc rgb '%s' lw 1.2 notitle, "
			"$d using ($3 == %d ? $1 : 1/0):2 with points pt 7 ps 0.5 lc rgb '%s' title '%s'",
			comma, kind, colours[kind], kind, colours[kind], names[kind]);
		comma = ", ";
	}
	buffer_string(&plots->script, "\n");
	return plot;
}

/* Columns: ms, KiB, and which of the moments it is. */
static void put_moments(struct plots *plots, const struct trace *trace, size_t first, size_t end,
			size_t *counts)
{
	uint64_t start_ns = trace->events[first]->time_ns;
	double fill = 0;

	buffer_string(&plots->script, "$d << EOD\n");
	for (size_t i = first; i < end; i++) {
		const struct model_event *event = trace->events[i];

		if (event->queued_bytes != MODEL_UNKNOWN)
			fill = (double)event->queued_bytes / 1024;
		counts[event->kind]++;
		buffer_printf(&plots->script, "%.6f %.3f %d %d\n", (double)(event->time_ns - start_ns) / 1e6,
			      fill, (int)event->kind, event->cause);
		counts[MODEL_CLOSE + 1] += event->cause;
	}
	buffer_string(&plots->script, "EOD\n");
}

/* A line across, which the key names: a label on it would lie over the data. */
static void put_level(struct plots *plots, uint64_t bytes, const char *name, const char *colour)
{
	if (bytes == MODEL_UNKNOWN)
		return;
	buffer_printf(&plots->script, ", %.3f with lines lc rgb '%s' lw 1.2 dt 2 title '%s, %s'",
		      (double)bytes / 1024, colour, name, units_bytes(bytes).text);
}

/* Those of the connection's life stand in a row of their own at the top, where the fill does not hide them. */
static void put_marks(struct plots *plots, const size_t *counts, double top)
{
	static const struct {
		int kind;
		bool of_life;
		const char *style, *title;
	} moments[] = {
		{MODEL_WRITE_EVENT, false, "impulses lc rgb '" AMBER "' lw 1.6", "write event"},
		{MODEL_SEND, false, "points pt 5 ps 0.6 lc rgb '" BLUE "'", "send"},
		{MODEL_SEND_SHORT, false, "points pt 7 ps 0.8 lc rgb '" RED "'", "short send"},
		{MODEL_RETRANSMIT, false, "points pt 2 ps 0.7 lw 1.2 lc rgb '" RED "'", "retransmission"},
		{MODEL_WINDOW_CLOSED, true, "points pt 11 ps 1.1 lc rgb '" AMBER "'", "window closed"},
		{MODEL_WINDOW_OPENED, true, "points pt 9 ps 1.1 lc rgb '" GREEN "'", "window opened"},
		{MODEL_CONNECTING, true, "points pt 12 ps 1.2 lw 1.6 lc rgb '" GREEN "'", "SYN sent"},
		{MODEL_ESTABLISHED, true, "points pt 13 ps 1.2 lc rgb '" GREEN "'", "handshake complete"},
		{MODEL_FIN_SENT, true, "points pt 4 ps 1.1 lw 1.6 lc rgb '" INK "'", "FIN sent"},
		{MODEL_FIN_RECEIVED, true, "points pt 6 ps 1.1 lw 1.6 lc rgb '" INK "'", "FIN received"},
		{MODEL_READ_EVENT, true, "points pt 1 ps 1.1 lw 1.6 lc rgb '" AMBER "'", "its read event"},
	};

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		if (counts[moments[i].kind] == 0)
			continue;
		buffer_printf(&plots->script, ", $d using ($3 == %d ? $1 : 1/0):", moments[i].kind);
		if (moments[i].of_life)
			buffer_printf(&plots->script, "(%.1f)", top * 0.95);
		else
			buffer_string(&plots->script, "2");
		buffer_printf(&plots->script, " with %s title '%s'", moments[i].style, moments[i].title);
	}
}

/*
 * The first of those cycles that are drawn: they have the longest in their middle, as far as there are some on its
 * sides.
 */
static const struct trace_cycle *first_cycle(const struct trace *trace, size_t cycles)
{
	size_t first = trace->longest > cycles / 2 ? trace->longest - cycles / 2 : 0;

	if (first + cycles > trace->cycles_len)
		first = trace->cycles_len > cycles ? trace->cycles_len - cycles : 0;
	return &trace->cycles[first];
}

/* Which of the trace's moments are drawn: [*first, *end). */
static void choose_moments(const struct trace *trace, size_t cycles, size_t *first, size_t *end)
{
	const struct trace_cycle *begin = first_cycle(trace, cycles);
	const struct trace_cycle *last =
		begin + (cycles < trace->cycles_len ? cycles : trace->cycles_len) - 1;

	*first = begin->first > 2 ? begin->first - 2 : 0;
	*end = last->next ? last->end + 1 : last->end;
	/* Where the handshake was seen, the whole life is drawn: its end tells as much. */
	if (trace->events[0]->kind == MODEL_CONNECTING || trace->events[0]->kind == MODEL_ESTABLISHED) {
		*first = 0;
		*end = trace->events_len;
	}
	if (*end - *first > MOMENTS_LIMIT)
		*end = *first + MOMENTS_LIMIT;
}

int plots_trace(struct plots *plots, const struct trace *trace, size_t cycles)
{
	size_t counts[MODEL_CLOSE + 2] = {0};
	const struct model_event *send;
	size_t first, end;
	uint64_t sndbuf;
	double top, span_ms;
	int plot;

	if (trace->cycles_len == 0 || cycles == 0 || (plot = begin_plot(plots, "write-buffer", 380)) < 0)
		return -1;
	choose_moments(trace, cycles, &first, &end);
	send = trace->cycles[trace->longest].send;
	sndbuf = send->sndbuf_bytes;
	top = (double)(sndbuf == MODEL_UNKNOWN ? send->queued_bytes : sndbuf) / 1024 * 1.35;
	span_ms = (double)(trace->events[end - 1]->time_ns - trace->events[first]->time_ns) / 1e6 + 1e-6;
	put_title(plots, "Write buffer of ", trace->process->command);
	put_moments(plots, trace, first, end, counts);
	buffer_printf(
		&plots->script,
		"set xlabel 'ms'\nset ylabel 'KiB in the write buffer'\nset yrange [0:%.1f<*]\n"
		"set style fill solid 0.15 noborder\nset xrange [%.6f:%.6f]\nset key maxrows 4 font ',11'\n",
		top, -0.01 * span_ms, 1.01 * span_ms);
	buffer_string(&plots->script, "plot $d using 1:2 with fillsteps lc rgb '" BLUE "' notitle, "
				      "$d using 1:2 with steps lc rgb '" BLUE "' lw 1.4 title 'fill'");
	put_level(plots, sndbuf, "buffer", INK);
	put_level(plots, trace->cycles[trace->longest].threshold_bytes, "write event at", GREEN);
	if (counts[MODEL_ACK] > 0)
		buffer_printf(
			&plots->script,
			", $d using ($3 == %d ? $1 : 1/0):(0):(0):(%.1f) with vectors nohead lc rgb '" INK
			"' title '%s'",
			MODEL_ACK, top * 0.035, trace->is_unix ? "read by peer" : "ACK");
	put_marks(plots, counts, top);
	if (counts[MODEL_CLOSE + 1] > 0)
		buffer_printf(&plots->script,
			      ", $d using ($4 == 1 ? $1 : 1/0):2 with points pt 7 ps 0.8 lc rgb '" GREEN
			      "' title '%s'",
			      trace->is_unix ? "opening read" : "opening ACK");
	buffer_string(&plots->script, "\n");
	return plot;
}

/* ---- drawing ---- */

int plots_draw(struct plots *plots, char *error, size_t error_size)
{
	const char *names[PLOTS_LIMIT];
	int err;

	if (plots->count == 0)
		return 0;
	buffer_string(&plots->script, "set output\n");
	if (!buffer_text(&plots->script)) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < plots->count; i++)
		names[i] = plots->names[i];
	err = gnuplot_run(plots->script.data, plots->script.len, names, plots->svg, plots->count, error,
			  error_size);
	for (size_t i = 0; err < 0 && i < plots->count; i++)
		buffer_free(&plots->svg[i]);
	return err;
}

void plots_put_file(const struct plots *plots, int plot, struct buffer *out)
{
	const char *text = buffer_text(&plots->svg[plot]);
	const char *begin = text ? strstr(text, "<g id=\"gnuplot_canvas\">") : NULL;

	if (!begin)
		return;
	buffer_put(out, text, (size_t)(begin - text));
	buffer_string(out, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
	buffer_string(out, begin);
}

/* gnuplot writes a colour as rgb(r,g,b), with or without spaces. Returns the length of one of ours, or 0. */
static size_t put_colour(const char *text, struct buffer *out)
{
	static const struct {
		unsigned r, g, b;
		const char *name;
	} colours[] = {{0x40, 0x40, 0x40, "ink"}, {0xdd, 0xdd, 0xdd, "grid"},  {0x2f, 0x6d, 0xb5, "blue"},
		       {0xc0, 0x39, 0x2b, "red"}, {0xb7, 0x79, 0x1f, "amber"}, {0x2e, 0x8b, 0x57, "green"}};
	unsigned r, g, b;
	int len = 0;

	if (sscanf(text, "rgb(%u,%u,%u)%n", &r, &g, &b, &len) != 3 || len == 0)
		return 0;
	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
		if (colours[i].r == r && colours[i].g == g && colours[i].b == b) {
			buffer_printf(out, "var(--%s)", colours[i].name);
			return (size_t)len;
		}
	}
	return 0;
}

/* Puts what stands before a name of an element, and the page's prefix for it. Returns its length, or 0. */
static size_t put_reference(const char *text, int plot, struct buffer *out)
{
	static const char *const references[] = {" id='", " id=\"", "href='#", "href=\"#", "url(#"};

	for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++) {
		size_t len = strlen(references[i]);

		if (strncmp(text, references[i], len) == 0) {
			buffer_put(out, text, len);
			buffer_printf(out, "plot%d-", plot + 1);
			return len;
		}
	}
	return 0;
}

void plots_put_inline(const struct plots *plots, int plot, struct buffer *out)
{
	const char *text = buffer_text(&plots->svg[plot]);

	text = text ? strstr(text, "<svg") : NULL;
	while (text && *text) {
		size_t len = 0;

		if (*text == 'r')
			len = put_colour(text, out);
		else if (*text == ' ' || *text == 'h' || *text == 'u')
			len = put_reference(text, plot, out);
		else if (strncmp(text, "<title>", 7) == 0)
			len = strcspn(text,
				      "\n"); /* a tool tip of gnuplot's, with a name of its own making */
		if (len == 0)
			buffer_put(out, text, len = 1);
		text += len;
	}
}
