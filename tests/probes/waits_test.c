/* SPDX-License-Identifier: MIT */

/* Which wait is a loop's own, whatever it waits in: programs that do a known number of iterations. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "watching_fixture.h"

#define MS    1000000u
#define TIMES 7
#define SYNCS 101

/* Everything before this is over and told. */
static struct subject_answer sync_loop(void)
{
	struct subject_answer answer = subject_do(&subject, 0, SUBJECT_SYNC, 0);

	watching_take(&watching);
	return answer;
}

/* The first answer comes from a program that got as far as its loop. */
static bool has_started(void)
{
	struct subject_answer answer;

	subject_send(&subject, 0, SUBJECT_SYNC, 0);
	return read(subject.from, &answer, sizeof(answer)) == sizeof(answer);
}

static void watch(const char *wait)
{
	const char *arguments[] = {wait, NULL};

	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start(&subject, "tests/subjects/waits", arguments);
	subject_go(&subject);
	if (!has_started()) {
		printf("skipped: this kernel lets no program wait in %s\n", wait);
		skip();
	}
	watching_add(&watching, subject.pid);
}

static struct watched_loop find_loop(const struct subject_answer *answer, enum stint_probes_wait wait)
{
	struct watched_loop loop;

	if (!watching_loop(&watching, answer->tid, answer->epfd, &loop))
		fail_msg("no loop of thread %d with descriptor %d", answer->tid, answer->epfd);
	assert_int_equal(loop.is.wait, wait);
	return loop;
}

static void count_iterations_of(const char *call, enum stint_probes_wait wait)
{
	struct watched_loop before, after;
	struct subject_answer answer;

	watch(call);
	sync_loop();
	sync_loop(); /* a poll is a loop's once it has come back to it */
	answer = sync_loop();
	before = find_loop(&answer, wait);
	for (int i = 0; i < SYNCS; i++)
		subject_do(&subject, 0, SUBJECT_SYNC, 0);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, i % 2 ? SUBJECT_BLOCK : SUBJECT_SPIN, 2 * MS);
	sync_loop();
	assert_int_equal(watching_count(&watching, 2 * MS - MS / 10), TIMES);
	after = find_loop(&answer, wait);
	/* The iteration of each last sync may be over by then, or not yet. */
	assert_in_range(after.is.iterations - before.is.iterations, SYNCS + TIMES, SYNCS + TIMES + 2);
	assert_int_equal(after.is.events - before.is.events, SYNCS + TIMES + 1);
	assert_int_equal(after.is.batch_max, 1);
	assert_int_equal(watching_loops(&watching), 1);
	assert_overruns_consistent(&watching);
}

static void iterations_of_poll_are_counted(void **state)
{
	(void)state;
	count_iterations_of("poll", STINT_PROBES_WAIT_POLL);
}

static void iterations_of_ppoll_are_counted(void **state)
{
	(void)state;
	count_iterations_of("ppoll", STINT_PROBES_WAIT_POLL);
}

static void iterations_of_select_are_counted(void **state)
{
	(void)state;
	count_iterations_of("select", STINT_PROBES_WAIT_SELECT);
}

static void iterations_of_pselect_are_counted(void **state)
{
	(void)state;
	count_iterations_of("pselect", STINT_PROBES_WAIT_SELECT);
}

static void iterations_of_io_uring_are_counted_with_its_completions(void **state)
{
	(void)state;
	count_iterations_of("io_uring", STINT_PROBES_WAIT_IO_URING);
}

static void until_call(int wanted)
{
	char path[64], line[256];
	FILE *file;
	int number;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)subject.pid);
	do {
		file = fopen(path, "re");
		assert_non_null(file);
		if (!fgets(line, sizeof(line), file) || sscanf(line, "%d 0x", &number) != 1)
			number = -1;
		fclose(file);
	} while (number != wanted);
}

