/* SPDX-License-Identifier: MIT */

/* Histograms that only grow become rows of seconds and totals: checked against the recording, by SQL. */

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "report/record/series.h"
#include "stint/histogram.h"

static const struct series_source source = {1, 2, 3, 4};

struct fixture {
	char path[64];
	struct recording *recording;
	struct series_set *series;
	struct recording_owner owner;
	struct stint_histogram histogram;
};

static int open_fixture(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int64_t process;
	int fd;

	*state = fixture;
	strcpy(fixture->path, "/tmp/stint-test-XXXXXX");
	fd = mkstemp(fixture->path);
	close(fd);
	assert_int_equal(recording_new(&fixture->recording, fixture->path), 0);
	process = recording_process(fixture->recording, 1, "x");
	fixture->owner.handler = recording_handler(fixture->recording, process, "h", true, 1000000);
	assert_int_equal(series_new(&fixture->series, fixture->recording), 0);
	stint_histogram_init(&fixture->histogram);
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *fixture = *state;

	series_free(fixture->series);
	recording_free(fixture->recording);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

static struct series_sample sample(const struct stint_histogram *histogram)
{
	return (struct series_sample){histogram->count, histogram->sum,      histogram->min,
				      histogram->max,   histogram->overflow, histogram->bucket};
}

static void grow(struct fixture *fixture, uint64_t second)
{
	struct series_sample now = sample(&fixture->histogram);

	assert_int_equal(series_grow(fixture->series, source, &now, fixture->owner, "service", "ns", second),
			 0);
}

static void baseline(struct fixture *fixture)
{
	struct series_sample now = sample(&fixture->histogram);

	assert_int_equal(series_baseline(fixture->series, source, &now), 0);
}

static int64_t ask(struct fixture *fixture, const char *sql)
{
	series_write_totals(fixture->series);
	assert_int_equal(recording_commit(fixture->recording), 0);
	return query_number(fixture->path, sql);
}

static void a_second_holds_what_grew_in_it(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 50);
	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 0);
	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 1);
	assert_int_equal(ask(fixture, "SELECT count FROM histogram WHERE second = 0 AND bucket = 50"), 2);
	assert_int_equal(ask(fixture, "SELECT count FROM histogram WHERE second = 1 AND bucket = 50"), 1);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM histogram"), 2);
}

static void a_second_without_growth_has_no_row(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 0);
	grow(fixture, 1);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM histogram WHERE second = 1"), 0);
}

static void what_was_there_at_the_baseline_is_not_recorded(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 9);
	baseline(fixture);
	stint_histogram_record(&fixture->histogram, 20);
	grow(fixture, 0);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 1);
	assert_int_equal(ask(fixture, "SELECT sum FROM total"), 20);
	assert_int_equal(ask(fixture, "SELECT total(count) FROM histogram"), 1);
}

static void extremes_that_moved_are_exact(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 5000);
	baseline(fixture);
	stint_histogram_record(&fixture->histogram, 1001);
	stint_histogram_record(&fixture->histogram, 123457);
	grow(fixture, 0);
	assert_int_equal(ask(fixture, "SELECT min FROM total"), 1001);
	assert_int_equal(ask(fixture, "SELECT max FROM total"), 123457);
}

static void extremes_that_are_older_than_the_recording_become_bucket_bounds(void **state)
{
	struct fixture *fixture = *state;
	uint32_t bucket = stint_histogram_bucket(100000);

	stint_histogram_record(&fixture->histogram, 1);
	stint_histogram_record(&fixture->histogram, 1000000);
	baseline(fixture);
	stint_histogram_record(&fixture->histogram, 100000);
	grow(fixture, 0);
	assert_int_equal(ask(fixture, "SELECT min FROM total"), stint_histogram_bucket_low(bucket));
	assert_int_equal(ask(fixture, "SELECT max FROM total"), stint_histogram_bucket_low(bucket + 1) - 1);
}

static void what_is_beyond_the_range_is_counted_and_in_no_bucket(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, UINT64_C(1) << 60);
	stint_histogram_record(&fixture->histogram, 7);
	grow(fixture, 0);
	assert_int_equal(ask(fixture, "SELECT overflow FROM total"), 1);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 2);
	assert_int_equal(ask(fixture, "SELECT total(count) FROM histogram"), 1);
}

static void two_sources_of_a_figure_add_up(void **state)
{
	struct fixture *fixture = *state;
	struct series_source other = source;
	struct series_sample now;

	other.loop++;
	stint_histogram_record(&fixture->histogram, 40);
	now = sample(&fixture->histogram);
	grow(fixture, 0);
	assert_int_equal(series_grow(fixture->series, other, &now, fixture->owner, "service", "ns", 0), 0);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 2);
	assert_int_equal(ask(fixture, "SELECT count(*) FROM total"), 1);
}

