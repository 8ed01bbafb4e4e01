/* SPDX-License-Identifier: MIT */

/* Timeouts, which lie in structs of the user's, beside timers of the loop's on the same wheel. */

#include "chance.h"
#include "metered_fixture.h"

#define CONNECTIONS 400
#define STEPS       20000
#define KINDS       3

struct connection {
	uint32_t number;
	struct stint_timeout timeout;
	uint64_t due_ns; /* what the model expects; 0: not armed */
	int kind;
	int calls;
};

static struct stint_timeouts *kinds[KINDS];
static struct connection connections[CONNECTIONS];
static uint64_t last_due_ns;
static char order[16];

static struct connection *connection_of(struct stint_timeout *timeout)
{
	return (struct connection *)((char *)timeout - offsetof(struct connection, timeout));
}

static int open_loop(void **state)
{
	(void)state;
	memset(connections, 0, sizeof(connections));
	memset(order, 0, sizeof(order));
	last_due_ns = 0;
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		connections[i].number = i;
	return fixture_open_loop();
}

static void new_kind(int number, stint_timeout_callback callback)
{
	assert_int_equal(stint_timeouts_new(&kinds[number], loop, 0, callback, &kinds[number]), 0);
}

static void start(int connection, uint64_t delay_ns)
{
	assert_int_equal(stint_timeout_start(kinds[0], &connections[connection].timeout, delay_ns), 0);
}

static void note(char letter)
{
	assert_true(strlen(order) + 1 < sizeof(order));
	order[strlen(order)] = letter;
}

static void on_timeout(struct stint_timeout *timeout, void *ctx)
{
	assert_ptr_equal(ctx, &kinds[0]);
	assert_int_equal(stint_timeout_due_ns(timeout), 0);
	connection_of(timeout)->calls++;
	note((char)('0' + connection_of(timeout)->number));
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer, (void)ctx;
	note('t');
}

static void arrange(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	(*(void (**)(void))ctx)();
}

/* In a callback all delays count from the same moment, however long the machine takes for the calls. */
static void run_from_callback(void (*arrangement)(void))
{
	struct stint_deferred *deferred;

	assert_int_equal(stint_deferred_new(&deferred, loop, 0, arrange, &arrangement), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	assert_int_equal(stint_loop_run(loop), 0);
}

/* ---- being due ---- */

static void one_that_is_all_zero_is_not_armed(void **state)
{
	(void)state;
	new_kind(0, on_timeout);
	assert_int_equal(stint_timeout_due_ns(&connections[0].timeout), 0);
	assert_int_equal(stint_timeout_stop(kinds[0], &connections[0].timeout), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "");
}

static void each_is_due_once_not_before_its_deadline_and_keeps_the_loop_running(void **state)
{
	uint64_t due_ns;

	(void)state;
	new_kind(0, on_timeout);
	start(0, 3 * MS);
	due_ns = stint_timeout_due_ns(&connections[0].timeout);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_true(stint_loop_now_ns(loop) >= due_ns);
	assert_string_equal(order, "0");
}

static void start_three(void)
{
	struct stint_timer *timer;

	start(2, 3 * MS);
	start(1, 1 * MS);
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 2 * MS, 0), 0);
}

static void timers_and_timeouts_are_due_in_the_order_of_their_deadlines(void **state)
{
	(void)state;
	new_kind(0, on_timeout);
	run_from_callback(start_three);
	assert_string_equal(order, "1t2");
}

static void start_twice(void)
{
	start(0, 1 * MS);
	start(1, 2 * MS);
	start(0, 4 * MS);
}

static void one_that_is_armed_anew_is_due_at_its_last_deadline_only(void **state)
{
	(void)state;
	new_kind(0, on_timeout);
	run_from_callback(start_twice);
	assert_string_equal(order, "10");
}

