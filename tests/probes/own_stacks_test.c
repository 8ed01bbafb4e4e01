/* SPDX-License-Identifier: MIT */

/* The loops' own stacks that are kept of a process, which may make loops for ever. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "probes/own_stacks.h"

#define LONG 256

static struct stint_own_stacks *stacks;
static struct stint_frame frames[LONG];

static int set_up(void **state)
{
	(void)state;
	return stint_own_stacks_new(&stacks);
}

static int tear_down(void **state)
{
	(void)state;
	stacks = stint_own_stacks_free(stacks);
	return 0;
}

/* A loop's stack is told by where its first frame is. */
static void put(uint32_t tid, int32_t epfd, uint64_t pc, size_t len)
{
	frames[0].pc = pc;
	assert_int_equal(stint_own_stacks_put(stacks, tid, epfd, frames, len), 0);
}

static uint64_t pc_of(uint32_t tid, int32_t epfd)
{
	const struct stint_own_stack *stack = stint_own_stacks_find(stacks, tid, epfd);

	return stack ? stack->frames[0].pc : 0;
}

static void a_loop_is_a_thread_and_a_set(void **state)
{
	(void)state;
	put(7, 3, 11, 1);
	put(7, 4, 12, 1);
	put(8, 3, 13, 1);
	assert_int_equal(pc_of(7, 3), 11);
	assert_int_equal(pc_of(7, 4), 12);
	assert_int_equal(pc_of(8, 3), 13);
	assert_int_equal(pc_of(8, 4), 0);
}

static void a_stack_takes_the_place_of_the_one_before(void **state)
{
	(void)state;
	put(7, 3, 11, 1);
	put(7, 3, 12, 2);
	assert_int_equal(pc_of(7, 3), 12);
	assert_int_equal(stint_own_stacks_find(stacks, 7, 3)->len, 2);
}

static void of_too_many_that_was_not_asked_for_the_longest_is_forgotten(void **state)
{
	(void)state;
	for (uint32_t tid = 1; tid <= STINT_OWN_STACKS_MAX; tid++)
		put(tid, 3, tid, 1);
	assert_int_equal(pc_of(1, 3), 1);
	put(STINT_OWN_STACKS_MAX + 1, 3, 11, 1);
	assert_int_equal(pc_of(STINT_OWN_STACKS_MAX + 1, 3), 11);
	assert_int_equal(pc_of(1, 3), 1);
	assert_int_equal(pc_of(2, 3), 0);
	assert_int_equal(pc_of(3, 3), 3);
}

static void no_more_frames_are_kept_than_there_is_room_for(void **state)
{
	size_t most = STINT_OWN_STACKS_FRAMES_MAX / LONG;

	(void)state;
	for (uint32_t tid = 1; tid <= most + 2; tid++)
		put(tid, 3, tid, LONG);
	assert_int_equal(pc_of(2, 3), 0);
	for (uint32_t tid = 3; tid <= most + 2; tid++)
		assert_int_equal(pc_of(tid, 3), tid);
}

static void a_stack_may_be_empty(void **state)
{
	(void)state;
	put(7, 3, 11, 0);
	assert_int_equal(stint_own_stacks_find(stacks, 7, 3)->len, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_loop_is_a_thread_and_a_set, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stack_takes_the_place_of_the_one_before, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_too_many_that_was_not_asked_for_the_longest_is_forgotten,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_more_frames_are_kept_than_there_is_room_for, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_stack_may_be_empty, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("own_stacks", tests, NULL, NULL);
}
