/* SPDX-License-Identifier: MIT */
#ifndef RUNTIME_DIR_H
#define RUNTIME_DIR_H

#include <stddef.h>

/*
 * Opens `path`, making it (mode 0700) if it is not there. Refuses what is no directory of ours, what
 * others may write to, and a symbolic link. Returns a descriptor or a negative errno.
 */
int runtime_dir_open(const char *path);

#endif
