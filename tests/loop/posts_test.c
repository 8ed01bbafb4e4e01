/* SPDX-License-Identifier: MIT */

/* Posts and their mailbox, as one thread sees them; what several threads do with them is in threads_test.c. */

#include "metered_fixture.h"

#include <fcntl.h>
#include <signal.h>

#define POSTS 1000

static struct stint_mailbox *mailbox;
static struct stint_post posts[POSTS];
static int called, cancelled;

static int open_loop(void **state)
{
	(void)state;
	called = cancelled = 0;
	memset(posts, 0, sizeof(posts));
	if (fixture_open_loop() < 0)
		return -1;
	return stint_mailbox_new(&mailbox, loop);
}

/* Each post's context is its number: they must come in that order. */
static void count_in_order(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	assert_int_equal((int)(intptr_t)ctx, called + cancelled);
	if (error == -ECANCELED)
		cancelled++;
	else if (error == 0)
		called++;
}

static void post_all(stint_post_callback callback, uint32_t handler)
{
	for (int i = 0; i < POSTS; i++) {
		posts[i].callback = callback;
		posts[i].ctx = (void *)(intptr_t)i;
		posts[i].handler = handler;
		assert_int_equal(stint_mailbox_post(mailbox, &posts[i]), 0);
	}
}

/* 1000 posts at a batch limit of 512 are two iterations. */
static void iterate_all(void)
{
	for (int i = 0; i < 3 && loop; i++)
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
}

static void a_burst_wakes_the_loop_once_and_runs_in_order(void **state)
{
	(void)state;
	post_all(count_in_order, 0);
	assert_int_equal(called, 0);
	iterate_all();
	assert_int_equal(called, POSTS);
	assert_int_equal(stint_mailbox_wakeups(mailbox), 1);
}

static void each_burst_wakes_the_loop_again(void **state)
{
	(void)state;
	for (int i = 1; i <= 3; i++) {
		called = 0;
		post_all(count_in_order, 0);
		iterate_all();
		assert_int_equal(called, POSTS);
		assert_int_equal(stint_mailbox_wakeups(mailbox), i);
	}
}

static void post_again(struct stint_post *post, int error, void *ctx)
{
	(void)ctx;
	if (error == 0 && ++called < 5)
		assert_int_equal(stint_mailbox_post(mailbox, post), 0);
}

/* The loop is about to look at the queue anyway. */
static void a_post_made_by_a_post_wakes_nobody_and_waits_for_the_next_iteration(void **state)
{
	(void)state;
	posts[0] = (struct stint_post){.callback = post_again};
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), 0);
	for (int i = 1; i <= 5; i++) {
		stint_loop_iterate(loop, UINT64_MAX);
		assert_int_equal(called, i);
	}
	assert_int_equal(stint_mailbox_wakeups(mailbox), 1);
}

static void posted_twice_it_is_called_once(void **state)
{
	(void)state;
	posts[0].callback = count_in_order;
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), -EALREADY);
	iterate_all();
	assert_int_equal(called, 1);
}

static void count_event(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	++*(int *)ctx;
}

static void an_iteration_runs_no_more_posts_than_the_batch_limit(void **state)
{
	const struct stint_loop_options options = {.size = sizeof(options), .batch_limit = 10};
	struct stint_fd *source;
	int fds[2], events = 0;

	(void)state;
	stint_loop_free(loop);
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_event, &events), 0);
	post_all(count_in_order, 0);
	for (int i = 1; i <= POSTS / 10; i++) {
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
		assert_int_equal(called, 10 * i);
		assert_int_equal(events, i);
	}
	close(fds[0]);
	close(fds[1]);
}

/* ---- the end of a mailbox ---- */

