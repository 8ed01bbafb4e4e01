/* SPDX-License-Identifier: MIT */

/* Why an ACK made no event for the sender, and the alarm: each mistake that a program can make, and its correct twin. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>
#include <sys/epoll.h>

#include "write_case.h"

static struct write_case run;

static int tear_down(void **state)
{
	(void)state;
	write_case_end(&run);
	return 0;
}

static void run_case(const char *sender, const char *peer)
{
	write_case_run(&run, sender, peer);
	assert_write_case_consistent(&run);
}

static uint64_t count_of(enum stint_probes_no_event why)
{
	assert_true(run.watching.acks_len > 0);
	return run.watching.acks[run.watching.acks_len - 1].no_event[why];
}

static void assert_no_alarm(void)
{
	assert_int_equal(run.watching.alarms_len, 0);
	for (size_t i = 0; i < run.watching.stalls_len; i++)
		assert_int_equal(run.watching.stalls[i].alarm, -1);
}

/* One alarm, after a second and well before the program finds out by itself; its stall says the same. */
static const struct stint_probes_alarm *assert_one_alarm(enum stint_probes_no_event why)
{
	const struct stint_probes_alarm *alarm = run.watching.alarms;
	size_t marked = 0;

	assert_int_equal(run.watching.alarms_len, 1);
	assert_int_equal(alarm->why, why);
	assert_true(alarm->time_ns - alarm->opened_ns >= 1000000000u);
	for (size_t i = 0; i < run.watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &run.watching.stalls[i];

		if (stall->alarm < 0)
			continue;
		marked++;
		assert_int_equal(stall->alarm, why);
		assert_int_equal(stall->start_ns, alarm->start_ns);
		assert_in_range(alarm->time_ns, stall->start_ns, stall->start_ns + stall->duration_ns);
	}
	assert_int_equal(marked, 1);
	assert_int_equal(alarm->fd, run.watching.stalls[0].fd);
	assert_string_equal(alarm->local, run.watching.stalls[0].local);
	assert_true(alarm->queued_bytes * 3 <= alarm->sndbuf_bytes * 2);
	return alarm;
}

/* ---- correct programs ---- */

/* Each stall ends by the one ACK that told; the others left the queue above 2/3. */
static void assert_told_once_a_stall(void)
{
	const struct stint_probes_acks *acks = &run.watching.acks[run.watching.acks_len - 1];

	assert_true(acks->told > 0 && acks->told <= run.watching.stalls_len);
	assert_true(count_of(STINT_PROBES_NO_EVENT_ABOVE) > 0);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_REPLACED), 0);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_OTHER), 0);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_EDGE), 0);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_UNSENT), 0);
}

static void check_correct(const char *sender)
{
	run_case(sender, "slow");
	assert_told_once_a_stall();
	assert_no_alarm();
}

static void acks_of_a_slow_reader_leave_the_queue_above_two_thirds(void **state)
{
	(void)state;
	check_correct("level");
}

static void an_edge_triggered_sender_is_told_once(void **state)
{
	(void)state;
	check_correct("edge");
}

static void a_sender_that_arms_when_it_is_full_is_told(void **state)
{
	(void)state;
	check_correct("arming");
}

static void a_sender_that_arms_for_one_event_is_told(void **state)
{
	(void)state;
	check_correct("oneshot");
}

/* Full for longer than a second, and nobody could have been told anything. */
static void a_peer_that_reads_nothing_raises_no_alarm(void **state)
{
	(void)state;
	run_case("level", "late");
	assert_no_alarm();
}

/* sk_write_space is another function then, but it passes the event on: nothing is laid at its door. */
static void a_sockmap_that_passes_the_event_on_is_not_blamed(void **state)
{
	(void)state;
	check_correct("sockmap");
}

static void a_low_water_mark_holds_the_event_back(void **state)
{
	(void)state;
	run_case("lowat", "slow");
	assert_true(count_of(STINT_PROBES_NO_EVENT_UNSENT) > 0);
	assert_no_alarm();
}

/* ---- within the budget ---- */

static void run_with_ample_budget(const char *sender)
{
	const struct stint_probes_options options = {.size = sizeof(options), .budget_ns = 60000000000u};

	write_case_run_with(&run, sender, "slow", &options);
	assert_write_case_consistent(&run);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_LOOP_BUSY), 0);
}