static void its_service_is_told_of_its_kinds_handler(void **state)
{
	int handler = stint_loop_handler(loop, "idle", 0);

	(void)state;
	assert_int_equal(stint_timeouts_new(&kinds[0], loop, (uint32_t)handler, on_timeout, &kinds[0]), 0);
	start(0, 0);
	start(1, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(
		fixture_block(meter, (uint32_t)handler)->histogram[STINT_METER_HANDLER_SERVICE].count, 2);
}

/* ---- from callbacks ---- */

static void start_again(struct stint_timeout *timeout, void *ctx)
{
	(void)ctx;
	note('a');
	if (connection_of(timeout)->calls++ == 0)
		start(0, 0);
}

static void one_that_its_callback_arms_waits_for_the_next_iteration(void **state)
{
	(void)state;
	new_kind(0, start_again);
	start(0, 0);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_string_equal(order, "a");
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_string_equal(order, "aa");
}

static void stop_next(struct stint_timeout *timeout, void *ctx)
{
	(void)ctx;
	note((char)('0' + connection_of(timeout)->number));
	assert_int_equal(stint_timeout_stop(kinds[0], &connections[1].timeout), 0);
}

static void one_that_is_due_may_be_stopped_before_its_turn(void **state)
{
	(void)state;
	new_kind(0, stop_next);
	for (int i = 0; i < 3; i++)
		start(i, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "02");
}

static void free_connection(struct stint_timeout *timeout, void *ctx)
{
	(void)ctx;
	note('f');
	free(connection_of(timeout));
}

/* ASan and valgrind see what would touch it. */
static void what_it_lies_in_may_be_freed_by_its_callback(void **state)
{
	(void)state;
	new_kind(0, free_connection);
	for (int i = 0; i < 3; i++) {
		struct connection *connection = calloc(1, sizeof(*connection));

		assert_non_null(connection);
		assert_int_equal(stint_timeout_start(kinds[0], &connection->timeout, 0), 0);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "fff");
}

/* ---- kinds ---- */

static void free_kinds(struct stint_timeout *timeout, void *ctx)
{
	(void)timeout, (void)ctx;
	note('k');
	kinds[0] = stint_timeouts_free(kinds[0]);
	kinds[1] = stint_timeouts_free(kinds[1]);
}

static void a_kind_that_is_freed_leaves_none_of_its_own_armed(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++)
		new_kind(i, i == 2 ? free_kinds : on_timeout);
	start(0, 0);
	start(1, 60 * S);
	assert_int_equal(stint_timeout_start(kinds[1], &connections[2].timeout, 3600 * S), 0);
	assert_int_equal(stint_timeout_start(kinds[2], &connections[3].timeout, 2 * MS), 0);
	kinds[0] = stint_timeouts_free(kinds[0]);
	assert_int_equal(stint_timeout_due_ns(&connections[0].timeout), 0);
	assert_int_equal(stint_timeout_due_ns(&connections[1].timeout), 0);
	assert_true(stint_timeout_due_ns(&connections[2].timeout) > 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "k");
	assert_int_equal(stint_timeout_due_ns(&connections[2].timeout), 0);
}

static void a_kind_may_be_freed_while_its_own_are_due(void **state)
{
	(void)state;
	new_kind(0, free_kinds);
	new_kind(1, on_timeout);
	start(0, 0);
	start(1, 0);
	assert_int_equal(stint_timeout_start(kinds[1], &connections[2].timeout, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "k");
}

static void a_kind_has_the_place_of_one_that_is_gone_and_not_its_timeouts(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		new_kind(0, free_kinds);
		start(i, 60 * S);
		kinds[0] = stint_timeouts_free(kinds[0]);
	}
	new_kind(0, on_timeout);
	start(3, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "3");
}

static void a_loop_that_is_freed_leaves_none_armed(void **state)
{
	(void)state;
	new_kind(0, on_timeout);
	start(0, 60 * S);
	loop = stint_loop_free(loop);
	assert_int_equal(stint_timeout_due_ns(&connections[0].timeout), 0);
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	new_kind(0, on_timeout);
	start(0, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "0");
}

static void free_loop(struct stint_timeout *timeout, void *ctx)
{
	(void)ctx;
	note('l');
	loop = stint_loop_free(loop);
	assert_int_equal(stint_timeout_start(kinds[0], timeout, 0), -EINVAL);
	assert_int_equal(stint_timeout_stop(kinds[0], timeout), 0);
}

static void a_loop_may_be_freed_by_a_timeout(void **state)
{
	(void)state;
	new_kind(0, free_loop);
	start(0, 0);
	start(1, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "l");
	assert_null(loop);
}

