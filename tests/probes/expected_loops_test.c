/* SPDX-License-Identifier: MIT */

/* How many loops a process seems to have: here this one. */

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/probes.h"
#include "subject.h"

#define SETS    3
#define THREADS 5

static int sets[SETS];
static pthread_t threads[THREADS];
static atomic_int tids[THREADS];
static int end[2]; /* a pipe that nobody writes to */

static void *wait_in_poll(void *ctx)
{
	struct pollfd ended = {.fd = end[0], .events = POLLIN};

	atomic_store((atomic_int *)ctx, gettid());
	poll(&ended, 1, -1);
	return NULL;
}

static void open_sets(void)
{
	for (int i = 0; i < SETS; i++) {
		sets[i] = epoll_create1(EPOLL_CLOEXEC);
		assert_true(sets[i] >= 0);
	}
}

static void close_sets(void)
{
	for (int i = 0; i < SETS; i++)
		close(sets[i]);
}

static void start_threads(void)
{
	assert_int_equal(pipe(end), 0);
	for (int i = 0; i < THREADS; i++) {
		atomic_store(&tids[i], 0);
		assert_int_equal(pthread_create(&threads[i], NULL, wait_in_poll, &tids[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		while (!atomic_load(&tids[i]))
			sched_yield();
		subject_until_state(atomic_load(&tids[i]), 'S');
	}
}

static void end_threads(void)
{
	close(end[1]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	close(end[0]);
}

static uint32_t expected(void)
{
	return stint_probes_expected_loops((uint32_t)getpid());
}

static void a_process_with_neither_sets_nor_waits_may_come_to_one(void **state)
{
	(void)state;
	assert_int_equal(expected(), 1);
}

static void each_epoll_set_may_be_one(void **state)
{
	(void)state;
	open_sets();
	assert_int_equal(expected(), SETS);
	close_sets();
}

static void each_thread_that_waits_may_be_one(void **state)
{
	(void)state;
	start_threads();
	assert_int_equal(expected(), THREADS);
	end_threads();
}

static void whichever_are_more_count(void **state)
{
	(void)state;
	open_sets();
	start_threads();
	assert_int_equal(expected(), THREADS);
	end_threads();
	assert_int_equal(expected(), SETS);
	close_sets();
}

static void of_a_process_that_is_not_there_one_may_come(void **state)
{
	(void)state;
	assert_int_equal(stint_probes_expected_loops(UINT32_MAX), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_with_neither_sets_nor_waits_may_come_to_one),
		cmocka_unit_test(each_epoll_set_may_be_one),
		cmocka_unit_test(each_thread_that_waits_may_be_one),
		cmocka_unit_test(whichever_are_more_count),
		cmocka_unit_test(of_a_process_that_is_not_there_one_may_come),
	};

	return cmocka_run_group_tests_name("expected_loops", tests, NULL, NULL);
}
