/* SPDX-License-Identifier: MIT */

/*
 * Programs that do what they can to be a nuisance, recorded as users would: to the end, with nothing of theirs in the
 * terminal.
 */

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
#include "query.h"
#include "watching.h"

#define CHILDREN "1000"

static char directory[64], path[128];
static char output[8 << 20];

static int set_up(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void check_output(const char *what)
{
	for (const char *at = output; *at; at++)
		if ((unsigned char)*at < 0x20 && *at != '\n')
			fail_msg("%s holds character 0x%02x", what, (unsigned char)*at);
}

static void record(const char *const *arguments)
{
	const char *argv[16] = {"stint", "record", "-o", path, "--", NULL};
	int status;

	watching_or_skip();
	for (int i = 0; i < 10 && arguments[i]; i++)
		argv[5 + i] = arguments[i];
	status = command_run(argv, output, sizeof(output));
	if (status != 0)
		fail_msg("exit status %d: %s", status, output);
	check_output("what the recorder says");
}

static void report(const char *format)
{
	const char *const argv[] = {"stint", "report", path, format, NULL};

	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	check_output(format);
}

static void names_that_no_terminal_should_see_stay_out_of_it(void **state)
{
	static char huge[100000];
	const char *const arguments[] = {BUILD_DIRECTORY "/tests/subjects/nuisance", "names", huge, NULL};

	(void)state;
	memset(huge, 'y', sizeof(huge) - 1);
	record(arguments);
	assert_true(query_number(path, "SELECT count(*) FROM overrun") >= 30);
	assert_true(query_number(path, "SELECT max(length(command)) FROM process") < 1024);
	report("--text");
	report("--json");
	assert_null(strstr(output,
			   "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
			   "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
			   "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
			   "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"));
}

/* Each is followed, or counted as one that could not be; what comes after them is there. */
static void a_storm_of_children_is_followed_to_its_end(void **state)
{
	const char *const arguments[] = {BUILD_DIRECTORY "/tests/subjects/nuisance", "storm", CHILDREN, NULL};

	(void)state;
	record(arguments);
	print_message("%lld processes, %lld overruns, %lld lost\n",
		      (long long)query_number(path, "SELECT count(*) FROM process"),
		      (long long)query_number(path, "SELECT count(*) FROM overrun"),
		      (long long)query_number(path, "SELECT sum(count) FROM loss"));
	assert_true(query_number(path,
				 "SELECT count(*) FROM overrun o JOIN process p ON p.id = o.process WHERE"
				 " p.id = 1") >= 15);
	report("--text");
	report("--json");
}

static void a_program_that_replaces_its_own_file_by_a_fifo_holds_nobody_up(void **state)
{
	char file[128], command[512];
	const char *const arguments[] = {file, "replace", file, NULL};

	(void)state;
	snprintf(file, sizeof(file), "%s/program", directory);
	snprintf(command, sizeof(command), "cp %s/tests/subjects/nuisance %s", BUILD_DIRECTORY, file);
	assert_int_equal(system(command), 0);
	record(arguments);
	unlink(file);
	assert_true(query_number(path, "SELECT count(*) FROM overrun") >= 15);
	report("--text");
	/* By what is mapped, which is there still. */
	assert_non_null(strstr(output, "be_late"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names_that_no_terminal_should_see_stay_out_of_it),
		TEST(a_storm_of_children_is_followed_to_its_end),
		TEST(a_program_that_replaces_its_own_file_by_a_fifo_holds_nobody_up),
	};

	return cmocka_run_group_tests_name("hostile_programs", tests, NULL, NULL);
}
