/* SPDX-License-Identifier: MIT */

/* A dispatch that the meter saw, and the iteration that the kernel saw around it, are one overrun. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "report/record/join.h"

#define MS  UINT64_C(1000000)
#define TID 77

struct fixture {
	char path[64];
	struct recording *recording;
	struct roster *roster;
	struct join *join;
	int64_t process;
	int64_t handler;
};

static int open_fixture(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int fd;

	*state = fixture;
	strcpy(fixture->path, "/tmp/stint-test-XXXXXX");
	fd = mkstemp(fixture->path);
	close(fd);
	assert_int_equal(recording_new(&fixture->recording, fixture->path), 0);
	assert_int_equal(roster_new(&fixture->roster, fixture->recording), 0);
	assert_int_equal(join_new(&fixture->join, fixture->recording, fixture->roster, MS), 0);
	fixture->process = recording_process(fixture->recording, 1, "x");
	fixture->handler = roster_handler(fixture->roster, fixture->process, "http.compute", true, MS);
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *fixture = *state;

	join_free(fixture->join);
	roster_free(fixture->roster);
	recording_free(fixture->recording);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

static void add_dispatch(struct fixture *fixture, uint64_t start_ns, uint64_t duration_ns)
{
	struct join_dispatch dispatch = {
		.process = fixture->process,
		.handler = fixture->handler,
		.tid = TID,
		.overrun = {.start_ns = start_ns, .duration_ns = duration_ns, .fd = 9, .victims = 3},
	};

	assert_int_equal(join_add_dispatch(fixture->join, &dispatch), 0);
}

/* An iteration from 100 ms to 112 ms, that blocked from 103 to 105 and then was runnable until 106. */
static struct stint_probes_overrun iteration(void)
{
	static const char *const stack[] = {"main", "on_request"};

	return (struct stint_probes_overrun){
		.pid = 1,
		.tid = TID,
		.fd = 9,
		.start_ns = 100 * MS,
		.duration_ns = 12 * MS,
		.on_cpu_ns = 9 * MS,
		.runnable_ns = MS,
		.blocked_ns = 2 * MS,
		.syscalls = {{.start_ns = 103 * MS, .duration_ns = 3 * MS, .fd = -1, .name = "nanosleep"},
			     {.start_ns = 110 * MS, .duration_ns = MS, .fd = 4, .name = "write"}},
		.syscalls_len = 2,
		.segments = {{103 * MS, 105 * MS, 106 * MS, 0, true}},
		.segments_len = 1,
		.marks = {{.time_ns = 100 * MS},
			  {.time_ns = 107 * MS, .runnable_ns = MS, .blocked_ns = 2 * MS},
			  {.time_ns = 112 * MS, .runnable_ns = MS, .blocked_ns = 2 * MS, .kernel_ns = MS}},
		.marks_len = 3,
		.stack_kind = STINT_PROBES_STACK_BLOCKED,
		.stack = stack,
		.stack_len = 2,
		.stack_time_ns = 106 * MS,
		.handler = "on_request",
	};
}

static void add_iteration(struct fixture *fixture, const struct stint_probes_overrun *overrun)
{
	assert_int_equal(join_add_iteration(fixture->join, fixture->process, overrun), 0);
}

static int64_t ask(struct fixture *fixture, const char *sql)
{
	roster_write(fixture->roster);
	assert_int_equal(recording_commit(fixture->recording), 0);
	return query_number(fixture->path, sql);
}

static void a_dispatch_within_an_iteration_is_one_row_with_both(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun"), 1);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE source = 'both'"), 1);
	assert_int_equal(ask(fixture, "SELECT duration_ns FROM overrun"), 5 * MS);
	assert_int_equal(ask(fixture, "SELECT iteration_ns FROM overrun"), 12 * MS);
	assert_int_equal(ask(fixture, "SELECT victims FROM overrun"), 3);
	assert_int_equal(ask(fixture, "SELECT blame_ns FROM overrun"), 15 * MS);
}

