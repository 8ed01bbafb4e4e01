/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_PROC_LINE_H
#define STINT_PROBES_PROC_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of a file in /proc, as far as it has room. False: it cannot be opened, or there is nothing in it. */
bool stint_proc_line(char *ret, size_t ret_bytes, const char *path);

#endif
