/* SPDX-License-Identifier: MIT */

/* Functions timed on request, in a program that times them by itself, and in redis, which has a slow log. */

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "redis.h"
#include "subject.h"
#include "subject_functions.h"
#include "watching.h"

#define MS 1000000u

/* Loading the probes takes longest: those of most tests are the same, each with a process of its own. */
static const char *const known[] = {"known_spin",    "known_sleep",     "known_recursion",
				    "known_jump",    "known_tail",      "known_fork",
				    "known_forever", "libc:epoll_wait", NULL};

static struct watching shared; /* for these */
static struct watching own;    /* of one test */
static struct watching *watching;
static struct subject subject;
static struct redis redis;

static int set_up(void **state)
{
	(void)state;
	watching = NULL;
	memset(&redis, 0, sizeof(redis));
	subject = (struct subject){.to = -1, .from = -1};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (own.probes)
		watching_close(&own);
	if (subject.pid > 0)
		subject_stop(&subject, SIGKILL);
	redis_stop(&redis);
	return 0;
}

static int close_shared(void **state)
{
	(void)state;
	if (shared.probes)
		watching_close(&shared);
	return 0;
}

static void open_for(struct watching *which, const char *const *names)
{
	struct stint_probes_options options = {.size = sizeof(options), .functions = names};

	watching_or_skip();
	watching = which;
	while (names[options.functions_len])
		options.functions_len++;
	if (!which->probes)
		watching_open(which, &options);
}

static struct subject_called call(enum subject_calls what, uint32_t count, uint64_t ns)
{
	const struct subject_call call = {.what = what, .count = count, .ns = ns};
	struct subject_called called;

	assert_int_equal(write(subject.to, &call, sizeof(call)), sizeof(call));
	assert_int_equal(read(subject.from, &called, sizeof(called)), sizeof(called));
	return called;
}

/* Its loop has been seen once it has answered, so all that it has mapped is known. */
static void start_subject(void)
{
	subject_start(&subject, "tests/subjects/functions", NULL);
	subject_go(&subject);
	call(SUBJECT_CALL_NOTHING, 0, 0);
	watching_add(watching, subject.pid);
}

static void start_known(void)
{
	open_for(&shared, known);
	start_subject();
	for (uint32_t i = 0; known[i]; i++)
		assert_null(stint_probes_function_missing(watching->probes, i));
	call(SUBJECT_CALL_NOTHING, 0, 0); /* the wait that it was in had begun before it was watched */
}

struct asked {
	const char *name;
	uint32_t pid;
	struct stint_probes_function found;
	bool is_found;
};

static int look_at_function(void *ctx, const struct stint_probes_function *function)
{
	struct asked *asked = ctx;

	if (strcmp(function->asked, asked->name) != 0 || (asked->pid && function->pid != asked->pid))
		return 0;
	asked->found = *function;
	asked->is_found = true;
	return 1;
}

static struct stint_probes_function function(const char *name, int pid)
{
	struct asked asked = {.name = name, .pid = (uint32_t)pid};

	assert_true(stint_probes_read_functions(watching->probes, look_at_function, &asked) >= 0);
	assert_true(asked.is_found);
	return asked.found;
}

static struct stint_probes_function function_of_subject(const char *name)
{
	return function(name, subject.pid);
}

static void assert_counts(const struct stint_probes_function *function, uint64_t begun, uint64_t ended,
			  uint64_t nested, uint64_t left)
{
	uint64_t in_buckets = function->duration.overflow;

	for (uint32_t i = 0; i < STINT_PROBES_BUCKETS; i++)
		in_buckets += function->duration.bucket[i];
	assert_int_equal(function->begun, begun);
	assert_int_equal(function->duration.count, ended);
	assert_int_equal(in_buckets, ended);
	assert_int_equal(function->nested, nested);
	assert_int_equal(function->left, left);
	assert_int_equal(function->unmatched, 0);
	assert_int_equal(function->not_kept, 0);
}

static void assert_between(const struct stint_probes_function *function, const struct subject_called *called)
{
	assert_true(function->duration.sum_ns >= called->least_ns);
	assert_true(function->duration.sum_ns <= called->most_ns);
	assert_true(function->duration.max_ns <= called->longest_ns);
	assert_true(function->duration.max_ns >= function->duration.min_ns);
	assert_true(function->duration.min_ns * function->duration.count <= function->duration.sum_ns);
	assert_true(function->duration.max_ns * function->duration.count >= function->duration.sum_ns);
}

