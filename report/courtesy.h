/* SPDX-License-Identifier: MIT */
#ifndef REPORT_COURTESY_H
#define REPORT_COURTESY_H

/*
 * From now on this process gives way to others on its CPU: it is scheduled as a batch job, which does not preempt whoever
 * runs there when it wakes, and at nice 10 or what it had beyond that. Where the user gave it another policy, that is
 * left alone. Children that were forked before keep what they had.
 */
void courtesy_give_way(void);

#endif
