/* SPDX-License-Identifier: MIT */
#ifndef REPORT_METER_SOURCE_H
#define REPORT_METER_SOURCE_H

/* Brings what a process tells of itself, in its meter's file, into a recording. */

#include <stdbool.h>
#include <stdint.h>

#include "report/record/session.h"

struct meter_source;

/*
 * Opens the meter's file of process `pid`, whose row is `process`. What was counted before the session's start
 * is not part of the recording. `number`: how many meters it had before, as its counters begin at 0 with each. Errors as of
 * meter_reader_new(); -ENOENT: the process has no meter (yet).
 */
int meter_source_new(struct meter_source **ret, struct session *session, int64_t process, uint32_t pid,
		     uint32_t number);
struct meter_source *meter_source_free(struct meter_source *source);

/* Whether the process has given this meter up: with its last loop, or as it executed another program (or its own). */
bool meter_source_is_over(const struct meter_source *source);

/* As meter_reader_is_left(): what seems to go on in it does not. */
bool meter_source_is_left(const struct meter_source *source);

/* When its meter was made. */
uint64_t meter_source_created_ns(const struct meter_source *source);

/*
 * Reads what is new, as of `now_ns`, and writes it under `second`. -EPROTO: the file has become unusable and what follows
 * it is not recorded; -ENOMEM.
 */
int meter_source_read(struct meter_source *source, uint64_t now_ns, uint64_t second);

/*
 * The recording ends, or the process has ended, at `end_ns`: what ran past its budget when it was last read, and had
 * not ended then, is an overrun too. After the last read. -ENOMEM.
 */
int meter_source_end(struct meter_source *source, uint64_t end_ns);

/* Stacks that its watchdog could not take, or that could not be unwound to their beginning. */
uint64_t meter_source_stacks_lost(const struct meter_source *source);

/* Stacks that its watchdog left out, as it takes but so many a second. */
uint64_t meter_source_stacks_skipped(const struct meter_source *source);

/* Handlers and loops that found its tables full, since the process began. */
uint64_t meter_source_handlers_refused(const struct meter_source *source);
uint64_t meter_source_loops_refused(const struct meter_source *source);

/* Entries of its rings that were overwritten before they were read. */
uint64_t meter_source_lost(const struct meter_source *source);

/* The clock of the program's figures: "tsc" or "clock_gettime". */
const char *meter_source_clock(const struct meter_source *source);

#endif