/* Wherever the thread is as the event is made, and though the ACK may come before the send returns. */
static void check_each_event_counts_its_ack(const char *sender)
{
	size_t causes = 0;

	run_with_ample_budget(sender);
	for (size_t i = 0; i < run.watching.stalls_len; i++)
		causes += run.watching.stalls[i].cause_time_ns != 0;
	assert_true(causes > 0);
	assert_int_equal(run.watching.acks[run.watching.acks_len - 1].told, causes);
}

static void each_event_counts_the_ack_that_made_it(void **state)
{
	(void)state;
	check_each_event_counts_its_ack("level");
}

static void each_edge_counts_the_ack_that_made_it(void **state)
{
	(void)state;
	check_each_event_counts_its_ack("edge");
}

/* The sender does something else for longer than it takes the peer to read all. */
static void acks_after_the_event_are_told_already_within_the_budget(void **state)
{
	(void)state;
	run_with_ample_budget("busy");
	assert_true(count_of(STINT_PROBES_NO_EVENT_TOLD) > 0);
}

/* ---- mistakes ---- */

static void an_event_that_nobody_asked_for_is_an_alarm(void **state)
{
	const struct stint_probes_alarm *alarm;

	(void)state;
	run_case("unarmed", "fast");
	assert_true(count_of(STINT_PROBES_NO_EVENT_NOT_ARMED) > 0);
	alarm = assert_one_alarm(STINT_PROBES_NO_EVENT_NOT_ARMED);
	assert_true(alarm->registered);
	assert_false(alarm->interest & EPOLLOUT);
}

static void an_edge_that_was_passed_over_is_an_alarm(void **state)
{
	const struct stint_probes_alarm *alarm;

	(void)state;
	run_case("edge-lost", "fast");
	alarm = assert_one_alarm(STINT_PROBES_NO_EVENT_EDGE);
	assert_true(alarm->interest & EPOLLOUT);
	assert_true(alarm->interest & EPOLLET);
}

/* ACKs go on to arrive after the edge: each finds no transition to tell of. */
static void acks_after_the_lost_edge_say_so(void **state)
{
	(void)state;
	run_case("edge-lost", "slow");
	assert_true(count_of(STINT_PROBES_NO_EVENT_EDGE) > 0);
	assert_one_alarm(STINT_PROBES_NO_EVENT_EDGE);
}

static void a_loop_that_does_not_come_back_is_an_alarm(void **state)
{
	(void)state;
	run_case("busy", "slow");
	assert_true(count_of(STINT_PROBES_NO_EVENT_LOOP_BUSY) > 0);
	assert_one_alarm(STINT_PROBES_NO_EVENT_LOOP_BUSY);
}

/* While it is elsewhere, nothing says that its next poll() will ask for the event; but nothing says that it will not. */
static void a_polling_loop_that_does_not_come_back_is_the_same(void **state)
{
	(void)state;
	run_case("poll", "slow");
	assert_true(count_of(STINT_PROBES_NO_EVENT_LOOP_BUSY) > 0);
	assert_int_equal(count_of(STINT_PROBES_NO_EVENT_NOT_ARMED), 0);
	assert_one_alarm(STINT_PROBES_NO_EVENT_LOOP_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(acks_of_a_slow_reader_leave_the_queue_above_two_thirds, tear_down),
		cmocka_unit_test_teardown(an_edge_triggered_sender_is_told_once, tear_down),
		cmocka_unit_test_teardown(a_sender_that_arms_when_it_is_full_is_told, tear_down),
		cmocka_unit_test_teardown(a_sender_that_arms_for_one_event_is_told, tear_down),
		cmocka_unit_test_teardown(a_peer_that_reads_nothing_raises_no_alarm, tear_down),
		cmocka_unit_test_teardown(a_sockmap_that_passes_the_event_on_is_not_blamed, tear_down),
		cmocka_unit_test_teardown(a_low_water_mark_holds_the_event_back, tear_down),
		cmocka_unit_test_teardown(each_event_counts_the_ack_that_made_it, tear_down),
		cmocka_unit_test_teardown(each_edge_counts_the_ack_that_made_it, tear_down),
		cmocka_unit_test_teardown(acks_after_the_event_are_told_already_within_the_budget, tear_down),
		cmocka_unit_test_teardown(an_event_that_nobody_asked_for_is_an_alarm, tear_down),
		cmocka_unit_test_teardown(an_edge_that_was_passed_over_is_an_alarm, tear_down),
		cmocka_unit_test_teardown(acks_after_the_lost_edge_say_so, tear_down),
		cmocka_unit_test_teardown(a_loop_that_does_not_come_back_is_an_alarm, tear_down),
		cmocka_unit_test_teardown(a_polling_loop_that_does_not_come_back_is_the_same, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
