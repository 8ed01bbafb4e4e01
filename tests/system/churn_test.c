/* SPDX-License-Identifier: MIT */

/* A server that forks workers for ever, each with its loop and its roles: the recorder has room for all of them. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "subject_churn.h"
#include "watching.h"

/* The probes have room for 64 loops and 128 roles at a time, and take a look once a second. */
#define AT_ONCE 40
#define ROUNDS  4

static void start(const char *what)
{
	const char *const arguments[] = {what, NULL}, *const options[] = {NULL};

	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/churn", arguments);
	subject_go(&recorded.subject);
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid, options);
}

static void wait_for(const char *sql, int64_t number)
{
	query_until(recorded.recording, sql, number);
}

static void tell(const char *what)
{
	char byte;

	assert_int_equal(write(recorded.subject.to, what, 1), 1);
	assert_int_equal(read(recorded.subject.from, &byte, 1), 1);
}

static void do_rounds(bool workers)
{
	for (int round = 1; round <= ROUNDS; round++) {
		for (int i = 0; i < AT_ONCE; i++)
			tell("");
		wait_for("SELECT coalesce(sum(sum), 0) FROM total WHERE metric = 'batch'",
			 round * AT_ONCE * CHURN_EVENTS);
		if (!workers)
			continue;
		tell(SUBJECT_CHURN_END);
		/* That is written after what was left of them was read. */
		wait_for("SELECT count(exited_ns) FROM process", round * AT_ONCE);
	}
	command_record_end(&recorded.recorder);
}

static void assert_all_is_there(void)
{
	assert_int_equal(query_number(recorded.recording,
				      "SELECT sum(count) FROM loss WHERE name <> 'acks_unseen'"),
			 0);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT sum(g.count) FROM histogram g WHERE metric = 'batch'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT sum(count) FROM role_total WHERE metric = 'wait'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recorded.recording, "SELECT value FROM meta WHERE key = 'events'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recorded.recording, "SELECT sum(iterations) FROM loop"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(
		query_number(recorded.recording,
			     "SELECT sum(iterations) - (SELECT sum(count) FROM total WHERE metric = 'busy')"
			     " FROM loop"),
		0);
}

static void workers_that_are_forked_for_ever_are_all_recorded(void **state)
{
	(void)state;
	start("workers");
	do_rounds(true);
	assert_all_is_there();
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM loop"), ROUNDS * AT_ONCE);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT count(*) FROM process WHERE exited_ns IS NOT NULL"),
			 ROUNDS * AT_ONCE);
}

/* As nginx' workers are, which wait in a set for a moment before they have a title. */
static void a_worker_that_takes_a_title_later_has_that(void **state)
{
	(void)state;
	start("workers");
	tell("");
	wait_for("SELECT count(*) FROM process WHERE command LIKE '%churn workers'", 2);
	tell(SUBJECT_CHURN_TITLE);
	wait_for("SELECT count(*) FROM process WHERE command = '" SUBJECT_CHURN_TITLE "'", 1);
	tell(SUBJECT_CHURN_END);
	command_record_end(&recorded.recorder);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM process"), 2);
}

/* They have one number, and so one row. */
static void sets_that_are_made_for_ever_are_all_recorded(void **state)
{
	(void)state;
	start("same");
	do_rounds(false);
	assert_all_is_there();
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM loop"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(workers_that_are_forked_for_ever_are_all_recorded, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_worker_that_takes_a_title_later_has_that, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(sets_that_are_made_for_ever_are_all_recorded, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