static void a_function_takes_what_it_takes_by_its_own_clock(void **state)
{
	struct subject_called spins, sleeps;
	struct stint_probes_function timed;

	(void)state;
	start_known();
	spins = call(SUBJECT_CALL_SPIN, 20, 2 * MS);
	sleeps = call(SUBJECT_CALL_SLEEP, 5, 3 * MS);
	timed = function_of_subject("known_spin");
	assert_counts(&timed, 20, 20, 0, 0);
	assert_between(&timed, &spins);
	assert_true(timed.duration.min_ns >= 2 * MS);
	assert_string_equal(timed.name, "known_spin");
	assert_string_equal(timed.module, "functions");
	timed = function_of_subject("known_sleep");
	assert_counts(&timed, 5, 5, 0, 0);
	assert_between(&timed, &sleeps);
	assert_true(timed.duration.min_ns >= 3 * MS);
}

static void a_recursion_is_one_call_and_the_rest_of_it_nested(void **state)
{
	struct stint_probes_function timed;
	struct subject_called called;

	(void)state;
	start_known();
	called = call(SUBJECT_CALL_RECURSE, 9, 2 * MS);
	timed = function_of_subject("known_recursion");
	assert_counts(&timed, 1, 1, 9, 0);
	assert_true(timed.duration.sum_ns >= 2 * MS);
	assert_true(timed.duration.sum_ns <= called.most_ns);
	call(SUBJECT_CALL_RECURSE, 0, MS);
	timed = function_of_subject("known_recursion");
	assert_counts(&timed, 2, 2, 9, 0);
}

/* The kernel follows 64 returns of a thread; what goes deeper is in the outermost all the same. */
static void a_recursion_deeper_than_the_kernel_follows_is_timed_by_its_outermost_call(void **state)
{
	struct stint_probes_function timed;
	struct subject_called called;

	(void)state;
	start_known();
	called = call(SUBJECT_CALL_RECURSE, 200, 2 * MS);
	timed = function_of_subject("known_recursion");
	assert_counts(&timed, 1, 1, 200, 0);
	assert_true(timed.duration.sum_ns >= 2 * MS);
	assert_true(timed.duration.sum_ns <= called.most_ns);
}

static void a_call_that_is_left_by_longjmp_is_counted_and_not_timed(void **state)
{
	struct stint_probes_function timed;
	struct subject_called called;

	(void)state;
	start_known();
	call(SUBJECT_CALL_JUMP, 4, MS);
	called = call(SUBJECT_CALL_SPIN, 3, MS);
	timed = function_of_subject("known_jump");
	assert_counts(&timed, 4, 0, 0, 4);
	timed = function_of_subject("known_spin");
	assert_counts(&timed, 3, 3, 0, 0);
	assert_between(&timed, &called);
}

/* The stack comes to lie over what was left, and the next calls are not taken for a part of it. */
static void a_start_left_behind_deep_in_the_stack_does_not_hide_calls(void **state)
{
	struct stint_probes_function timed;

	(void)state;
	start_known();
	for (int i = 0; i < 3; i++) {
		call(SUBJECT_CALL_JUMP, 1, MS);
		call(SUBJECT_CALL_JUMP_DEEP, 1, MS);
	}
	timed = function_of_subject("known_jump");
	assert_int_equal(timed.begun, 6);
	assert_int_equal(timed.nested, 0);
	assert_int_equal(timed.duration.count, 0);
	assert_true(timed.left >= 5);
}

static void a_function_that_goes_on_to_another_by_a_jump_has_its_time(void **state)
{
	struct stint_probes_function tail, spin;
	struct subject_called called;

	(void)state;
	start_known();
	called = call(SUBJECT_CALL_TAIL, 5, MS);
	tail = function_of_subject("known_tail");
	spin = function_of_subject("known_spin");
	assert_counts(&tail, 5, 5, 0, 0);
	assert_counts(&spin, 5, 5, 0, 0);
	assert_between(&tail, &called);
	assert_between(&spin, &called);
	assert_true(tail.duration.sum_ns >= spin.duration.sum_ns);
}

static void threads_at_once_lose_no_call(void **state)
{
	struct stint_probes_function timed;
	struct subject_called called;

	(void)state;
	start_known();
	called = call(SUBJECT_CALL_THREADS, 1, 20000);
	timed = function_of_subject("known_spin");
	assert_counts(&timed, SUBJECT_THREADS * SUBJECT_THREAD_CALLS, SUBJECT_THREADS * SUBJECT_THREAD_CALLS,
		      0, 0);
	assert_between(&timed, &called);
}

