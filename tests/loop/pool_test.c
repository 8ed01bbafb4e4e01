/* SPDX-License-Identifier: MIT */
#include "metered_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static struct stint_pool *pool;
static uint32_t handler;

static int open_loop(void **state)
{
	(void)state;
	if (fixture_open_loop() < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "work", 0);
	return 0;
}

static int close_loop(void **state)
{
	pool = stint_pool_free(pool);
	return fixture_close_loop(state);
}

static void open_pool(uint32_t threads, uint32_t queue_limit)
{
	struct stint_pool_options options = {.size = sizeof(options),
					     .threads = threads,
					     .queue_limit = queue_limit};

	assert_int_equal(stint_pool_new(&pool, &options), 0);
}

/* Until every thread sleeps and nothing is queued: all that was submitted has run. */
static void wait_until_idle(void)
{
	struct stint_pool_figures figures;

	do {
		sched_yield();
		assert_int_equal(stint_pool_figures(pool, &figures), 0);
	} while (figures.queued || figures.idle < figures.threads);
}

/* A job that tells of itself; the gates hold it where the test wants it. */
struct task {
	struct stint_job *job;
	sem_t begun, go;
	bool gated, watchful; /* waits for `go`; or until it is cancelled */
	uint64_t input, output, spin_ns;
	int runs, dones;
	enum stint_job_outcome outcome;
	struct task *after; /* whose `done` must have come before */
};

static void run_task(struct stint_job *job, void *ctx)
{
	struct task *task = ctx;

	task->runs++;
	sem_post(&task->begun);
	if (task->gated)
		while (sem_wait(&task->go) < 0)
			;
	while (task->watchful && !stint_job_cancelled(job))
		sched_yield();
	if (task->spin_ns)
		fixture_spin(task->spin_ns);
	task->output = task->input * task->input;
}

static void task_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct task *task = ctx;

	(void)job;
	task->dones++;
	task->outcome = outcome;
	if (task->after)
		assert_int_equal(task->after->dones, 1);
}

static void submit(struct task *task)
{
	sem_init(&task->begun, 0, 0);
	sem_init(&task->go, 0, 0);
	assert_int_equal(stint_job_new(&task->job, loop, pool, handler, run_task, task_done, task), 0);
}

static void await_begin(struct task *task)
{
	while (sem_wait(&task->begun) < 0)
		;
}

static void every_job_runs_once_and_comes_back_once(void **state)
{
	enum { JOBS = 1000 };
	static struct task tasks[JOBS];

	(void)state;
	open_pool(0, 0);
	for (uint64_t i = 0; i < JOBS; i++) {
		tasks[i] = (struct task){.input = i};
		submit(&tasks[i]);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	for (uint64_t i = 0; i < JOBS; i++) {
		assert_int_equal(tasks[i].runs, 1);
		assert_int_equal(tasks[i].dones, 1);
		assert_int_equal(tasks[i].outcome, STINT_JOB_DONE);
		assert_int_equal(tasks[i].output, i * i);
	}
}

static void one_thread_runs_jobs_in_their_order(void **state)
{
	struct task tasks[20] = {{0}};

	(void)state;
	open_pool(1, 0);
	for (int i = 0; i < 20; i++) {
		tasks[i].after = i ? &tasks[i - 1] : NULL;
		submit(&tasks[i]);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(tasks[19].dones, 1);
}

static void threads_are_started_when_they_are_needed(void **state)
{
	struct task first = {.gated = true}, second = {.gated = true};
	struct stint_pool_figures figures;

	(void)state;
	open_pool(2, 0);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.threads, 0);
	submit(&first);
	await_begin(&first);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.threads, 1);
	submit(&second);
	await_begin(&second);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.threads, 2);
	sem_post(&first.go);
	sem_post(&second.go);
	assert_int_equal(stint_loop_run(loop), 0);
	wait_until_idle();
	first = (struct task){0};
	submit(&first); /* finds them idle */
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.threads, 2);
}

