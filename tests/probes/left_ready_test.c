/* SPDX-License-Identifier: MIT */

/* Descriptors that stay ready, and that nobody serves: found and measured. Those that anybody serves: not found. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "findings_fixture.h"
#include "probes/now.h"

#define MS      1000000u
#define ROUNDS  400          /* as the subject has them */
#define NOTED   (ROUNDS - 1) /* the last one's iteration ends with no wait */
#define LOOK    16           /* each so many in a row, as streak.bpf.h has it */
#define LOOKED  (NOTED / LOOK * LOOK)
#define COUNTED (LOOKED - LOOK) /* since the first look */
#define LEAST   128
#define VAIN    (COUNTED - LEAST + 1)

static uint64_t elapsed_ns;

/* Keeps those of this kind, of the program itself. */
static void keep_left_ready(void)
{
	size_t len = 0;

	for (size_t i = 0; i < findings_len; i++)
		if (findings[i].kind == STINT_PROBES_FINDING_LEFT_READY &&
		    findings[i].pid == (uint32_t)subject.pid)
			findings[len++] = findings[i];
	findings_len = len;
}

static void run(const char *what, const char *served)
{
	uint64_t start_ns = stint_now_ns();

	if (!findings_run("tests/subjects/left_ready", (const char *const[]){what, served, NULL})) {
		assert_non_null(strstr(served, "ring"));
		print_message("skipped: the kernel, or its settings, has no rings\n");
		skip();
	}
	elapsed_ns = stint_now_ns() - start_ns;
	keep_left_ready();
}

static const struct stint_probes_finding *found(void)
{
	assert_int_equal(findings_len, 1);
	assert_int_equal(findings[0].pid, subject.pid);
	assert_true(findings[0].fd >= 0);
	return &findings[0];
}

static void what_nobody_serves_is_found(void **state)
{
	static const struct {
		const char *what, *role;
	} kinds[] = {{"socket", "clients of :"}, {"half_closed", "clients of :"},
		     {"listener", "listener :"}, {"pipe", "pipe"},
		     {"timer", "timerfd"},       {"event", "eventfd"}};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		findings_len = 0;
		run(kinds[i].what, "nobody");
		if (findings_len != 1)
			fail_msg("%s: %zu findings", kinds[i].what, findings_len);
		if (strncmp(found()->role, kinds[i].role, strlen(kinds[i].role)) != 0)
			fail_msg("%s: %s", kinds[i].what, found()->role);
		subject_stop(&subject, SIGKILL);
	}
}

/* In each iteration it slept for a millisecond. */
static void how_often_and_what_it_cost_is_told(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("socket", "nobody");
	finding = found();
	assert_int_equal(finding->count, COUNTED);
	assert_in_range(finding->of, ROUNDS, ROUNDS + 1);
	assert_int_equal(finding->idle_iterations, VAIN);
	assert_in_range(finding->cost_ns, finding->idle_iterations * MS, elapsed_ns);
}

static void waits_that_returned_something_else_too_cost_nothing(void **state)
{
	const struct stint_probes_finding *finding;

	(void)state;
	run("socket", "half_busy");
	finding = found();
	assert_int_equal(finding->count, COUNTED);
	assert_int_equal(finding->idle_iterations, (VAIN + 1) / 2);
}

/* A child process has the descriptor too, and what lies in the queue tells that it did not serve it either. */
static void what_another_process_could_have_served_and_did_not_is_found(void **state)
{
	(void)state;
	run("listener", "inherited");
	assert_int_equal(found()->count, COUNTED);
}

static void assert_not_found(const char *what, const char *served)
{
	findings_len = 0;
	run(what, served);
	if (findings_len > 0)
		fail_msg("%s, %s: %llu times", what, served, (unsigned long long)findings[0].count);
	subject_stop(&subject, SIGKILL);
}

static void their_corrected_twins_are_not(void **state)
{
	static const char *const kinds[] = {"socket", "half_closed", "listener", "pipe", "timer", "event"};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		assert_not_found(kinds[i], "loop");
}

static void what_is_served_some_rounds_later_is_not(void **state)
{
	(void)state;
	assert_not_found("socket", "rarely");
}

static void what_another_thread_serves_is_not(void **state)
{
	(void)state;
	assert_not_found("socket", "thread");
	assert_not_found("pipe", "thread");
}

static void what_is_served_by_another_descriptor_of_it_is_not(void **state)
{
	(void)state;
	assert_not_found("socket", "copy");
	assert_not_found("pipe", "copy");
}

static void what_another_process_serves_is_not(void **state)
{
	(void)state;
	assert_not_found("socket", "child");
	assert_not_found("pipe", "child");
}

static void what_a_ring_serves_is_not(void **state)
{
	(void)state;
	assert_not_found("pipe", "ring");
	assert_not_found("pipe", "thread_ring");
}

static void what_is_not_level_triggered_is_not(void **state)
{
	(void)state;
	assert_not_found("pipe", "edge");
	assert_not_found("pipe", "again");
}

static void what_is_closed_in_the_iteration_is_not(void **state)
{
	(void)state;
	assert_not_found("pipe", "replaced");
}

/* The loop has something to do in any case. */
static void what_wakes_nobody_in_vain_is_not(void **state)
{
	(void)state;
	assert_not_found("pipe", "busy");
}

static void what_has_its_data_is_not_taken_for_it(void **state)
{
	(void)state;
	assert_not_found("pipe", "mistaken");
}

#define test(f) cmocka_unit_test_setup_teardown(f, findings_set_up, watching_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_nobody_serves_is_found),
		test(how_often_and_what_it_cost_is_told),
		test(waits_that_returned_something_else_too_cost_nothing),
		test(what_another_process_could_have_served_and_did_not_is_found),
		test(their_corrected_twins_are_not),
		test(what_is_served_some_rounds_later_is_not),
		test(what_another_thread_serves_is_not),
		test(what_is_served_by_another_descriptor_of_it_is_not),
		test(what_another_process_serves_is_not),
		test(what_a_ring_serves_is_not),
		test(what_is_not_level_triggered_is_not),
		test(what_is_closed_in_the_iteration_is_not),
		test(what_wakes_nobody_in_vain_is_not),
		test(what_has_its_data_is_not_taken_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