static void a_function_that_never_returns_is_begun_and_not_ended(void **state)
{
	struct stint_probes_function timed;
	int tries = 0;

	(void)state;
	start_known();
	call(SUBJECT_CALL_FOREVER, 1, 0);
	do {
		usleep(1000);
		timed = function_of_subject("known_forever");
	} while (timed.begun == 0 && ++tries < 10000);
	assert_counts(&timed, 1, 0, 0, 0);
}

/* The child returns from a function that its parent has begun, and calls one that is timed. */
static void what_a_child_does_is_not_its_parents(void **state)
{
	struct stint_probes_function timed;

	(void)state;
	start_known();
	call(SUBJECT_CALL_FORK, 1, MS);
	timed = function_of_subject("known_fork");
	assert_counts(&timed, 1, 1, 0, 0);
	timed = function_of_subject("known_spin");
	assert_counts(&timed, 0, 0, 0, 0);
}

/* By its whole length: others may have had the CPU for much of it. */
static const struct watched_overrun *overrun_of(uint64_t least_ns)
{
	for (size_t i = 0; i < watching->overruns_len; i++)
		if (watching->overruns[i].is.pid == (uint32_t)subject.pid &&
		    watching->overruns[i].is.duration_ns >= least_ns)
			return &watching->overruns[i];
	fail_msg("no overrun of %" PRIu64 " ns", least_ns);
	return NULL;
}

static const struct stint_probes_function_part *part_of(const struct watched_overrun *overrun,
							const char *name)
{
	for (int i = 0; i < STINT_PROBES_FUNCTIONS && overrun->is.functions[i].asked; i++)
		if (strcmp(overrun->is.functions[i].asked, name) == 0)
			return &overrun->is.functions[i];
	fail_msg("%s is not among the functions", name);
	return NULL;
}

static void an_overrun_says_which_of_the_functions_ran_in_it(void **state)
{
	const struct stint_probes_function_part *sleep_part, *spin_part, *wait_part;
	const struct watched_overrun *overrun;
	struct subject_called called;

	(void)state;
	start_known();
	called = call(SUBJECT_CALL_SPIN, 4, 5 * MS);
	call(SUBJECT_CALL_NOTHING, 0, 0);
	watching_take(watching);
	overrun = overrun_of(20 * MS);
	sleep_part = part_of(overrun, "known_sleep");
	assert_int_equal(sleep_part->calls + sleep_part->running, 0);
	assert_int_equal(sleep_part->duration_ns, 0);
	spin_part = part_of(overrun, "known_spin");
	assert_int_equal(spin_part->calls, 4);
	assert_int_equal(spin_part->running, 0);
	assert_true(spin_part->duration_ns >= called.least_ns);
	assert_true(spin_part->duration_ns <= called.most_ns);
	/* One ended as the iteration began, and the next one holds the wait that ended it. */
	wait_part = part_of(overrun, "libc:epoll_wait");
	assert_int_equal(wait_part->calls, 1);
	assert_int_equal(wait_part->running, 1);
	assert_true(wait_part->duration_ns < overrun->is.duration_ns);
}

static void assert_in_stack(const struct watched_overrun *overrun, const char *name)
{
	if (watched_stack_has(overrun, name))
		return;
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		printf("%s > ", overrun->stack[i]);
	fail_msg("no %s in this stack, of kind %d", name, overrun->is.stack_kind);
}

/*
 * The kernel has put other return addresses there, of which no unwinder knows. A stack may be taken anywhere, also as
 * a probe is under way, but never ends at one.
 */
static void stacks_are_whole_with_probed_functions_in_them(void **state)
{
	size_t whole = 0, in_function = 0;

	(void)state;
	start_known();
	for (int i = 0; i < 5; i++) {
		call(SUBJECT_CALL_SPIN, 1, 20 * MS);
		call(SUBJECT_CALL_RECURSE, 20, 20 * MS);
	}
	call(SUBJECT_CALL_NOTHING, 0, 0);
	watching_take(watching);
	for (size_t i = 0; i < watching->overruns_len; i++) {
		const struct watched_overrun *overrun = &watching->overruns[i];

		if (overrun->is.pid != (uint32_t)subject.pid ||
		    overrun->is.stack_kind != STINT_PROBES_STACK_COMPUTED)
			continue;
		assert_in_stack(overrun, "_start");
		assert_in_stack(overrun, "main");
		whole++;
		in_function += watched_stack_has(overrun, "known_spin") ||
			       watched_stack_has(overrun, "known_recursion");
	}
	assert_true(whole > 0);
	assert_true(in_function > 0);
}

