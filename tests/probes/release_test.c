/* SPDX-License-Identifier: MIT */

/* Loops and roles that are over make room for others, and what they counted is told to the last event. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_churn.h"
#include "watching_fixture.h"

#define ROUNDS 23
#define LIMIT  2
#define LOOPS  (ROUNDS + 8)

/* The last figures of each loop, as they were told, and whether it was told that they are the last. */
struct last {
	uint64_t number;
	uint64_t events;
	uint64_t iterations;
	uint64_t counted; /* in the histogram of the iterations */
	bool is_over;
	bool thread_is_over;
};

static struct last loops[LOOPS], roles[LOOPS];
static size_t loops_len, roles_len;

static int set_up(void **state)
{
	loops_len = roles_len = 0;
	return watching_set_up(state);
}

static struct last *find_last(struct last *all, size_t *len, uint64_t number)
{
	for (size_t i = 0; i < *len; i++)
		if (all[i].number == number)
			return &all[i];
	assert_true(*len < LOOPS);
	memset(&all[*len], 0, sizeof(all[0]));
	all[*len].number = number;
	return &all[(*len)++];
}

static uint64_t sum(const uint64_t *bucket)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < STINT_PROBES_BUCKETS; i++)
		total += bucket[i];
	return total;
}

/* Counters only grow, and do not change any more once it was said that these are the last. */
static int take_loop(void *ctx, const struct stint_probes_loop *seen)
{
	struct last *last = find_last(loops, &loops_len, seen->number);
	uint64_t counted = sum(seen->busy);

	(void)ctx;
	assert_true(seen->number > 0);
	assert_true(seen->events >= last->events && seen->iterations >= last->iterations);
	assert_true(counted >= last->counted);
	if (last->is_over)
		assert_true(seen->is_over && seen->events == last->events);
	last->events = seen->events;
	last->iterations = seen->iterations;
	last->counted = counted;
	last->is_over = seen->is_over;
	last->thread_is_over = seen->thread_is_over;
	return 0;
}

static int take_role(void *ctx, const struct stint_probes_role *seen)
{
	struct last *last = find_last(roles, &roles_len, seen->number);
	const struct stint_probes_histogram *wait = &seen->metric[STINT_PROBES_ROLE_WAIT];

	(void)ctx;
	assert_true(seen->number > 0);
	assert_string_equal(seen->name, "pipes");
	assert_int_equal(sum(wait->bucket), wait->count);
	assert_true(wait->count >= last->events);
	last->events = wait->count;
	last->is_over = seen->is_over;
	return 0;
}

static void read_all(void)
{
	watching_take(&watching);
	assert_int_equal(stint_probes_read_loops(watching.probes, take_loop, NULL), 0);
	assert_int_equal(stint_probes_read_roles(watching.probes, take_role, NULL), 0);
}

/* Whoever waits for a thread may know of its end a little before that is told. */
static void read_until_over(size_t len)
{
	time_t limit = time(NULL) + 60;

	read_all();
	while (loops_len < len || !loops[loops_len - 1].is_over) {
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
		if (time(NULL) > limit)
			fail_msg("the end of a loop was not told");
		read_all();
	}
}

static void start(const char *what)
{
	const struct stint_probes_options options = {.size = sizeof(options),
						     .loop_limit = LIMIT,
						     .role_limit = LIMIT,
						     .follow_children = true};
	const char *const arguments[] = {what, NULL};

	watching_or_skip();
	watching_open(&watching, &options);
	subject_start(&subject, "tests/subjects/churn", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
}

static void do_round(void)
{
	char byte;

	assert_int_equal(write(subject.to, "", 1), 1);
	assert_int_equal(read(subject.from, &byte, 1), 1);
}

static void assert_lost(uint64_t table_full, uint64_t roles_full)
{
	struct stint_probes_losses losses;

	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.table_full, table_full);
	assert_int_equal(losses.roles_full, roles_full);
}

/* Many more loops than there is room for, one after the other. */
static void run(const char *what)
{
	start(what);
	for (int i = 0; i < ROUNDS; i++) {
		do_round();
		read_until_over((size_t)i + 1);
		assert_int_equal(stint_probes_release(watching.probes), 0);
	}
	assert_lost(0, 0);
	assert_int_equal(loops_len, ROUNDS);
}