static void time_off_the_cpu_is_cut_to_the_dispatch(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_dispatch(fixture, 104 * MS, 3 * MS); /* holds 1 ms of the blocked time, and all of the runnable */
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT blocked_ns FROM overrun"), MS);
	assert_int_equal(ask(fixture, "SELECT runnable_ns FROM overrun"), MS);
	assert_int_equal(ask(fixture, "SELECT on_cpu_ns FROM overrun"), MS);
}

static void the_parts_are_the_dispatchs_and_add_up_to_it(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_dispatch(fixture, 102 * MS, 4 * MS + MS / 2);
	add_dispatch(fixture, 108 * MS, 4 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture,
			     "SELECT count(*) FROM overrun JOIN overrun_verdict v ON overrun = id WHERE"
			     " duration_ns = user_ns + kernel_ns + v.runnable_ns + v.blocked_ns"),
			 2);
	assert_int_equal(ask(fixture,
			     "SELECT count(*) FROM overrun o JOIN overrun_verdict v ON overrun = id WHERE"
			     " start_ns = 102000000 AND verdict = 'blocked' AND v.blocked_ns = 2000000"
			     " AND v.runnable_ns = 1000000 AND kernel_ns = 0"),
			 1);
	assert_int_equal(ask(fixture,
			     "SELECT count(*) FROM overrun o JOIN overrun_verdict v ON overrun = id WHERE"
			     " start_ns = 108000000 AND verdict = 'user' AND v.blocked_ns = 0"
			     " AND user_ns = 3000000 AND kernel_ns = 1000000"),
			 1);
}

static void there_is_no_verdict_where_another_part_may_be_the_largest(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	/* Two of the last five ms were spent in system calls, and nobody knows which two. */
	outer.syscalls_len = 0;
	outer.marks[2].kernel_ns = 2 * MS;
	add_dispatch(fixture, 108 * MS, 2 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE on_cpu_ns = 2000000"), 1);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun_verdict"), 0);
}

static void times_are_taken_from_the_marks_where_segments_were_lost(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.segments_len = 0;
	outer.segments_lost = 1;
	add_dispatch(fixture, 107 * MS, 5 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT on_cpu_ns FROM overrun"), 5 * MS);
	assert_int_equal(ask(fixture, "SELECT kernel_ns FROM overrun_verdict"), MS);
}

static void times_are_unknown_where_segments_were_lost(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.segments_lost = 1;
	outer.marks_len = 0;
	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT on_cpu_ns IS NULL AND blocked_ns IS NULL FROM overrun"), 1);
}

static void system_calls_go_to_the_dispatch_that_made_them(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();
	char name[32];

	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_dispatch(fixture, 108 * MS, 4 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun_syscall"), 2);
	query_text(
		fixture->path,
		"SELECT name FROM overrun_syscall JOIN overrun ON overrun = id WHERE overrun.start_ns = 108000000",
		name, sizeof(name));
	assert_string_equal(name, "write");
}

static void the_stack_goes_to_the_dispatch_that_it_was_taken_in(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.stack_time_ns = 111 * MS;
	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_dispatch(fixture, 108 * MS, 4 * MS);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun_frame"), 2);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun JOIN overrun_frame ON overrun = id WHERE"
				      " start_ns = 108000000"),
			 2);
}

static void another_threads_dispatch_is_not_joined(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.tid = TID + 1;
	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_iteration(fixture, &outer);
	join_settle_last(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE source = 'both'"), 0);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun"), 2);
}

static void a_dispatch_waits_for_its_iteration_to_end(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_dispatch(fixture, 102 * MS, 5 * MS);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun"), 0);
	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE source = 'both'"), 1);
}

