/* SPDX-License-Identifier: MIT */

/* From the records of the eBPF side to what the probes tell: buckets, overruns, victims, stalls. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>
#include <stint/histogram.h>

#include "probes/convert.h"
#include "probes/syscall_names.h"

/* The eBPF side's own words, to compile its bucket function here. */
typedef uint32_t u32;
typedef uint64_t u64;
#define __noinline static __attribute__((noinline))
#include "probes/bpf/histogram.bpf.h"

#define MS UINT64_C(1000000)

/* ---- histogram ---- */

static void both_sides_have_the_same_histogram(void **state)
{
	(void)state;
	assert_int_equal(STINT_PROBES_BUCKETS, STINT_HISTOGRAM_BUCKETS);
	assert_int_equal(RECORD_BUCKETS, STINT_HISTOGRAM_BUCKETS);
	assert_int_equal(RECORD_SUB_BITS, STINT_HISTOGRAM_SUB_BITS);
	assert_int_equal(RECORD_MAX_BITS, STINT_HISTOGRAM_MAX_BITS);
}

static void both_sides_put_a_value_into_the_same_bucket(void **state)
{
	uint64_t value = 1;

	(void)state;
	for (uint32_t i = 0; i <= STINT_HISTOGRAM_BUCKETS; i++) {
		uint64_t low = stint_histogram_bucket_low(i);

		assert_int_equal(histogram_bucket(low), i);
		assert_int_equal(histogram_bucket(low), stint_histogram_bucket(low));
		if (low)
			assert_int_equal(histogram_bucket(low - 1), i - 1);
	}
	for (int i = 0; i < 200000; i++) {
		value = value * 6364136223846793005u + 1442695040888963407u;
		assert_int_equal(histogram_bucket(value >> (i % 64)),
				 stint_histogram_bucket(value >> (i % 64)));
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), STINT_HISTOGRAM_BUCKETS);
}

/* ---- conversion ---- */

static void the_parts_of_an_overrun_are_its_duration(void **state)
{
	static struct record_overrun record = {.duration_ns = 10 * MS,
					       .runnable_ns = 2 * MS,
					       .blocked_ns = 3 * MS};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.on_cpu_ns, 5 * MS);
	assert_int_equal(overrun.fd, -1);
}

static void lengths_in_a_record_are_bounded(void **state)
{
	static struct record_overrun record = {.syscalls_len = UINT32_MAX,
					       .segments_len = UINT32_MAX,
					       .touches_len = UINT32_MAX,
					       .ready_len = UINT32_MAX,
					       .duration_ns = 1};
	static const int32_t fds[2] = {3, 4};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.syscalls_len, STINT_PROBES_SYSCALLS);
	assert_int_equal(overrun.segments_len, STINT_PROBES_SEGMENTS);
	stint_convert_victims(&overrun, &record, fds, 2);
	assert_true(overrun.victims <= 2);
}

static void the_first_argument_is_a_descriptor_where_it_is_one(void **state)
{
	static struct record_overrun record = {.syscalls_len = 2, .syscall_count = 2};
	struct stint_probes_overrun overrun;

	(void)state;
	record.syscalls[0] = (struct record_syscall){.number = SYS_clock_nanosleep, .fd = 1};
	record.syscalls[1] = (struct record_syscall){.number = SYS_write, .fd = 1};
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.syscalls[0].fd, -1);
	assert_int_equal(overrun.syscalls[1].fd, 1);
}

/* Descriptors 5, 6 and 7 are ready. 5 is read at 10 us, 6 at 6 ms, 7 at 6.1 ms; the iteration takes 6.2 ms. */
static void those_read_after_a_long_computation_are_its_victims(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 6200000,
		.longest_start_ns = 1000 * MS + 12345,
		.longest_ns = 6 * MS - 12345 + 678, /* up to the very call that reads 6 */
		.touches_len = 3,
		.touches = {{10, 5}, {6000, 6}, {6100, 7}},
	};
	static const int32_t fds[] = {5, 6, 7};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 3);
	assert_int_equal(overrun.fd, 5);
	assert_int_equal(overrun.victims, 2);
	assert_in_range(overrun.blame_ns, 2 * 5980000, 2 * 6000000);
}

static void one_that_was_handled_before_is_no_victim(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 6200000,
		.longest_start_ns = 1000 * MS + 100000,
		.longest_ns = 5900000,
		.touches_len = 3,
		.touches = {{10, 5}, {90, 6}, {6000, 7}},
	};
	static const int32_t fds[] = {5, 6, 7, -1};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 4);
	assert_int_equal(overrun.fd, 6);
	assert_int_equal(overrun.victims, 1);
	assert_in_range(overrun.blame_ns, 5900000, 5910000);
}

/* Five milliseconds of many short calls are as long for those who wait as one computation. */
static void a_handler_of_many_short_calls_is_blamed_for_all_of_them(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 5200000,
		.longest_start_ns = 1000 * MS + 5100000,
		.longest_ns = 100000,
		.touches_len = 4,
		.touches = {{10, 5}, {20, 9}, {5010, 6}, {5100, 7}},
	};
	static const int32_t fds[] = {5, 6, 7};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 3);
	assert_int_equal(overrun.fd, 5);
	assert_int_equal(overrun.victims, 2);
	assert_int_equal(overrun.blame_ns, 2 * 5000000);
}

