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

/* ---- overruns ---- */

#define OVERRUN_HEAD offsetof(struct record_overrun, syscalls)

/* The entries of each of its arrays, in their order, are told by their first bytes: 1, 2, 3... of all there are. */
static const struct {
	size_t entry_bytes;
	__u32 most;
	size_t len_offset;
} arrays[] = {
	{sizeof(struct record_syscall), RECORD_SYSCALLS, offsetof(struct record_overrun, syscalls_len)},
	{sizeof(struct record_segment), RECORD_SEGMENTS, offsetof(struct record_overrun, segments_len)},
	{sizeof(struct record_touch), RECORD_TOUCHES, offsetof(struct record_overrun, touches_len)},
	{sizeof(struct record_turn), RECORD_READY, offsetof(struct record_overrun, turns_len)},
	{sizeof(struct record_identity), RECORD_READY, offsetof(struct record_overrun, turns_len)},
	{sizeof(struct record_mark), RECORD_MARKS, offsetof(struct record_overrun, marks_len)},
	{sizeof(struct record_function), RECORD_FUNCTIONS, offsetof(struct record_overrun, functions_len)},
	{sizeof(struct record_ready), RECORD_READY, offsetof(struct record_overrun, ready_len)},
};

static __u32 len_of(const struct record_overrun *head, size_t array)
{
	__u32 len;

	memcpy(&len, (const char *)head + arrays[array].len_offset, sizeof(len));
	return len;
}

/* To be freed. */
static unsigned char *pack(const struct record_overrun *head, size_t *ret_bytes)
{
	unsigned char *packed = calloc(1, sizeof(*head)), number = 0;
	size_t at = OVERRUN_HEAD;

	assert_non_null(packed);
	memcpy(packed, head, at);
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		for (__u32 entry = 0; entry < len_of(head, i); entry++) {
			packed[at] = ++number;
			at += arrays[i].entry_bytes;
		}
	*ret_bytes = at;
	return packed;
}

/* In memory of just that size. */
static bool unpacks(struct record_overrun *ret, const unsigned char *packed, size_t bytes)
{
	void *data = malloc(bytes ? bytes : 1);
	bool is;

	assert_non_null(data);
	memcpy(data, packed, bytes);
	is = stint_unpack_overrun(ret, data, bytes);
	free(data);
	return is;
}

static const struct record_overrun some = {
	.type = RECORD_OVERRUN,
	.duration_ns = 5000000,
	.syscalls_len = 2,
	.segments_len = 1,
	.touches_len = 3,
	.turns_len = 2,
	.marks_len = 4,
	.functions_len = RECORD_FUNCTIONS,
	.ready_len = 5,
	.verdict = {.samples = 7},
};

static void the_arrays_of_an_overrun_are_put_where_they_belong(void **state)
{
	struct record_overrun overrun;
	size_t bytes;
	unsigned char *packed = pack(&some, &bytes);

	(void)state;
	memset(&overrun, 0xff, sizeof(overrun));
	assert_true(unpacks(&overrun, packed, bytes));
	assert_int_equal(overrun.duration_ns, 5000000);
	assert_int_equal(overrun.verdict.samples, 7);
	assert_int_equal(overrun.syscalls[0].start_ns, 1);
	assert_int_equal(overrun.syscalls[1].start_ns, 2);
	assert_int_equal(overrun.segments[0].off_ns, 3);
	assert_int_equal(overrun.touches[2].offset_us, 6);
	assert_int_equal(overrun.turns[0].fd, 7);
	assert_int_equal(overrun.identities[1].fd, 10);
	assert_int_equal(overrun.marks[3].offset_us, 14);
	assert_int_equal(overrun.functions[7].duration_ns, 22);
	assert_int_equal(overrun.ready[4].events, 27);
	free(packed);
}