static void what_is_not_there_is_said_and_why(void **state)
{
	static const char *const names[] = {"known_spi",        "known_twice", "epoll_wait",
					    "nolib:known_spin", "libc:memcpy", NULL};
	static const char *const whys[] = {
		"not found in functions (inlined, or another name?); there is known_spin",
		"more than one 'known_twice' in functions: ask for known_twice@0x",
		"ask for LIBRARY:epoll_wait", "no library 'nolib' mapped",
		"one of several, chosen as it is loaded"};

	(void)state;
	open_for(&own, names);
	start_subject();
	for (uint32_t i = 0; names[i]; i++) {
		const char *why = stint_probes_function_missing(watching->probes, i);

		assert_non_null(why);
		if (!strstr(why, whys[i]))
			fail_msg("%s: %s", names[i], why);
	}
}

static void a_call_of_an_empty_function_costs_what_was_measured(void **state)
{
	struct stint_probes_function timed;

	(void)state;
	start_known();
	timed = function_of_subject("known_spin");
	assert_true(timed.cost_ns > 100);
	assert_true(timed.within_ns > 0);
	assert_true(timed.within_ns <= timed.cost_ns);
}

/* What was told of one process, whose functions are all over. */
struct last_told {
	uint32_t pid;
	uint32_t before; /* all numbers up to this one were others' */
	uint32_t highest;
	uint32_t functions;
	uint64_t spins;
};

static int take_last(void *ctx, const struct stint_probes_function *function)
{
	struct last_told *told = ctx;

	assert_true(function->is_over);
	assert_int_equal(function->pid, told->pid);
	assert_true(function->number > told->before);
	if (function->number > told->highest)
		told->highest = function->number;
	told->functions++;
	if (strcmp(function->asked, "known_spin") == 0)
		told->spins += function->duration.count;
	return 0;
}

static int take_none(void *ctx, const struct stint_probes_function *function)
{
	(void)ctx;
	fail_msg("%s of %u is told again", function->asked, function->pid);
	return -1;
}

/* More functions than there is room for at a time; a call of one never returns. */
static void functions_of_processes_that_are_over_make_room_for_others(void **state)
{
	static const char *const names[] = {"known_spin", "known_forever"};
	const struct stint_probes_options options = {.size = sizeof(options),
						     .functions = names,
						     .functions_len = 2,
						     .function_limit = 2};
	struct stint_probes_losses losses;
	uint32_t highest = 0;

	(void)state;
	watching_or_skip();
	watching = &own;
	watching_open(&own, &options);
	for (uint32_t round = 1; round <= 5; round++) {
		struct last_told told = {.before = highest, .highest = highest};

		start_subject();
		call(SUBJECT_CALL_SPIN, round, 1000);
		call(SUBJECT_CALL_FOREVER, 1, 0);
		told.pid = (uint32_t)subject.pid;
		subject_stop(&subject, SIGKILL);
		watching_until_exit(watching, (int)told.pid);
		assert_int_equal(stint_probes_read_functions(watching->probes, take_last, &told), 0);
		assert_int_equal(told.functions, 2);
		assert_int_equal(told.spins, round);
		highest = told.highest;
		assert_int_equal(stint_probes_release(watching->probes), 0);
		assert_int_equal(stint_probes_read_functions(watching->probes, take_none, NULL), 0);
	}
	stint_probes_losses(watching->probes, &losses);
	assert_int_equal(losses.functions, 0);
}

static int take_any(void *ctx, const struct stint_probes_function *function)
{
	(void)ctx;
	(void)function;
	return 0;
}

static void a_function_that_found_no_room_is_timed_once_there_is_some(void **state)
{
	static const char *const names[] = {"known_spin", "known_sleep"};
	const struct stint_probes_options options = {.size = sizeof(options),
						     .functions = names,
						     .functions_len = 2,
						     .function_limit = 2};
	struct stint_probes_function spin, sleep;
	struct stint_probes_losses losses;
	struct subject first;
	int first_pid;

	(void)state;
	watching_or_skip();
	watching = &own;
	watching_open(&own, &options);
	start_subject();
	first = subject;
	first_pid = first.pid;
	start_subject();
	call(SUBJECT_CALL_SPIN, 5, 1000);
	stint_probes_losses(watching->probes, &losses);
	assert_int_equal(losses.functions, 2);
	assert_int_equal(losses.functions_late, 0);
	subject_stop(&first, SIGKILL);
	watching_until_exit(watching, first_pid);
	assert_int_equal(stint_probes_read_functions(watching->probes, take_any, NULL), 0);
	assert_int_equal(stint_probes_release(watching->probes), 0);
	call(SUBJECT_CALL_SPIN, 3, 1000);
	call(SUBJECT_CALL_SLEEP, 2, 1000);
	spin = function("known_spin", subject.pid);
	sleep = function("known_sleep", subject.pid);
	assert_counts(&spin, 3, 3, 0, 0);
	assert_counts(&sleep, 2, 2, 0, 0);
	/* They have their probes, but not since they were to have them: of the first five calls nothing is known. */
	stint_probes_losses(watching->probes, &losses);
	assert_int_equal(losses.functions, 0);
	assert_int_equal(losses.functions_late, 2);
}

