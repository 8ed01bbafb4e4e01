/* SPDX-License-Identifier: MIT */

/* What waited behind a slow handler is named as what it was then, also where its number stands for another one since. */

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_identities.h"
#include "watching_fixture.h"

static struct subject_identities rounds[IDENTITIES_ROUNDS];

/* The subject is there still, its numbers standing for other connections, when its overruns are taken. */
static void run(const char *mode, const char *wait)
{
	const char *const arguments[] = {mode, wait, NULL};

	watching_or_skip();
	subject_start(&subject, "tests/subjects/identities", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	assert_int_equal(read(subject.from, rounds, sizeof(rounds)), sizeof(rounds));
	watching_take(&watching);
}

static const struct subject_identities *find_round(const struct stint_probes_overrun *overrun)
{
	for (int i = 0; i < IDENTITIES_ROUNDS; i++)
		if (overrun->start_ns >= rounds[i].before_ns &&
		    overrun->start_ns + overrun->duration_ns <= rounds[i].after_ns)
			return &rounds[i];
	return NULL;
}

static const char *true_name(const struct subject_identities *round, int fd)
{
	for (int i = 0; i < IDENTITIES; i++)
		if (round->fd[i] == fd)
			return round->name[i];
	return NULL;
}

/* Which of them wait depends on when the machine had the CPU taken away, but some do in most rounds. */
static int count_victims(void (*check)(const struct stint_probes_victim *victim, const char *name))
{
	int victims = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;
		const struct subject_identities *round = find_round(overrun);

		for (uint32_t at = 0; round && at < overrun->victims_len; at++) {
			const struct stint_probes_victim *victim = &overrun->victims_list[at];
			const char *name = true_name(round, victim->fd);

			if (!name)
				continue;
			check(victim, name);
			victims++;
		}
	}
	return victims;
}

static void is_named_for_certain(const struct stint_probes_victim *victim, const char *name)
{
	assert_string_equal(victim->name, name);
	assert_false(victim->name_inferred);
}

static void is_not_named_for_certain(const struct stint_probes_victim *victim, const char *name)
{
	(void)name;
	assert_true(victim->name_inferred);
}

static void one_that_is_closed_in_its_turn_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("closed", "epoll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

static void one_that_is_closed_unread_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("unread", "epoll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

static void one_that_is_closed_later_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("left", "epoll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

static void one_that_was_reset_has_its_port_still(void **state)
{
	(void)state;
	run("reset", "epoll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

/* Of which no program is told: so what is looked up may be the other one, and is marked. */
static void one_that_was_replaced_is_marked_as_looked_up(void **state)
{
	(void)state;
	run("replaced", "epoll");
	assert_true(count_victims(is_not_named_for_certain) > 0);
}

/* Its inode is the timerfd's, too. */
static void an_eventfd_that_was_replaced_after_its_turn_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("swapped", "epoll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

static void an_eventfd_that_was_replaced_before_its_turn_is_marked_as_looked_up(void **state)
{
	(void)state;
	run("usurped", "epoll");
	assert_true(count_victims(is_not_named_for_certain) > 0);
}

static void one_that_is_closed_in_a_poll_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("closed", "poll");
	assert_true(count_victims(is_named_for_certain) > 0);
}

static void one_that_is_closed_in_a_select_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("closed", "select");
	assert_true(count_victims(is_named_for_certain) > 0);
}

/* That one was blocked elsewhere for longer is the machine's doing, but not in each round. */
static int count_blocks(bool inferred)
{
	int blocks = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;
		const struct subject_identities *round = find_round(overrun);

		if (!round || strcmp(overrun->block.in, "recvfrom") != 0)
			continue;
		assert_string_equal(overrun->block.on, round->blocked_on);
		assert_int_equal(overrun->block.on_inferred, inferred);
		blocks++;
	}
	return blocks;
}

static void what_a_call_was_blocked_on_is_named_as_what_it_was(void **state)
{
	(void)state;
	run("blocked", "epoll");
	assert_true(count_blocks(false) > 0);
}

/* The other thread may have given the number to it during the call. */
static void what_a_call_of_several_threads_was_blocked_on_is_marked(void **state)
{
	(void)state;
	run("shared", "epoll");
	assert_true(count_blocks(true) > 0);
}

#define test(function) cmocka_unit_test_setup_teardown(function, watching_set_up_opened, watching_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(one_that_is_closed_in_its_turn_is_named_as_what_it_was),
		test(one_that_is_closed_unread_is_named_as_what_it_was),
		test(one_that_is_closed_later_is_named_as_what_it_was),
		test(one_that_was_reset_has_its_port_still),
		test(one_that_was_replaced_is_marked_as_looked_up),
		test(an_eventfd_that_was_replaced_after_its_turn_is_named_as_what_it_was),
		test(an_eventfd_that_was_replaced_before_its_turn_is_marked_as_looked_up),
		test(what_a_call_was_blocked_on_is_named_as_what_it_was),
		test(what_a_call_of_several_threads_was_blocked_on_is_marked),
		test(one_that_is_closed_in_a_poll_is_named_as_what_it_was),
		test(one_that_is_closed_in_a_select_is_named_as_what_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