static void a_dispatch_without_iteration_is_written_in_the_end(void **state)
{
	struct fixture *fixture = *state;

	add_dispatch(fixture, 102 * MS, 5 * MS);
	join_settle_last(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE source = 'meter'"), 1);
	assert_int_equal(ask(fixture, "SELECT on_cpu_ns IS NULL FROM overrun"), 1);
}

/* Longer than its iteration: it had not ended as it was read. */
static void add_running_dispatch(struct fixture *fixture)
{
	struct join_dispatch dispatch = {
		.process = fixture->process,
		.handler = fixture->handler,
		.tid = TID,
		.running = true,
		.overrun = {.start_ns = 110 * MS, .duration_ns = 100 * MS, .budget_ns = MS, .fd = 9},
	};

	assert_int_equal(join_add_dispatch(fixture->join, &dispatch), 0);
}

static void a_dispatch_that_had_not_ended_did_so_with_its_iteration(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_running_dispatch(fixture);
	add_iteration(fixture, &outer);
	join_settle_last(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT duration_ns FROM overrun WHERE source = 'both'"), 2 * MS);
	assert_int_equal(ask(fixture, "SELECT running FROM overrun"), 0);
	assert_int_equal(ask(fixture, "SELECT user_ns + kernel_ns FROM overrun_verdict"), 2 * MS);
}

static void a_dispatch_runs_on_with_its_iteration(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.running = true;
	add_running_dispatch(fixture);
	add_dispatch(fixture, 102 * MS, 5 * MS);
	add_iteration(fixture, &outer);
	join_settle_last(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM overrun WHERE source = 'both'"), 2);
	assert_int_equal(ask(fixture, "SELECT duration_ns FROM overrun WHERE running = 1"), 2 * MS);
	assert_int_equal(ask(fixture, "SELECT duration_ns FROM overrun WHERE running = 0"), 5 * MS);
}

static void an_iteration_that_runs_on_is_charged_to_its_handler(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	outer.running = true;
	add_iteration(fixture, &outer);
	join_settle_last(fixture->join, fixture->process, false);
	assert_int_equal(ask(fixture, "SELECT running FROM overrun"), 1);
	assert_int_equal(ask(fixture, "SELECT overruns FROM handler WHERE name = 'on_request'"), 1);
}

static void without_a_meter_the_stacks_handler_is_charged(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, false);
	assert_int_equal(ask(fixture,
			     "SELECT overruns FROM handler WHERE name = 'on_request' AND source = 'probes'"),
			 1);
	assert_int_equal(ask(fixture, "SELECT over_ns FROM handler WHERE name = 'on_request'"), 11 * MS);
}

static void with_a_meter_an_iteration_of_many_dispatches_charges_nobody(void **state)
{
	struct fixture *fixture = *state;
	struct stint_probes_overrun outer = iteration();

	add_iteration(fixture, &outer);
	join_settle(fixture->join, fixture->process, true);
	assert_int_equal(ask(fixture, "SELECT handler IS NULL FROM overrun"), 1);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM handler WHERE source = 'probes'"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_dispatch_within_an_iteration_is_one_row_with_both),
		TEST(time_off_the_cpu_is_cut_to_the_dispatch),
		TEST(the_parts_are_the_dispatchs_and_add_up_to_it),
		TEST(there_is_no_verdict_where_another_part_may_be_the_largest),
		TEST(times_are_taken_from_the_marks_where_segments_were_lost),
		TEST(times_are_unknown_where_segments_were_lost),
		TEST(system_calls_go_to_the_dispatch_that_made_them),
		TEST(the_stack_goes_to_the_dispatch_that_it_was_taken_in),
		TEST(another_threads_dispatch_is_not_joined),
		TEST(a_dispatch_waits_for_its_iteration_to_end),
		TEST(a_dispatch_without_iteration_is_written_in_the_end),
		TEST(a_dispatch_that_had_not_ended_did_so_with_its_iteration),
		TEST(a_dispatch_runs_on_with_its_iteration),
		TEST(an_iteration_that_runs_on_is_charged_to_its_handler),
		TEST(without_a_meter_the_stacks_handler_is_charged),
		TEST(with_a_meter_an_iteration_of_many_dispatches_charges_nobody),
	};

	return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}
