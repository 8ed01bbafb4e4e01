/* SPDX-License-Identifier: MIT */

/* A loop that hangs is told of while it does, once it has for long enough, and again as that doubles. */

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "running_fixture.h"

#define HANG_NS (500 * MS)

static void open_with_hangs(void)
{
	struct stint_probes_options options = {.size = sizeof(options), .hang_ns = HANG_NS};

	watching_or_skip();
	watching_open(&watching, &options);
}

static void take_until_hangs(size_t count)
{
	for (int i = 0; i < TRIES && watching.hangs_len < count; i++)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_true(watching.hangs_len >= count);
}

static const struct watched_hang *take_hang(void)
{
	const struct watched_hang *hang;

	take_until_hangs(1);
	hang = &watching.hangs[0];
	assert_int_equal(hang->is.pid, subject.pid);
	assert_int_equal(hang->is.tid, subject.pid);
	assert_true(hang->is.duration_ns >= HANG_NS);
	return hang;
}

static void one_that_computes_on_is_told_meanwhile(void **state)
{
	const struct watched_hang *hang;

	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	hang = take_hang();
	if (hang->is.state == STINT_PROBES_HANG_RUNNABLE) /* others had its CPU */
		return;
	assert_int_equal(hang->is.state, STINT_PROBES_HANG_COMPUTING);
	assert_string_equal(hang->handler, "on_command");
}

static void one_that_is_blocked_is_told_meanwhile(void **state)
{
	const struct watched_hang *hang;

	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	hang = take_hang();
	assert_false(hang->is.began_before);
	assert_int_equal(hang->is.state, STINT_PROBES_HANG_BLOCKED);
	assert_string_equal(hang->is.in, "read");
	assert_string_equal(hang->is.on, "pipe");
	assert_true(hang->is.fd >= 0);
}

static void one_that_is_stopped_is_told_meanwhile(void **state)
{
	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(take_hang()->is.state, STINT_PROBES_HANG_STOPPED);
}

static void one_that_was_blocked_before_is_told_meanwhile(void **state)
{
	(void)state;
	open_with_hangs();
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	watching_add(&watching, subject.pid);
	assert_true(take_hang()->is.began_before);
}

static void it_is_told_again_when_it_has_taken_twice_as_long(void **state)
{
	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	take_until_hangs(3);
	for (int i = 1; i < 3; i++)
		assert_true(watching.hangs[i].is.duration_ns >= 2 * watching.hangs[i - 1].is.duration_ns);
}

static void a_loop_that_waits_does_not_hang(void **state)
{
	uint64_t start_ns;

	(void)state;
	open_with_hangs();
	start();
	for (start_ns = now_ns(); now_ns() - start_ns < 3 * HANG_NS;)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_int_equal(watching.hangs_len, 0);
}

/* As runtimes do that serve one set by several threads. */
static void leave_the_wait_to_another(void)
{
	static int epfd;
	struct epoll_event ready;
	pthread_t other;

	epfd = epoll_create1(0);
	for (int i = 0; i < 3; i++)
		epoll_wait(epfd, &ready, 1, 1);
	if (pthread_create(&other, NULL, wait_on, &epfd) != 0)
		_exit(1);
}

static void one_that_leaves_the_wait_to_another_does_not_hang(void **state)
{
	uint64_t start_ns;

	(void)state;
	open_with_hangs();
	fork_idle(leave_the_wait_to_another);
	watching_add(&watching, subject.pid);
	go_on();
	for (start_ns = now_ns(); now_ns() - start_ns < 3 * HANG_NS;)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_int_equal(watching.hangs_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLOSED(one_that_computes_on_is_told_meanwhile),
		CLOSED(one_that_is_blocked_is_told_meanwhile),
		CLOSED(one_that_is_stopped_is_told_meanwhile),
		CLOSED(one_that_was_blocked_before_is_told_meanwhile),
		CLOSED(it_is_told_again_when_it_has_taken_twice_as_long),
		CLOSED(a_loop_that_waits_does_not_hang),
		CLOSED(one_that_leaves_the_wait_to_another_does_not_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