static void counters_that_shrink_are_no_growth(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 40);
	stint_histogram_record(&fixture->histogram, 40);
	grow(fixture, 0);
	stint_histogram_init(&fixture->histogram);
	stint_histogram_record(&fixture->histogram, 40);
	grow(fixture, 1);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 2);
	assert_int_equal(ask(fixture, "SELECT total(count) FROM histogram"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

/* Other counters under the same key, as of a thread whose number was given again. */
static void counters_after_an_end_are_counted_from_zero(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 50);
	stint_histogram_record(&fixture->histogram, 60);
	grow(fixture, 0);
	series_end_source(fixture->series, source);
	stint_histogram_init(&fixture->histogram);
	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 1);
	assert_int_equal(ask(fixture, "SELECT sum(count) FROM histogram"), 3);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 3);
	assert_int_equal(ask(fixture, "SELECT sum FROM total"), 160);
	assert_int_equal(ask(fixture, "SELECT max FROM total"), 60);
}

static void a_process_that_ends_leaves_its_totals(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 0);
	series_end_process(fixture->series, source.process + 1);
	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 1);
	series_end_process(fixture->series, source.process);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 2);
	assert_int_equal(ask(fixture, "SELECT sum(count) FROM histogram"), 2);
}

static void a_figure_that_ends_leaves_its_total(void **state)
{
	struct fixture *fixture = *state;

	stint_histogram_record(&fixture->histogram, 50);
	grow(fixture, 0);
	series_end_figure(fixture->series, fixture->owner, "service");
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 1);
}

/* As the kernel and the programs' own meters do: first the count, then the bucket. */
static void record_as_owner(struct stint_histogram *histogram, uint32_t bucket)
{
	__atomic_fetch_add(&histogram->count, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&histogram->bucket[bucket], 1, __ATOMIC_SEQ_CST);
}

#define READS  50
#define SPREAD 200 /* buckets */

static bool enough;

static void *write_on(void *ctx)
{
	for (uint32_t i = 0; !__atomic_load_n(&enough, __ATOMIC_SEQ_CST); i++)
		record_as_owner(ctx, i % SPREAD);
	return NULL;
}

static void wait_for_more(const struct stint_histogram *histogram, uint64_t than)
{
	while (__atomic_load_n(&histogram->count, __ATOMIC_SEQ_CST) <= than + SPREAD)
		sched_yield();
}

static void what_is_written_while_it_is_read_is_counted_once(void **state)
{
	struct fixture *fixture = *state;
	pthread_t writer;

	assert_int_equal(pthread_create(&writer, NULL, write_on, &fixture->histogram), 0);
	for (uint64_t second = 0; second < READS; second++) {
		wait_for_more(&fixture->histogram, fixture->histogram.count);
		grow(fixture, second);
	}
	__atomic_store_n(&enough, true, __ATOMIC_SEQ_CST);
	assert_int_equal(pthread_join(writer, NULL), 0);
	grow(fixture, READS);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), fixture->histogram.count);
	assert_int_equal(ask(fixture, "SELECT sum(count) FROM histogram"), fixture->histogram.count);
}

static void a_bucket_that_comes_after_its_count_is_not_left_out(void **state)
{
	struct fixture *fixture = *state;

	record_as_owner(&fixture->histogram, 50);
	fixture->histogram.count++;
	grow(fixture, 0);
	fixture->histogram.bucket[60]++;
	grow(fixture, 1);
	assert_int_equal(ask(fixture, "SELECT count FROM total"), 2);
	assert_int_equal(ask(fixture, "SELECT count FROM histogram WHERE second = 1 AND bucket = 60"), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_second_holds_what_grew_in_it),
		TEST(a_second_without_growth_has_no_row),
		TEST(what_was_there_at_the_baseline_is_not_recorded),
		TEST(extremes_that_moved_are_exact),
		TEST(extremes_that_are_older_than_the_recording_become_bucket_bounds),
		TEST(what_is_beyond_the_range_is_counted_and_in_no_bucket),
		TEST(two_sources_of_a_figure_add_up),
		TEST(counters_that_shrink_are_no_growth),
		TEST(counters_after_an_end_are_counted_from_zero),
		TEST(a_process_that_ends_leaves_its_totals),
		TEST(a_figure_that_ends_leaves_its_total),
		TEST(what_is_written_while_it_is_read_is_counted_once),
		TEST(a_bucket_that_comes_after_its_count_is_not_left_out),
	};

	return cmocka_run_group_tests_name("series", tests, NULL, NULL);
}
