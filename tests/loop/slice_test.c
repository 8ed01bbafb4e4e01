/* SPDX-License-Identifier: MIT */
#include "metered_fixture.h"

#include <fcntl.h>

static uint32_t handler;

static int open_loop(void **state)
{
	(void)state;
	if (fixture_open_loop() < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "slice", 0);
	return 0;
}

/* A task without an end, which notes what it gets. */
struct task {
	struct stint_slice *slice;
	uint64_t spin_ns; /* stays for so long, whatever it is told; 0: until its slice is over */
	uint64_t longest_ns;
	uint64_t seen_ns,
		longest_turn_ns; /* used by the turn before last; and the longest of those, as the loop has it */
	uint64_t turn_ns,
		lost; /* how long a turn should be; and the turns' worth that the machine took from some */
	struct task *rival;
	uint64_t rival_used_ns; /* what the rival had used at our first call since this was last 0 */
};

/* At the last turn, as the loop timed it: a machine that takes the CPU away may do so just before the task looks. */
static void look_back(struct task *task)
{
	uint64_t used_ns = stint_slice_used_ns(task->slice), took_ns = used_ns - task->seen_ns;

	task->seen_ns = used_ns;
	if (took_ns > task->longest_turn_ns)
		task->longest_turn_ns = took_ns;
	if (task->turn_ns && took_ns > task->turn_ns)
		task->lost += took_ns / task->turn_ns - 1;
}

static void on_task(struct stint_slice *slice, void *ctx)
{
	struct task *task = ctx;
	uint64_t begin_ns = fixture_now_ns(CLOCK_MONOTONIC), took_ns;

	look_back(task);
	if (task->rival && !task->rival_used_ns)
		task->rival_used_ns = stint_slice_used_ns(task->rival->slice) + 1;
	if (task->spin_ns)
		fixture_spin(task->spin_ns);
	else
		while (!stint_slice_over(slice))
			;
	took_ns = fixture_now_ns(CLOCK_MONOTONIC) - begin_ns;
	if (took_ns > task->longest_ns)
		task->longest_ns = took_ns;
}

static void begin(struct task *task)
{
	assert_int_equal(stint_slice_new(&task->slice, loop, handler, on_task, task), 0);
	assert_int_equal(stint_slice_start(task->slice), 0);
}

static void iterate(int times)
{
	while (times-- > 0)
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
}

/* The sum of 1 to `last`, some at a time. */
struct sum {
	uint64_t next, last, total;
};

static void on_sum(struct stint_slice *slice, void *ctx)
{
	struct sum *sum = ctx;

	do {
		for (int i = 0; i < 1000; i++) {
			if (sum->next > sum->last) {
				stint_slice_free(slice);
				return;
			}
			sum->total += sum->next++;
		}
	} while (!stint_slice_over(slice));
}

static void a_task_is_called_until_it_is_done_and_then_the_loop_returns(void **state)
{
	struct sum sum = {.next = 1, .last = 5000000};
	struct stint_slice *slice;

	(void)state;
	assert_int_equal(stint_slice_new(&slice, loop, handler, on_sum, &sum), 0);
	assert_int_equal(stint_loop_run(loop), 0); /* not started: nothing to do */
	assert_int_equal(sum.total, 0);
	assert_int_equal(stint_slice_start(slice), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(sum.total, sum.last * (sum.last + 1) / 2);
}

static void a_slice_is_over_after_its_time_and_outside_of_its_turn(void **state)
{
	struct task task = {0};

	(void)state;
	begin(&task);
	assert_true(stint_slice_over(task.slice));
	assert_true(stint_slice_over(NULL));
	iterate(20);
	assert_true(stint_slice_over(task.slice));
	/* Alone, it is given the whole share, and told no earlier (but for the drift of two clocks). */
	assert_true(task.longest_ns >= STINT_SLICE_SHARE_DEFAULT_NS - 5000);
	assert_true(stint_slice_calls(task.slice) >= 20);
	assert_true(stint_slice_used_ns(task.slice) >= 20 * (STINT_SLICE_SHARE_DEFAULT_NS - 5000));
	assert_int_equal(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_SERVICE].count,
			 stint_slice_calls(task.slice));
}

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static uint64_t longer_turn(struct task *a, struct task *b)
{
	look_back(a);
	look_back(b);
	return a->longest_turn_ns > b->longest_turn_ns ? a->longest_turn_ns : b->longest_turn_ns;
}

