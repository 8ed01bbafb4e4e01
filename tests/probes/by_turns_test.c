/* SPDX-License-Identifier: MIT */

/* Threads that are in one epoll set by turns, and sleep on a futex when they are not wanted there. */

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "watching_fixture.h"

#define MS    1000000u
#define TIMES 7
#define IDLE  (50 * MS)
#define BLOCK (5 * MS)
#define SYNCS \
	100 /* until each thread has come back to the set: who is there first may be the same again and again */

static struct subject_answer sync_loop(void)
{
	struct subject_answer answer = subject_do(&subject, 0, SUBJECT_SYNC, 0);

	watching_take(&watching);
	return answer;
}

/* Until each of its threads that come to the set has been seen to wait there. */
static void watch(const char *manner, size_t loops)
{
	const char *arguments[] = {manner, NULL};

	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start(&subject, "tests/subjects/by_turns", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	do
		sync_loop();
	while (watching_loops(&watching) < loops);
}

static void give(enum subject_verb verb, uint64_t arg)
{
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, verb, arg);
	sync_loop();
	sync_loop();
}

/* Overruns that slept for so long. */
static int slept(uint64_t least_ns)
{
	int count = 0;

	for (size_t i = 0; i < watching.overruns_len; i++)
		count += watching.overruns[i].is.blocked_ns >= least_ns;
	return count;
}

/* Overruns that computed for a millisecond or more, by themselves. */
static int computed(void)
{
	int count = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		count += overrun->duration_ns - overrun->runnable_ns - overrun->blocked_ns >=
			 MS + overrun->parts.stolen_ns;
	}
	return count;
}

/*
 * Until none sleeps any more who went to sleep before the other was there; but a pool's worker is the only one to answer.
 */
static void await_answers_of_both(void)
{
	int32_t first = sync_loop().tid;

	for (int i = 0; i < SYNCS && sync_loop().tid == first; i++)
		;
}

/* Until both have slept, and what their stacks tell has been taken. */
static void await_sleeps_of_both(void)
{
	await_answers_of_both();
	await_answers_of_both();
}

static void are_late_only_for_what_they_do(const char *manner)
{
	int before;

	watch(manner, 2);
	await_sleeps_of_both();
	before = slept(IDLE / 2);
	for (int i = 0; i < TIMES; i++) {
		subject_do(&subject, 0, SUBJECT_BLOCK, IDLE);
		subject_do(&subject, 0, SUBJECT_SPIN, 2 * MS);
	}
	for (int i = 0; i < SYNCS && computed() < TIMES; i++)
		sync_loop();
	assert_int_equal(slept(IDLE / 2) - before, 0);
	assert_int_equal(computed(), TIMES);
	assert_overruns_consistent(&watching);
}

/* A thread may have to wait for a lock of its program's, too, or be the last one for a moment. */
static void are_late_while_blocked(const char *manner, size_t loops, enum subject_verb verb)
{
	int before;

	watch(manner, loops);
	before = slept(BLOCK); /* until the other was there */
	give(verb, BLOCK);
	for (int i = 0; i < SYNCS && slept(BLOCK) - before < TIMES; i++)
		sync_loop();
	assert_true(slept(BLOCK) - before >= TIMES);
}

static void a_pools_thread_is_not_late_while_it_is_not_wanted(void **state)
{
	(void)state;
	are_late_only_for_what_they_do("pool");
}

static void a_pools_thread_is_late_while_it_waits_for_a_mutex(void **state)
{
	(void)state;
	are_late_while_blocked("pool", 2, SUBJECT_LOCK);
}

/* That is not of its own: a handler's. */
static void a_pools_thread_is_late_while_it_waits_on_a_condition_variable(void **state)
{
	(void)state;
	are_late_while_blocked("pool", 2, SUBJECT_INSIDE);
}

static void a_thread_whose_set_nobody_else_serves_is_late_while_it_sleeps(void **state)
{
	(void)state;
	are_late_while_blocked("pool_alone", 1, SUBJECT_BLOCK);
}

static void a_scheduler_is_not_late_while_it_is_not_wanted(void **state)
{
	(void)state;
	are_late_only_for_what_they_do("schedulers");
}

