/* SPDX-License-Identifier: MIT */
/*
 * What the meter counts of dispatches in a row, of descriptors and of posts, against what their callbacks saw: within a
 * dispatch, stint_loop_now_ns() is the moment at which it began and the one before it ended.
 */
#include "metered_fixture.h"

#include <fcntl.h>
#include <stint/post.h>

#define EVENTS 40

static struct stint_fd *source[EVENTS];
static struct stint_timer *timer;
static int fds[EVENTS][2];
static uint32_t handler[2]; /* even and odd sources', where they differ */
static uint64_t begin_ns[EVENTS];
static uint32_t charged[EVENTS], begun;
static bool disturb, leave_open;
static struct stint_fd *called[EVENTS];
static int slow; /* so many readings of a clock does a callback take */
static int empty[2] = {-1, -1};

/* Of the library's USDT probes: what the kernel counts listeners in. */
extern unsigned short stint_dispatch_begin_semaphore;

static uint32_t make_handler(const char *name)
{
	int index = stint_loop_handler(loop, name, 10000000000u);

	assert_true(index > 0);
	return (uint32_t)index;
}

/* What the third does of 40: opens a scope; and the fifth stops a timer that is due behind them. */
static void on_event(struct stint_fd *event, uint32_t events, void *ctx)
{
	(void)events;
	called[begun] = event;
	charged[begun] = *(const uint32_t *)ctx;
	begin_ns[begun] = stint_loop_now_ns(loop);
	begun++;
	for (int i = 0; i < slow; i++)
		clock_gettime(CLOCK_MONOTONIC, &(struct timespec){0});
	if (disturb && begun == 3) {
		assert_int_equal(stint_meter_begin(stint_loop_account(loop), make_handler("inner"), -1), 0);
		assert_int_equal(stint_meter_end(stint_loop_account(loop)), 0);
	}
	if (disturb && begun == 5)
		assert_int_equal(stint_timer_stop(timer), 0);
	if (leave_open && begun % 7 == 0)
		assert_int_equal(stint_meter_begin(stint_loop_account(loop), handler[1], -1), 0);
}

static void on_timer(struct stint_timer *due, void *ctx)
{
	(void)due;
	(void)ctx;
	fail_msg("a stopped timer was dispatched");
}

static int open_loop(void **state)
{
	(void)state;
	begun = 0;
	slow = 0;
	disturb = leave_open = false;
	if (fixture_open_loop() < 0)
		return -1;
	handler[0] = make_handler("even");
	handler[1] = make_handler("odd");
	return 0;
}