static void two_equal_tasks_get_the_same(void **state)
{
	struct task tasks[2] = {{.turn_ns = STINT_SLICE_SHARE_DEFAULT_NS / 2},
				{.turn_ns = STINT_SLICE_SHARE_DEFAULT_NS / 2}};
	uint64_t calls[2];

	(void)state;
	begin(&tasks[0]);
	begin(&tasks[1]);
	iterate(400);
	assert_true(difference(stint_slice_used_ns(tasks[0].slice), stint_slice_used_ns(tasks[1].slice)) <=
		    longer_turn(&tasks[0], &tasks[1]));
	for (int i = 0; i < 2; i++)
		calls[i] = stint_slice_calls(tasks[i].slice) + tasks[i].lost;
	assert_true(calls[0] * 2 >= calls[1] && calls[1] * 2 >= calls[0]);
}

static void one_that_does_not_keep_to_its_time_takes_nothing_from_the_other(void **state)
{
	struct task polite = {.turn_ns = STINT_SLICE_SHARE_DEFAULT_NS / 2}, rude = {.spin_ns = 3 * MS};

	(void)state;
	begin(&polite);
	begin(&rude);
	while (stint_slice_calls(rude.slice) < 20)
		iterate(1);
	assert_true(difference(stint_slice_used_ns(polite.slice), stint_slice_used_ns(rude.slice)) <=
		    longer_turn(&polite, &rude));
	assert_true(stint_slice_calls(polite.slice) + polite.lost > 2 * stint_slice_calls(rude.slice));
}

static void many_tasks_take_turns(void **state)
{
	struct task tasks[30] = {{0}};
	uint64_t least_ns = UINT64_MAX, most_ns = 0, longest_ns = 0;

	(void)state;
	for (int i = 0; i < 30; i++)
		begin(&tasks[i]);
	iterate(100); /* about ten turns of 50 us each */
	for (int i = 0; i < 30; i++) {
		uint64_t used_ns = stint_slice_used_ns(tasks[i].slice);

		assert_true(stint_slice_calls(tasks[i].slice) > 0);
		least_ns = used_ns < least_ns ? used_ns : least_ns;
		most_ns = used_ns > most_ns ? used_ns : most_ns;
		look_back(&tasks[i]);
		longest_ns = tasks[i].longest_turn_ns > longest_ns ? tasks[i].longest_turn_ns : longest_ns;
	}
	assert_true(most_ns - least_ns <= longest_ns);
}

static void a_late_starter_gets_no_credit_for_the_time_before(void **state)
{
	struct task early = {0}, late = {0};

	(void)state;
	begin(&early);
	iterate(40); /* 20 ms that the other one has not had */
	begin(&late);
	early.rival = &late;
	iterate(10);
	/* The early one came to its next turn after about one of the late one's, not after 20 ms of them. */
	assert_true(early.rival_used_ns > 0);
	assert_true(early.rival_used_ns - 1 <= 2 * longer_turn(&early, &late));
	/* And so it is for one that paused. */
	assert_int_equal(stint_slice_stop(late.slice), 0);
	iterate(40);
	early.rival = NULL;
	early.rival_used_ns = stint_slice_used_ns(late.slice);
	assert_int_equal(stint_slice_start(late.slice), 0);
	iterate(10);
	assert_true(stint_slice_used_ns(late.slice) > early.rival_used_ns);
}

struct ready {
	int fds[2];
	uint64_t events, ticks;
};

static void on_ready(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	((struct ready *)ctx)->events++; /* not read: it stays ready */
}

static void on_tick(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	((struct ready *)ctx)->ticks++;
}

static void slices_and_events_do_not_starve_each_other(void **state)
{
	struct task tasks[2] = {{0}};
	struct ready ready = {0};
	struct stint_timer *timer;
	struct stint_fd *source;

	(void)state;
	assert_int_equal(pipe2(ready.fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(ready.fds[1], "x", 1), 1);
	assert_int_equal(stint_fd_new(&source, loop, ready.fds[0], STINT_READ, 0, on_ready, &ready), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_tick, &ready), 0);
	assert_int_equal(stint_timer_start(timer, 1, 1), 0); /* always due */
	begin(&tasks[0]);
	begin(&tasks[1]);
	iterate(100);
	assert_int_equal(ready.events, 100);
	assert_int_equal(ready.ticks, 100);
	assert_true(stint_slice_calls(tasks[0].slice) + stint_slice_calls(tasks[1].slice) >= 100);
	close(ready.fds[0]);
	close(ready.fds[1]);
}

static void without_other_work_the_loop_does_not_wait(void **state)
{
	struct task task = {0};
	const struct stint_meter_file_loop *figures = fixture_loop(meter, 0);

	(void)state;
	begin(&task);
	iterate(200); /* would take for ever if one of them waited */
	assert_true(figures->busy_ns > 199 * (STINT_SLICE_SHARE_DEFAULT_NS - 5000));
}

