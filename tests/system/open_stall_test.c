/* SPDX-License-Identifier: MIT */

/* A write stall that is open as the recording ends is in it. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "watching.h"

/* Watched from its first instruction on; returns once its send was refused. */
static void record_stalled(const char *kind)
{
	const char *const arguments[] = {kind, "stay", NULL};
	const char *const options[] = {NULL};
	char byte;

	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/last_stall", arguments);
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid, options);
	subject_go(&recorded.subject);
	assert_int_equal(read(recorded.subject.from, &byte, 1), 1);
}

static void check(const char *kind)
{
	const char *const argv[] = {"stint", "report", recorded.recording, NULL};
	char report[65536];

	record_stalled(kind);
	command_record_end(&recorded.recorder);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM write_stall"), 1);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT count(*) FROM write_stall WHERE ending = 'open'"),
			 1);
	assert_int_equal(
		query_number(recorded.recording,
			     "SELECT start_ns + duration_ns <= (SELECT value FROM meta WHERE key = 'end_ns')"
			     " FROM write_stall"),
		1);
	assert_int_equal(command_run(argv, report, sizeof(report)), 0);
	assert_non_null(strstr(report, "Still open at the end: 1"));
}

static void a_stall_that_is_open_at_the_end_is_recorded(void **state)
{
	(void)state;
	check("tcp");
}

static void a_stall_of_a_unix_socket_that_is_open_at_the_end_is_recorded(void **state)
{
	(void)state;
	check("unix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_stall_that_is_open_at_the_end_is_recorded, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_stall_of_a_unix_socket_that_is_open_at_the_end_is_recorded,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
