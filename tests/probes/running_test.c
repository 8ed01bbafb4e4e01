/* SPDX-License-Identifier: MIT */

/* A loop that hangs comes to no wait in which its iteration would be told: it is told when the recording ends. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "running_fixture.h"

static void one_that_computes_on_is_told_with_its_stack(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns;

	(void)state;
	start();
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	wait_until(has_computed, before_ns);
	stop();
	overrun = assert_running();
	assert_true(overrun->is.parts.user_ns + overrun->is.parts.stolen_ns > overrun->is.parts.kernel_ns);
	assert_true(overrun->is.blocked_ns < overrun->is.duration_ns / 2);
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_COMPUTED);
	assert_true(watched_stack_has(overrun, "compute_in_user_space"));
	assert_true(watched_stack_has(overrun, "main"));
}

static void one_that_is_blocked_is_told_with_its_call_and_its_stack(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t asked_ns;

	(void)state;
	start();
	asked_ns = now_ns();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_read_for_most, asked_ns);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_string_equal(overrun->is.syscalls[0].name, "read");
	assert_string_equal(overrun->is.block.in, "read");
	assert_string_equal(overrun->is.block.on, "pipe");
	assert_string_equal(overrun->is.block.waker, "");
	assert_string_equal(overrun->is.block.waker_what, "");
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
	assert_true(watched_stack_has(overrun, "wait_for_the_pipe"));
	assert_true(watched_stack_has(overrun, "main"));
	assert_string_equal(overrun->handler, "on_command");
}

/* They are there still, but what a number stood for is for the kernel's side to say, which sees the file. */
static void its_victims_are_named_for_certain(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns;

	(void)state;
	watching_or_skip();
	subject_start(&subject, "tests/subjects/epoll_loop", NULL);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_BURST, FOREVER);
	wait_until(has_computed, before_ns);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.victims_len, 2);
	for (uint32_t i = 0; i < overrun->is.victims_len; i++) {
		assert_string_equal(overrun->is.victims_list[i].name, "pipe");
		assert_false(overrun->is.victims_list[i].name_inferred);
	}
}

static void one_that_is_stopped_is_told_as_stopped(void **state)
{
	const struct watched_overrun *overrun;
	int status;

	(void)state;
	start();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(subject.pid, &status, WUNTRACED), subject.pid);
	assert_true(WIFSTOPPED(status));
	nanosleep(&(struct timespec){.tv_nsec = 20 * (long)MS}, NULL);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_true(overrun->is.stopped_ns > overrun->is.duration_ns / 2);
	assert_true(overrun->is.block.is_stopped);
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
	assert_true(watched_stack_has(overrun, "on_command"));
}

static void one_that_has_ended_is_told_once_as_ended(void **state)
{
	(void)state;
	start();
	subject_do(&subject, 0, SUBJECT_BLOCK, 20 * MS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	wait_until(is_in_call, SYS_epoll_wait);
	stop();
	assert_null(only_one(is_running));
	assert_true(watching_count(&watching, 20 * MS) >= 1); /* others too, where the CPU was stolen */
}

static void one_within_its_budget_is_not_told(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .budget_ns = FOREVER};

	(void)state;
	watching_or_skip();
	watching_open(&watching, &options);
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

static void its_time_is_in_no_histogram(void **state)
{
	struct watched_loop loop;
	int32_t epfd;

	(void)state;
	start();
	epfd = subject_do(&subject, 0, SUBJECT_SYNC, 0).epfd;
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	stop();
	assert_running();
	assert_true(watching_loop(&watching, subject.pid, epfd, &loop));
	assert_true(loop.is.busy_max_ns < 20 * MS || watching_count(&watching, 20 * MS) > 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		OPENED(one_that_computes_on_is_told_with_its_stack),
		OPENED(one_that_is_blocked_is_told_with_its_call_and_its_stack),
		OPENED(its_victims_are_named_for_certain),
		OPENED(one_that_is_stopped_is_told_as_stopped),
		OPENED(one_that_has_ended_is_told_once_as_ended),
		OPENED(its_time_is_in_no_histogram),
		CLOSED(one_within_its_budget_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