static void a_single_ready_descriptor_is_the_one_and_has_no_victims(void **state)
{
	static struct record_overrun record = {.start_ns = 1, .duration_ns = 5 * MS, .longest_ns = 5 * MS};
	static const int32_t fds[] = {8};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 1);
	assert_int_equal(overrun.fd, 8);
	assert_int_equal(overrun.victims, 0);
	assert_int_equal(overrun.blame_ns, 0);
}

static uint64_t sum_of_stages(const struct stint_probes_stall *stall)
{
	return stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns + stall->queue_ns;
}

static void stages_add_up_whichever_moments_were_seen(void **state)
{
	struct stint_probes_stall stall;

	(void)state;
	for (unsigned seen = 0; seen < 16; seen++) {
		struct record_stall record = {
			.start_ns = 100,
			.opened = 1,
			.cause_ns = seen & 1 ? 110 : 0,
			.raised_ns = seen & 2 ? 120 : 0,
			.on_cpu_ns = seen & 4 ? 130 : 0,
			.returned_ns = seen & 8 ? 140 : 0,
			.end_ns = 150,
			.sndbuf_bytes = 1048576,
		};

		stint_convert_stall(&stall, &record);
		assert_int_equal(stall.duration_ns, 50);
		assert_int_equal(sum_of_stages(&stall), 50);
		assert_int_equal(stall.cause_time_ns, record.cause_ns);
		assert_int_equal(stall.threshold_bytes, 699050);
	}
}

static void moments_out_of_order_do_not_wrap(void **state)
{
	struct record_stall record = {
		.start_ns = 100, .cause_ns = 90, .raised_ns = 130, .on_cpu_ns = 120, .end_ns = 110};
	struct stint_probes_stall stall;

	(void)state;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.duration_ns, 30);
	assert_int_equal(sum_of_stages(&stall), 30);
}

/* Stages of 10 ns each but one, which is longer. */
static int cause_of(const struct record_stall *longer_by)
{
	struct stint_probes_stall stall;

	stint_convert_stall(&stall, longer_by);
	assert_int_equal(sum_of_stages(&stall), stall.duration_ns);
	return stall.cause;
}

static void the_cause_of_a_stall_is_its_longest_part(void **state)
{
	struct record_stall record = {.start_ns = 100,
				      .opened = 1,
				      .cause_ns = 130,
				      .raised_ns = 140,
				      .on_cpu_ns = 150,
				      .returned_ns = 160,
				      .end_ns = 170,
				      .limit_ns = {[RECORD_LIMIT_NETWORK] = 30}};

	(void)state;
	assert_int_equal(cause_of(&record), STINT_PROBES_LIMIT_NETWORK);
	record.on_cpu_ns = record.returned_ns = record.end_ns = 171;
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_RUNNABLE);
	record.on_cpu_ns = 150;
	record.returned_ns = 160;
	record.end_ns = 190; /* loop and queue are one part */
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_OWN_LOOP);
	record.runnable_ns = 21; /* of those 40 */
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_RUNNABLE);
	record.runnable_ns = 0;
	record.raised_ns = record.on_cpu_ns = record.returned_ns = record.end_ns = 190;
	assert_int_equal(cause_of(&record), STINT_PROBES_LIMIT_HOST);
	record = (struct record_stall){.start_ns = 100, .end_ns = 100};
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_UNKNOWN);
}

/* Told of, and nobody came: the loop's, until the end. */
static void a_stall_that_ended_with_no_send_is_in_the_stage_that_it_had_come_to(void **state)
{
	struct record_stall record = {.start_ns = 100, .end_ns = 170, .ending = RECORD_OPEN};
	struct stint_probes_stall stall;

	(void)state;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.ending, STINT_PROBES_OPEN);
	assert_int_equal(stall.ack_ns, 70);
	record.opened = 1;
	record.cause_ns = 110;
	record.raised_ns = 120;
	record.ending = RECORD_CLOSED;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.ending, STINT_PROBES_CLOSED);
	assert_int_equal(stall.loop_ns, 50);
	record.returned_ns = 130;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.queue_ns, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_have_the_same_histogram),
		cmocka_unit_test(both_sides_put_a_value_into_the_same_bucket),
		cmocka_unit_test(the_parts_of_an_overrun_are_its_duration),
		cmocka_unit_test(lengths_in_a_record_are_bounded),
		cmocka_unit_test(the_first_argument_is_a_descriptor_where_it_is_one),
		cmocka_unit_test(those_read_after_a_long_computation_are_its_victims),
		cmocka_unit_test(one_that_was_handled_before_is_no_victim),
		cmocka_unit_test(a_handler_of_many_short_calls_is_blamed_for_all_of_them),
		cmocka_unit_test(a_single_ready_descriptor_is_the_one_and_has_no_victims),
		cmocka_unit_test(stages_add_up_whichever_moments_were_seen),
		cmocka_unit_test(moments_out_of_order_do_not_wrap),
		cmocka_unit_test(the_cause_of_a_stall_is_its_longest_part),
		cmocka_unit_test(a_stall_that_ended_with_no_send_is_in_the_stage_that_it_had_come_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
