/* SPDX-License-Identifier: MIT */
#ifndef REPORT_PICK_H
#define REPORT_PICK_H

/* What of a recording is worth showing first, where not all of it can be. */

#include "report/model/model.h"

/*
 * The longest overruns, but at most `alike_max` of those alike, so that what is late all the time does not hide
 * the rest. Alike: of one handler, which had called the same function, with the same verdict. Writes at most `max`
 * into `ret`, longest first, and returns how many.
 */
size_t pick_overruns(const struct model_overrun **ret, size_t max, size_t alike_max,
		     const struct model *model);

/* A distribution to draw: of a handler's dispatches or, where nobody tells those, of a loop's iterations. */
struct pick_distribution {
	const char *name;
	const char *what; /* "dispatches", "iterations" or "calls" */
	const struct model_metric *metric;
	uint64_t budget_ns;
	uint64_t overruns;
};

/* Handlers, those that overran most first, then the loops of processes without a meter. */
size_t pick_distributions(struct pick_distribution *ret, size_t max, const struct model *model);

/* Functions that were timed on request, those with most time in sum first. */
size_t pick_functions(struct pick_distribution *ret, size_t max, const struct model *model);

#endif
