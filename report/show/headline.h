/* SPDX-License-Identifier: MIT */
#ifndef REPORT_HEADLINE_H
#define REPORT_HEADLINE_H

/* The first thing to read: for each process whether it was late, by what, and what to look at, in a few short lines. */

#include "report/model/late.h"
#include "report/show/words.h"

#define HEADLINE_LINES 10

struct headline_line {
	const char *label; /* "in sum", "longest", "look at"; of the first line NULL */
	struct buffer text;
};

struct headline {
	struct headline_line
		lines[HEADLINE_LINES]; /* the first names the process, and says whether it was late */
	size_t len;
	bool late;   /* or there is an alarm */
	bool unseen; /* nothing is known of it, so not that it was not late either */
};

/* `first_only`: no more than the first line. To be freed. */
void headline_of(struct headline *ret, words_escape escape, const struct model *model,
		 const struct model_process *process, bool first_only);
void headline_free(struct headline *headline);

/*
 * The processes to show, the worst first: how many with all their lines, then how many with one, of
 * model->processes_len.
 */
struct headline_order {
	const struct model_process *processes[MODEL_PROCESSES];
	size_t whole;
	size_t shown; /* with those */
};
void headline_order(struct headline_order *ret, const struct model *model);

/* What is left out by that, as a sentence; nothing if nothing is. */
void headline_rest(struct buffer *out, const struct headline_order *order, const struct model *model);

#endif
