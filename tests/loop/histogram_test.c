/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stint/histogram.h>

static struct stint_histogram histogram;

static int setup(void **state)
{
	(void)state;
	stint_histogram_init(&histogram);
	return 0;
}

static void small_values_have_a_bucket_each(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < 128; value++) {
		assert_int_equal(stint_histogram_bucket(value), value);
		assert_int_equal(stint_histogram_bucket_low((uint32_t)value), value);
	}
}

static void every_bucket_begins_where_the_one_before_ends(void **state)
{
	(void)state;
	for (uint32_t bucket = 1; bucket < STINT_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t low = stint_histogram_bucket_low(bucket);

		assert_int_equal(stint_histogram_bucket(low), bucket);
		assert_int_equal(stint_histogram_bucket(low - 1), bucket - 1);
	}
}

static void a_bucket_is_at_most_a_64th_wide(void **state)
{
	(void)state;
	for (uint32_t bucket = 64; bucket < STINT_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t low = stint_histogram_bucket_low(bucket);

		assert_true((stint_histogram_bucket_low(bucket + 1) - low) * 64 <= low);
	}
}

/* The record path finds the bucket in a way of its own. */
static void a_value_is_counted_in_its_bucket(void **state)
{
	(void)state;
	for (uint32_t bucket = 0; bucket < STINT_HISTOGRAM_BUCKETS; bucket++) {
		stint_histogram_record(&histogram, stint_histogram_bucket_low(bucket));
		stint_histogram_record(&histogram, stint_histogram_bucket_low(bucket + 1) - 1);
		assert_int_equal(histogram.bucket[bucket], 2);
	}
	assert_int_equal(histogram.overflow, 0);
}

static void counts_sum_min_and_max_are_exact(void **state)
{
	(void)state;
	for (uint64_t value = 1; value <= 10007; value++)
		stint_histogram_record(&histogram, value);
	assert_int_equal(histogram.count, 10007);
	assert_int_equal(histogram.sum, UINT64_C(10007) * 10008 / 2);
	assert_int_equal(histogram.min, 1);
	assert_int_equal(histogram.max, 10007);
	assert_int_equal(histogram.overflow, 0);
}

static void values_beyond_the_range_are_counted_as_such(void **state)
{
	uint64_t in_buckets = 0, limit = UINT64_C(1) << STINT_HISTOGRAM_MAX_BITS;

	(void)state;
	stint_histogram_record(&histogram, limit - 1);
	stint_histogram_record(&histogram, limit);
	stint_histogram_record(&histogram, UINT64_MAX / 4);
	for (uint32_t i = 0; i < STINT_HISTOGRAM_BUCKETS; i++)
		in_buckets += histogram.bucket[i];
	assert_int_equal(in_buckets, 1);
	assert_int_equal(histogram.overflow, 2);
	assert_int_equal(histogram.count, 3);
	assert_int_equal(stint_histogram_quantile(&histogram, 1.0), UINT64_MAX / 4);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* xorshift, over many octaves: the shift makes small and large values alike common. */
static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> (22 + *seed % 40);
}

static void quantiles_of_random_data_are_within_the_bound(void **state)
{
	static uint64_t values[50021];
	const size_t count = sizeof(values) / sizeof(values[0]);
	const double quantiles[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0};
	uint64_t seed = 88172645463325252u;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		values[i] = next_random(&seed);
		stint_histogram_record(&histogram, values[i]);
	}
	qsort(values, count, sizeof(values[0]), compare);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		size_t rank = (size_t)(quantiles[i] * (double)count);
		uint64_t exact, told = stint_histogram_quantile(&histogram, quantiles[i]), off;

		if ((double)rank < quantiles[i] * (double)count)
			rank++;
		exact = values[rank - 1];
		off = told > exact ? told - exact : exact - told;
		assert_true(off * 128 <= exact);
	}
}

static void an_empty_histogram_answers_zero(void **state)
{
	(void)state;
	assert_int_equal(stint_histogram_quantile(&histogram, 0.5), 0);
	stint_histogram_record(&histogram, 7);
	assert_int_equal(stint_histogram_quantile(&histogram, -0.1), 0);
	assert_int_equal(stint_histogram_quantile(&histogram, 1.1), 0);
	assert_int_equal(stint_histogram_quantile(&histogram, 0.5), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(small_values_have_a_bucket_each, setup),
		cmocka_unit_test_setup(every_bucket_begins_where_the_one_before_ends, setup),
		cmocka_unit_test_setup(a_bucket_is_at_most_a_64th_wide, setup),
		cmocka_unit_test_setup(a_value_is_counted_in_its_bucket, setup),
		cmocka_unit_test_setup(counts_sum_min_and_max_are_exact, setup),
		cmocka_unit_test_setup(values_beyond_the_range_are_counted_as_such, setup),
		cmocka_unit_test_setup(quantiles_of_random_data_are_within_the_bound, setup),
		cmocka_unit_test_setup(an_empty_histogram_answers_zero, setup),
	};

	return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
