/* SPDX-License-Identifier: MIT */

/* A recording has what the figures say at its end, not also what they said on the way there. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "watching.h"

#define ROUNDS 400 /* of the subject's first storm; three times that are in the second part */

static void let_it_do_one_part(void)
{
	char byte;

	assert_int_equal(write(recorded.subject.to, "", 1), 1);
	assert_int_equal(read(recorded.subject.from, &byte, 1), 1);
}

/* A storm of epoll_ctl() on one descriptor, which has been recorded as the subject goes on with another. */
static void record(const char *sound)
{
	const char *const arguments[] = {"ctl_other", sound, NULL};

	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/habits", arguments);
	subject_go(&recorded.subject);
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid,
		       (const char *const[]){NULL});
	let_it_do_one_part();
	query_until(recorded.recording, "SELECT coalesce(sum(count), 0) FROM finding", ROUNDS);
	let_it_do_one_part();
	command_record_end(&recorded.recorder);
}

static void the_worst_descriptor_of_a_loop_may_become_another(void **state)
{
	(void)state;
	record(NULL);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM finding"), 1);
	assert_int_equal(query_number(recorded.recording, "SELECT count FROM finding"), 4 * ROUNDS);
}

static void what_is_no_habit_any_more_is_no_finding(void **state)
{
	(void)state;
	record("sound");
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM finding"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_worst_descriptor_of_a_loop_may_become_another, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_habit_any_more_is_no_finding, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