static void a_scheduler_is_late_while_it_waits_for_a_lock(void **state)
{
	(void)state;
	are_late_while_blocked("schedulers", 2, SUBJECT_LOCK);
}

static void a_scheduler_is_late_while_it_sleeps_in_a_handler(void **state)
{
	(void)state;
	are_late_while_blocked("schedulers", 2, SUBJECT_INSIDE);
}

/* The other one sleeps already. */
static void the_last_scheduler_of_a_set_is_late_while_it_sleeps(void **state)
{
	(void)state;
	are_late_while_blocked("schedulers", 2, SUBJECT_OTHER);
}

static void a_scheduler_that_is_stopped_meanwhile_is_not_late_either(void **state)
{
	int before;

	(void)state;
	watch("schedulers", 2);
	await_answers_of_both();
	before = slept(IDLE / 2);
	for (int i = 0; i < TIMES; i++) {
		subject_send(&subject, 0, SUBJECT_BLOCK, IDLE);
		assert_int_equal(kill(subject.pid, SIGSTOP), 0);
		assert_int_equal(kill(subject.pid, SIGCONT), 0);
		subject_answer(&subject);
	}
	sync_loop();
	sync_loop();
	assert_int_equal(slept(IDLE / 2) - before, 0);
}

/* How long both have waited in all. */
static uint64_t waited_ns(const struct subject_answer *answers)
{
	uint64_t sum_ns = 0;

	for (size_t i = 0; i < 2; i++) {
		struct watched_loop loop;

		assert_true(watching_loop(&watching, answers[i].tid, answers[i].epfd, &loop));
		sum_ns += loop.is.poll_sum_ns;
	}
	return sum_ns;
}

static void assert_sleeps_are_waits(unsigned int times)
{
	struct subject_answer answers[2];
	uint64_t before_ns;

	await_sleeps_of_both();
	answers[0] = sync_loop();
	do
		answers[1] = sync_loop();
	while (answers[1].tid == answers[0].tid);
	before_ns = waited_ns(answers);
	for (unsigned int i = 0; i < times; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, IDLE);
	sync_loop();
	sync_loop();
	assert_true(waited_ns(answers) - before_ns >= times * (uint64_t)IDLE * 3 / 2);
}

/* And so both are seen to have been in the set at once: a report tells threads that share one by that. */
static void what_a_scheduler_sleeps_is_of_its_loops_waits(void **state)
{
	(void)state;
	watch("schedulers", 2);
	assert_sleeps_are_waits(TIMES);
}

/* ---- threads that are known by their stacks ---- */

static void a_go_thread_is_not_late_while_it_has_nothing_to_do(void **state)
{
	(void)state;
	are_late_only_for_what_they_do("go");
}

static void a_go_thread_is_late_while_it_waits_for_a_lock(void **state)
{
	(void)state;
	are_late_while_blocked("go", 2, SUBJECT_LOCK);
}

static void what_a_go_thread_sleeps_is_of_its_loops_waits(void **state)
{
	(void)state;
	watch("go", 2);
	assert_sleeps_are_waits(TIMES);
}

/* Where that is has been found out before, while it slept shortly. */
static void so_is_its_first_sleep_that_is_long(void **state)
{
	(void)state;
	watch("go", 2);
	assert_sleeps_are_waits(1);
}

/* One that is shorter may have been over before that was found out. */
static void so_is_the_sleep_that_shows_where_a_go_thread_sleeps(void **state)
{
	struct watched_loop before, after;
	struct pollfd answered = {.events = POLLIN};
	struct subject_answer answer;

	(void)state;
	watch("go_new", 1);
	answer = sync_loop();
	answered.fd = subject.from;
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &before));
	subject_send(&subject, 0, SUBJECT_LOCK, IDLE);
	while (poll(&answered, 1, 1) == 0)
		watching_take(&watching);
	subject_answer(&subject);
	sync_loop();
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &after));
	assert_true(after.is.poll_sum_ns - before.is.poll_sum_ns >= 2 * (uint64_t)IDLE);
	assert_true(after.is.busy_sum_ns - before.is.busy_sum_ns >= IDLE);
	assert_int_equal(watching_count(&watching, IDLE), 1);
	assert_int_equal(slept(2 * IDLE), 0);
	assert_overruns_consistent(&watching);
}