static int close_loop(void **state)
{
	fixture_close_loop(state);
	for (int i = 0; i < EVENTS; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	close(empty[0]);
	close(empty[1]);
	empty[0] = empty[1] = -1;
	return 0;
}

/* All are ready in one batch. `length`: so many in a row have a handler in common. */
static void dispatch_one_batch(int length)
{
	for (int i = 0; i < EVENTS; i++) {
		uint32_t *mine = &handler[i / length % 2];

		assert_int_equal(pipe2(fds[i], O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
		assert_int_equal(stint_fd_new(&source[i], loop, fds[i][0], STINT_READ, *mine, on_event, mine),
				 0);
	}
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(begun, EVENTS);
}

struct expected {
	uint64_t count, wait_min_ns, wait_max_ns, wait_sum_ns, service_sum_ns, blame_ns, victims;
};

/* As each dispatch would be counted by itself; the last one's service is not known, and blames nobody. */
static struct expected expect(uint32_t of)
{
	struct expected ret = {.wait_min_ns = UINT64_MAX};

	for (uint32_t i = 0; i < EVENTS; i++) {
		uint64_t wait_ns = begin_ns[i] - begin_ns[0], behind = EVENTS - 1 - i;
		uint64_t service_ns = i + 1 < EVENTS ? begin_ns[i + 1] - begin_ns[i] : 0;

		if (charged[i] != of)
			continue;
		ret.count++;
		ret.wait_min_ns = wait_ns < ret.wait_min_ns ? wait_ns : ret.wait_min_ns;
		ret.wait_max_ns = wait_ns > ret.wait_max_ns ? wait_ns : ret.wait_max_ns;
		ret.wait_sum_ns += wait_ns;
		ret.service_sum_ns += service_ns;
		ret.blame_ns += service_ns * behind;
		ret.victims += behind;
	}
	return ret;
}

static uint64_t in_buckets(const struct stint_histogram *histogram)
{
	uint64_t count = histogram->overflow;

	for (uint32_t i = 0; i < STINT_HISTOGRAM_BUCKETS; i++)
		count += histogram->bucket[i];
	return count;
}

/* What holds for posts too, whose waits are not of one moment. */
static void check_service(uint32_t index)
{
	const struct stint_meter_file_block *block = fixture_block(meter, index);
	const struct stint_histogram *service = &block->histogram[STINT_METER_HANDLER_SERVICE];
	struct expected known = expect(index);

	assert_int_equal(service->count, known.count);
	assert_int_equal(in_buckets(service), known.count);
	assert_int_equal(block->blame_ns, known.blame_ns);
	assert_int_equal(block->victims, known.victims);
	if (charged[EVENTS - 1] != index)
		assert_int_equal(service->sum, known.service_sum_ns);
	else
		assert_true(service->sum >= known.service_sum_ns);
}

static void check_handler(uint32_t index)
{
	const struct stint_meter_file_block *block = fixture_block(meter, index);
	const struct stint_histogram *wait = &block->histogram[STINT_METER_HANDLER_WAIT];
	struct expected known = expect(index);

	check_service(index);
	assert_int_equal(wait->count, known.count);
	assert_int_equal(in_buckets(wait), known.count);
	assert_int_equal(wait->sum, known.wait_sum_ns);
	assert_int_equal(wait->min, known.wait_min_ns);
	assert_int_equal(wait->max, known.wait_max_ns);
}

static void check_batches_of(int length)
{
	dispatch_one_batch(length);
	check_handler(handler[0]);
	if (length < EVENTS)
		check_handler(handler[1]);
}

static void all_of_one_handler_are_counted_as_each(void **state)
{
	(void)state;
	check_batches_of(EVENTS);
}

static void handlers_in_turn_are_counted_as_each(void **state)
{
	(void)state;
	check_batches_of(1);
}

static void runs_of_several_are_counted_as_each(void **state)
{
	(void)state;
	check_batches_of(7);
}

/* The outer one is not charged with the inner one's time, and whoever came behind is blamed on both as before. */
static void a_scope_and_a_stopped_timer_end_a_run(void **state)
{
	const struct stint_meter_file_block *outer, *inner;
	struct expected known;
	uint64_t service_ns;

	(void)state;
	disturb = true;
	assert_int_equal(stint_timer_new(&timer, loop, handler[1], on_timer, NULL), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	dispatch_one_batch(EVENTS);
	known = expect(handler[0]);
	outer = fixture_block(meter, handler[0]);
	inner = fixture_block(meter, make_handler("inner"));
	service_ns = inner->histogram[STINT_METER_HANDLER_SERVICE].sum;
	assert_int_equal(outer->histogram[STINT_METER_HANDLER_SERVICE].count, EVENTS);
	assert_int_equal(outer->histogram[STINT_METER_HANDLER_WAIT].sum, known.wait_sum_ns);
	assert_int_equal(inner->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
	/* Behind the first five, the timer waited too; behind the third, as the scope was open, 37 events and it. */
	assert_int_equal(outer->victims, known.victims + 5);
	assert_int_equal(outer->blame_ns + inner->blame_ns, known.blame_ns + begin_ns[5] - begin_ns[0]);
	assert_int_equal(inner->blame_ns, service_ns * (EVENTS - 3 + 1));
}

/* Adds the waits of the batch to what the buckets must have. */
static void expect_waits(uint64_t *bucket, uint32_t of)
{
	for (uint32_t i = 0; i < begun; i++)
		if (charged[i] == of)
			bucket[stint_histogram_bucket(begin_ns[i] - begin_ns[0])]++;
}

/* Batches one after the other, as the extremes of the first ones make each of their dispatches one out of the ordinary. */
static void check_many_batches_of(int length)
{
	enum { BATCHES = 50 };
	static uint64_t bucket[2][STINT_HISTOGRAM_BUCKETS];
	uint64_t victims[2] = {0};

	memset(bucket, 0, sizeof(bucket));
	dispatch_one_batch(length);
	for (int batch = 0;; batch++) {
		for (int i = 0; i < 2; i++) {
			expect_waits(bucket[i], handler[i]);
			victims[i] += expect(handler[i]).victims;
		}
		if (batch == BATCHES)
			break;
		begun = 0;
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
		assert_int_equal(begun, EVENTS);
	}
	for (int i = 0; i < (length < EVENTS ? 2 : 1); i++) {
		const struct stint_meter_file_block *block = fixture_block(meter, handler[i]);
		const struct stint_histogram *wait = &block->histogram[STINT_METER_HANDLER_WAIT];

		assert_memory_equal(wait->bucket, bucket[i], sizeof(bucket[i]));
		assert_int_equal(wait->count, in_buckets(wait));
		assert_int_equal(block->histogram[STINT_METER_HANDLER_SERVICE].count, wait->count);
		assert_int_equal(in_buckets(&block->histogram[STINT_METER_HANDLER_SERVICE]), wait->count);
		assert_int_equal(block->victims, victims[i]);
	}
}

static void every_wait_of_short_callbacks_is_in_its_bucket(void **state)
{
	(void)state;
	check_many_batches_of(EVENTS);
}

static void every_wait_of_longer_callbacks_is_in_its_bucket(void **state)
{
	(void)state;
	slow = 10;
	check_many_batches_of(EVENTS);
}

/* Where it begins, the mark of the dispatch that runs is another. */
static void every_wait_is_in_its_bucket_where_a_scope_is_left_open(void **state)
{
	(void)state;
	leave_open = true;
	slow = 20;
	check_many_batches_of(EVENTS);
}

static void every_wait_of_handlers_in_turn_is_in_its_bucket(void **state)
{
	(void)state;
	slow = 10;
	check_many_batches_of(1);
}

static void every_wait_of_several_in_a_row_is_in_its_bucket(void **state)
{
	(void)state;
	check_many_batches_of(3);
}

static void all_is_counted_the_same_while_probes_are_listened_to(void **state)
{
	(void)state;
	stint_dispatch_begin_semaphore++;
	check_many_batches_of(3);
	stint_dispatch_begin_semaphore--;
}

/* The tenth frees one whose event is in the batch, and another source takes its place. */
static struct stint_fd *freed;

static bool was_called(const struct stint_fd *event)
{
	for (uint32_t i = 0; i < begun; i++)
		if (called[i] == event)
			return true;
	return false;
}

static void free_one_to_come(struct stint_fd *event, uint32_t events, void *ctx)
{
	int next = 0;

	on_event(event, events, ctx);
	assert_ptr_not_equal(event, freed);
	if (begun != 10)
		return;
	while (was_called(source[next]))
		next++;
	freed = source[next];
	assert_null(stint_fd_free(freed));
	assert_int_equal(stint_fd_new(&source[next], loop, empty[0], STINT_READ, handler[0], free_one_to_come,
				      &handler[0]),
			 0);
	assert_ptr_equal(source[next], freed);
}

static void a_source_freed_amid_a_run_is_not_called_nor_its_successor(void **state)
{
	const struct stint_histogram *wait;
	uint64_t before;

	(void)state;
	freed = NULL;
	assert_int_equal(pipe2(empty, O_NONBLOCK | O_CLOEXEC), 0);
	check_many_batches_of(EVENTS);
	for (int i = 0; i < EVENTS; i++) {
		assert_null(stint_fd_free(source[i]));
		assert_int_equal(stint_fd_new(&source[i], loop, fds[i][0], STINT_READ, handler[0],
					      free_one_to_come, &handler[0]),
				 0);
	}
	wait = &fixture_block(meter, handler[0])->histogram[STINT_METER_HANDLER_WAIT];
	before = wait->count;
	begun = 0;
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(begun, EVENTS - 1);
	assert_int_equal(wait->count, before + EVENTS - 1);
	assert_int_equal(in_buckets(wait), before + EVENTS - 1);
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	assert_int_equal(error, 0);
	on_event(NULL, 0, ctx);
}

/* Between posting and dispatch the clock may be tied anew, which moves it by far less. */
#define SLACK_NS 100000u

/* A wait is from the post's own moment: the sum lies between those from before and from after them all. */
static void check_waits_of_posts(uint32_t index, uint64_t before_ns, uint64_t after_ns)
{
	const struct stint_histogram *wait =
		&fixture_block(meter, index)->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t least_ns = 0, most_ns = 0;

	for (int i = 0; i < EVENTS; i++) {
		least_ns += charged[i] == index ? begin_ns[i] - after_ns : 0;
		most_ns += charged[i] == index ? begin_ns[i] - before_ns : 0;
	}
	assert_int_equal(wait->count, expect(index).count);
	assert_int_equal(in_buckets(wait), wait->count);
	assert_true(wait->sum + wait->count * SLACK_NS >= least_ns);
	assert_true(wait->sum <= most_ns + wait->count * SLACK_NS);
	assert_true(wait->min <= wait->max);
	assert_true(wait->max <= begin_ns[EVENTS - 1] - before_ns + SLACK_NS);
}

static void posts_in_a_row_are_counted_as_each(void **state)
{
	struct stint_post post[EVENTS];
	struct stint_mailbox *mailbox;
	uint64_t before_ns, after_ns;

	(void)state;
	disturb = true;
	assert_int_equal(stint_timer_new(&timer, loop, handler[1], on_timer, NULL), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	before_ns = stint_loop_now_ns(loop);
	for (int i = 0; i < EVENTS; i++) {
		uint32_t *mine = &handler[i / 7 % 2];

		post[i] = (struct stint_post){.callback = on_post, .ctx = mine, .handler = *mine};
		assert_int_equal(stint_mailbox_post(mailbox, &post[i]), 0);
	}
	after_ns = stint_loop_now_ns(loop);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(begun, EVENTS);
	check_service(handler[1]);
	check_waits_of_posts(handler[0], before_ns, after_ns);
	check_waits_of_posts(handler[1], before_ns, after_ns);
	assert_int_equal(
		fixture_block(meter, make_handler("inner"))->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_of_one_handler_are_counted_as_each, open_loop,
						close_loop),
		cmocka_unit_test_setup_teardown(handlers_in_turn_are_counted_as_each, open_loop, close_loop),
		cmocka_unit_test_setup_teardown(runs_of_several_are_counted_as_each, open_loop, close_loop),
		cmocka_unit_test_setup_teardown(a_scope_and_a_stopped_timer_end_a_run, open_loop, close_loop),
		cmocka_unit_test_setup_teardown(every_wait_of_short_callbacks_is_in_its_bucket, open_loop,
						close_loop),
		cmocka_unit_test_setup_teardown(every_wait_of_longer_callbacks_is_in_its_bucket, open_loop,
						close_loop),
		cmocka_unit_test_setup_teardown(every_wait_is_in_its_bucket_where_a_scope_is_left_open,
						open_loop, close_loop),
		cmocka_unit_test_setup_teardown(every_wait_of_handlers_in_turn_is_in_its_bucket, open_loop,
						close_loop),
		cmocka_unit_test_setup_teardown(every_wait_of_several_in_a_row_is_in_its_bucket, open_loop,
						close_loop),
		cmocka_unit_test_setup_teardown(all_is_counted_the_same_while_probes_are_listened_to,
						open_loop, close_loop),
		cmocka_unit_test_setup_teardown(a_source_freed_amid_a_run_is_not_called_nor_its_successor,
						open_loop, close_loop),
		cmocka_unit_test_setup_teardown(posts_in_a_row_are_counted_as_each, open_loop, close_loop),
	};

	return cmocka_run_group_tests_name("runs of dispatches", tests, fixture_make_directory,
					   fixture_remove_directory);
}
