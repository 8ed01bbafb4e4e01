/* SPDX-License-Identifier: MIT */
#ifndef REPORT_WHERE_H
#define REPORT_WHERE_H

/* Where in the code a handler spent its time, by the stacks of its overruns. */

#include "report/model/model.h"

/*
 * Of the stacks that have the handler: the innermost function with a name, below the handler and not of libc, that more
 * than half of the time went through. `weigh`: what an overrun counts for, in ns. NULL: there is none, or no stack.
 */
const char *where_most(const struct model *model, const struct model_handler *handler,
		       uint64_t (*weigh)(const struct model *model, const struct model_overrun *overrun));

#endif
