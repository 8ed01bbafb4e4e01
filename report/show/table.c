/* SPDX-License-Identifier: MIT */
#include "report/show/table.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/show/escape.h"
#include "report/show/shorten.h"
#include "report/show/units.h"

#define COLUMNS_MAX    24
#define NAME_COLUMNS   40
#define NAME_NARROWEST 18 /* where the table would be too wide */

enum { CELL_NAME = 1, CELL_INFERRED = 2, CELL_MARKED = 4 };

struct column {
	const char *head;
	bool right;
	bool key;
	bool dropped;
	bool says; /* something, in some row */
	size_t width;
};

struct table {
	struct column columns[COLUMNS_MAX];
	size_t columns_len;
	struct buffer cells; /* each a byte of flags, and a text with its NUL */
	size_t count;
	size_t last; /* where the last cell begins */
};

struct table *table_new(const char *const *heads, const char *align)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	for (; align[table->columns_len] && table->columns_len < COLUMNS_MAX; table->columns_len++) {
		char letter = align[table->columns_len];

		table->columns[table->columns_len] = (struct column){.head = heads[table->columns_len],
								     .right = tolower(letter) == 'r',
								     .key = isupper(letter) != 0};
	}
	return table;
}

static bool says_something(const char *text)
{
	static const char *const nothing[] = {"", "-", "0", "0 ns"};

	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		if (strcmp(text, nothing[i]) == 0)
			return false;
	return true;
}

static void put_cell(struct table *table, const char *text, int flags)
{
	char byte = (char)flags;

	if (!table)
		return;
	table->last = table->cells.len;
	table->columns[table->count % table->columns_len].says |= says_something(text);
	buffer_put(&table->cells, &byte, 1);
	buffer_put(&table->cells, text, strlen(text) + 1);
	table->count++;
}

void table_cell(struct table *table, const char *text)
{
	put_cell(table, text, 0);
}

void table_format(struct table *table, const char *format, ...)
{
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_cell(table, text, 0);
}

void table_number(struct table *table, uint64_t number)
{
	table_format(table, "%" PRIu64, number);
}

void table_ns(struct table *table, uint64_t ns)
{
	put_cell(table, units_ns(ns).text, 0);
}

void table_count(struct table *table, uint64_t count)
{
	put_cell(table, units_count(count).text, 0);
}

void table_buffer(struct table *table, const struct buffer *text)
{
	if (table && text->err)
		table->cells.err = text->err;
	put_cell(table, text->data ? text->data : "", 0);
}

void table_name(struct table *table, const char *name, bool inferred)
{
	put_cell(table, name, CELL_NAME | (inferred ? CELL_INFERRED : 0));
}

void table_mark(struct table *table)
{
	if (table && !table->cells.err && table->count)
		table->cells.data[table->last] |= CELL_MARKED;
}

void table_drop(struct table *table, size_t column)
{
	if (table && column < table->columns_len)
		table->columns[column].dropped = true;
}

struct table *table_free(struct table *table)
{
	if (table)
		buffer_free(&table->cells);
	free(table);
	return NULL;
}

static bool is_shown(const struct column *column)
{
	return !column->dropped && (column->key || column->says);
}

/* ---- as text ---- */

/* How many columns of the terminal a text takes: bytes that continue a character take none. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

#define HEAD_LEAST 3

/* How much of a name's end is kept: half, or more if it takes that to see the port of an address in it. */
static size_t tail_of(const char *name, size_t name_columns)
{
	size_t tail = name_columns / 2, port = 0;

	for (const char *at = name; *at; at++)
		if (*at == ':' && isdigit((unsigned char)at[1]))
			port = strlen(at);
	return port > tail && port + 3 + HEAD_LEAST <= name_columns ? port : tail;
}

