/* SPDX-License-Identifier: MIT */

/* What the recorder keeps of a process that it watches: here of this one. */

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/process.h"

#define STACKS 32

static struct stint_kernel_symbols *kernel;
static struct stint_process_shared *shared;
static struct stint_process *process;
static struct record_stack record;

static int set_up(void **state)
{
	(void)state;
	return stint_kernel_symbols_new(&kernel, NULL) || stint_process_shared_new(&shared, kernel) ||
	       stint_process_new(&process, (uint32_t)getpid(), shared);
}

static int tear_down(void **state)
{
	(void)state;
	stint_process_free(process);
	stint_process_shared_free(shared);
	stint_kernel_symbols_free(kernel);
	return 0;
}

static void add_stack(uint32_t tid, uint64_t iteration, uint32_t bytes)
{
	record = (struct record_stack){.type = RECORD_STACK,
				       .pid = (uint32_t)getpid(),
				       .tid = tid,
				       .kind = RECORD_STACK_COMPUTED,
				       .iteration = iteration,
				       .stack_bytes = bytes};
	assert_int_equal(stint_process_add_stack(process, &record), 0);
}

static void add_stacks(uint32_t tid, uint64_t first_iteration)
{
	for (uint64_t i = 0; i < STACKS; i++)
		add_stack(tid, first_iteration + i, RECORD_STACK_BYTES);
}

/* Of the memory that malloc() has given: larger blocks are mapped by themselves. */
static size_t used_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void need_malloc_to_tell(size_t before, size_t least)
{
	if (used_bytes() >= before + least)
		return;
	print_message("skipped: this malloc() does not tell what it has given\n");
	skip();
}

static void stacks_are_given_back_once_their_iteration_was_told(void **state)
{
	size_t before = used_bytes(), all = (size_t)STACKS * RECORD_STACK_BYTES;

	(void)state;
	add_stacks(7, 1);
	need_malloc_to_tell(before, all);
	stint_process_forget_stacks(process, 8, STACKS);
	assert_true(used_bytes() >= before + all);
	stint_process_forget_stacks(process, 7, STACKS / 2);
	assert_in_range(used_bytes(), before + all / 2, before + all * 3 / 4);
	stint_process_forget_stacks(process, 7, STACKS);
	assert_true(used_bytes() < before + all / 16);
}

static void stacks_of_two_hundred_threads_are_kept_at_a_time(void **state)
{
	const uint32_t threads = 200, bytes = 8192;
	size_t before = used_bytes();

	(void)state;
	add_stack(1, 1, bytes);
	need_malloc_to_tell(before, bytes);
	for (uint32_t tid = 2; tid <= threads; tid++)
		add_stack(tid, 1, bytes);
	assert_true(used_bytes() >= before + (size_t)threads * bytes);
}

static void as_many_large_ones_are_kept_as_have_room(void **state)
{
	size_t before = used_bytes();

	(void)state;
	add_stack(1, 1, RECORD_STACK_BYTES);
	need_malloc_to_tell(before, RECORD_STACK_BYTES);
	for (uint32_t tid = 2; tid <= 200; tid++)
		add_stack(tid, 1, RECORD_STACK_BYTES);
	assert_in_range(used_bytes(), before + (3u << 20), before + (5u << 20));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stacks_are_given_back_once_their_iteration_was_told, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(stacks_of_two_hundred_threads_are_kept_at_a_time, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(as_many_large_ones_are_kept_as_have_room, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