/* Each holds its thread until all have begun: with one asleep the run would never end. */
static void as_many_idle_threads_wake_as_there_are_jobs(void **state)
{
	enum { THREADS = 6, ROUNDS = 200 };
	struct task tasks[THREADS];

	(void)state;
	open_pool(THREADS, 0);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < THREADS; i++) {
			tasks[i] = (struct task){.gated = true};
			submit(&tasks[i]);
		}
		for (int i = 0; i < THREADS; i++)
			await_begin(&tasks[i]);
		for (int i = 0; i < THREADS; i++)
			sem_post(&tasks[i].go);
		assert_int_equal(stint_loop_run(loop), 0);
		if (round % 2) /* else some are still on their way to sleep */
			wait_until_idle();
	}
}

/* One that sleeps, or is about to look for work, does for one job: else the last ones would wait for the first to end. */
static void jobs_beyond_the_idle_threads_get_more_of_them(void **state)
{
	enum { IDLE = 2, THREADS = 5, ROUNDS = 20 };
	struct task tasks[THREADS];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		open_pool(THREADS, 0);
		for (int count = IDLE; count <= THREADS; count += THREADS - IDLE) {
			for (int i = 0; i < count; i++) {
				tasks[i] = (struct task){.gated = true};
				submit(&tasks[i]);
			}
			for (int i = 0; i < count; i++)
				await_begin(&tasks[i]);
			for (int i = 0; i < count; i++)
				sem_post(&tasks[i].go);
			assert_int_equal(stint_loop_run(loop), 0);
			wait_until_idle();
		}
		pool = stint_pool_free(pool);
	}
}

static void a_full_queue_says_eagain_and_takes_more_when_a_job_is_back(void **state)
{
	struct task running = {.gated = true}, waiting[2] = {{0}}, refused = {0};
	struct stint_pool_figures figures;

	(void)state;
	open_pool(1, 2);
	submit(&running);
	await_begin(&running);
	submit(&waiting[0]);
	submit(&waiting[1]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_task, task_done, &refused),
				 -EAGAIN);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.queued, 2);
	assert_int_equal(figures.refused, 3);
	assert_int_equal(fixture_block(meter, handler)->jobs_refused, 3);
	sem_post(&running.go);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(waiting[0].dones + waiting[1].dones, 2);
	assert_int_equal(refused.runs, 0);
	submit(&refused);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(refused.dones, 1);
}

static void cancelled_before_it_runs_it_never_does(void **state)
{
	struct task running = {.gated = true}, waiting = {0}, behind = {.after = &running};

	(void)state;
	open_pool(1, 0);
	submit(&running);
	await_begin(&running);
	submit(&waiting);
	submit(&behind);
	assert_int_equal(stint_job_cancel(waiting.job), 0);
	assert_int_equal(waiting.dones, 0); /* never from within the call */
	assert_int_equal(stint_job_cancel(waiting.job), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(waiting.dones, 1);
	assert_int_equal(waiting.outcome, STINT_JOB_CANCELLED);
	sem_post(&running.go);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(waiting.runs, 0);
	assert_int_equal(behind.outcome, STINT_JOB_DONE);
	/* What never ran has no times. */
	assert_int_equal(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_WORK_RUN].count, 2);
}

