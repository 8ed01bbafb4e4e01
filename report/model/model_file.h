/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_FILE_H
#define REPORT_MODEL_FILE_H

#include <sqlite3.h>
#include <stddef.h>

/*
 * Opens the recording at `path` for reading, within a read transaction. Anything that is not a recording of
 * this version is refused before SQLite sees it. On failure returns a negative errno and says why.
 */
int model_file_open(sqlite3 **ret, const char *path, char *error, size_t error_size);

/* Says in words what SQLite's last error on `db` means for the user. Returns a negative errno. */
int model_file_error(sqlite3 *db, char *error, size_t error_size);

#endif