static void what_an_overrun_has_not_is_zero(void **state)
{
	static const unsigned char zero[sizeof(struct record_overrun)];
	const struct record_overrun none = {.type = RECORD_OVERRUN};
	struct record_overrun overrun;
	size_t bytes;
	unsigned char *packed = pack(&none, &bytes);

	(void)state;
	memset(&overrun, 0xff, sizeof(overrun));
	assert_true(unpacks(&overrun, packed, bytes));
	assert_int_equal(bytes, OVERRUN_HEAD);
	assert_memory_equal((const char *)&overrun + OVERRUN_HEAD, zero, sizeof(overrun) - OVERRUN_HEAD);
	free(packed);
}

static void an_overrun_that_ends_too_early_is_none(void **state)
{
	struct record_overrun overrun;
	size_t bytes;
	unsigned char *packed = pack(&some, &bytes);

	(void)state;
	for (size_t cut = 0; cut < bytes; cut++)
		assert_false(unpacks(&overrun, packed, cut));
	free(packed);
}

static void an_overrun_with_more_than_there_can_be_is_none(void **state)
{
	static const unsigned char zero[sizeof(struct record_overrun) * 2];
	struct record_overrun overrun;
	unsigned char *packed = malloc(sizeof(zero));

	(void)state;
	assert_non_null(packed);
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		const __u32 lens[] = {arrays[i].most, arrays[i].most + 1, UINT32_MAX};

		for (size_t j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
			memcpy(packed, zero, sizeof(zero));
			memcpy(packed + arrays[i].len_offset, &lens[j], sizeof(lens[j]));
			assert_int_equal(unpacks(&overrun, packed, sizeof(zero)), j == 0);
		}
	}
	free(packed);
}

/* ---- kinds ---- */

/* In memory of just that size. */
static __u32 type_of(__u32 type, size_t bytes)
{
	unsigned char *data = calloc(1, bytes ? bytes : 1);
	__u32 is;

	assert_non_null(data);
	memcpy(data, &type, bytes < sizeof(type) ? bytes : sizeof(type));
	is = stint_unpack_type(data, bytes);
	free(data);
	return is;
}

static void a_record_that_is_as_long_as_its_kind_is_of_that_kind(void **state)
{
	(void)state;
	assert_int_equal(type_of(RECORD_OVERRUN, OVERRUN_HEAD), RECORD_OVERRUN);
	assert_int_equal(type_of(RECORD_STACK, STACK_HEAD), RECORD_STACK);
	assert_int_equal(type_of(RECORD_EXIT, sizeof(struct record_exit)), RECORD_EXIT);
	assert_int_equal(type_of(RECORD_UNIX, sizeof(struct record_unix) + 8), RECORD_UNIX);
}

static void a_record_that_is_shorter_or_of_no_kind_is_none(void **state)
{
	(void)state;
	for (__u32 type = 0; type <= RECORD_HANG; type++)
		for (size_t bytes = 0; bytes < sizeof(struct record_exit); bytes++)
			assert_int_equal(type_of(type, bytes), 0);
	assert_int_equal(type_of(RECORD_UNIX, sizeof(struct record_unix) - 1), 0);
	assert_int_equal(type_of(0, 1000), 0);
	assert_int_equal(type_of(RECORD_HANG + 1, 1000), 0);
	assert_int_equal(type_of(UINT32_MAX, 1000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_arrays_of_an_overrun_are_put_where_they_belong),
		cmocka_unit_test(what_an_overrun_has_not_is_zero),
		cmocka_unit_test(an_overrun_that_ends_too_early_is_none),
		cmocka_unit_test(an_overrun_with_more_than_there_can_be_is_none),
		cmocka_unit_test(a_stack_is_as_long_as_it_says),
		cmocka_unit_test(a_stack_that_says_more_than_there_is_is_none),
		cmocka_unit_test(a_record_that_is_as_long_as_its_kind_is_of_that_kind),
		cmocka_unit_test(a_record_that_is_shorter_or_of_no_kind_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