static void freeing_the_mailbox_gives_the_posts_back(void **state)
{
	(void)state;
	post_all(count_in_order, 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	mailbox = stint_mailbox_free(mailbox);
	assert_int_equal(called, 512);
	assert_int_equal(cancelled, POSTS - 512);
	iterate_all();
	assert_int_equal(called, 512);
}

static void freeing_the_loop_gives_the_posts_back(void **state)
{
	(void)state;
	post_all(count_in_order, 0);
	loop = stint_loop_free(loop);
	assert_int_equal(called, 0);
	assert_int_equal(cancelled, POSTS);
}

static void a_reference_outlives_the_loop_and_posts_are_refused(void **state)
{
	struct stint_mailbox *reference = stint_mailbox_ref(mailbox);

	(void)state;
	loop = stint_loop_free(loop);
	posts[0].callback = count_in_order;
	assert_int_equal(stint_mailbox_post(reference, &posts[0]), -ESHUTDOWN);
	assert_int_equal(stint_mailbox_post(reference, &posts[0]), -ESHUTDOWN);
	assert_int_equal(called + cancelled, 0);
	assert_null(stint_mailbox_unref(reference));
}

static void free_mailbox(struct stint_post *post, int error, void *ctx)
{
	count_in_order(post, error, ctx);
	mailbox = stint_mailbox_free(mailbox);
}

static void a_post_may_free_its_mailbox(void **state)
{
	(void)state;
	post_all(free_mailbox, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(called, 1);
	assert_int_equal(cancelled, POSTS - 1);
}

static void free_loop(struct stint_post *post, int error, void *ctx)
{
	count_in_order(post, error, ctx);
	loop = stint_loop_free(loop);
}

static void a_post_may_free_the_loop(void **state)
{
	(void)state;
	post_all(free_loop, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(called, 1);
	assert_int_equal(cancelled, POSTS - 1);
}

static void free_post(struct stint_post *post, int error, void *ctx)
{
	(void)error;
	(void)ctx;
	called++;
	free(post);
}

static void a_post_may_free_itself(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct stint_post *post = calloc(1, sizeof(*post));

		assert_non_null(post);
		post->callback = free_post;
		assert_int_equal(stint_mailbox_post(mailbox, post), 0);
	}
	iterate_all();
	assert_int_equal(called, 3);
}

static void stop_loop(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)error;
	(void)ctx;
	called++;
	stint_loop_stop(loop);
}

static void a_mailbox_keeps_the_loop_running_until_it_is_freed(void **state)
{
	(void)state;
	posts[0].callback = stop_loop;
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(called, 1);
	mailbox = stint_mailbox_free(mailbox);
	assert_int_equal(stint_loop_run(loop), 0);
}

/* ---- signal handlers ---- */

static int handler_result, handler_errno;

static void post_from_handler(int number)
{
	(void)number;
	errno = 77;
	handler_result = stint_mailbox_post(mailbox, &posts[0]);
	handler_errno = errno;
}

static void a_signal_handler_may_post(void **state)
{
	struct sigaction action = {.sa_handler = post_from_handler}, before;

	(void)state;
	posts[0].callback = count_in_order;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	raise(SIGUSR1);
	sigaction(SIGUSR1, &before, NULL);
	assert_int_equal(handler_result, 0);
	assert_int_equal(handler_errno, 77);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(called, 1);
}

/* ---- the meter ---- */

static uint64_t started_ns;

static void note_start(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)error;
	(void)ctx;
	started_ns = stint_loop_now_ns(loop);
}

/* Two clocks, the loop's and the test's, that agree to within 0.1 ms. */
static void the_wait_of_a_post_is_from_posting_to_start(void **state)
{
	int handler = stint_loop_handler(loop, "posted", 0);
	const struct stint_histogram *wait =
		&fixture_block(meter, (uint32_t)handler)->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t before_ns, after_ns;

	(void)state;
	posts[0] = (struct stint_post){.callback = note_start, .handler = (uint32_t)handler};
	before_ns = fixture_now_ns(CLOCK_MONOTONIC);
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), 0);
	after_ns = fixture_now_ns(CLOCK_MONOTONIC);
	fixture_spin(5 * MS);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(wait->count, 1);
	assert_true(wait->max + MS / 10 >= started_ns - after_ns);
	assert_true(wait->max <= started_ns - before_ns + MS / 10);
}

