/* SPDX-License-Identifier: MIT */
#include "report/show/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
	const char *align;
	size_t columns;
	struct buffer cells; /* each NUL-terminated, the heads first */
	size_t count;
};

struct table *table_new(const char *const *heads, const char *align)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->align = align;
	table->columns = strlen(align);
	for (size_t i = 0; i < table->columns; i++)
		table_cell(table, heads[i]);
	return table;
}

void table_cell(struct table *table, const char *text)
{
	if (!table)
		return;
	buffer_put(&table->cells, text, strlen(text) + 1);
	table->count++;
}

void table_format(struct table *table, const char *format, ...)
{
	char text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	table_cell(table, text);
}

/* How many columns of the terminal a text takes: bytes that continue a character take none. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void measure(const struct table *table, size_t *widths)
{
	const char *cell = table->cells.data;

	for (size_t i = 0; i < table->count; i++) {
		size_t width = width_of(cell);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
		cell += strlen(cell) + 1;
	}
}

static void put_cell(const struct table *table, struct buffer *out, size_t column, const char *cell,
		     size_t width)
{
	int padding = (int)(width - width_of(cell));
	bool last = column + 1 == table->columns;

	buffer_string(out, "  ");
	if (table->align[column] == 'r')
		buffer_printf(out, "%*s%s", padding, "", cell);
	else
		buffer_printf(out, "%s%*s", cell, last ? 0 : padding, "");
	while (last && out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	if (last)
		buffer_string(out, "\n");
}

void table_put(struct table *table, struct buffer *out)
{
	size_t *widths = table ? calloc(table->columns, sizeof(*widths)) : NULL;
	const char *cell;

	if (!widths || table->cells.err) {
		out->err = -ENOMEM;
	} else {
		measure(table, widths);
		cell = table->cells.data;
		for (size_t i = 0; i < table->count; i++) {
			put_cell(table, out, i % table->columns, cell, widths[i % table->columns]);
			cell += strlen(cell) + 1;
		}
	}
	free(widths);
	if (table)
		buffer_free(&table->cells);
	free(table);
}
