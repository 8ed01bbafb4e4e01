/* SPDX-License-Identifier: MIT */

/* Write stalls that end with no send: how, and when, by the program's own account; and those that have not ended. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_last.h"
#include "watching_fixture.h"

static struct subject_last account[LAST_ROUNDS];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void await_full(void)
{
	char byte;

	assert_int_equal(read(subject.from, &byte, 1), 1);
}

static void start(const char *kind, const char *how)
{
	const char *const arguments[] = {kind, how, NULL};

	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start(&subject, "tests/subjects/last_stall", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	await_full();
}

static void read_account(struct subject_last *ret)
{
	assert_int_equal(write(subject.to, "", 1), 1);
	assert_int_equal(read(subject.from, ret, sizeof(*ret)), sizeof(*ret));
}

/* All of its rounds, each with a stall on a socket of its own. */
static void run(const char *kind, const char *how)
{
	start(kind, how);
	for (int i = 0; i < LAST_ROUNDS; i++) {
		if (i > 0)
			await_full();
		read_account(&account[i]);
	}
	assert_int_equal(subject_stop(&subject, 0), 0);
	watching_take(&watching);
	assert_int_equal(watching.stalls_len, LAST_ROUNDS);
}

static void assert_adds_up(const struct stint_probes_stall *stall)
{
	assert_int_equal(stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns +
				 stall->queue_ns,
			 stall->duration_ns);
}

static void assert_is(const struct stint_probes_stall *stall, const struct subject_last *last,
		      enum stint_probes_ending ending)
{
	assert_int_equal(stall->ending, ending);
	assert_in_range(stall->start_ns, last->full_before_ns, last->full_after_ns);
	assert_in_range(stall->start_ns + stall->duration_ns, last->end_before_ns, last->end_after_ns);
	assert_adds_up(stall);
}

/* Nothing had come of the peer: all of it is waiting for that. Unless, of TCP, an ACK was late. */
static void assert_never_opened(const char *kind, const struct stint_probes_stall *stall)
{
	if (stall->cause_time_ns && strcmp(kind, "tcp") == 0)
		return;
	assert_int_equal(stall->ack_ns, stall->duration_ns);
	assert_int_equal(stall->cause, strcmp(kind, "tcp") == 0 ? STINT_PROBES_LIMIT_RECEIVE_WINDOW
								: STINT_PROBES_LIMIT_PEER_READS);
}

static void check_ended_by(const char *kind, const char *how)
{
	run(kind, how);
	for (size_t i = 0; i < LAST_ROUNDS; i++) {
		assert_is(&watching.stalls[i], &account[i], STINT_PROBES_CLOSED);
		assert_never_opened(kind, &watching.stalls[i]);
	}
}

static void a_close_ends_a_stall(void **state)
{
	(void)state;
	check_ended_by("tcp", "close");
}

static void a_close_of_a_unix_socket_ends_a_stall(void **state)
{
	(void)state;
	check_ended_by("unix", "close");
}

static void a_shutdown_ends_a_stall(void **state)
{
	(void)state;
	check_ended_by("tcp", "shutdown");
}

static void a_reset_by_the_peer_ends_a_stall(void **state)
{
	(void)state;
	check_ended_by("tcp", "reset");
}

/* The write event came, and no send followed: the last stage is the queue. */
static void check_closed_when_told(const char *kind)
{
	run(kind, "told");
	for (size_t i = 0; i < LAST_ROUNDS; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];
		uint64_t returned_ns = stall->start_ns + stall->duration_ns - stall->queue_ns;

		assert_is(stall, &account[i], STINT_PROBES_CLOSED);
		assert_in_range(returned_ns, account[i].full_after_ns, account[i].told_ns);
		assert_true(stall->ack_ns < stall->duration_ns);
	}
}

static void a_close_after_the_write_event_ends_the_queue_stage(void **state)
{
	(void)state;
	check_closed_when_told("tcp");
}

static void a_close_of_a_unix_socket_after_the_write_event_ends_the_queue_stage(void **state)
{
	(void)state;
	check_closed_when_told("unix");
}

static void check_exit(const char *kind)
{
	start(kind, "exit");
	read_account(&account[0]);
	assert_int_equal(subject_stop(&subject, 0), 0);
	account[0].end_after_ns = now_ns();
	watching_take(&watching);
	assert_int_equal(watching.stalls_len, 1);
	assert_is(&watching.stalls[0], &account[0], STINT_PROBES_CLOSED);
	assert_never_opened(kind, &watching.stalls[0]);
}

static void an_exit_ends_a_stall(void **state)
{
	(void)state;
	check_exit("tcp");
}

static void an_exit_ends_a_stall_of_a_unix_socket(void **state)
{
	(void)state;
	check_exit("unix");
}

/* Asked for, it is told as long as it is by now, and goes on. */
static void check_open(const char *kind)
{
	const struct stint_probes_stall *stall;
	struct subject_last last = {.full_after_ns = now_ns()};

	start(kind, "stay");
	watching_take(&watching);
	assert_int_equal(watching.stalls_len, 0);
	last.full_before_ns = last.full_after_ns;
	last.full_after_ns = last.end_before_ns = now_ns();
	assert_int_equal(stint_probes_tell_open(watching.probes), 0);
	last.end_after_ns = now_ns();
	watching_take(&watching);
	assert_int_equal(watching.stalls_len, 1);
	stall = &watching.stalls[0];
	assert_is(stall, &last, STINT_PROBES_OPEN);
	assert_never_opened(kind, stall);
}

static void a_stall_that_has_not_ended_is_told_when_asked_for(void **state)
{
	(void)state;
	check_open("tcp");
}

static void a_stall_of_a_unix_socket_that_has_not_ended_is_told_when_asked_for(void **state)
{
	(void)state;
	check_open("unix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_close_ends_a_stall, watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_close_of_a_unix_socket_ends_a_stall, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_shutdown_ends_a_stall, watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_reset_by_the_peer_ends_a_stall, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_close_after_the_write_event_ends_the_queue_stage,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(
			a_close_of_a_unix_socket_after_the_write_event_ends_the_queue_stage, watching_set_up,
			watching_tear_down),
		cmocka_unit_test_setup_teardown(an_exit_ends_a_stall, watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(an_exit_ends_a_stall_of_a_unix_socket, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_stall_that_has_not_ended_is_told_when_asked_for,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(
			a_stall_of_a_unix_socket_that_has_not_ended_is_told_when_asked_for, watching_set_up,
			watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
