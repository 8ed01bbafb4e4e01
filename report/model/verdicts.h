/* SPDX-License-Identifier: MIT */
#ifndef REPORT_VERDICTS_H
#define REPORT_VERDICTS_H

/* Takes the verdicts of a recording, and what belongs to them, into the overruns of a model. */

#include "report/model/loader.h"

/* What to select, and who takes a row of it; the overrun is the first column. */
struct verdicts_part {
	const char *sql;
	void (*take)(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun);
};

#define VERDICTS_PARTS 3
extern const struct verdicts_part verdicts_parts[VERDICTS_PARTS];

/* To be called when all rows are taken: a broken recording may have gaps. */
void verdicts_close_gaps(struct model_overrun *overrun);

void verdicts_free(struct model_verdict *verdict);

#endif
