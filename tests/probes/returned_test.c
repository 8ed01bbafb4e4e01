/* SPDX-License-Identifier: MIT */

/* Which wait returned a write event, of several sockets that are ready at once: held against the program's own account. */

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_turns.h"
#include "watching_fixture.h"

static struct subject_turn turns[TURNS_MANY];

static void run(const char *how)
{
	const char *const arguments[] = {how, NULL};

	watching_or_skip();
	subject_start(&subject, "tests/subjects/one_by_one", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	assert_int_equal(read(subject.from, turns, sizeof(turns)), sizeof(turns));
	watching_until_exit(&watching, subject.pid);
	watching_take(&watching);
}

static const struct stint_probes_stall *find_stall(int fd)
{
	for (size_t i = 0; i < watching.stalls_len; i++)
		if (watching.stalls[i].fd == fd && watching.stalls[i].ending == STINT_PROBES_SENT)
			return &watching.stalls[i];
	fail_msg("no stall of descriptor %d was told", fd);
	return NULL;
}

static void assert_each_was_returned_by_its_wait(int sockets)
{
	for (int i = 0; i < sockets; i++) {
		const struct stint_probes_stall *stall = find_stall(turns[i].fd);
		uint64_t end_ns = stall->start_ns + stall->duration_ns;

		assert_in_range(end_ns, turns[i].send_before_ns, turns[i].send_after_ns);
		assert_in_range(end_ns - stall->queue_ns, turns[i].wait_before_ns, turns[i].wait_after_ns);
	}
}

static void an_event_that_found_no_room_is_a_later_waits(void **state)
{
	(void)state;
	run("one");
	for (int i = 1; i < TURNS_SOCKETS; i++)
		assert_true(turns[i].wait_before_ns > turns[i - 1].send_after_ns);
	assert_each_was_returned_by_its_wait(TURNS_SOCKETS);
}

static void events_that_found_room_are_all_of_one_wait(void **state)
{
	(void)state;
	run("all");
	for (int i = 1; i < TURNS_SOCKETS; i++)
		assert_int_equal(turns[i].wait_after_ns, turns[0].wait_after_ns);
	assert_each_was_returned_by_its_wait(TURNS_SOCKETS);
}

static void events_far_back_in_the_array_are_found(void **state)
{
	(void)state;
	run("behind");
	assert_each_was_returned_by_its_wait(TURNS_SOCKETS);
}

static void events_beyond_those_that_are_kept_are_of_the_iteration_that_sends(void **state)
{
	(void)state;
	run("many");
	assert_each_was_returned_by_its_wait(TURNS_MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_event_that_found_no_room_is_a_later_waits,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(events_that_found_room_are_all_of_one_wait,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(
			events_beyond_those_that_are_kept_are_of_the_iteration_that_sends,
			watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(events_far_back_in_the_array_are_found,
						watching_set_up_opened, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
