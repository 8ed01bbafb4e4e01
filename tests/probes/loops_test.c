/* SPDX-License-Identifier: MIT */

/* Iterations and overruns of programs on raw epoll, of which it is known what they did, and how often. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <stint/histogram.h>

#include "watching_fixture.h"

#define MS       1000000u
#define SLEEP_NS (20 * MS) /* more than a hypervisor takes at a time, mostly */
#define TIMES    7
/* Of its own, an overrun has less than was computed in it if it was preempted: each switch takes some us. */
#define ABOUT(ns) ((ns) - (ns) / 8)

static void watch_loops(const char *call, const char *loops)
{
	watching_or_skip();
	subject_start_loops(&subject, call, loops);
	watching_add(&watching, subject.pid);
}

/* All iterations of the loop before this are over and told. */
static struct subject_answer sync_loop(uint32_t loop)
{
	struct subject_answer answer = subject_do(&subject, loop, SUBJECT_SYNC, 0);

	watching_take(&watching);
	return answer;
}

static void a_spin_of_5_ms_is_5_ms_on_the_cpu(void **state)
{
	uint64_t least_ns = UINT64_MAX;

	(void)state;
	watch_loops("wait", "1");
	for (int i = 0; i < TIMES; i++)
		assert_true(subject_do(&subject, 0, SUBJECT_SPIN, 5 * MS).cpu_ns >= 5 * MS);
	sync_loop(0);
	assert_int_equal(watching_count(&watching, 4 * MS), TIMES);
	assert_overruns_consistent(&watching);
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 4 * MS, i);

		if (overrun->is.on_cpu_ns < least_ns)
			least_ns = overrun->is.on_cpu_ns;
		assert_true(overrun->is.on_cpu_ns >= 5 * MS - 5 * MS / 20);
		assert_true(overrun->is.on_cpu_ns > overrun->is.blocked_ns);
		assert_int_equal(overrun->is.pid, subject.pid);
		assert_int_equal(overrun->is.ready_events, 1);
		assert_int_equal(overrun->is.fd, 0);
		assert_int_equal(overrun->is.victims, 0);
	}
	/* A hypervisor may take the CPU away, which the scheduler does not see: but not each time. */
	assert_in_range(least_ns, 5 * MS - 5 * MS / 20, 5 * MS + 5 * MS / 20);
}

static void a_spin_has_the_stack_of_where_it_computes(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	watch_loops("wait", "1");
	sync_loop(0);
	subject_do(&subject, 0, SUBJECT_SPIN, 20 * MS);
	sync_loop(0);
	overrun = watching_overrun(&watching, ABOUT(20 * MS), 0);
	assert_non_null(overrun);
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_COMPUTED);
	assert_true(watched_stack_has(overrun, "main"));
	assert_true(watched_stack_has(overrun, "on_command"));
	assert_true(watched_stack_has(overrun, "spin_on_cpu"));
	assert_string_equal(overrun->handler, "on_command");
}

/* The loop's own stack is known then, though it has come to no wait since stint did. */
static void the_first_overrun_of_all_has_its_handler(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	watch_loops("wait", "2");
	subject_do(&subject, 0, SUBJECT_BLOCK, 20 * MS);
	sync_loop(0);
	overrun = watching_overrun(&watching, ABOUT(20 * MS), 0);
	assert_non_null(overrun);
	assert_true(watched_stack_has(overrun, "run"));
	assert_string_equal(overrun->handler, "on_command");
}

static void a_stack_is_whole_where_much_of_it_was_never_touched(void **state)
{
	const struct watched_overrun *overrun;
	struct stint_probes_losses losses;

	(void)state;
	watch_loops("wait", "2");
	sync_loop(0);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, i % 2 ? SUBJECT_SPIN : SUBJECT_BLOCK, 5 * MS);
	sync_loop(0);
	assert_true(watching_count(&watching, ABOUT(5 * MS)) > 0);
	for (size_t i = 0; (overrun = watching_overrun(&watching, ABOUT(5 * MS), i)); i++) {
		assert_true(watched_stack_has(overrun, "run"));
		assert_string_equal(overrun->handler, "on_command");
	}
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.stacks_cut,
			 0); /* libc may have no names: what is outside of `run` need not be named */
}