/* Where no handler runs for a signal, the kernel has it go on as restart_syscall(). */
static void interrupt_call(void)
{
	subject_until_state(subject.pid, 'S');
	kill(subject.pid, SIGSTOP);
	subject_until_state(subject.pid, 'T');
	kill(subject.pid, SIGCONT);
	until_call(SYS_restart_syscall);
	subject_until_state(subject.pid, 'S');
}

static size_t overruns_amid(uint64_t moment_ns)
{
	size_t found = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		found +=
			overrun->start_ns < moment_ns && overrun->start_ns + overrun->duration_ns > moment_ns;
	}
	return found;
}

/* Whether a thread was in that system call then, of all that overruns tell of. */
static bool was_in_call(uint64_t moment_ns, uint32_t number)
{
	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct watched_overrun *overrun = &watching.overruns[i];

		for (uint32_t at = 0; at < overrun->is.syscalls_len; at++) {
			const struct stint_probes_syscall *call = &overrun->is.syscalls[at];

			if (call->number == number && call->start_ns < moment_ns &&
			    call->start_ns + call->duration_ns > moment_ns)
				return true;
		}
	}
	return false;
}

static uint64_t sleep_twice(uint64_t ns)
{
	const struct timespec half = {.tv_nsec = (long)ns / 2};
	struct timespec now;

	nanosleep(&half, NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	nanosleep(&half, NULL);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void a_poll_that_goes_on_after_a_stop_is_the_loops_wait(void **state)
{
	struct subject_answer answer;
	struct watched_loop before, after;
	uint64_t amid_ns;

	(void)state;
	watch("poll");
	for (int i = 0; i < 3; i++)
		answer = sync_loop();
	before = find_loop(&answer, STINT_PROBES_WAIT_POLL);
	interrupt_call();
	amid_ns = sleep_twice(20 * MS);
	subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
	sync_loop();
	assert_int_equal(overruns_amid(amid_ns), 0);
	assert_true(watching_count(&watching, 2 * MS - MS / 10) >= 1);
	after = find_loop(&answer, STINT_PROBES_WAIT_POLL);
	assert_int_equal(after.is.events - before.is.events, 2);
	assert_int_equal(watching_loops(&watching), 1);
	assert_overruns_consistent(&watching);
}

static void a_futex_that_goes_on_after_a_stop_is_a_call_of_the_iteration(void **state)
{
	uint64_t amid_ns;

	(void)state;
	watch("poll");
	for (int i = 0; i < 3; i++)
		sync_loop();
	subject_send(&subject, 0, SUBJECT_LOCK, 200 * MS);
	until_call(SYS_futex);
	interrupt_call();
	amid_ns = sleep_twice(20 * MS);
	subject_answer(&subject);
	sync_loop();
	assert_int_equal(overruns_amid(amid_ns), 1);
	assert_true(was_in_call(amid_ns, SYS_restart_syscall));
	assert_int_equal(watching_loops(&watching), 1);
	assert_overruns_consistent(&watching);
}

static void a_poll_that_went_on_before_stint_came_is_the_loops_wait(void **state)
{
	const char *arguments[] = {"poll", NULL};
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start(&subject, "tests/subjects/waits", arguments);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	interrupt_call();
	watching_add(&watching, subject.pid);
	answer = subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
	for (int i = 0; i < 3; i++)
		sync_loop();
	find_loop(&answer, STINT_PROBES_WAIT_POLL);
	assert_int_equal(watching_count(&watching, 2 * MS - MS / 10), 1);
}

/* Its stack pointer is another at each call, its frame is not. */
static void a_poll_of_an_array_that_grows_on_the_stack_is_the_same_loop(void **state)
{
	(void)state;
	count_iterations_of("poll_grows", STINT_PROBES_WAIT_POLL);
}

/* Overruns that other processes caused, by having the CPU, have one ready event. */
static const struct watched_overrun *find_burst(size_t i)
{
	for (size_t at = 0; at < watching.overruns_len; at++)
		if (watching.overruns[at].is.ready_events == 3 && i-- == 0)
			return &watching.overruns[at];
	return NULL;
}

static void a_thread_that_has_closed_all_that_it_polls_is_late_for_nobody(void **state)
{
	int spun = 0;

	(void)state;
	watch("sessions");
	for (int i = 0; i < TIMES; i++) {
		subject_do(&subject, 0, SUBJECT_BLOCK, 20 * MS);
		subject_do(&subject, 0, SUBJECT_SPIN, 2 * MS);
	}
	sync_loop();
	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		assert_true(overrun->blocked_ns < 10 * MS);
		/* Others may have been kept from their CPU. */
		spun += overrun->duration_ns - overrun->runnable_ns - overrun->blocked_ns >= MS;
	}
	assert_int_equal(spun, TIMES);
	assert_overruns_consistent(&watching);
}

static void serve_by_writing(const char *manner)
{
	watch(manner);
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 5 * MS);
	watching_take(&watching);
}