static void a_stopped_slice_is_not_called(void **state)
{
	struct task task = {0};
	uint64_t calls;

	(void)state;
	begin(&task);
	iterate(3);
	calls = stint_slice_calls(task.slice);
	assert_int_equal(stint_slice_stop(task.slice), 0);
	assert_int_equal(stint_slice_stop(task.slice), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(stint_slice_calls(task.slice), calls);
	assert_int_equal(stint_slice_start(task.slice), 0);
	assert_int_equal(stint_slice_start(task.slice), 0);
	iterate(1);
	assert_true(stint_slice_calls(task.slice) > calls);
}

static struct stint_slice *victims[3];
static int calls_of_victims;

static void free_all(struct stint_slice *slice, void *ctx)
{
	(void)slice;
	(void)ctx;
	calls_of_victims++;
	for (int i = 0; i < 3; i++)
		victims[i] = stint_slice_free(victims[i]);
}

static void stop_and_start(struct stint_slice *slice, void *ctx)
{
	int *calls = ctx;

	assert_int_equal(stint_slice_stop(slice), 0);
	if (++*calls < 5)
		assert_int_equal(stint_slice_start(slice), 0);
}

static void free_loop(struct stint_slice *slice, void *ctx)
{
	(void)slice;
	++*(int *)ctx;
	loop = stint_loop_free(loop);
}

static void a_callback_may_free_itself_and_others(void **state)
{
	(void)state;
	calls_of_victims = 0;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_slice_new(&victims[i], loop, handler, free_all, NULL), 0);
		assert_int_equal(stint_slice_start(victims[i]), 0);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls_of_victims, 1);
}

static void a_callback_may_stop_and_start_itself(void **state)
{
	struct stint_slice *slice;
	int calls = 0;

	(void)state;
	assert_int_equal(stint_slice_new(&slice, loop, handler, stop_and_start, &calls), 0);
	assert_int_equal(stint_slice_start(slice), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 5);
}

static void a_callback_may_free_the_loop(void **state)
{
	struct stint_slice *slice;
	int calls = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_slice_new(&slice, loop, handler, free_loop, &calls), 0);
		assert_int_equal(stint_slice_start(slice), 0);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void the_share_can_be_set_without_a_meter_too(void **state)
{
	struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	struct stint_loop *metered = loop;
	struct task task = {0};

	(void)state;
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	handler = 0;
	assert_int_equal(stint_loop_set_slice_share(loop, 3 * MS), 0);
	begin(&task);
	iterate(5);
	assert_true(task.longest_ns >= 3 * MS - 5000);
	loop = stint_loop_free(loop);
	loop = metered;
}

static void misuse_is_einval(void **state)
{
	struct stint_slice *slice;

	(void)state;
	assert_int_equal(stint_slice_new(NULL, loop, handler, on_task, NULL), -EINVAL);
	assert_int_equal(stint_slice_new(&slice, NULL, handler, on_task, NULL), -EINVAL);
	assert_int_equal(stint_slice_new(&slice, loop, 999, on_task, NULL), -EINVAL);
	assert_int_equal(stint_slice_new(&slice, loop, handler, NULL, NULL), -EINVAL);
	assert_int_equal(stint_slice_start(NULL), -EINVAL);
	assert_int_equal(stint_slice_stop(NULL), -EINVAL);
	assert_int_equal(stint_loop_set_slice_share(NULL, 0), -EINVAL);
	assert_int_equal(stint_loop_set_slice_share(loop, STINT_SLICE_SHARE_MAX_NS + 1), -EINVAL);
	assert_int_equal(stint_slice_used_ns(NULL), 0);
	assert_int_equal(stint_slice_calls(NULL), 0);
	assert_null(stint_slice_free(NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)
	const struct CMUnitTest tests[] = {
		TEST(a_task_is_called_until_it_is_done_and_then_the_loop_returns),
		TEST(a_slice_is_over_after_its_time_and_outside_of_its_turn),
		TEST(two_equal_tasks_get_the_same),
		TEST(one_that_does_not_keep_to_its_time_takes_nothing_from_the_other),
		TEST(many_tasks_take_turns),
		TEST(a_late_starter_gets_no_credit_for_the_time_before),
		TEST(slices_and_events_do_not_starve_each_other),
		TEST(without_other_work_the_loop_does_not_wait),
		TEST(a_stopped_slice_is_not_called),
		TEST(a_callback_may_free_itself_and_others),
		TEST(a_callback_may_stop_and_start_itself),
		TEST(a_callback_may_free_the_loop),
		TEST(the_share_can_be_set_without_a_meter_too),
		TEST(misuse_is_einval),
	};

	return cmocka_run_group_tests(tests, fixture_make_directory, fixture_remove_directory);
}
