/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_MODULES_H
#define STINT_PROBES_MODULES_H

/* The files that a process has mapped, in its own mount namespace, and by the names that /proc/PID/maps has for them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A path without its folders. */
const char *stint_module_base_name(const char *path);

/*
 * The length of a path as the kernel shows it, without the " (deleted)" that it appends once the file is gone or
 * replaced.
 */
size_t stint_module_path_len(const char *path);

/* Whether a process runs this very program: a COMMAND does, before its exec. */
bool stint_module_is_own(uint32_t pid);

/*
 * Whether a process is in this one's mount namespace: then those names are as they are from here, also if it has changed
 * its root since. False if it is gone, or does not tell.
 */
bool stint_module_in_our_mounts(uint32_t pid);

/*
 * Opens the file that is mapped at `start`, whose path is `path`. Returns a descriptor, or a negative errno: -ESTALE if
 * there is another file by now, -EINVAL if it is none that has contents, as a device. The file's own name in `ret`, for
 * errors and for finding debug information beside it.
 */
int stint_module_open(uint32_t pid, uint64_t start, const char *path, char *ret, size_t ret_bytes);

/*
 * The name that a process was started by, if it is another one than its file's: "redis-server", which is a link to
 * redis-check-rdb. `ret` is "" if it is not. `file` of `file_bytes` is set to the path that its mappings bear.
 */
void stint_module_alias(uint32_t pid, char *file, size_t file_bytes, char *ret, size_t ret_bytes);

#endif
