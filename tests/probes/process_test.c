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

static void add_stacks(uint32_t tid, uint64_t first_iteration)
{
	record = (struct record_stack){.type = RECORD_STACK,
				       .pid = (uint32_t)getpid(),
				       .tid = tid,
				       .kind = RECORD_STACK_COMPUTED,
				       .stack_bytes = RECORD_STACK_BYTES};
	for (uint64_t i = 0; i < STACKS; i++) {
		record.iteration = first_iteration + i;
		assert_int_equal(stint_process_add_stack(process, &record), 0);
	}
}

/* Of the memory that malloc() has given: larger blocks are mapped by themselves. */
static size_t used_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void stacks_are_given_back_once_their_iteration_was_told(void **state)
{
	size_t before = used_bytes(), all = (size_t)STACKS * RECORD_STACK_BYTES;

	(void)state;
	add_stacks(7, 1);
	if (used_bytes() < before + all) {
		print_message("skipped: this malloc() does not tell what it has given\n");
		skip();
	}
	stint_process_forget_stacks(process, 8, STACKS);
	assert_true(used_bytes() >= before + all);
	stint_process_forget_stacks(process, 7, STACKS / 2);
	assert_in_range(used_bytes(), before + all / 2, before + all * 3 / 4);
	stint_process_forget_stacks(process, 7, STACKS);
	assert_true(used_bytes() < before + all / 16);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stacks_are_given_back_once_their_iteration_was_told, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