static void every_post_is_a_dispatch_of_its_handler(void **state)
{
	int handler = stint_loop_handler(loop, "posted", 0);

	(void)state;
	post_all(count_in_order, (uint32_t)handler);
	iterate_all();
	assert_int_equal(
		fixture_block(meter, (uint32_t)handler)->histogram[STINT_METER_HANDLER_SERVICE].count, POSTS);
	assert_int_equal(fixture_block(meter, (uint32_t)handler)->histogram[STINT_METER_HANDLER_WAIT].count,
			 POSTS);
	/* And the wake-up is one of its own. */
	handler = stint_loop_handler(loop, "stint.wakeup", 0);
	assert_int_equal(
		fixture_block(meter, (uint32_t)handler)->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
}

static void spin_first(struct stint_post *post, int error, void *ctx)
{
	count_in_order(post, error, ctx);
	if (called == 1)
		fixture_spin(2 * MS);
}

static void a_slow_post_is_blamed_for_those_behind_it(void **state)
{
	int handler = stint_loop_handler(loop, "posted", MS);

	(void)state;
	post_all(spin_first, (uint32_t)handler);
	iterate_all();
	assert_int_equal(fixture_overrun_of(meter, (uint32_t)handler)->victims, POSTS - 1);
}

static uint64_t deferred_ended_ns, first_began_ns;

static void tell_when_it_ended(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	(void)ctx;
	deferred_ended_ns = fixture_now_ns(CLOCK_MONOTONIC);
}

static void tell_when_the_first_began(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	if (error == 0 && !first_began_ns)
		first_began_ns = stint_loop_now_ns(loop);
}

static void taking_many_posts_is_no_handlers_time(void **state)
{
	enum { COUNT = 100000 };
	static struct stint_post many[COUNT];
	struct stint_deferred *deferred;

	(void)state;
	assert_int_equal(stint_deferred_new(&deferred, loop, 0, tell_when_it_ended, NULL), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	for (int i = 0; i < COUNT; i++) {
		many[i] = (struct stint_post){.callback = tell_when_the_first_began};
		assert_int_equal(stint_mailbox_post(mailbox, &many[i]), 0);
	}
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_true(first_began_ns > 0 && deferred_ended_ns > 0);
	/* At least a cycle each. */
	assert_true(first_began_ns >= deferred_ended_ns + COUNT / 5);
}

static void a_handler_that_does_not_exist_counts_as_other(void **state)
{
	(void)state;
	post_all(count_in_order, 100000);
	iterate_all();
	assert_int_equal(fixture_block(meter, 0)->histogram[STINT_METER_HANDLER_SERVICE].count, POSTS);
}

static void a_mailbox_of_a_loop_without_a_meter_works(void **state)
{
	const struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};

	(void)state;
	stint_loop_free(loop);
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	post_all(count_in_order, 5);
	iterate_all();
	assert_int_equal(called, POSTS);
}

static void misuse_is_an_error_code(void **state)
{
	struct stint_mailbox *other = NULL;

	(void)state;
	assert_int_equal(stint_mailbox_new(NULL, loop), -EINVAL);
	assert_int_equal(stint_mailbox_new(&other, NULL), -EINVAL);
	assert_null(other);
	assert_int_equal(stint_mailbox_post(mailbox, NULL), -EINVAL);
	assert_int_equal(stint_mailbox_post(mailbox, &posts[0]), -EINVAL); /* no callback */
	posts[0].callback = count_in_order;
	assert_int_equal(stint_mailbox_post(NULL, &posts[0]), -EINVAL);
	assert_null(stint_mailbox_free(NULL));
	assert_null(stint_mailbox_ref(NULL));
	assert_null(stint_mailbox_unref(NULL));
	assert_int_equal(stint_mailbox_wakeups(NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_burst_wakes_the_loop_once_and_runs_in_order),
		TEST(each_burst_wakes_the_loop_again),
		TEST(a_post_made_by_a_post_wakes_nobody_and_waits_for_the_next_iteration),
		TEST(posted_twice_it_is_called_once),
		TEST(an_iteration_runs_no_more_posts_than_the_batch_limit),
		TEST(freeing_the_mailbox_gives_the_posts_back),
		TEST(freeing_the_loop_gives_the_posts_back),
		TEST(a_reference_outlives_the_loop_and_posts_are_refused),
		TEST(a_post_may_free_its_mailbox),
		TEST(a_post_may_free_the_loop),
		TEST(a_post_may_free_itself),
		TEST(a_mailbox_keeps_the_loop_running_until_it_is_freed),
		TEST(a_signal_handler_may_post),
		TEST(the_wait_of_a_post_is_from_posting_to_start),
		TEST(every_post_is_a_dispatch_of_its_handler),
		TEST(a_slow_post_is_blamed_for_those_behind_it),
		TEST(taking_many_posts_is_no_handlers_time),
		TEST(a_handler_that_does_not_exist_counts_as_other),
		TEST(a_mailbox_of_a_loop_without_a_meter_works),
		TEST(misuse_is_an_error_code),
	};

	return cmocka_run_group_tests_name("posts", tests, fixture_make_directory, fixture_remove_directory);
}
