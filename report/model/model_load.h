/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_LOAD_H
#define REPORT_MODEL_LOAD_H

#include <sqlite3.h>

#include "report/model/model.h"

/* Fills an empty model. On failure returns a negative errno and says why; what was filled is to be freed. */
int model_load(struct model *model, sqlite3 *db, char *error, size_t error_size);

#endif
