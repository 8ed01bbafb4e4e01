/* SPDX-License-Identifier: MIT */
#ifndef REPORT_ROSTER_H
#define REPORT_ROSTER_H

/*
 * Who is in a recording: its handlers, each with one row, and what they are charged with.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/record/recording.h"

struct roster;

/* `recording` must outlive it. -ENOMEM. */
int roster_new(struct roster **ret, struct recording *recording);
struct roster *roster_free(struct roster *roster);

/* The row of a handler, made when it is first met. 0 if there is no memory, or the recording has failed. */
int64_t roster_handler(struct roster *roster, int64_t process, const char *name, bool from_meter,
		       uint64_t budget_ns);

/* Adds to what a handler is charged with. */
void roster_charge(struct roster *roster, int64_t handler, const struct recording_handler_counts *counts);

/* Writes what was charged since the last call. */
void roster_write(struct roster *roster);

#endif
