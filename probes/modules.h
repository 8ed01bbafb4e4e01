/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_MODULES_H
#define STINT_PROBES_MODULES_H

/* The files that a process has mapped, as it sees them: in its own mount namespace, and by the names it knows. */

#include <stddef.h>
#include <stdint.h>

/*
 * Opens the file that is mapped at `start`, whose path in the process's own eyes is `path`. Returns a descriptor, or a
 * negative errno. The file's own name in `ret`, for errors and for finding debug information beside it.
 */
int stint_module_open(uint32_t pid, uint64_t start, const char *path, char *ret, size_t ret_bytes);

/*
 * The name that a process was started by, if it is another one than its file's: "redis-server", which is a link to
 * redis-check-rdb. `ret` is "" if it is not. `file` of `file_bytes` is set to the path that its mappings bear.
 */
void stint_module_alias(uint32_t pid, char *file, size_t file_bytes, char *ret, size_t ret_bytes);

#endif