static void arguments_that_make_no_sense(void **state)
{
	(void)state;
	new_kind(0, on_timeout);
	assert_int_equal(stint_timeouts_new(NULL, loop, 0, on_timeout, NULL), -EINVAL);
	assert_int_equal(stint_timeouts_new(&kinds[1], NULL, 0, on_timeout, NULL), -EINVAL);
	assert_int_equal(stint_timeouts_new(&kinds[1], loop, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_timeouts_new(&kinds[1], loop, 12345, on_timeout, NULL), -EINVAL);
	assert_int_equal(stint_timeout_start(NULL, &connections[0].timeout, 0), -EINVAL);
	assert_int_equal(stint_timeout_start(kinds[0], NULL, 0), -EINVAL);
	assert_int_equal(stint_timeout_stop(NULL, &connections[0].timeout), -EINVAL);
	assert_int_equal(stint_timeout_stop(kinds[0], NULL), -EINVAL);
	assert_int_equal(stint_timeout_due_ns(NULL), 0);
	assert_null(stint_timeouts_free(NULL));
}

/* ---- at random ---- */

static void on_random(struct stint_timeout *timeout, void *ctx)
{
	struct connection *connection = connection_of(timeout);

	assert_ptr_equal(ctx, &kinds[connection->kind]);
	assert_true(connection->due_ns > 0);
	assert_true(connection->due_ns >= last_due_ns);
	assert_true(connection->due_ns <= stint_loop_now_ns(loop));
	last_due_ns = connection->due_ns;
	connection->due_ns = 0;
	connection->calls++;
}

static void forget_kind(int kind)
{
	kinds[kind] = stint_timeouts_free(kinds[kind]);
	for (int i = 0; i < CONNECTIONS; i++)
		if (connections[i].kind == kind)
			connections[i].due_ns = 0;
	new_kind(kind, on_random);
}

static void change(struct connection *connection)
{
	if (one_in(4)) {
		assert_int_equal(stint_timeout_stop(kinds[connection->kind], &connection->timeout), 0);
		connection->due_ns = 0;
		return;
	}
	connection->kind = (int)below(KINDS);
	assert_int_equal(stint_timeout_start(kinds[connection->kind], &connection->timeout,
					     below(one_in(10) ? 60000000 : 3000000)),
			 0);
	connection->due_ns = stint_timeout_due_ns(&connection->timeout);
}

/* In the order of deadlines within each iteration. */
static void iterate(uint64_t timeout_ns)
{
	last_due_ns = 0;
	assert_int_equal(stint_loop_iterate(loop, timeout_ns), 0);
}

static bool is_any_armed(void)
{
	for (int i = 0; i < CONNECTIONS; i++)
		if (connections[i].due_ns)
			return true;
	return false;
}

static void any_changes_behave_as_the_model_says(void **state)
{
	(void)state;
	begin_chance(fixture_now_ns(CLOCK_REALTIME));
	for (int i = 0; i < KINDS; i++)
		new_kind(i, on_random);
	for (int step = 0; step < STEPS; step++) {
		change(&connections[below(CONNECTIONS)]);
		if (one_in(1000))
			forget_kind((int)below(KINDS));
		if (one_in(20))
			iterate(below(200000));
	}
	for (int i = 0; i < CONNECTIONS; i++)
		assert_int_equal(stint_timeout_due_ns(&connections[i].timeout), connections[i].due_ns);
	while (is_any_armed())
		iterate(S);
	assert_int_equal(stint_loop_run(loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_that_is_all_zero_is_not_armed),
		TEST(each_is_due_once_not_before_its_deadline_and_keeps_the_loop_running),
		TEST(timers_and_timeouts_are_due_in_the_order_of_their_deadlines),
		TEST(one_that_is_armed_anew_is_due_at_its_last_deadline_only),
		TEST(its_service_is_told_of_its_kinds_handler),
		TEST(one_that_its_callback_arms_waits_for_the_next_iteration),
		TEST(one_that_is_due_may_be_stopped_before_its_turn),
		TEST(what_it_lies_in_may_be_freed_by_its_callback),
		TEST(a_kind_that_is_freed_leaves_none_of_its_own_armed),
		TEST(a_kind_may_be_freed_while_its_own_are_due),
		TEST(a_kind_has_the_place_of_one_that_is_gone_and_not_its_timeouts),
		TEST(a_loop_that_is_freed_leaves_none_armed),
		TEST(a_loop_may_be_freed_by_a_timeout),
		TEST(arguments_that_make_no_sense),
		TEST(any_changes_behave_as_the_model_says),
	};

	return cmocka_run_group_tests_name("timeout", tests, fixture_make_memory_directory,
					   fixture_remove_directory);
}