/* Each event has an iteration of its own; the last one ends with the set, the thread or the process. */
static void assert_loops_have(uint64_t events, bool thread_is_over)
{
	for (size_t i = 0; i < loops_len; i++) {
		assert_int_equal(loops[i].events, events);
		assert_int_equal(loops[i].iterations, events);
		assert_int_equal(loops[i].counted, events);
		assert_true(loops[i].is_over);
		assert_int_equal(loops[i].thread_is_over, thread_is_over);
	}
}

static void assert_roles_have(size_t len, uint64_t events)
{
	assert_int_equal(roles_len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(roles[i].events, events);
}

static void threads_that_end_make_room_for_others(void **state)
{
	(void)state;
	run("thread");
	/* The thread ends amid the last one. */
	assert_loops_have(CHURN_EVENTS, true);
	assert_roles_have(ROUNDS, CHURN_EVENTS);
	for (size_t i = 0; i < ROUNDS; i++)
		assert_true(roles[i].is_over);
}

static void processes_that_end_make_room_for_others(void **state)
{
	(void)state;
	run("fork");
	assert_loops_have(CHURN_EVENTS, true);
	assert_roles_have(ROUNDS, CHURN_EVENTS);
}

static void threads_in_poll_that_end_make_room_for_others(void **state)
{
	(void)state;
	run("poll");
	for (size_t i = 0; i < loops_len; i++)
		assert_true(loops[i].is_over && loops[i].events >= CHURN_EVENTS);
	assert_roles_have(ROUNDS, CHURN_EVENTS);
}

static void sets_that_are_closed_make_room_for_others(void **state)
{
	(void)state;
	run("set");
	assert_loops_have(CHURN_EVENTS, false);
	assert_roles_have(1, ROUNDS * (uint64_t)CHURN_EVENTS);
}

static void a_set_under_the_number_of_one_that_was_closed_is_another(void **state)
{
	(void)state;
	run("same");
	assert_loops_have(CHURN_EVENTS, false);
	assert_roles_have(1, ROUNDS * (uint64_t)CHURN_EVENTS);
}

/* What is over and was not read yet is not given away, whatever comes meanwhile. */
static void loops_that_nobody_has_read_keep_their_room(void **state)
{
	(void)state;
	start("thread");
	for (int i = 0; i < ROUNDS; i++) {
		do_round();
		assert_int_equal(stint_probes_release(watching.probes), 0);
	}
	read_until_over(LIMIT);
	assert_int_equal(loops_len, LIMIT);
	assert_loops_have(CHURN_EVENTS, true);
	assert_roles_have(LIMIT, CHURN_EVENTS);
	/* And once it was read, there is room again. */
	assert_int_equal(stint_probes_release(watching.probes), 0);
	do_round();
	read_all();
	assert_int_equal(loops_len, LIMIT + 1);
}

static void loops_that_go_on_keep_their_room(void **state)
{
	struct stint_probes_losses losses;

	(void)state;
	start("kept");
	for (int i = 0; i < ROUNDS; i++) {
		do_round();
		read_all();
		assert_int_equal(stint_probes_release(watching.probes), 0);
	}
	assert_int_equal(loops_len, LIMIT);
	assert_false(loops[0].is_over || loops[1].is_over);
	stint_probes_losses(watching.probes, &losses);
	assert_true(losses.table_full >= ROUNDS - LIMIT);
}

/* Reading while loops begin and end at any moment: nothing is told of two of them as of one, and no event twice. */
static void reading_while_loops_come_and_go_misses_nothing(void **state)
{
	uint64_t events = 0;
	char answers[ROUNDS];
	size_t got = 0;

	(void)state;
	start("same");
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(write(subject.to, "", 1), 1);
	while (got < ROUNDS) {
		ssize_t len = read(subject.from, answers, 1);

		assert_true(len > 0);
		got += (size_t)len;
		read_all();
		assert_int_equal(stint_probes_release(watching.probes), 0);
	}
	read_all();
	for (size_t i = 0; i < loops_len; i++) {
		assert_true(loops[i].events <= CHURN_EVENTS);
		events += loops[i].events;
	}
	/* Where the reader was not fast enough, it is said that some found no room. */
	if (loops_len == ROUNDS)
		assert_int_equal(events, ROUNDS * (uint64_t)CHURN_EVENTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(threads_that_end_make_room_for_others, set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(processes_that_end_make_room_for_others, set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(threads_in_poll_that_end_make_room_for_others, set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(sets_that_are_closed_make_room_for_others, set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_set_under_the_number_of_one_that_was_closed_is_another,
						set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(loops_that_nobody_has_read_keep_their_room, set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(loops_that_go_on_keep_their_room, set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(reading_while_loops_come_and_go_misses_nothing, set_up,
						watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
