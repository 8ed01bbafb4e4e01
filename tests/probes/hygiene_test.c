/* SPDX-License-Identifier: MIT */

/* Each bad habit, by a program that has it: found and measured. And its twin that has not: not found. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "findings_fixture.h"

#define MS     1000000u
#define ROUNDS 400 /* as the subject has them */

static void run(const char *habit, const char *sound)
{
	assert_true(findings_run("tests/subjects/habits", (const char *const[]){habit, sound, NULL}));
}

static void read_again(void)
{
	findings_len = 0;
	assert_int_equal(stint_probes_read_findings(watching.probes, findings_keep, NULL), 0);
}

static const struct stint_probes_finding *only_finding(enum stint_probes_finding_kind kind)
{
	assert_int_equal(findings_len, 1);
	assert_int_equal(findings[0].kind, kind);
	assert_int_equal(findings[0].pid, subject.pid);
	return &findings[0];
}

static void assert_of_a_client(const struct stint_probes_finding *finding)
{
	assert_true(finding->fd >= 0);
	assert_true(strncmp(finding->role, "clients of :", 12) == 0);
}

static void epollout_with_nothing_to_write_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("idle_out", NULL);
	finding = only_finding(STINT_PROBES_FINDING_IDLE_EPOLLOUT);
	assert_of_a_client(finding);
	/* The first is followed by the answer; of each, the next one tells that nothing was sent. */
	assert_in_range(finding->count, ROUNDS - 1, ROUNDS);
	assert_in_range(finding->of, ROUNDS, ROUNDS + 2);
	assert_in_range(finding->idle_iterations, ROUNDS - 2, ROUNDS);
	assert_true(finding->cost_ns > 0);
}

static void data_left_behind_under_epollet_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("not_drained", NULL);
	finding = only_finding(STINT_PROBES_FINDING_NOT_DRAINED);
	assert_of_a_client(finding);
	assert_int_equal(finding->count, ROUNDS - 1);
	assert_true(finding->longest_ns > 0 && finding->longest_ns <= finding->cost_ns);
}

/* The next event is there before the loop waits: nothing lies there that a wait does not return at once. */
static void data_left_to_an_event_that_is_there_already_is_not(void **state)
{
	(void)state;
	run("overtaken", NULL);
	assert_int_equal(findings_len, 0);
}

static void data_that_goes_on_lying_there_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("lying", NULL);
	finding = only_finding(STINT_PROBES_FINDING_NOT_DRAINED);
	assert_of_a_client(finding);
	assert_int_equal(finding->count, 1);
	assert_true(finding->cost_ns >= 1400 * (uint64_t)MS);
}

/* What was read in the end has lain there all the same. */
static void data_that_lay_there_for_long_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("lay", NULL);
	finding = only_finding(STINT_PROBES_FINDING_NOT_DRAINED);
	assert_int_equal(finding->count, 1);
	assert_true(finding->longest_ns >= 1400 * (uint64_t)MS);
}

static void full_batches_with_more_ready_are_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("full", NULL);
	finding = only_finding(STINT_PROBES_FINDING_MAXEVENTS_FULL);
	assert_int_equal(finding->of, 8 * ROUNDS);
	/* Between two rounds too, nothing has to be waited for. */
	assert_in_range(finding->count, 7 * ROUNDS, 8 * ROUNDS - 1);
	assert_true(finding->cost_ns > 0);
}

/* Room for more would change nothing. */
static void full_batches_of_all_that_there_is_are_not(void **state)
{
	(void)state;
	run("alone", NULL);
	assert_int_equal(findings_len, 0);
}

static void a_storm_of_epoll_ctl_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("ctl", NULL);
	finding = only_finding(STINT_PROBES_FINDING_CTL_STORM);
	assert_of_a_client(finding);
	assert_int_equal(finding->count, ROUNDS);
	assert_in_range(finding->of, ROUNDS - 1, ROUNDS);
	assert_true(finding->cost_ns > 0);
}

static void polls_in_vain_are_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("spin", NULL);
	finding = only_finding(STINT_PROBES_FINDING_ZERO_TIMEOUT);
	assert_int_equal(finding->count, 10 * ROUNDS);
	assert_int_equal(finding->of, 10 * ROUNDS);
	assert_true(finding->cost_ns > 0);
}

static void a_blocking_descriptor_is_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("blocking", NULL);
	finding = only_finding(STINT_PROBES_FINDING_BLOCKING);
	assert_of_a_client(finding);
	assert_int_equal(finding->count, ROUNDS);
}

static void accepts_without_a_descriptor_left_are_found(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("no_room", NULL);
	finding = only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR);
	assert_int_equal(strncmp(finding->role, "listener :", 10), 0);
	assert_int_equal(finding->count, ROUNDS);
	assert_true(finding->cost_ns >= ROUNDS * (uint64_t)MS);
	assert_int_equal(finding->longest_ns, finding->cost_ns);
}

static void how_long_none_is_left_goes_on_until_now(void **state)
{
	uint64_t cost_ns;

	(void)state;
	run("never_room", NULL);
	cost_ns = only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns;
	assert_true(cost_ns >= ROUNDS * (uint64_t)MS);
	read_again();
	assert_true(only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns > cost_ns);
}

static void how_long_none_was_left_is_told_no_further(void **state)
{
	uint64_t cost_ns;

	(void)state;
	run("no_room", NULL);
	cost_ns = only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns;
	read_again();
	assert_int_equal(only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns, cost_ns);
}

static void none_is_missing_any_more_whichever_set_was_waited_in(void **state)
{
	uint64_t cost_ns;

	(void)state;
	run("room_by_turns", NULL);
	cost_ns = only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns;
	read_again();
	assert_int_equal(only_finding(STINT_PROBES_FINDING_NO_DESCRIPTOR)->cost_ns, cost_ns);
}

static void accepts_without_a_descriptor_left_and_nobody_there_are_not(void **state)
{
	(void)state;
	run("no_queue", NULL);
	assert_int_equal(findings_len, 0);
}

static void their_corrected_twins_are_not(void **state)
{
	static const char *const habits[] = {"idle_out", "not_drained", "lying",    "lay",     "full",
					     "ctl",      "spin",        "blocking", "no_room", "never_room"};

	(void)state;
	for (size_t i = 0; i < sizeof(habits) / sizeof(habits[0]); i++) {
		run(habits[i], "sound");
		for (size_t at = 0; at < findings_len; at++)
			fail_msg("%s: finding of kind %d, %llu times", habits[i], findings[at].kind,
				 (unsigned long long)findings[at].count);
		subject_stop(&subject, SIGKILL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(epollout_with_nothing_to_write_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(data_left_behind_under_epollet_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(data_left_to_an_event_that_is_there_already_is_not,
						findings_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(data_that_lay_there_for_long_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(data_that_goes_on_lying_there_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(full_batches_of_all_that_there_is_are_not, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(full_batches_with_more_ready_are_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_storm_of_epoll_ctl_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(polls_in_vain_are_found, findings_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_blocking_descriptor_is_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(accepts_without_a_descriptor_left_are_found, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(how_long_none_is_left_goes_on_until_now, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(how_long_none_was_left_is_told_no_further, findings_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(none_is_missing_any_more_whichever_set_was_waited_in,
						findings_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(accepts_without_a_descriptor_left_and_nobody_there_are_not,
						findings_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(their_corrected_twins_are_not, findings_set_up,
						watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
