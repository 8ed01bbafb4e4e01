/* SPDX-License-Identifier: MIT */
#include "query.h"

#include <poll.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static void ask(const char *path, const char *sql, int64_t *number, char *text, size_t size)
{
	sqlite3_stmt *statement;
	sqlite3 *db;

	/* Read and write: what a killed recorder left half done is rolled back by the next who opens. */
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		fail_msg("%s: %s", path, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 5000); /* a recorder may be committing */
	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	if (sqlite3_step(statement) != SQLITE_ROW)
		fail_msg("%s: no row: %s", sql, sqlite3_errmsg(db));
	if (number)
		*number = sqlite3_column_int64(statement, 0);
	if (text)
		snprintf(text, size, "%s", (const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

int64_t query_number(const char *path, const char *sql)
{
	int64_t number;

	ask(path, sql, &number, NULL, 0);
	return number;
}

void query_text(const char *path, const char *sql, char *ret, size_t size)
{
	ask(path, sql, NULL, ret, size);
}

void query_until(const char *path, const char *sql, int64_t least)
{
	time_t limit = time(NULL) + 60;

	/* Whoever reads keeps the recorder from writing: not all the time. */
	while (query_number(path, sql) < least) {
		poll(NULL, 0, 100);
		if (time(NULL) > limit)
			fail_msg("'%s' does not become %d", sql, (int)least);
	}
}
