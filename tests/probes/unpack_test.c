/* SPDX-License-Identifier: MIT */

/* Records that are as long as what there is to tell: whatever they say of that, nothing is read beyond their end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probes/unpack.h"

#define STACK_HEAD offsetof(struct record_stack, stack)

/* In memory of just that size, so that sanitizers and valgrind see what is read of it. */
static bool is_stack(__u32 stack_bytes, size_t bytes)
{
	struct record_stack *record = calloc(1, sizeof(*record));
	void *data = malloc(bytes ? bytes : 1);
	bool is;

	assert_non_null(record);
	assert_non_null(data);
	record->stack_bytes = stack_bytes;
	memcpy(data, record, bytes);
	is = stint_unpack_is_stack(data, bytes);
	free(data);
	free(record);
	return is;
}

static void a_stack_is_as_long_as_it_says(void **state)
{
	(void)state;
	assert_int_equal(stint_unpack_stack_bytes(100), STACK_HEAD + 100);
	assert_true(is_stack(0, STACK_HEAD));
	assert_true(is_stack(100, STACK_HEAD + 100));
	assert_true(is_stack(RECORD_STACK_BYTES, STACK_HEAD + RECORD_STACK_BYTES));
}

static void a_stack_that_says_more_than_there_is_is_none(void **state)
{
	(void)state;
	assert_false(is_stack(101, STACK_HEAD + 100));
	assert_false(is_stack(RECORD_STACK_BYTES + 1, STACK_HEAD + RECORD_STACK_BYTES));
	assert_false(is_stack(UINT32_MAX, STACK_HEAD + 100));
	for (size_t bytes = 0; bytes < STACK_HEAD; bytes++)
		assert_false(is_stack(0, bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stack_is_as_long_as_it_says),
		cmocka_unit_test(a_stack_that_says_more_than_there_is_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