static bool has_frame(const struct watched_overrun *overrun, const char *name)
{
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		if (strcmp(overrun->stack[i], name) == 0)
			return true;
	return false;
}

static uint32_t sleeps_in(const struct stint_probes_overrun *overrun)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < overrun->syscalls_len; i++)
		count += strcmp(overrun->syscalls[i].name, "futex") == 0;
	return count;
}

/* Of an iteration that an idle sleep is in before it is known where that is. */
static void a_lock_that_a_go_thread_waits_for_after_an_idle_sleep_is_told_alone(void **state)
{
	int count = 0;

	(void)state;
	watch("go_new", 1);
	give(SUBJECT_LOCK, BLOCK);
	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct watched_overrun *overrun = &watching.overruns[i];

		if (overrun->is.duration_ns - overrun->is.runnable_ns < BLOCK)
			continue; /* it had no CPU */
		count++;
		assert_int_equal(sleeps_in(&overrun->is), 1);
		/* A sample may come upon it as it returns from there. */
		if (overrun->is.stack_kind == STINT_PROBES_STACK_BLOCKED)
			assert_false(has_frame(overrun, "runtime.mPark"));
	}
	assert_int_equal(count, TIMES);
	assert_overruns_consistent(&watching);
}

static void a_thread_of_jettys_is_not_late_while_it_is_in_reserve(void **state)
{
	(void)state;
	are_late_only_for_what_they_do("jetty");
}

/* On the same word. */
static void a_thread_of_jettys_is_late_while_it_waits_for_a_lock(void **state)
{
	(void)state;
	are_late_while_blocked("jetty", 2, SUBJECT_LOCK);
}

/* In the same function of libc's: only what it asks of the kernel tells the one from the other. */
static void a_thread_that_waits_for_the_lock_of_its_condition_is_late(void **state)
{
	(void)state;
	are_late_while_blocked("go_new", 1, SUBJECT_INSIDE);
}

/* asio's threads sleep on one word: who wakes another one there has not left its own work. */
static void a_thread_that_wakes_others_where_it_sleeps_goes_on_with_its_iteration(void **state)
{
	(void)state;
	watch("go_new", 1);
	for (int i = 0; i < TIMES; i++) {
		subject_do(&subject, 0, SUBJECT_SPIN, BLOCK);
		sync_loop(); /* from the first time on, the place is known */
	}
	assert_int_equal(computed(), TIMES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pools_thread_is_not_late_while_it_is_not_wanted,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_pools_thread_is_late_while_it_waits_for_a_mutex,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_pools_thread_is_late_while_it_waits_on_a_condition_variable,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_whose_set_nobody_else_serves_is_late_while_it_sleeps,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_scheduler_is_not_late_while_it_is_not_wanted,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_scheduler_is_late_while_it_waits_for_a_lock,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_scheduler_is_late_while_it_sleeps_in_a_handler,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(the_last_scheduler_of_a_set_is_late_while_it_sleeps,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_scheduler_that_is_stopped_meanwhile_is_not_late_either,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(what_a_scheduler_sleeps_is_of_its_loops_waits,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_go_thread_is_not_late_while_it_has_nothing_to_do,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_go_thread_is_late_while_it_waits_for_a_lock,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(what_a_go_thread_sleeps_is_of_its_loops_waits,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(so_is_its_first_sleep_that_is_long, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(so_is_the_sleep_that_shows_where_a_go_thread_sleeps,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(
			a_lock_that_a_go_thread_waits_for_after_an_idle_sleep_is_told_alone, watching_set_up,
			watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_of_jettys_is_not_late_while_it_is_in_reserve,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_of_jettys_is_late_while_it_waits_for_a_lock,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_that_waits_for_the_lock_of_its_condition_is_late,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(
			a_thread_that_wakes_others_where_it_sleeps_goes_on_with_its_iteration,
			watching_set_up, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
