/* SPDX-License-Identifier: MIT */
#ifndef REPORT_GNUPLOT_H
#define REPORT_GNUPLOT_H

#include "report/show/buffer.h"

/*
 * Runs `script` in a new directory of mode 0700, and reads what it wrote: file i is named names[i] and goes to
 * files[i]. The directory is removed. On failure a negative errno, and why in `error`.
 */
int gnuplot_run(const char *script, size_t script_len, const char *const *names, struct buffer *files,
		size_t count, char *error, size_t error_size);

#endif
