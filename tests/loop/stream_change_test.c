/* SPDX-License-Identifier: MIT */

/* What can be changed of a stream that is alive: watermarks, limits, ctx. */

#include "stream_fixture.h"

#define BYTES 3000000u

static const char data[BYTES]; /* static: needs no release */

static void with_watermarks_of_0_drained_says_that_all_is_with_the_kernel(void **state)
{
	(void)state;
	open_both(8192, NULL);
	assert_int_equal(stint_stream_set_watermarks(near.stream, 0, 0), 0);
	assert_int_equal(stint_stream_write_reference(near.stream, data, BYTES, NULL, NULL), 0);
	assert_true(stint_stream_full(near.stream));
	iterate_until(&near.drained);
	assert_int_equal(stint_stream_queued_bytes(near.stream), 0);
	while (far.received < BYTES)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.drained, 1);
}

static void new_watermarks_count_at_once(void **state)
{
	(void)state;
	open_both(8192, NULL);
	assert_int_equal(stint_stream_set_watermarks(near.stream, 2 * BYTES, BYTES), 0);
	assert_int_equal(stint_stream_write(near.stream, data, BYTES), 0);
	assert_false(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_set_watermarks(near.stream, 1000, 500), 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_set_watermarks(near.stream, 2 * BYTES, BYTES), 0);
	assert_false(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_set_watermarks(near.stream, 1, 2), -EINVAL);
}

static void a_limit_set_later_ends_the_stream(void **state)
{
	(void)state;
	open_both(0, NULL);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(stint_stream_set_limits(near.stream, 1 * MS, 0, 0), 0);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	++*(int *)ctx;
}

static void a_limit_taken_away_does_not(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 100 * S};
	struct stint_timer *timer;
	int later = 0;

	(void)state;
	open_both(0, &options);
	assert_int_equal(stint_stream_set_limits(near.stream, 20 * MS, 20 * MS, 20 * MS), 0);
	assert_int_equal(stint_stream_set_limits(near.stream, 0, 0, 0), 0);
	assert_int_equal(stint_timer_new(&timer, loop, handler, on_timer, &later), 0);
	assert_int_equal(stint_timer_start(timer, 60 * MS, 0), 0);
	iterate_until(&later);
	assert_int_equal(near.closed, 0);
}

static void callbacks_get_the_ctx_that_was_set_last(void **state)
{
	static struct end other;

	(void)state;
	other = (struct end){0};
	open_both(0, NULL);
	assert_ptr_equal(stint_stream_ctx(near.stream), &near);
	other.stream = near.stream;
	assert_int_equal(stint_stream_set_ctx(near.stream, &other), 0);
	assert_ptr_equal(stint_stream_ctx(near.stream), &other);
	assert_int_equal(stint_stream_write(far.stream, "x", 1), 0);
	while (other.received < 1)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.received, 0);
	assert_null(stint_stream_ctx(NULL));
	assert_int_equal(stint_stream_set_ctx(NULL, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_watermarks_of_0_drained_says_that_all_is_with_the_kernel),
		TEST(new_watermarks_count_at_once),
		TEST(a_limit_set_later_ends_the_stream),
		TEST(a_limit_taken_away_does_not),
		TEST(callbacks_get_the_ctx_that_was_set_last),
	};

	return cmocka_run_group_tests_name("stream_change", tests, fixture_make_directory,
					   fixture_remove_directory);
}