/* What waited as a thread looked is apart from what came since: it is one queue all the same. */
static void a_queue_is_one_wherever_its_jobs_are(void **state)
{
	enum { FIRST, RUNNING, FRONT, FRONT_TOO, BACK, BACK_TOO, LATER, LATER_TOO, TASKS };
	struct task tasks[TASKS] = {[FIRST].gated = true, [RUNNING].gated = true}, refused = {0};
	struct stint_pool_figures figures;

	(void)state;
	open_pool(1, 4);
	for (int i = FIRST; i < TASKS; i++)
		tasks[i].after = i ? &tasks[i - 1] : NULL;
	submit(&tasks[FIRST]);
	await_begin(&tasks[FIRST]);
	for (int i = RUNNING; i <= FRONT_TOO; i++)
		submit(&tasks[i]);
	sem_post(&tasks[FIRST].go);
	await_begin(&tasks[RUNNING]);
	submit(&tasks[BACK]);
	submit(&tasks[BACK_TOO]);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_task, task_done, &refused), -EAGAIN);
	assert_int_equal(stint_job_cancel(tasks[FRONT].job), 0);
	assert_int_equal(stint_job_cancel(tasks[BACK_TOO].job), 0);
	tasks[FRONT].after = tasks[FRONT_TOO].after = tasks[BACK_TOO].after =
		NULL; /* they are back at once */
	tasks[LATER].after = &tasks[BACK];
	submit(&tasks[LATER]);
	submit(&tasks[LATER_TOO]);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_task, task_done, &refused), -EAGAIN);
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.queued, 4);
	sem_post(&tasks[RUNNING].go);
	assert_int_equal(stint_loop_run(loop), 0);
	for (int i = FIRST; i < TASKS; i++) {
		assert_int_equal(tasks[i].dones, 1);
		assert_int_equal(tasks[i].runs, i != FRONT && i != BACK_TOO);
	}
	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	assert_int_equal(figures.queued, 0);
}

static void cancelled_while_it_runs_it_is_told(void **state)
{
	struct task task = {.watchful = true};
	int again;

	(void)state;
	open_pool(1, 0);
	submit(&task);
	await_begin(&task);
	assert_int_equal(stint_job_cancel(task.job), -EINPROGRESS);
	again = stint_job_cancel(task.job); /* it may have heard the first by now */
	assert_true(again == -EINPROGRESS || again == -EALREADY);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(task.runs, 1);
	assert_int_equal(task.outcome, STINT_JOB_INTERRUPTED);
}

static void ask_in_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	task_done(job, outcome, ctx);
	assert_false(stint_job_cancelled(job));
}

static void back_from_the_pool_it_is_not_to_stop(void **state)
{
	struct task task = {0};

	(void)state;
	open_pool(1, 0);
	sem_init(&task.begun, 0, 0);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_task, ask_in_done, &task), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(task.dones, 1);
}

static void cancelled_after_it_ran_it_is_done(void **state)
{
	struct task task = {0};

	(void)state;
	open_pool(1, 0);
	submit(&task);
	wait_until_idle();
	assert_int_equal(stint_job_cancel(task.job), -EALREADY);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(task.outcome, STINT_JOB_DONE);
}

static uint64_t percent(uint64_t share, uint64_t ns)
{
	return ns * share / 100;
}

static void the_three_times_are_under_the_handler(void **state)
{
	const struct stint_histogram *histograms;
	struct task first = {.gated = true, .spin_ns = 20 * MS}, second = {.spin_ns = 10 * MS};
	uint64_t begin_ns = fixture_now_ns(CLOCK_MONOTONIC), took_ns;

	(void)state;
	open_pool(1, 0);
	submit(&first);
	submit(&second);
	sem_post(&first.go); /* not before the second waits */
	wait_until_idle();
	fixture_spin(5 * MS); /* both wait to be returned */
	assert_int_equal(stint_loop_run(loop), 0);
	took_ns = fixture_now_ns(CLOCK_MONOTONIC) - begin_ns;
	histograms = fixture_block(meter, handler)->histogram;
	for (int i = STINT_METER_HANDLER_WORK_QUEUE; i <= STINT_METER_HANDLER_WORK_RETURN; i++)
		assert_int_equal(histograms[i].count, 2);
	/* The loop's clock is a new one, whose rate is known to better than 1 %. */
	assert_true(histograms[STINT_METER_HANDLER_WORK_QUEUE].max >= percent(99, 20 * MS));
	assert_true(histograms[STINT_METER_HANDLER_WORK_RUN].min >= percent(99, 10 * MS));
	assert_true(histograms[STINT_METER_HANDLER_WORK_RUN].max >= percent(99, 20 * MS));
	assert_true(histograms[STINT_METER_HANDLER_WORK_RETURN].min >= percent(99, 5 * MS));
	for (int i = STINT_METER_HANDLER_WORK_QUEUE; i <= STINT_METER_HANDLER_WORK_RETURN; i++)
		assert_true(histograms[i].max <= percent(101, took_ns));
	/* `done` is a dispatch, and all that the loop itself has spent. */
	assert_int_equal(histograms[STINT_METER_HANDLER_SERVICE].count, 2);
	assert_int_equal(histograms[STINT_METER_HANDLER_WAIT].count, 2);
}

