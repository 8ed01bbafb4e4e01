/* SPDX-License-Identifier: MIT */

/* A server that forks workers for ever, each with its loop and its roles: the recorder has room for all of them. */

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "probes/probes.h"
#include "query.h"
#include "subject.h"
#include "subject_churn.h"

/* The probes have room for 64 loops and 128 roles at a time, and take a look once a second. */
#define AT_ONCE 40
#define ROUNDS  4

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

static void start(const char *what)
{
	const char *const arguments[] = {what, NULL};
	struct stint_probes_support support;
	char pid[16], line[256];
	const char *const argv[] = {"stint", "record", "-o", recording, "-p", pid, NULL};

	if (stint_probes_supported(&support) != 0) {
		printf("skipped: %s\n", support.why);
		skip();
	}
	subject_start(&subject, "tests/subjects/churn", arguments);
	subject_go(&subject);
	snprintf(pid, sizeof(pid), "%d", (int)subject.pid);
	command_start(&recorder, argv);
	command_line(&recorder, "recording into", line, sizeof(line));
}

static void wait_for(const char *sql, int64_t number)
{
	time_t limit = time(NULL) + 60;

	/* Whoever reads keeps the recorder from writing: not all the time. */
	while (query_number(recording, sql) < number) {
		poll(NULL, 0, 100);
		if (time(NULL) > limit)
			fail_msg("'%s' does not become %d", sql, (int)number);
	}
}

static void tell(const char *what)
{
	char byte;

	assert_int_equal(write(subject.to, what, 1), 1);
	assert_int_equal(read(subject.from, &byte, 1), 1);
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
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	recorder.pid = 0;
}

static void assert_all_is_there(void)
{
	assert_int_equal(query_number(recording, "SELECT sum(count) FROM loss WHERE name <> 'acks_unseen'"),
			 0);
	assert_int_equal(query_number(recording,
				      "SELECT sum(g.count) FROM histogram g WHERE metric = 'batch'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recording, "SELECT sum(count) FROM role_total WHERE metric = 'wait'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recording, "SELECT value FROM meta WHERE key = 'events'"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(query_number(recording, "SELECT sum(iterations) FROM loop"),
			 ROUNDS * AT_ONCE * CHURN_EVENTS);
	assert_int_equal(
		query_number(recording,
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
	assert_int_equal(query_number(recording, "SELECT count(*) FROM loop"), ROUNDS * AT_ONCE);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM process WHERE exited_ns IS NOT NULL"),
			 ROUNDS * AT_ONCE);
}

/* They have one number, and so one row. */
static void sets_that_are_made_for_ever_are_all_recorded(void **state)
{
	(void)state;
	start("same");
	do_rounds(false);
	assert_all_is_there();
	assert_int_equal(query_number(recording, "SELECT count(*) FROM loop"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(workers_that_are_forked_for_ever_are_all_recorded, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(sets_that_are_made_for_ever_are_all_recorded, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