/* What the terminal shows of a cell, behind `out`, with a NUL. */
static void render(struct buffer *out, const char *cell, size_t name_columns)
{
	struct buffer escaped = {0};
	size_t tail;

	if (!(*cell & CELL_NAME)) {
		buffer_put(out, cell + 1, strlen(cell + 1) + 1);
		return;
	}
	escape_terminal(&escaped, cell + 1);
	buffer_string(out, *cell & CELL_INFERRED ? "~" : "");
	tail = tail_of(escaped.data ? escaped.data : "", name_columns);
	if (escaped.err)
		out->err = escaped.err;
	else
		shorten(out, escaped.data ? escaped.data : "", name_columns - tail - 3, tail);
	buffer_put(out, "", 1);
	buffer_free(&escaped);
}

static const char **render_all(struct table *table, struct buffer *texts, size_t name_columns, bool *inferred)
{
	const char **rendered = calloc(table->count + 1, sizeof(*rendered));
	const char *cell = table->cells.data, *text;

	for (size_t i = 0; i < table->columns_len; i++)
		table->columns[i].width = width_of(table->columns[i].head);
	for (size_t i = 0; rendered && i < table->count; i++) {
		*inferred |= (*cell & CELL_INFERRED) != 0;
		render(texts, cell, name_columns);
		cell += strlen(cell + 1) + 2;
	}
	text = texts->data;
	for (size_t i = 0; rendered && !texts->err && i < table->count; i++) {
		struct column *column = &table->columns[i % table->columns_len];
		size_t width = width_of(text);

		rendered[i] = text;
		column->width = width > column->width ? width : column->width;
		text += strlen(text) + 1;
	}
	return rendered;
}

static void put_padded(struct buffer *out, const struct column *column, const char *text)
{
	int padding = (int)(column->width - width_of(text));

	if (column->right)
		buffer_printf(out, "  %*s%s", padding, "", text);
	else
		buffer_printf(out, "  %s%*s", text, padding, "");
}

static void end_line(struct buffer *out)
{
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	buffer_string(out, "\n");
}

/* Those columns of all rows that name the row, or are in [first, end). */
static void put_block(const struct table *table, const char *const *rendered, struct buffer *out,
		      size_t first, size_t end)
{
	for (size_t row = 0; row <= table->count / table->columns_len; row++) {
		for (size_t i = 0; i < table->columns_len; i++) {
			const struct column *column = &table->columns[i];

			if (is_shown(column) && (column->key || (i >= first && i < end)))
				put_padded(out, column,
					   row ? rendered[(row - 1) * table->columns_len + i] : column->head);
		}
		end_line(out);
	}
}

static void put_blocks(const struct table *table, const char *const *rendered, struct buffer *out,
		       size_t width)
{
	size_t keys = 0, used, first = 0, end;

	for (size_t i = 0; i < table->columns_len; i++)
		if (is_shown(&table->columns[i]) && table->columns[i].key)
			keys += table->columns[i].width + 2;
	do {
		used = keys;
		for (end = first; end < table->columns_len; end++) {
			const struct column *column = &table->columns[end];
			size_t more = is_shown(column) && !column->key ? column->width + 2 : 0;

			if (more && used > keys && used + more > width)
				break;
			used += more;
		}
		buffer_string(out, first ? "\n" : "");
		put_block(table, rendered, out, first, end);
		first = end;
	} while (end < table->columns_len);
}

static size_t whole_width(const struct table *table)
{
	size_t width = 0;

	for (size_t i = 0; i < table->columns_len; i++)
		width += is_shown(&table->columns[i]) ? table->columns[i].width + 2 : 0;
	return width;
}

/* To how many bytes names have to be cut for the table to fit; 0: it does, or they would say nothing any more. */
static size_t narrower_names(const struct table *table, size_t width)
{
	size_t whole = whole_width(table), widest = 0;
	const char *cell = table->cells.data;

	for (size_t i = 0; i < table->count; i++) {
		const struct column *column = &table->columns[i % table->columns_len];

		if ((*cell & CELL_NAME) && is_shown(column) && column->width > widest)
			widest = column->width;
		cell += strlen(cell + 1) + 2;
	}
	if (whole <= width || widest < whole - width + NAME_NARROWEST)
		return 0;
	return widest - (whole - width) - 1; /* the mark of what is inferred comes before it */
}

