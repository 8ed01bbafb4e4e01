/* SPDX-License-Identifier: MIT */

/* A loop that hangs as the recording ends is in it, and in the report. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "watching.h"

#define PAUSE_NS 50000000

static void start(void)
{
	const char *const options[] = {NULL};

	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/late", NULL);
	subject_go(&recorded.subject);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid, options);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
}

/* Stops it amid a handler, for longer than the budget. */
static void hang(void)
{
	int status;

	subject_send(&recorded.subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(recorded.subject.pid, &status, WUNTRACED), recorded.subject.pid);
	assert_true(WIFSTOPPED(status));
	nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static void report(const char *format, char *ret, size_t bytes)
{
	const char *const argv[] = {"stint", "report", recorded.recording, format, NULL};

	assert_int_equal(command_run(argv, ret, bytes), 0);
}

static void it_is_an_overrun_that_had_not_ended(void **state)
{
	static char text[1 << 18];

	(void)state;
	start();
	hang();
	command_record_end(&recorded.recorder);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM overrun WHERE running"), 1);
	assert_true(query_number(recorded.recording, "SELECT duration_ns FROM overrun WHERE running") >=
		    PAUSE_NS);
	assert_int_equal(
		query_number(recorded.recording,
			     "SELECT start_ns + duration_ns = (SELECT value FROM meta WHERE key = 'end_ns')"
			     " FROM overrun WHERE running"),
		1);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT overruns > 0 FROM handler h JOIN overrun o ON o.handler = h.id"
				      " WHERE o.running"),
			 1);
	report(NULL, text, sizeof(text));
	assert_non_null(strstr(text, "had not ended"));
	report("--json", text, sizeof(text));
	assert_non_null(strstr(text, "\"running\":true"));
}

static void one_that_ends_before_has_ended(void **state)
{
	(void)state;
	start();
	hang();
	assert_int_equal(kill(recorded.subject.pid, SIGCONT), 0);
	subject_answer(&recorded.subject);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	command_record_end(&recorded.recorder);
	assert_int_equal(
		query_number(recorded.recording,
			     "SELECT count(*) FROM overrun WHERE running AND duration_ns >= 50000000"),
		0);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT count(*) FROM overrun WHERE duration_ns >= 50000000"),
			 1);
}

/* Of all that stint sees, its loop comes to no wait. */
static void one_that_hung_before_is_recorded(void **state)
{
	static char text[1 << 18];
	const char *const options[] = {NULL};
	int status;

	(void)state;
	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/late", NULL);
	subject_go(&recorded.subject);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	subject_send(&recorded.subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(recorded.subject.pid, &status, WUNTRACED), recorded.subject.pid);
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid, options);
	nanosleep(&(struct timespec){.tv_nsec = 4 * PAUSE_NS}, NULL);
	command_record_end(&recorded.recorder);
	assert_int_equal(query_number(recorded.recording,
				      "SELECT count(*) FROM overrun WHERE running AND began_before AND"
				      " duration_ns >= 100000000"),
			 1);
	report(NULL, text, sizeof(text));
	command_unwrap(text);
	assert_non_null(strstr(text, "1 iteration beyond 1.00 ms, and it had not ended"));
	assert_non_null(strstr(text, "at least, as it ~began before the recording and had not ended yet, "));
	report("--json", text, sizeof(text));
	assert_non_null(strstr(text, "\"began_before\":true"));
}

static void it_is_told_while_it_goes_on(void **state)
{
	char line[512], expected[128];
	int status;

	(void)state;
	start();
	subject_send(&recorded.subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(recorded.subject.pid, &status, WUNTRACED), recorded.subject.pid);
	snprintf(expected, sizeof(expected), "stint record: late (pid %d) has not come back to its loop for ",
		 (int)recorded.subject.pid);
	command_line(&recorded.recorder, expected, line, sizeof(line));
	assert_non_null(strstr(line, " s: stopped"));
	command_record_end(&recorded.recorder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_is_an_overrun_that_had_not_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_is_told_while_it_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_hung_before_is_recorded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_ends_before_has_ended, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
