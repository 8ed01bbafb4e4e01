/* SPDX-License-Identifier: MIT */
#include "report/record/function_source.h"

#include <errno.h>
#include <stdlib.h>

struct row {
	uint32_t
		number; /* by which the probes know it, also when its process is gone and the pid another's */
	int64_t process;
	int64_t id;
};

struct function_source {
	struct session *session;
	struct row *rows;
	size_t rows_len;
};

int function_source_new(struct function_source **ret, struct session *session)
{
	struct function_source *source = calloc(1, sizeof(*source));

	if (!source)
		return -ENOMEM;
	source->session = session;
	*ret = source;
	return 0;
}

struct function_source *function_source_free(struct function_source *source)
{
	if (!source)
		return NULL;
	free(source->rows);
	free(source);
	return NULL;
}

static struct row *find_row(struct function_source *source, uint32_t number)
{
	for (size_t i = 0; i < source->rows_len; i++)
		if (source->rows[i].number == number)
			return &source->rows[i];
	return NULL;
}

static struct row *add_row(struct function_source *source, int64_t process,
			   const struct stint_probes_function *function)
{
	struct row *larger = realloc(source->rows, (source->rows_len + 1) * sizeof(*larger));

	if (!larger)
		return NULL;
	source->rows = larger;
	larger[source->rows_len] =
		(struct row){function->number, process,
			     recording_function(source->session->recording, process, function)};
	return &larger[source->rows_len++];
}

/* The row's number makes the key one of its own: loops and roles have others in its place. */
static struct series_source series_of(const struct row *row)
{
	return (struct series_source){-row->process, INT64_MIN + row->id, row->id, 0};
}

static int grow(struct function_source *source, const struct row *row,
		const struct stint_probes_function *function, uint64_t second)
{
	const struct stint_probes_histogram *from = &function->duration;

	recording_function_counts(source->session->recording, row->id, function);
	if (from->count == 0)
		return 0;
	return series_grow(source->session->series, series_of(row),
			   &(struct series_sample){from->count, from->sum_ns, from->min_ns, from->max_ns,
						   from->overflow, from->bucket},
			   (struct recording_owner){.function = row->id}, "duration", "ns", second);
}

static void end_row(struct function_source *source, struct row *row)
{
	series_end_source(source->session->series, series_of(row));
	series_end_figure(source->session->series, (struct recording_owner){.function = row->id}, "duration");
	*row = source->rows[--source->rows_len];
}

int function_source_take(struct function_source *source, int64_t process,
			 const struct stint_probes_function *function, uint64_t second)
{
	struct row *row = find_row(source, function->number);
	int err = 0;

	if (!row && process)
		row = add_row(source, process, function);
	if (!row)
		return process ? -ENOMEM : 0;
	if (row->process == process)
		err = grow(source, row, function, second);
	if (!err && function->is_over)
		end_row(source, row);
	return err;
}
