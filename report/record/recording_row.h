/* SPDX-License-Identifier: MIT */
#ifndef REPORT_RECORDING_ROW_H
#define REPORT_RECORDING_ROW_H

/*
 * What the files recording*.c share: an open recording, its prepared statements, and one row at a time. Private to
 * them.
 *
 * A row is begun, each column is put in the statement's order, and ended. Once the recording has failed, all of
 * this does nothing.
 */

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "report/record/recording.h"

enum statement {
	META,
	LOSS,
	PROCESS,
	PROCESS_COMMAND,
	PROCESS_APPEARED,
	PROCESS_INSIDE,
	PROCESS_EXITED,
	HANDLER,
	HANDLER_COUNTS,
	HANDLER_COUNT,
	LOOP,
	LOOP_COUNTS,
	HISTOGRAM,
	TOTAL_DELETE,
	TOTAL,
	OVERRUN,
	SYSCALL,
	FRAME,
	SEGMENT,
	VERDICT,
	RIVAL,
	VICTIM,
	STALL,
	ACKS,
	ALARM,
	SOCKET,
	BUCKET,
	ROLE,
	ROLE_HISTOGRAM,
	ROLE_TOTAL,
	FINDING,
	FINDING_DELETE,
	FUNCTION,
	FUNCTION_COUNTS,
	FUNCTION_HISTOGRAM,
	FUNCTION_TOTAL,
	OVERRUN_FUNCTION,
	STATEMENTS
};

struct recording {
	sqlite3 *db;
	int lock_fd;
	sqlite3_stmt *statements[STATEMENTS];
	int err;
	char error[256];
};

/* Keeps the first error only: `err` is a negative errno. */
void recording_failed(struct recording *recording, int err, const char *what);

/* The same, from what SQLite returned. */
void recording_failed_by(struct recording *recording, int code);

/* Prepares all statements; the tables must be there. */
void recording_prepare(struct recording *recording);

/* A statement being filled: parameters are bound in order. NULL once the recording has failed. */
struct row {
	struct recording *recording;
	sqlite3_stmt *statement;
	int next;
};

struct row row_begin(struct recording *recording, enum statement which);

/* Returns the row's id, or 0. */
int64_t row_end(struct row *row);

/* Counters never come near 2^63; one that does comes from a broken file and is stored as the largest. */
void put_number(struct row *row, uint64_t value);
void put_signed(struct row *row, int64_t value);
void put_null(struct row *row);

/* RECORDING_UNKNOWN, id 0, a negative descriptor, NULL, and for put_some_text an empty text, too, are stored as NULL. */
void put_known(struct row *row, uint64_t value);
void put_id(struct row *row, int64_t id);
void put_fd(struct row *row, int fd);
void put_text(struct row *row, const char *text);
void put_some_text(struct row *row, const char *text);

/* "meter" or "probes". */
void put_source(struct row *row, bool from_meter);

/* Which of the functions that are timed ran in an overrun: rows of its own, in recording_functions.c. */
void recording_overrun_functions(struct recording *recording, int64_t overrun,
				 const struct stint_probes_overrun *probed);

#endif