/* The counter of the only eventfd that this process has. */
static uint64_t eventfd_count(void)
{
	unsigned long long count = 0;
	DIR *directory = opendir("/proc/self/fdinfo");
	struct dirent *entry;
	int found = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		char path[300], line[128];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		while (fgets(line, sizeof(line), file))
			found += sscanf(line, "eventfd-count: %llx", &count) == 1;
		fclose(file);
	}
	closedir(directory);
	assert_int_equal(found, 1);
	return count;
}

static void a_burst_wakes_the_loop_once(void **state)
{
	enum { JOBS = 500 };
	static struct task tasks[JOBS];
	uint64_t iterations;

	(void)state;
	open_pool(2, 0);
	for (int i = 0; i < JOBS; i++) {
		tasks[i] = (struct task){0};
		submit(&tasks[i]);
	}
	wait_until_idle();
	assert_int_equal(eventfd_count(), 1);
	iterations = fixture_loop(meter, 0)->iterations;
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(fixture_loop(meter, 0)->iterations - iterations, 1);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(tasks[i].dones, 1);
	/* The wake-up is no dispatch of anybody's. */
	assert_int_equal(fixture_block(meter, 0)->histogram[STINT_METER_HANDLER_SERVICE].count, 0);
}

struct chain {
	int left;
};

static void run_nothing(struct stint_job *job, void *ctx)
{
	(void)job;
	(void)ctx;
}

static void submit_next(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct chain *chain = ctx;

	(void)job;
	(void)outcome;
	if (--chain->left > 0)
		assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_nothing, submit_next, chain),
				 0);
}

static void a_done_may_submit_the_next(void **state)
{
	struct chain chain = {.left = 200};

	(void)state;
	open_pool(2, 0);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_nothing, submit_next, &chain), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(chain.left, 0);
}

static void freeing_the_loop_waits_for_what_runs_and_calls_nobody(void **state)
{
	struct task running = {.watchful = true}, waiting = {0}, ended = {0};

	(void)state;
	open_pool(1, 0);
	submit(&ended);
	wait_until_idle();
	submit(&running);
	await_begin(&running);
	submit(&waiting);
	loop = stint_loop_free(loop);
	assert_int_equal(running.runs, 1);
	assert_int_equal(waiting.runs, 0);
	assert_int_equal(running.dones + waiting.dones + ended.dones, 0);
}

static void free_loop(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)outcome;
	++*(int *)ctx;
	loop = stint_loop_free(loop);
}

static void a_done_may_free_the_loop(void **state)
{
	int dones = 0;

	(void)state;
	open_pool(2, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_nothing, free_loop, &dones), 0);
	wait_until_idle();
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(dones, 1);
}

static void free_pool(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	stint_timer_free(timer);
	pool = stint_pool_free(pool);
}