/* Overruns that mostly slept: others were kept from their CPU. */
static int polls_asleep(void)
{
	int asleep = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		asleep += overrun->wait == STINT_PROBES_WAIT_POLL &&
			  overrun->blocked_ns >= overrun->duration_ns / 2;
	}
	return asleep;
}

/* Not at its first: it may be no loop at all. */
static void a_thread_that_polls_to_write_to_one_is_a_loop(void **state)
{
	(void)state;
	serve_by_writing("writes");
	assert_in_range(polls_asleep(), 1, TIMES);
	assert_int_equal(watching_loops(&watching), 1);
	assert_overruns_consistent(&watching);
}

static void beside_an_epoll_loop_what_it_sleeps_for_is_work(void **state)
{
	(void)state;
	serve_by_writing("beside");
	assert_int_equal(polls_asleep(), 0);
}

/* Its loop and that of the thread with a set, which is told by then from all others. */
static void watch_worker(void)
{
	watch("worker");
	do
		sync_loop();
	while (watching_loops(&watching) < 2);
}

/* Overruns of the worker's that computed for a millisecond or more, by themselves. */
static int worker_computed(void)
{
	int computed = 0;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		computed += overrun->wait == STINT_PROBES_WAIT_POLL &&
			    overrun->duration_ns - overrun->runnable_ns - overrun->blocked_ns >=
				    MS + overrun->parts.stolen_ns;
	}
	return computed;
}

/* What it does when it has work is told, be it before it asks somebody else or after. */
static void what_a_worker_beside_a_loop_computes_with_its_work_is_late(void **state)
{
	(void)state;
	watch_worker();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BURST, 2 * MS);
	sync_loop();
	sync_loop();
	assert_int_equal(worker_computed(), TIMES);
	assert_overruns_consistent(&watching);
}

/* And not for what it asks for, nor for what it polled first, with a timeout of 0. */
static void a_worker_beside_a_loop_is_not_late_while_it_waits_for_work(void **state)
{
	(void)state;
	watch_worker();
	for (int i = 0; i < TIMES; i++) {
		subject_do(&subject, 0, SUBJECT_BLOCK, 20 * MS);
		subject_do(&subject, 0, SUBJECT_SPIN, 2 * MS);
	}
	sync_loop();
	sync_loop();
	for (size_t i = 0; i < watching.overruns_len; i++)
		assert_true(watching.overruns[i].is.blocked_ns < 10 * MS);
	assert_int_equal(worker_computed(), TIMES);
	assert_overruns_consistent(&watching);
}

/* Of each piece of work, the worker polls one descriptor that becomes ready twice. */
static void a_condition_variable_brings_a_worker_no_events(void **state)
{
	struct stint_probes_attribution attribution;

	(void)state;
	watch_worker();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_SYNC, 0);
	stint_probes_attribution(watching.probes, &attribution);
	assert_in_range(attribution.events, TIMES, 1000 * TIMES);
	assert_in_range(attribution.not_attributed, 0, attribution.events);
}

