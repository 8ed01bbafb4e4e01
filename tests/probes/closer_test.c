/* SPDX-License-Identifier: MIT */

/* What takes long to be closed holds up nobody. */

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/closer.h"

#define LIMIT_S 60
#define FEW     100
#define MANY    3000

static sem_t go;
static unsigned closed[FEW], closed_len;

static int set_up(void **state)
{
	(void)state;
	closed_len = 0;
	alarm(LIMIT_S); /* ends a test that would wait for ever */
	return sem_init(&go, 0, 0);
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	return sem_destroy(&go);
}

static void note(void *what)
{
	closed[closed_len++] = *(unsigned *)what;
}

static void note_after_go(void *what)
{
	sem_wait(&go);
	note(what);
}

static void who_has_it_closed_does_not_wait(void **state)
{
	unsigned numbers[] = {1, 2};
	struct stint_closer *closer;

	(void)state;
	assert_int_equal(stint_closer_new(&closer), 0);
	stint_closer_add(closer, note_after_go, &numbers[0]);
	stint_closer_add(closer, note_after_go, &numbers[1]);
	sem_post(&go); /* not before: who waited would wait for ever */
	sem_post(&go);
	assert_null(stint_closer_free(closer, NULL, NULL));
	assert_int_equal(closed_len, 2);
	assert_int_equal(closed[0], 1);
	assert_int_equal(closed[1], 2);
}

static void all_is_closed_in_the_end(void **state)
{
	static unsigned numbers[FEW];
	struct stint_closer *closer;

	(void)state;
	assert_int_equal(stint_closer_new(&closer), 0);
	for (unsigned i = 0; i < FEW; i++) {
		numbers[i] = i;
		stint_closer_add(closer, note, &numbers[i]);
	}
	assert_null(stint_closer_free(closer, NULL, NULL));
	assert_int_equal(closed_len, FEW);
	for (unsigned i = 0; i < FEW; i++)
		assert_int_equal(closed[i], i);
}

static sem_t many_closed;

static void count(void *what)
{
	(void)what;
	sem_post(&many_closed);
}

static void wait_for_go(void *what)
{
	(void)what;
	sem_wait(&go);
}

/* While the thread is held up, some hundred wait for it; what comes then is closed by who brings it. */
static void there_is_an_end_to_how_many_wait(void **state)
{
	struct stint_closer *closer;
	int now;

	(void)state;
	sem_init(&many_closed, 0, 0);
	assert_int_equal(stint_closer_new(&closer), 0);
	stint_closer_add(closer, wait_for_go, NULL);
	for (unsigned i = 0; i < MANY; i++)
		stint_closer_add(closer, count, NULL);
	assert_int_equal(sem_getvalue(&many_closed, &now), 0);
	assert_in_range(now, MANY / 2, MANY - 1);
	sem_post(&go);
	assert_null(stint_closer_free(closer, NULL, NULL));
	assert_int_equal(sem_getvalue(&many_closed, &now), 0);
	assert_int_equal(now, MANY);
	sem_destroy(&many_closed);
}

static uint32_t told_left;
static unsigned times_told;

static void let_it_be_closed(void *ctx, uint32_t left)
{
	assert_ptr_equal(ctx, &times_told);
	told_left = left;
	times_told++;
	for (uint32_t i = 0; i < left; i++)
		sem_post(&go);
}

/* Not before that is told is anything closed. */
static void what_takes_long_is_told_once(void **state)
{
	unsigned numbers[] = {1, 2, 3};
	struct stint_closer *closer;

	(void)state;
	times_told = 0;
	assert_int_equal(stint_closer_new(&closer), 0);
	for (int i = 0; i < 3; i++)
		stint_closer_add(closer, note_after_go, &numbers[i]);
	assert_null(stint_closer_free(closer, let_it_be_closed, &times_told));
	assert_int_equal(times_told, 1);
	assert_int_equal(told_left, 3);
	assert_int_equal(closed_len, 3);
}

static void what_is_closed_already_is_not_told(void **state)
{
	struct stint_closer *closer;

	(void)state;
	times_told = 0;
	sem_init(&many_closed, 0, 0);
	assert_int_equal(stint_closer_new(&closer), 0);
	stint_closer_add(closer, count, NULL);
	sem_wait(&many_closed);
	assert_null(stint_closer_free(closer, let_it_be_closed, &times_told));
	assert_int_equal(times_told, 0);
	sem_destroy(&many_closed);
}

static void nothing_to_close_needs_no_thread(void **state)
{
	struct stint_closer *closer;

	(void)state;
	assert_int_equal(stint_closer_new(&closer), 0);
	assert_null(stint_closer_free(closer, NULL, NULL));
	assert_null(stint_closer_free(NULL, NULL, NULL));
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(who_has_it_closed_does_not_wait),    test(all_is_closed_in_the_end),
		test(there_is_an_end_to_how_many_wait),   test(what_takes_long_is_told_once),
		test(what_is_closed_already_is_not_told), test(nothing_to_close_needs_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