static void check_deep(const char *loops)
{
	const struct watched_overrun *overrun;
	struct stint_probes_losses losses;

	watch_loops("wait", loops);
	sync_loop(0);
	subject_do(&subject, 0, SUBJECT_DEEP, 20 * MS);
	sync_loop(0);
	overrun = watching_overrun(&watching, 40 * MS, 0);
	assert_non_null(overrun);
	assert_true(watched_stack_has(overrun, "run"));
	assert_true(watched_stack_has(overrun, "spin_and_sleep_deep_down"));
	assert_string_equal(overrun->handler, "on_command");
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.stacks_cut, 0);
}

static void a_stack_with_a_buffer_of_64_kb_on_it_is_whole(void **state)
{
	(void)state;
	check_deep("1");
}

static void that_of_a_thread_is_too(void **state)
{
	(void)state;
	check_deep("2");
}

static void a_sleep_is_blocked_in_its_system_call(void **state)
{
	(void)state;
	watch_loops("wait", "1");
	sync_loop(0);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, SLEEP_NS);
	sync_loop(0);
	assert_int_equal(watching_count(&watching, ABOUT(SLEEP_NS)), TIMES);
	assert_overruns_consistent(&watching);
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, ABOUT(SLEEP_NS), i);

		assert_true(overrun->is.blocked_ns > overrun->is.on_cpu_ns);
		/* Where it was kept from a CPU for longer than it slept, call and stack may be of that. */
		if (overrun->is.runnable_ns >= overrun->is.blocked_ns)
			continue;
		assert_true(overrun->is.syscalls_len >= 1);
		assert_string_equal(overrun->is.syscalls[0].name, "clock_nanosleep");
		assert_true(overrun->is.syscalls[0].duration_ns >= SLEEP_NS);
		assert_int_equal(overrun->is.syscalls[0].fd, -1);
		assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
		assert_true(watched_stack_has(overrun, "sleep_in_handler"));
		assert_string_equal(overrun->handler, "on_command");
	}
}

/*
 * Two loops on one CPU, begun together: the one that ends last has waited while the other computed, and
 * both together were not on the CPU for longer than it took.
 */
static void assert_shared_one_cpu(const struct stint_probes_overrun *a, const struct stint_probes_overrun *b)
{
	uint64_t a_end_ns = a->start_ns + a->duration_ns, b_end_ns = b->start_ns + b->duration_ns;
	uint64_t start_ns = a->start_ns < b->start_ns ? a->start_ns : b->start_ns;
	uint64_t end_ns = a_end_ns > b_end_ns ? a_end_ns : b_end_ns;

	assert_true(a->on_cpu_ns + b->on_cpu_ns <= end_ns - start_ns);
	assert_true(a->runnable_ns >= 19 * MS || b->runnable_ns >= 19 * MS);
}

static void a_preempted_loop_is_runnable_meanwhile(void **state)
{
	(void)state;
	watch_loops("wait", "2");
	subject_do(&subject, 0, SUBJECT_PIN, 0);
	subject_do(&subject, 1, SUBJECT_PIN, 0);
	for (size_t i = 0; i < TIMES; i++) {
		subject_send(&subject, 0, SUBJECT_MEET, 20 * MS);
		subject_send(&subject, 1, SUBJECT_MEET, 20 * MS);
		subject_answer(&subject);
		subject_answer(&subject);
		sync_loop(0);
		sync_loop(1);
		assert_int_equal(watching_count(&watching, 15 * MS), 2 * (i + 1));
		assert_shared_one_cpu(&watching_overrun(&watching, 15 * MS, 2 * i)->is,
				      &watching_overrun(&watching, 15 * MS, 2 * i + 1)->is);
	}
	assert_overruns_consistent(&watching);
}

static void each_thread_has_a_loop_and_overruns_of_its_own(void **state)
{
	static const int times[] = {2, 3, 5, 7};
	struct watched_loop loop;

	(void)state;
	watch_loops("wait", "4");
	for (uint32_t i = 0; i < 4; i++)
		for (int at = 0; at < times[i]; at++)
			subject_do(&subject, i, SUBJECT_SPIN, 2 * MS);
	for (uint32_t i = 0; i < 4; i++) {
		struct subject_answer answer = sync_loop(i);
		int seen = 0;

		for (size_t at = 0; watching_overrun(&watching, ABOUT(2 * MS), at); at++)
			seen += (int)watching_overrun(&watching, ABOUT(2 * MS), at)->is.tid == answer.tid;
		assert_int_equal(seen, times[i]);
		assert_true(watching_loop(&watching, answer.tid, answer.epfd, &loop));
		assert_int_equal(loop.is.pid, subject.pid);
		assert_true(loop.is.overruns >= (uint64_t)times[i]);
	}
	assert_overruns_consistent(&watching);
	assert_int_equal(watching_count(&watching, ABOUT(2 * MS)), 2 + 3 + 5 + 7);
	assert_int_equal(watching_loops(&watching), 4);
}