#define CROWD 40

/* However many there are, and however often it is looked for room: as each new loop is seen, it is. */
static void each_function_that_found_no_room_is_counted_once(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options),
					       .functions = known,
					       .functions_len = 8,
					       .function_limit = 8};
	struct subject crowd[CROWD];
	struct stint_probes_losses losses;

	(void)state;
	watching_or_skip();
	watching = &own;
	watching_open(&own, &options);
	for (int i = 0; i < CROWD; i++) {
		start_subject();
		call(SUBJECT_CALL_NOTHING, 0, 0);
		watching_take(watching);
		crowd[i] = subject;
	}
	stint_probes_losses(watching->probes, &losses);
	for (int i = 0; i + 1 < CROWD; i++)
		subject_stop(&crowd[i], SIGKILL);
	assert_int_equal(losses.functions, (CROWD - 1) * 8);
	assert_int_equal(losses.functions_late, 0);
}

/* SLOWLOG has the time of each command; the function is a part of it. */
static void redis_slow_log_agrees_on_each_script(void **state)
{
	static const char *const names[] = {"evalGenericCommand", "processCommand", NULL};
	static const char script[] = "local x = 0 for i = 1, 300000 do x = x + i end return x";
	struct stint_probes_function timed, outer;
	uint64_t slow_ns = 0, longest_ns = 0;
	char *log, *at;
	int found = 0;

	(void)state;
	watching_or_skip();
	if (!redis_start(&redis)) {
		printf("skipped: redis-server is not installed (apt-get install redis-server)\n");
		skip();
	}
	open_for(&own, names);
	watching_add(watching, redis.pid);
	assert_null(stint_probes_function_missing(watching->probes, 0));
	REDIS_DO(&redis, "CONFIG", "SET", "slowlog-log-slower-than", "500");
	REDIS_DO(&redis, "SLOWLOG", "RESET");
	for (int i = 0; i < 4; i++)
		REDIS_DO(&redis, "EVAL", script, "0");
	log = strdup(REDIS_DO(&redis, "SLOWLOG", "GET", "10"));
	assert_non_null(log);
	/* Each entry: its number, time, microseconds, the command's words, ... */
	for (at = log; (at = strstr(at, "\nEVAL\n")); at++) {
		const char *start = at;
		uint64_t ns;

		while (start > log && start[-1] != '\n')
			start--;
		ns = strtoull(start, NULL, 10) * 1000;
		slow_ns += ns;
		longest_ns = ns > longest_ns ? ns : longest_ns;
		found++;
	}
	free(log);
	assert_int_equal(found, 4);
	timed = function("evalGenericCommand", redis.pid);
	outer = function("processCommand", redis.pid);
	assert_counts(&timed, 4, 4, 0, 0);
	/* It is all but some us of what redis timed, which cuts its figure to whole us. */
	assert_true(timed.duration.sum_ns <= slow_ns + 4 * 1000);
	assert_true(timed.duration.max_ns <= longest_ns + 1000);
	assert_true(timed.duration.sum_ns >= slow_ns - slow_ns / 4);
	assert_true(outer.duration.sum_ns >= timed.duration.sum_ns);
	assert_true(outer.duration.count >= 4 + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_function_takes_what_it_takes_by_its_own_clock, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_recursion_is_one_call_and_the_rest_of_it_nested, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_recursion_deeper_than_the_kernel_follows_is_timed_by_its_outermost_call, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_call_that_is_left_by_longjmp_is_counted_and_not_timed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_start_left_behind_deep_in_the_stack_does_not_hide_calls,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_function_that_goes_on_to_another_by_a_jump_has_its_time,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(threads_at_once_lose_no_call, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_function_that_never_returns_is_begun_and_not_ended, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_a_child_does_is_not_its_parents, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_overrun_says_which_of_the_functions_ran_in_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(stacks_are_whole_with_probed_functions_in_them, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_not_there_is_said_and_why, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_call_of_an_empty_function_costs_what_was_measured, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(functions_of_processes_that_are_over_make_room_for_others,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_function_that_found_no_room_is_timed_once_there_is_some,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_function_that_found_no_room_is_counted_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(redis_slow_log_agrees_on_each_script, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("function", tests, NULL, close_shared);
}