static void freeing_the_pool_gives_all_jobs_back(void **state)
{
	struct task running = {.watchful = true}, waiting = {0};
	struct stint_timer *timer;

	(void)state;
	open_pool(1, 0);
	submit(&running);
	await_begin(&running);
	submit(&waiting);
	assert_int_equal(stint_timer_new(&timer, loop, 0, free_pool, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_null(pool);
	assert_int_equal(running.outcome, STINT_JOB_INTERRUPTED);
	assert_int_equal(waiting.outcome, STINT_JOB_CANCELLED);
	assert_int_equal(running.dones + waiting.dones, 2);
	assert_int_equal(waiting.runs, 0);
}

/* A thread with a loop of its own, which sends jobs round the common pool. */
struct lane {
	pthread_t thread;
	struct stint_loop *loop;
	int dones, left;
};

static void lane_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct lane *lane = ctx;

	(void)job;
	(void)outcome;
	lane->dones++;
	if (lane->left-- > 0)
		stint_job_new(NULL, lane->loop, pool, 0, run_nothing, lane_done, lane);
}

static void *run_lane(void *ctx)
{
	struct lane *lane = ctx;

	if (stint_loop_new(&lane->loop, NULL) < 0)
		return NULL;
	for (int i = 0; i < 10; i++)
		stint_job_new(NULL, lane->loop, pool, 0, run_nothing, lane_done, lane);
	stint_loop_run(lane->loop);
	stint_loop_free(lane->loop);
	return NULL;
}

static void several_loops_share_a_pool(void **state)
{
	struct lane lanes[3] = {{.left = 500}, {.left = 500}, {.left = 500}};

	(void)state;
	open_pool(2, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(lanes[i].thread, NULL);
		assert_int_equal(lanes[i].dones, 510);
	}
}

static void without_a_thread_nothing_is_queued(void **state)
{
	struct rlimit before;

	(void)state;
	open_pool(1, 0);
	fixture_take_memory(&before);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_nothing, task_done, NULL), -ENOMEM);
	assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
	assert_int_equal(stint_loop_run(loop), 0); /* nothing is out */
}

static void misuse_is_einval(void **state)
{
	struct stint_pool_options many = {.size = sizeof(many), .threads = 1025};
	struct stint_pool *other;

	(void)state;
	open_pool(1, 0);
	assert_int_equal(stint_pool_new(NULL, NULL), -EINVAL);
	assert_int_equal(stint_pool_new(&other, &many), -EINVAL);
	assert_int_equal(stint_job_new(NULL, NULL, pool, handler, run_nothing, task_done, NULL), -EINVAL);
	assert_int_equal(stint_job_new(NULL, loop, NULL, handler, run_nothing, task_done, NULL), -EINVAL);
	assert_int_equal(stint_job_new(NULL, loop, pool, 999, run_nothing, task_done, NULL), -EINVAL);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, NULL, task_done, NULL), -EINVAL);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, run_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(stint_job_cancel(NULL), -EINVAL);
	assert_false(stint_job_cancelled(NULL));
	assert_null(stint_pool_free(NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)
	const struct CMUnitTest tests[] = {
		TEST(without_a_thread_nothing_is_queued), /* first: libc keeps the stacks of threads that ended */
		TEST(every_job_runs_once_and_comes_back_once),
		TEST(one_thread_runs_jobs_in_their_order),
		TEST(threads_are_started_when_they_are_needed),
		TEST(as_many_idle_threads_wake_as_there_are_jobs),
		TEST(jobs_beyond_the_idle_threads_get_more_of_them),
		TEST(a_full_queue_says_eagain_and_takes_more_when_a_job_is_back),
		TEST(cancelled_before_it_runs_it_never_does),
		TEST(a_queue_is_one_wherever_its_jobs_are),
		TEST(cancelled_while_it_runs_it_is_told),
		TEST(back_from_the_pool_it_is_not_to_stop),
		TEST(cancelled_after_it_ran_it_is_done),
		TEST(the_three_times_are_under_the_handler),
		TEST(a_burst_wakes_the_loop_once),
		TEST(a_done_may_submit_the_next),
		TEST(freeing_the_loop_waits_for_what_runs_and_calls_nobody),
		TEST(a_done_may_free_the_loop),
		TEST(freeing_the_pool_gives_all_jobs_back),
		TEST(several_loops_share_a_pool),
		TEST(misuse_is_einval),
	};

	return cmocka_run_group_tests(tests, fixture_make_directory, fixture_remove_directory);
}