static uint64_t sum(const uint64_t *buckets)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < STINT_PROBES_BUCKETS; i++)
		total += buckets[i];
	return total;
}

/* Whichever call the loop waits in: each command is one iteration with one event, and all are counted. */
static void count_iterations_of(const char *call)
{
	struct watched_loop before, after;
	struct subject_answer answer;

	watch_loops(call, "1");
	answer = sync_loop(0);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &before));
	for (int i = 0; i < 101; i++)
		subject_do(&subject, 0, SUBJECT_SYNC, 0);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
	sync_loop(0);
	assert_int_equal(watching_count(&watching, ABOUT(2 * MS)), TIMES);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &after));
	/* The iteration of the last sync may be over by now, or not yet: both times. */
	assert_in_range(after.is.iterations - before.is.iterations, 101 + TIMES, 101 + TIMES + 2);
	assert_in_range(after.is.events - before.is.events, 101 + TIMES + 1, 101 + TIMES + 1);
	assert_int_equal(after.is.batch_max, 1);
	assert_overruns_consistent(&watching);
}

static void iterations_of_epoll_wait_are_counted(void **state)
{
	(void)state;
	count_iterations_of("wait");
}

static void iterations_of_epoll_pwait_are_counted(void **state)
{
	(void)state;
	count_iterations_of("pwait");
}

static void iterations_of_epoll_pwait2_are_counted(void **state)
{
	(void)state;
	count_iterations_of("pwait2");
}

static void the_histograms_hold_each_iteration_in_its_bucket(void **state)
{
	struct watched_loop loop;
	struct subject_answer answer;
	uint64_t longest_ns = 0;

	(void)state;
	watch_loops("wait", "1");
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, (unsigned)(i + 2) * MS);
	answer = sync_loop(0);
	subject_stop(&subject, SIGKILL); /* nothing counts on while it is read */
	watching_until_exit(&watching, answer.tid);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &loop));
	assert_int_equal(sum(loop.busy), loop.is.iterations);
	assert_int_equal(sum(loop.batch), sum(loop.poll));
	assert_int_equal(loop.is.overflow, 0);
	assert_int_equal(loop.is.overruns, watching.overruns_len);
	for (size_t i = 0; i < watching.overruns_len; i++) {
		uint64_t ns = watching.overruns[i].is.duration_ns;
		uint64_t *count = &loop.busy[stint_histogram_bucket(ns)];

		assert_true(*count > 0);
		--*count;
		longest_ns = ns > longest_ns ? ns : longest_ns;
	}
	assert_int_equal(loop.is.busy_max_ns, longest_ns);
	for (uint32_t i = stint_histogram_bucket(MS) + 1; i < STINT_PROBES_BUCKETS; i++)
		assert_int_equal(loop.busy[i], 0);
}

/* Three descriptors are ready at once; the first handled computes, so the other two have to wait for it. */
static void those_that_wait_behind_a_slow_one_are_its_victims(void **state)
{
	(void)state;
	watch_loops("wait", "1");
	for (int i = 0; i < TIMES; i++) {
		struct subject_answer answer = subject_do(&subject, 0, SUBJECT_BURST, 5 * MS);
		const struct watched_overrun *overrun;

		sync_loop(0);
		overrun = watching_overrun(&watching, ABOUT(5 * MS), (size_t)i);
		assert_non_null(overrun);
		assert_int_equal(overrun->is.ready_events, 3);
		assert_int_equal(overrun->is.fd, answer.fd);
		assert_int_equal(overrun->is.victims, 2);
		assert_true(overrun->is.blame_ns >= 2 * 5 * MS);
		assert_true(overrun->is.blame_ns <= 2 * overrun->is.duration_ns);
	}
}