static void a_worker_beside_a_loop_is_late_while_it_waits_for_a_mutex(void **state)
{
	int blocked = 0;

	(void)state;
	watch_worker();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_INSIDE, 5 * MS);
	sync_loop();
	sync_loop();
	for (size_t i = 0; i < watching.overruns_len; i++)
		blocked += watching.overruns[i].is.wait == STINT_PROBES_WAIT_POLL &&
			   watching.overruns[i].is.blocked_ns >= 4 * MS;
	assert_int_equal(blocked, TIMES);
}

/* One that sleeps elsewhere does: so what sleeps in poll() is a handler of it. */
static void a_loop_may_do_nothing_but_ask(void **state)
{
	int blocked = 0;

	(void)state;
	watch("asks");
	for (int i = 0; i < 10; i++)
		sync_loop();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_INSIDE, 5 * MS);
	sync_loop();
	sync_loop();
	for (size_t i = 0; i < watching.overruns_len; i++)
		blocked += watching.overruns[i].is.blocked_ns >= 4 * MS;
	assert_int_equal(blocked, TIMES);
}

static void a_poll_deeper_in_the_stack_after_that_is_not_its_loops(void **state)
{
	struct watched_loop loop;

	(void)state;
	watch("sessions");
	sync_loop();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_INSIDE, 5 * MS);
	sync_loop();
	assert_int_equal(watching_count(&watching, 2 * MS), 0);
	assert_true(watching_loop(&watching, subject.pid, -1, &loop));
	assert_true(loop.is.iterations >= 3 * TIMES);
}

/* Three are ready at once, the first handled computes: known from the program's array, or its sets. */
static void find_victims_of(const char *call)
{
	watch(call);
	sync_loop();
	sync_loop();
	for (int i = 0; i < TIMES; i++) {
		struct subject_answer answer = subject_do(&subject, 0, SUBJECT_BURST, 5 * MS);
		const struct watched_overrun *overrun;

		sync_loop();
		overrun = find_burst((size_t)i);
		assert_non_null(overrun);
		assert_true(overrun->is.duration_ns >= 5 * MS);
		assert_false(overrun->is.ready_unknown);
		assert_int_equal(overrun->is.fd, answer.fd);
		assert_int_equal(overrun->is.victims, 2);
	}
}

static void the_victims_of_a_slow_handler_are_found_in_a_poll(void **state)
{
	(void)state;
	find_victims_of("poll");
}

static void the_victims_of_a_slow_handler_are_found_in_a_select(void **state)
{
	(void)state;
	find_victims_of("select");
}

static void a_completion_of_a_ring_has_its_descriptor(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	watch("io_uring");
	sync_loop();
	sync_loop(); /* from the first one on, the ring is known */
	subject_do(&subject, 0, SUBJECT_SPIN, 5 * MS);
	sync_loop();
	overrun = watching_overrun(&watching, 5 * MS - MS / 4, 0);
	assert_non_null(overrun);
	assert_int_equal(overrun->is.fd, STDIN_FILENO);
	assert_int_equal(overrun->is.victims, 0);
	assert_int_equal(overrun->is.ready_events, 1);
	assert_false(overrun->is.ready_unknown);
}

static bool has_syscall(const struct watched_overrun *overrun, const char *name)
{
	for (uint32_t i = 0; i < overrun->is.syscalls_len; i++)
		if (strcmp(overrun->is.syscalls[i].name, name) == 0)
			return true;
	return false;
}

/* A client library that polls its one descriptor blocks the loop; its poll is not the loop's. */
static void block_inside(const char *call, enum stint_probes_wait wait)
{
	struct subject_answer answer;

	watch(call);
	sync_loop();
	sync_loop();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_INSIDE, 8 * MS);
	answer = sync_loop();
	find_loop(&answer, wait);
	assert_int_equal(watching_loops(&watching), 1);
	assert_int_equal(watching_count(&watching, 8 * MS), TIMES);
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 8 * MS, i);

		assert_true(overrun->is.blocked_ns > 7 * MS);
		if (overrun->is.runnable_ns >= overrun->is.blocked_ns) /* then the stack is of that */
			continue;
		assert_true(has_syscall(overrun, "poll"));
		assert_string_equal(overrun->handler, "on_command");
		assert_true(watched_stack_has(overrun, "block_inside"));
	}
}