static bool same_row(const struct table *table, const char *const *rendered, size_t a, size_t b)
{
	for (size_t i = 0; i < table->columns_len; i++)
		if (is_shown(&table->columns[i]) && table->columns[i].key &&
		    strcmp(rendered[a * table->columns_len + i], rendered[b * table->columns_len + i]) != 0)
			return false;
	return true;
}

/* Are there rows that have become the same to who reads them? */
static bool are_mixed_up(const struct table *table, const char *const *wide, const char *const *narrow)
{
	size_t rows = table->count / table->columns_len;

	for (size_t a = 0; a < rows; a++)
		for (size_t b = 0; b < a; b++)
			if (same_row(table, narrow, a, b) && !same_row(table, wide, a, b))
				return true;
	return false;
}

/* In place of `rendered`, with names that are shorter, if by that the table fits and its rows can still be told apart. */
static const char **render_to_fit(struct table *table, struct buffer *texts, const char **rendered,
				  size_t width)
{
	struct buffer shorter_texts = {0};
	size_t names = narrower_names(table, width);
	bool inferred = false;
	const char **shorter;

	if (!names)
		return rendered;
	shorter = render_all(table, &shorter_texts, names, &inferred);
	if (shorter && !shorter_texts.err && are_mixed_up(table, rendered, shorter)) {
		free(shorter);
		buffer_free(&shorter_texts);
		shorter = render_all(table, &shorter_texts, NAME_COLUMNS, &inferred); /* the widths, too */
	}
	free(rendered);
	buffer_free(texts);
	*texts = shorter_texts;
	return shorter;
}

void table_text(struct table *table, struct buffer *out, size_t width, bool *inferred)
{
	bool ok = table && !table->cells.err;
	struct buffer texts = {0};
	const char **rendered = ok ? render_all(table, &texts, NAME_COLUMNS, inferred) : NULL;

	if (rendered && !texts.err)
		rendered = render_to_fit(table, &texts, rendered, width);
	if (!rendered || texts.err)
		out->err = -ENOMEM;
	else if (table->count > 0)
		put_blocks(table, rendered, out, width);
	free(rendered);
	buffer_free(&texts);
	table_free(table);
}

/* ---- as HTML ---- */

static void put_html_cell(struct buffer *out, const struct column *column, const char *cell)
{
	if (*cell & CELL_NAME) {
		buffer_printf(out, "<td class=\"name\">%s",
			      *cell & CELL_INFERRED ? "<abbr title=\"inferred\">~</abbr>" : "");
		escape_html(out, cell + 1);
		buffer_string(out, "</td>");
		return;
	}
	buffer_printf(out, "<td%s>%s</td>",
		      *cell & CELL_MARKED ? " class=\"late-figure\""
		      : column->right     ? ""
					  : " class=\"l\"",
		      cell + 1);
}

void table_html(struct table *table, struct buffer *out)
{
	const char *cell = table && !table->cells.err ? table->cells.data : NULL;

	if (!table || table->cells.err) {
		out->err = -ENOMEM;
		table_free(table);
		return;
	}
	if (table->count == 0) {
		table_free(table);
		return;
	}
	buffer_string(out, "<div class=\"scroll\"><table>\n<tr>");
	for (size_t i = 0; i < table->columns_len; i++)
		if (is_shown(&table->columns[i]))
			buffer_printf(out, "<th%s>%s</th>", table->columns[i].right ? "" : " class=\"l\"",
				      table->columns[i].head);
	for (size_t i = 0; i < table->count; i++) {
		const struct column *column = &table->columns[i % table->columns_len];

		buffer_string(out, i % table->columns_len ? "" : "</tr>\n<tr>");
		if (is_shown(column))
			put_html_cell(out, column, cell);
		cell += strlen(cell + 1) + 2;
	}
	buffer_string(out, "</tr>\n</table></div>\n");
	table_free(table);
}
