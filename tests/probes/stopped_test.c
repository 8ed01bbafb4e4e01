/* SPDX-License-Identifier: MIT */

/* Once the probes were stopped, what was noted until then is all there is, however long it takes to be dealt with. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "watching_fixture.h"

#define BLOCK_NS 3000000u

/* What it does is over once it has come for the next command. */
static void block(void)
{
	subject_do(&subject, 0, SUBJECT_BLOCK, BLOCK_NS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
}

static void watch(void)
{
	watching_or_skip();
	subject_start_loops(&subject, "epoll_wait", "1");
	watching_add(&watching, subject.pid);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	block();
}

static uint64_t ended_ns;

static uint64_t iterations(void)
{
	struct subject_answer answer = subject_do(&subject, 0, SUBJECT_SYNC, 0);
	struct watched_loop loop;

	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &loop));
	return loop.is.iterations;
}

static void what_was_noted_before_is_taken_after(void **state)
{
	(void)state;
	watch();
	stint_probes_stop(watching.probes, &ended_ns);
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, BLOCK_NS), 1);
	assert_true(watched_stack_has(watching_overrun(&watching, BLOCK_NS, 0), "main"));
}

static void what_happens_afterwards_is_not_noted(void **state)
{
	uint64_t before;

	(void)state;
	watch();
	stint_probes_stop(watching.probes, &ended_ns);
	before = iterations();
	assert_true(before > 0);
	block();
	block();
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, BLOCK_NS), 1);
	assert_int_equal(iterations(), before);
}

static void past_the_end_records_are_taken_one_at_a_time(void **state)
{
	(void)state;
	watch();
	block();
	stint_probes_end_at(watching.probes, 1);
	assert_int_equal(stint_probes_poll(watching.probes, 0), 1); /* more is left */
	stint_probes_stop(watching.probes, &ended_ns);
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, BLOCK_NS), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_noted_before_is_taken_after, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(what_happens_afterwards_is_not_noted, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(past_the_end_records_are_taken_one_at_a_time,
						watching_set_up_opened, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
