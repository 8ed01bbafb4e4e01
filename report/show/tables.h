/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TABLES_H
#define REPORT_TABLES_H

/* The tables that are the same in the terminal and in HTML. NULL: no memory, which table_text() and table_html() tell. */

#include "report/model/model.h"
#include "report/model/stalls.h"
#include "report/show/table.h"

/* As table_new(); a first column "pid" is left out where the recording has one process. */
struct table *tables_new(const struct model *model, const char *const *heads, const char *align);

/* How many rows a table has, and how many there are. */
struct tables_rows {
	size_t shown;
	size_t total;
};

/* Handlers that their programs tell of, and those that are inferred where they were late: what hurt most first. */
struct table *tables_handlers(const struct model *model, size_t max, struct tables_rows *rows);
struct table *tables_inferred(const struct model *model, size_t max, struct tables_rows *rows);

struct table *tables_loops(const struct model *model, size_t max, struct tables_rows *rows);

/* The stages of a group's stalls, and the sockets of groups[0]'s process, which are the groups behind it. */
struct table *tables_stages(const struct stall_group *group);
struct table *tables_sockets(const struct stall_group *groups, size_t len, size_t max,
			     struct tables_rows *rows);

/* Write stalls as programs themselves saw them. */
struct table *tables_own_stalls(const struct model *model, struct tables_rows *rows);

/* What became of ACKs. */
struct table *tables_acks(const struct model *model, size_t max, struct tables_rows *rows);

#endif
