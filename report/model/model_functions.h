/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_FUNCTIONS_H
#define REPORT_MODEL_FUNCTIONS_H

/* The part of loading a recording that is about functions timed on request. */

#include "report/model/loader.h"

/* After the processes. */
void model_load_functions(struct loader *loader);

/* What model_load_functions() has made. */
void model_free_functions(struct model *model);

/* What ran in an overrun: rows of this, the overrun first, are taken into it. */
extern const char model_function_parts_sql[];
void model_take_function_part(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun);
void model_free_function_parts(struct model_overrun *overrun);

#endif
