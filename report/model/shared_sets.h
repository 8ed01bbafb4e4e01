/* SPDX-License-Identifier: MIT */
#ifndef REPORT_SHARED_SETS_H
#define REPORT_SHARED_SETS_H

/*
 * Runtimes whose threads serve one epoll set between them, as Go's and tokio's: whichever has nothing to do waits in
 * it, and hands on what it got. What a thread does between two of its waits, sleeping until it is wanted included, then
 * keeps nobody waiting as long as another is there to wait; and what one leaves unread another reads.
 */

#include "report/model/model.h"

/*
 * Marks the loops in such a set, and their processes, and takes away the findings that cannot be told of one. Needs the
 * duration.
 */
void model_find_shared_sets(struct model *model);

#endif