static void a_poll_inside_a_handler_blocks_a_loop_in_poll(void **state)
{
	(void)state;
	block_inside("poll", STINT_PROBES_WAIT_POLL);
}

static void a_poll_inside_a_handler_blocks_a_loop_in_select(void **state)
{
	(void)state;
	block_inside("select", STINT_PROBES_WAIT_SELECT);
}

static void a_poll_inside_a_handler_blocks_a_loop_in_io_uring(void **state)
{
	(void)state;
	block_inside("io_uring", STINT_PROBES_WAIT_IO_URING);
}

static void two_sets_waited_in_by_turns_are_two_loops(void **state)
{
	struct subject_answer answer = {0};
	struct watched_loop other;

	(void)state;
	watch("sets");
	sync_loop();
	for (int i = 0; i < TIMES; i++)
		answer = subject_do(&subject, 0, SUBJECT_SPIN, 3 * MS);
	sync_loop();
	assert_int_equal(watching_loops(&watching), 2);
	find_loop(&answer, STINT_PROBES_WAIT_EPOLL);
	assert_true(watching_loop(&watching, answer.tid, answer.fd, &other));
	assert_int_equal(watching_count(&watching, 3 * MS - MS / 4), TIMES);
	for (size_t i = 0; i < TIMES; i++)
		assert_int_equal(watching_overrun(&watching, 3 * MS - MS / 4, i)->is.epfd, answer.fd);
}

/* By the stack of its first wait, all of its handlers would be called `serve_session`. */
static void handlers_are_named_by_where_the_loop_waits_for_good(void **state)
{
	const char *arguments[] = {"begins", NULL};
	size_t named = 0;

	(void)state;
	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start(&subject, "tests/subjects/waits", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	sync_loop();
	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 3 * MS);
	sync_loop();
	for (size_t i = 0; i < watching_count(&watching, 3 * MS - MS / 4); i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 3 * MS - MS / 4, i);

		if (!overrun->is.stack_len || !watched_stack_has(overrun, "on_command"))
			continue;
		assert_string_equal(overrun->handler, "on_command");
		named++;
	}
	assert_in_range(named, 1, TIMES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(iterations_of_poll_are_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_that_goes_on_after_a_stop_is_the_loops_wait,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_futex_that_goes_on_after_a_stop_is_a_call_of_the_iteration,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_that_went_on_before_stint_came_is_the_loops_wait,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_ppoll_are_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_select_are_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_pselect_are_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(iterations_of_io_uring_are_counted_with_its_completions,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_that_polls_to_write_to_one_is_a_loop,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(beside_an_epoll_loop_what_it_sleeps_for_is_work,
						watching_set_up_opened, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_worker_beside_a_loop_is_not_late_while_it_waits_for_work,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(what_a_worker_beside_a_loop_computes_with_its_work_is_late,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_condition_variable_brings_a_worker_no_events,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_worker_beside_a_loop_is_late_while_it_waits_for_a_mutex,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(handlers_are_named_by_where_the_loop_waits_for_good,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_loop_may_do_nothing_but_ask, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_deeper_in_the_stack_after_that_is_not_its_loops,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_thread_that_has_closed_all_that_it_polls_is_late_for_nobody,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_of_an_array_that_grows_on_the_stack_is_the_same_loop,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(the_victims_of_a_slow_handler_are_found_in_a_poll,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(the_victims_of_a_slow_handler_are_found_in_a_select,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_completion_of_a_ring_has_its_descriptor, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_inside_a_handler_blocks_a_loop_in_poll,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_inside_a_handler_blocks_a_loop_in_select,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_poll_inside_a_handler_blocks_a_loop_in_io_uring,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(two_sets_waited_in_by_turns_are_two_loops, watching_set_up,
						watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
