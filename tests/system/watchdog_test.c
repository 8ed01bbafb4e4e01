/* SPDX-License-Identifier: MIT */

/* What a program's watchdog sees is in a recording, also where there are no probes. */

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

#include "command.h"
#include "directory_fixture.h"
#include "query.h"

static int remove_recording(void **state)
{
	(void)state;
	unlink(recording);
	return 0;
}

struct subject {
	struct command command;
	char pid[16];
};

static void start_subject(struct subject *subject, const char *mode)
{
	char line[256];

	command_start(&subject->command, (const char *const[]){"tests/subjects/stuck", mode, NULL});
	command_line(&subject->command, "ready", line, sizeof(line));
	snprintf(subject->pid, sizeof(subject->pid), "%d", (int)subject->command.pid);
}

static void start_recorder(struct command *recorder, const struct subject *subject)
{
	char line[256];

	command_start(recorder, (const char *const[]){"stint", "record", "--no-probes", "-o", recording, "-p",
						      subject->pid, NULL});
	command_line(recorder, "recording into", line, sizeof(line));
}

static void record_to_its_end(const char *mode)
{
	struct command recorder;
	struct subject subject;

#if !defined(__x86_64__)
	puts("skipped: stacks are taken on x86-64 only");
	skip();
#endif
	start_subject(&subject, mode);
	start_recorder(&recorder, &subject);
	assert_int_equal(command_end(&subject.command, SIGUSR1, NULL, 0), 0);
	assert_int_equal(command_end(&recorder, 0, NULL, 0), 0); /* ends with its last process */
}

static void assert_frame(const char *name)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM overrun_frame WHERE name LIKE '%s%%'", name);
	assert_int_equal(query_number(recording, sql), 1);
}

static void a_handler_that_computed_has_the_stack_it_computed_in(void **state)
{
	char kind[32];

	(void)state;
	record_to_its_end("compute");
	assert_int_equal(query_number(recording, "SELECT count(*) FROM overrun"), 1);
	query_text(recording, "SELECT stack_kind FROM overrun", kind, sizeof(kind));
	assert_string_equal(kind, "computed");
	assert_frame("compute_until_seen");
	assert_frame("on_time");
	assert_frame("main");
	/* From the outermost in. */
	assert_true(query_number(recording, "SELECT depth FROM overrun_frame WHERE name LIKE 'main%'") <
		    query_number(recording, "SELECT depth FROM overrun_frame WHERE name LIKE 'on_time%'"));
}

static void a_handler_that_was_blocked_has_the_stack_it_blocked_in(void **state)
{
	char kind[32];

	(void)state;
	record_to_its_end("block");
	query_text(recording, "SELECT stack_kind FROM overrun", kind, sizeof(kind));
	assert_string_equal(kind, "blocked");
	assert_frame("block_until_seen");
	assert_frame("on_time");
}

static void a_handler_that_never_returns_is_recorded_as_running(void **state)
{
	char line[256], path[96];
	struct command recorder;
	struct subject subject;

	(void)state;
	start_subject(&subject, "forever");
	assert_int_equal(kill(subject.command.pid, SIGUSR1), 0);
	command_line(&subject.command, "late", line, sizeof(line));
	start_recorder(&recorder, &subject);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	assert_int_equal(command_end(&subject.command, SIGKILL, NULL, 0), -SIGKILL);
	snprintf(path, sizeof(path), "%s/%s.meter", directory, subject.pid);
	unlink(path); /* which a killed process leaves behind */
	assert_int_equal(query_number(recording, "SELECT count(*) FROM overrun WHERE running = 1"), 1);
	assert_true(query_number(recording, "SELECT duration_ns FROM overrun") > 0);
	query_text(recording, "SELECT name FROM handler JOIN overrun ON handler.id = handler", line,
		   sizeof(line));
	assert_string_equal(line, "stuck");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_handler_that_computed_has_the_stack_it_computed_in,
					  remove_recording),
		cmocka_unit_test_teardown(a_handler_that_was_blocked_has_the_stack_it_blocked_in,
					  remove_recording),
		cmocka_unit_test_teardown(a_handler_that_never_returns_is_recorded_as_running,
					  remove_recording),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
