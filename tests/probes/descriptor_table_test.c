/* SPDX-License-Identifier: MIT */

/* The table of descriptors as user space fills it in. The numbers are such that all fall into one set. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "probes/descriptor_table.h"

#define PID  4711
#define EPFD 3
#define FD   5
#define DATA 77u

static struct descriptor_set *sets;

static int set_up(void **state)
{
	(void)state;
	sets = calloc(DESCRIPTOR_SETS, sizeof(*sets));
	return sets ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(sets);
	return 0;
}

static int32_t fd_of_same_set(int32_t which)
{
	return FD + which * DESCRIPTOR_SETS;
}

static enum stint_descriptor_news tell(int32_t epfd, int32_t fd, uint64_t data, uint64_t now_ns)
{
	return stint_descriptor_table_tell(sets,
					   &(struct stint_descriptor_told){PID, epfd, fd, 1, data, now_ns});
}

static struct descriptor *at_home(int32_t fd)
{
	return &sets[DESCRIPTOR_SET(PID, EPFD, fd)].way[DESCRIPTOR_WAY(fd, 0)];
}

static void what_is_told_twice_is_news_once(void **state)
{
	(void)state;
	assert_int_equal(tell(EPFD, FD, DATA, 1), STINT_DESCRIPTOR_NEW);
	assert_int_equal(tell(EPFD, FD, DATA, 2), STINT_DESCRIPTOR_KNOWN);
	assert_int_equal(at_home(FD)->tag, DESCRIPTOR_TAG(PID, FD));
	assert_int_equal(at_home(FD)->data, DATA);
}

static void with_other_data_it_is_another_one(void **state)
{
	(void)state;
	tell(EPFD, FD, DATA, 1);
	at_home(FD)->flags = DESCRIPTOR_SETTLED;
	at_home(FD)->sock = 1;
	assert_int_equal(tell(EPFD, FD, DATA + 1, 2), STINT_DESCRIPTOR_NEW);
	assert_int_equal(at_home(FD)->data, DATA + 1);
	assert_int_equal(at_home(FD)->flags, 0);
	assert_int_equal(at_home(FD)->sock, 0);
}

static void one_that_was_taken_out_of_its_set_is_news(void **state)
{
	(void)state;
	tell(EPFD, FD, DATA, 1);
	at_home(FD)->flags = DESCRIPTOR_REMOVED;
	assert_int_equal(tell(EPFD, FD, DATA, 2), STINT_DESCRIPTOR_NEW);
	assert_int_equal(at_home(FD)->flags, 0);
}

static void one_number_in_two_epoll_sets_is_two(void **state)
{
	(void)state;
	assert_int_equal(tell(EPFD, FD, DATA, 1), STINT_DESCRIPTOR_NEW);
	assert_int_equal(tell(EPFD + DESCRIPTOR_SETS, FD, DATA + 1, 2), STINT_DESCRIPTOR_NEW);
	assert_int_equal(tell(EPFD, FD, DATA, 3), STINT_DESCRIPTOR_KNOWN);
	assert_int_equal(tell(EPFD + DESCRIPTOR_SETS, FD, DATA + 1, 4), STINT_DESCRIPTOR_KNOWN);
}

static void numbers_of_one_set_are_at_home_in_ways_of_their_own(void **state)
{
	(void)state;
	for (int32_t i = 0; i < DESCRIPTOR_WAYS; i++) {
		assert_int_equal(tell(EPFD, fd_of_same_set(i), DATA, 1), STINT_DESCRIPTOR_NEW);
		assert_int_equal(at_home(fd_of_same_set(i))->tag, DESCRIPTOR_TAG(PID, fd_of_same_set(i)));
	}
}

static void where_all_are_taken_the_one_without_a_turn_for_longest_goes(void **state)
{
	(void)state;
	for (int32_t i = 0; i < DESCRIPTOR_WAYS; i++)
		assert_int_equal(tell(EPFD, fd_of_same_set(i), DATA, (uint64_t)i + 1), STINT_DESCRIPTOR_NEW);
	at_home(FD)->used_ns = 100;
	assert_int_equal(tell(EPFD, fd_of_same_set(DESCRIPTOR_WAYS), DATA, 101),
			 STINT_DESCRIPTOR_IN_ITS_PLACE);
	for (int32_t i = 0; i <= DESCRIPTOR_WAYS; i++)
		if (i != 1)
			assert_int_equal(tell(EPFD, fd_of_same_set(i), DATA, 102), STINT_DESCRIPTOR_KNOWN);
	assert_int_equal(tell(EPFD, fd_of_same_set(1), DATA, 103), STINT_DESCRIPTOR_IN_ITS_PLACE);
}

static void one_that_is_being_filled_in_is_left_alone(void **state)
{
	struct descriptor_set *set = &sets[DESCRIPTOR_SET(PID, EPFD, FD)];

	(void)state;
	for (int i = 0; i < DESCRIPTOR_WAYS; i++)
		set->way[i].tag = DESCRIPTOR_TAKEN;
	assert_int_equal(tell(EPFD, FD, DATA, 1), STINT_DESCRIPTOR_IN_ITS_PLACE);
	for (int i = 0; i < DESCRIPTOR_WAYS; i++) {
		assert_int_equal(set->way[i].tag, DESCRIPTOR_TAKEN);
		assert_int_equal(set->way[i].data, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_told_twice_is_news_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(with_other_data_it_is_another_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_was_taken_out_of_its_set_is_news, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_number_in_two_epoll_sets_is_two, set_up, tear_down),
		cmocka_unit_test_setup_teardown(numbers_of_one_set_are_at_home_in_ways_of_their_own, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(where_all_are_taken_the_one_without_a_turn_for_longest_goes,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_being_filled_in_is_left_alone, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