static void draining_a_nested_set_is_part_of_the_iteration(void **state)
{
	struct subject_answer answer = {0};

	(void)state;
	watch_loops("wait", "1");
	for (int i = 0; i < TIMES; i++)
		answer = subject_do(&subject, 0, SUBJECT_NESTED, 3 * MS);
	sync_loop(0);
	assert_int_equal(watching_count(&watching, ABOUT(3 * MS)), TIMES);
	for (size_t i = 0; i < TIMES; i++)
		assert_int_equal(watching_overrun(&watching, ABOUT(3 * MS), i)->is.epfd, answer.epfd);
	assert_int_equal(watching_loops(&watching), 1);
	assert_overruns_consistent(&watching);
}

/* From deeper in the stack than the loop waits: that wait is the handler's, and blocks the loop. */
static void a_handler_that_waits_in_another_set_is_part_of_the_iteration(void **state)
{
	struct subject_answer answer = {0};

	(void)state;
	watch_loops("wait", "1");
	sync_loop(0);
	for (int i = 0; i < TIMES; i++)
		answer = subject_do(&subject, 0, SUBJECT_OTHER, 3 * MS);
	sync_loop(0);
	assert_int_equal(watching_loops(&watching), 1);
	assert_int_equal(watching_count(&watching, ABOUT(3 * MS)), TIMES);
	for (size_t i = 0; i < TIMES; i++)
		assert_int_equal(watching_overrun(&watching, ABOUT(3 * MS), i)->is.epfd, answer.epfd);
}

static void polls_in_vain_are_no_iterations(void **state)
{
	/* Time between two of them that is over the budget is one, also if another process had the CPU in it. */
	struct stint_probes_options options = {.size = sizeof(options), .budget_ns = 60000 * (uint64_t)MS};
	struct watched_loop before, after;
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	watching_close(&watching);
	watching_open(&watching, &options);
	watch_loops("pwait2", "1");
	subject_do(&subject, 0, SUBJECT_POLLS, 2);
	answer = sync_loop(0);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &before));
	subject_do(&subject, 0, SUBJECT_POLLS, 1009);
	sync_loop(0);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &after));
	/* The command up to its first poll, the answer after its last, and the syncs around it. */
	assert_in_range(after.is.iterations - before.is.iterations, 2, 4);
	assert_int_equal(after.is.events - before.is.events, 2);
}

/* A reactor between main() and the handler: its own dispatching is in the stack, and the handler after it. */
static void a_handler_of_libstint_is_in_the_stack(void **state)
{
	(void)state;
	watching_or_skip();
	subject_start(&subject, "tests/subjects/reactor", NULL);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_add(&watching, subject.pid);
	sync_loop(0);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, i % 2 ? SUBJECT_SPIN : SUBJECT_BLOCK, 5 * MS);
	sync_loop(0);
	assert_int_equal(watching_count(&watching, 4 * MS), TIMES);
	assert_overruns_consistent(&watching);
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 4 * MS, i);

		assert_int_equal(overrun->is.on_cpu_ns > overrun->is.blocked_ns, i % 2);
		assert_true(watched_stack_has(overrun, "stint_loop_run"));
		assert_true(watched_stack_has(overrun, "on_command"));
		assert_true(watched_stack_has(overrun, overrun->handler));
	}
	assert_int_equal(subject_stop(&subject, 0), 0); /* it takes its meter's file with it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_spin_of_5_ms_is_5_ms_on_the_cpu, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_spin_has_the_stack_of_where_it_computes,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(the_first_overrun_of_all_has_its_handler,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_stack_with_a_buffer_of_64_kb_on_it_is_whole,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(that_of_a_thread_is_too, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_stack_is_whole_where_much_of_it_was_never_touched,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_sleep_is_blocked_in_its_system_call, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_preempted_loop_is_runnable_meanwhile,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(each_thread_has_a_loop_and_overruns_of_its_own,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_epoll_wait_are_counted, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_epoll_pwait_are_counted, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_epoll_pwait2_are_counted,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(the_histograms_hold_each_iteration_in_its_bucket,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(those_that_wait_behind_a_slow_one_are_its_victims,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(draining_a_nested_set_is_part_of_the_iteration,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_handler_that_waits_in_another_set_is_part_of_the_iteration,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(polls_in_vain_are_no_iterations, watching_set_up_opened,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_handler_of_libstint_is_in_the_stack, watching_set_up_opened,
						watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
