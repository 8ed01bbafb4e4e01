/* SPDX-License-Identifier: MIT */
#ifndef REPORT_FUNCTION_SOURCE_H
#define REPORT_FUNCTION_SOURCE_H

/* Brings the functions that are timed on request into a recording. For probe_source.c. */

#include <stdint.h>

#include "report/record/session.h"

struct function_source;

/* `session` must outlive it. -ENOMEM. */
int function_source_new(struct function_source **ret, struct session *session);
struct function_source *function_source_free(struct function_source *source);

/*
 * Writes what a function of the process whose row is `process` grew by under `second`. By its pid, that may be none any
 * more (0), or a later one: then nothing is written. -ENOMEM.
 */
int function_source_take(struct function_source *source, int64_t process,
			 const struct stint_probes_function *function, uint64_t second);

#endif
