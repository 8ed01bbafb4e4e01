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

#include "command.h"
#include "probes/probes.h"
#include "query.h"
#include "subject.h"

static char directory[64];
static char recording[96];
static struct subject subject;
static struct command recorder;

static int set_up(void **state)
{
	(void)state;
	memset(&subject, 0, sizeof(subject));
	recorder.pid = 0;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (recorder.pid > 0)
		command_end(&recorder, SIGKILL, NULL, 0);
	subject_stop(&subject, SIGKILL);
	unlink(recording);
	return rmdir(directory);
}

/* Watched from its first instruction on; returns once its send was refused. */
static void record_stalled(const char *kind)
{
	const char *const arguments[] = {kind, "stay", NULL};
	struct stint_probes_support support;
	char pid[16], line[256], byte;
	const char *const argv[] = {"stint", "record", "-o", recording, "-p", pid, NULL};

	if (stint_probes_supported(&support) != 0) {
		printf("skipped: %s\n", support.why);
		skip();
	}
	subject_start(&subject, "tests/subjects/last_stall", arguments);
	snprintf(pid, sizeof(pid), "%d", (int)subject.pid);
	command_start(&recorder, argv);
	command_line(&recorder, "recording into", line, sizeof(line));
	subject_go(&subject);
	assert_int_equal(read(subject.from, &byte, 1), 1);
}

static void check(const char *kind)
{
	const char *const argv[] = {"stint", "report", recording, NULL};
	char report[65536];

	record_stalled(kind);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	recorder.pid = 0;
	assert_int_equal(query_number(recording, "SELECT count(*) FROM write_stall"), 1);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM write_stall WHERE ending = 'open'"),
			 1);
	assert_int_equal(
		query_number(recording,
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
