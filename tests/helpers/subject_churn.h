/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_CHURN_H
#define SUBJECT_CHURN_H

/* How many events each loop of the subject `churn` handles, one in an iteration. */

#define CHURN_EVENTS 7

/* What ends those of its processes that it has kept; any other byte makes one loop more. */
#define SUBJECT_CHURN_END "e"

/* What one of those calls itself, at the first letter of it. */
#define SUBJECT_CHURN_TITLE "titled"

#endif
