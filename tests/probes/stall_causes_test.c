/* SPDX-License-Identifier: MIT */

/*
 * What held a stalled sender back: connections that are made to be held back by one thing, and the kernel's own
 * account (TCP_INFO) beside what the probes tell.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "network.h"
#include "write_case.h"

#define MS 1000000ull

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
	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++)
		print_message("%" PRIu64 " us%s",
			      write_case_limit_ns(&run, (enum stint_probes_limit)limit) / 1000,
			      limit + 1 < STINT_PROBES_LIMITS ? ", " : "");
	print_message("; own loop %" PRIu64 " us; %zu stalls\n", write_case_own_ns(&run) / 1000,
		      run.watching.stalls_len);
}

/*
 * Of the stalls that the peer ends, by how long they waited for it, as one alone may have another cause, like an ACK that
 * the peer put off. Not of those where the machine kept the sender from its CPU for longer.
 */
static void assert_causes_are_mostly(enum stint_probes_limit limit)
{
	uint64_t most_ns = 0, sum_ns = 0;

	for (size_t i = 0; i < run.watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &run.watching.stalls[i];

		if (2 * stall->ack_ns <= stall->duration_ns)
			continue;
		sum_ns += stall->ack_ns;
		if (stall->cause == (int)limit)
			most_ns += stall->ack_ns;
	}
	assert_true(sum_ns == 0 || most_ns * 2 > sum_ns);
}

static void assert_mostly(enum stint_probes_limit limit)
{
	uint64_t most_ns = write_case_limit_ns(&run, limit), sum_ns = 0;

	for (int i = 0; i < STINT_PROBES_LIMITS; i++)
		sum_ns += write_case_limit_ns(&run, (enum stint_probes_limit)i);
	assert_true(most_ns * 2 > sum_ns);
	assert_causes_are_mostly(limit);
}

/*
 * The kernel's own chronograph counts in jiffies, and outside of stalls too: whenever the window is in the way. So it
 * is an upper bound.
 */
static void a_slow_reader_is_the_receive_window(void **state)
{
	(void)state;
	run_case("level", "slow");
	assert_mostly(STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_RECEIVE_WINDOW) <=
		    run.account.rwnd_limited_us * 1000 * 5 / 4 + 20 * MS);
}

/* It answers the probes of its closed window: that is no silence. */
static void a_peer_that_reads_nothing_is_the_receive_window(void **state)
{
	(void)state;
	run_case("level", "late");
	assert_mostly(STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	assert_true(write_case_longest(&run)->duration_ns > 1000 * MS);
	assert_true(write_case_longest(&run)->snd_wnd_min_bytes == 0);
}

static void a_peer_that_is_gone_is_silent(void **state)
{
	(void)state;
	run_case("level", "silent");
	assert_mostly(STINT_PROBES_LIMIT_SILENT);
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_SILENT) > 1500 * MS);
}

/* So that it is recovering for a while. A busy machine's round trips may be so long that its timer waits out the loss. */
static void run_short_loss(void)
{
	for (int tries = 0; tries < 5; tries++) {
		if (tries > 0)
			write_case_end(&run);
		run_case("level", "blinking");
		print_message("by the kernel %" PRId64 " ms\n", run.account.rto_ms);
		if (run.account.rto_ms < 0 || run.account.rto_ms > 100)
			return;
	}
	fail_msg("no timer of retransmission was in vain");
}

static void a_short_loss_is_retransmission(void **state)
{
	(void)state;
	run_short_loss();
	assert_true(run.account.retransmits > 0);
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_RETRANSMISSION) / MS + 2 >=
		    (uint64_t)(run.account.rto_ms > 0 ? run.account.rto_ms : 0));
	assert_true(write_case_longest(&run)->retransmits > 0);
	assert_int_equal(write_case_limit_ns(&run, STINT_PROBES_LIMIT_SILENT), 0);
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_RETRANSMISSION) > 100 * MS);
	assert_int_equal(write_case_longest(&run)->cause, STINT_PROBES_LIMIT_RETRANSMISSION);
}

/* Whether the loop computes or sleeps: the event was there, and it did not come. */
static void a_busy_loop_is_its_own_cause(void **state)
{
	(void)state;
	run_case("busy", "fast");
	assert_int_equal(write_case_longest(&run)->cause, STINT_PROBES_STALL_OWN_LOOP);
	assert_true(write_case_longest(&run)->loop_ns > 1000 * MS);
	assert_true(write_case_longest(&run)->scheduler_ns < 1000 * MS);
}

static const struct stint_probes_stall *run_late_case(const char *sender)
{
	const struct stint_probes_stall *longest;

	run_case(sender, "fast");
	longest = write_case_longest(&run);
	print_message("loop %" PRIu64 " us, queue %" PRIu64 " us, of these without a CPU %" PRIu64
		      " us; by the kernel %" PRIu64 " us of computing, %" PRIu64 " us of all\n",
		      longest->loop_ns / 1000, longest->queue_ns / 1000, longest->runnable_later_ns / 1000,
		      run.account.run_delay_ns / 1000, run.account.run_delay_ever_ns / 1000);
	assert_true(longest->runnable_later_ns <= longest->loop_ns + longest->queue_ns);
	if (!run.account.run_delay_ever_ns) {
		printf("skipped: this kernel has no schedstat\n");
		skip();
	}
	assert_true(longest->runnable_later_ns <= run.account.run_delay_ever_ns + MS);
	return longest;
}

/* The event was there, and the loop would have been quick, had others not had its CPU. */
static void a_loop_that_is_kept_from_its_cpu_waits_for_that(void **state)
{
	const struct stint_probes_stall *longest;

	(void)state;
	longest = run_late_case("starved");
	assert_int_equal(longest->cause, STINT_PROBES_STALL_RUNNABLE);
	assert_true(longest->runnable_later_ns > run.account.run_delay_ns / 2);
}

static void a_loop_that_computes_is_its_own_cause(void **state)
{
	const struct stint_probes_stall *longest;

	(void)state;
	longest = run_late_case("computing");
	/* Unless the machine kept it from its CPU. */
	if (2 * run.account.run_delay_ever_ns < longest->duration_ns &&
	    2 * longest->ack_ns < longest->duration_ns)
		assert_int_equal(longest->cause, STINT_PROBES_STALL_OWN_LOOP);
}

/* The first time it is long elsewhere, and each time it takes 20 ms from the event to the send. */
static void assert_stages_of_polling(const char *sender)
{
	uint64_t waited_for_a_cpu = 0;

	run_case(sender, "slow");
	for (size_t i = 0; i < run.watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &run.watching.stalls[i];

		print_message("ack %" PRIu64 " scheduler %" PRIu64 " loop %" PRIu64 " queue %" PRIu64 " us\n",
			      stall->ack_ns / 1000, stall->scheduler_ns / 1000, stall->loop_ns / 1000,
			      stall->queue_ns / 1000);
		assert_true(stall->queue_ns >= 20 * MS);
		waited_for_a_cpu += stall->scheduler_ns > 0;
	}
	assert_true(waited_for_a_cpu > 0);
}

static void a_loop_in_poll_has_all_stages(void **state)
{
	(void)state;
	assert_stages_of_polling("poll");
	assert_true(write_case_longest(&run)->loop_ns > 1000 * MS);
}

static void a_loop_in_select_has_all_stages(void **state)
{
	(void)state;
	assert_stages_of_polling("select");
	assert_true(write_case_longest(&run)->loop_ns > 1000 * MS);
}

/* One that does nothing but send, and polls before it does. */
static void a_sender_that_polls_for_nothing_else_has_all_stages(void **state)
{
	(void)state;
	assert_stages_of_polling("writer");
	assert_true(write_case_longest(&run)->loop_ns > 1000 * MS);
}

/* No send of it is short. Its peer reads nothing for 1.6 s, in which its buffer is filled, and its peer's too. */
static void check_modest(const char *sender)
{
	const struct stint_probes_stall *longest;

	write_case_run(&run, sender, "late");
	assert_int_equal(run.account.short_sends, 0);
	longest = write_case_longest(&run);
	assert_int_equal(longest->ack_ns + longest->kernel_ns + longest->scheduler_ns + longest->loop_ns +
				 longest->queue_ns,
			 longest->duration_ns);
	assert_int_equal(longest->ending, STINT_PROBES_SENT);
	assert_int_equal(longest->cause, STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	assert_true(longest->duration_ns > 800 * MS);
	assert_int_equal(run.watching.alarms_len, 0);
}

static void a_sender_that_never_fills_its_buffer_is_stalled_all_the_same(void **state)
{
	(void)state;
	check_modest("modest");
}

static void so_is_one_in_poll(void **state)
{
	(void)state;
	check_modest("modest-poll");
}

/* As a server of large files does that asks for edges all the time, and whose next request comes later. */
static void a_sender_that_does_not_ask_for_space_is_not_stalled(void **state)
{
	(void)state;
	write_case_run(&run, "pausing", "slow");
	assert_int_equal(run.account.short_sends, 0);
	assert_int_equal(run.watching.stalls_len, 0);
}

/* Nothing opened the buffer between two tries: all of it is waiting for the ACK, none the loop's. */
static void trying_again_while_it_is_full_is_not_the_loops_fault(void **state)
{
	(void)state;
	run_case("retrying", "slow");
	assert_mostly(STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	assert_true(write_case_own_ns(&run) < write_case_limit_ns(&run, STINT_PROBES_LIMIT_RECEIVE_WINDOW));
}

/* Room in both windows, and data to send: it is this machine that takes its time. */
static void pacing_is_the_host(void **state)
{
	(void)state;
	run_case("paced", "fast");
	assert_mostly(STINT_PROBES_LIMIT_HOST);
	assert_int_equal(write_case_limit_ns(&run, STINT_PROBES_LIMIT_CONGESTION_WINDOW), 0);
}

/*
 * Pacing lets go of what the window has room for, by a timer that no tracepoint shows, long before the peer reads again. In
 * the kernel's own account is also what went by once the window had opened and the sender was to send.
 */
static void a_window_that_closes_behind_pacing_is_the_receive_window(void **state)
{
	uint64_t window_ns;

	(void)state;
	run_case("smoothed", "sipping");
	assert_mostly(STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	window_ns = write_case_limit_ns(&run, STINT_PROBES_LIMIT_RECEIVE_WINDOW);
	print_message("by the kernel %" PRIu64 " us\n", run.account.rwnd_limited_us);
	assert_true(window_ns + write_case_own_ns(&run) >= run.account.rwnd_limited_us * 1000 * 85 / 100);
}

static void a_send_refused_by_the_low_water_mark_is_marked(void **state)
{
	size_t by_lowat = 0;

	(void)state;
	run_case("lowat", "slow");
	for (size_t i = 0; i < run.watching.stalls_len; i++) {
		assert_int_equal(run.watching.stalls[i].lowat_bytes, 32768);
		by_lowat += run.watching.stalls[i].by_lowat;
	}
	assert_true(by_lowat > 0);
}

static void without_a_low_water_mark_there_is_none(void **state)
{
	(void)state;
	run_case("level", "slow");
	for (size_t i = 0; i < run.watching.stalls_len; i++) {
		assert_int_equal(run.watching.stalls[i].lowat_bytes, 0);
		assert_false(run.watching.stalls[i].by_lowat);
	}
}

/* ---- what the network has to be made for ---- */

/* The token bucket makes the way long, and no more than two segments may be on it. */
static void two_packets_at_a_time_are_the_congestion_window(void **state)
{
	(void)state;
	watching_or_skip();
	network_enter("ip route replace local 127.0.0.1 dev lo table local cwnd lock 2 2>/dev/null && "
		      "tc qdisc add dev lo root tbf rate 100mbit burst 128kb latency 400ms 2>/dev/null");
	/* The kernel takes the limit from what it keeps of the host, which it does from the first connection on. */
	run_case("level", "fast");
	write_case_end(&run);
	run_case("level", "fast");
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_CONGESTION_WINDOW) > 20 * MS);
}

/* 30 ms each way, and a congestion window and receive window beyond all that is in the buffer. */
static void a_long_way_is_the_network(void **state)
{
	(void)state;
	watching_or_skip();
	network_enter("tc qdisc add dev lo root netem delay 30ms limit 10000 2>/dev/null");
	run_case("level", "fast");
	assert_true(write_case_limit_ns(&run, STINT_PROBES_LIMIT_NETWORK) +
			    write_case_limit_ns(&run, STINT_PROBES_LIMIT_CONGESTION_WINDOW) +
			    write_case_limit_ns(&run, STINT_PROBES_LIMIT_RECEIVE_WINDOW) >
		    50 * MS);
	assert_int_equal(write_case_limit_ns(&run, STINT_PROBES_LIMIT_SILENT), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_slow_reader_is_the_receive_window, tear_down),
		cmocka_unit_test_teardown(a_peer_that_reads_nothing_is_the_receive_window, tear_down),
		cmocka_unit_test_teardown(a_peer_that_is_gone_is_silent, tear_down),
		cmocka_unit_test_teardown(a_short_loss_is_retransmission, tear_down),
		cmocka_unit_test_teardown(a_busy_loop_is_its_own_cause, tear_down),
		cmocka_unit_test_teardown(a_loop_that_is_kept_from_its_cpu_waits_for_that, tear_down),
		cmocka_unit_test_teardown(a_loop_that_computes_is_its_own_cause, tear_down),
		cmocka_unit_test_teardown(a_loop_in_poll_has_all_stages, tear_down),
		cmocka_unit_test_teardown(a_loop_in_select_has_all_stages, tear_down),
		cmocka_unit_test_teardown(a_sender_that_polls_for_nothing_else_has_all_stages, tear_down),
		cmocka_unit_test_teardown(a_sender_that_never_fills_its_buffer_is_stalled_all_the_same,
					  tear_down),
		cmocka_unit_test_teardown(so_is_one_in_poll, tear_down),
		cmocka_unit_test_teardown(a_sender_that_does_not_ask_for_space_is_not_stalled, tear_down),
		cmocka_unit_test_teardown(trying_again_while_it_is_full_is_not_the_loops_fault, tear_down),
		cmocka_unit_test_teardown(a_send_refused_by_the_low_water_mark_is_marked, tear_down),
		cmocka_unit_test_teardown(without_a_low_water_mark_there_is_none, tear_down),
		cmocka_unit_test_teardown(pacing_is_the_host, tear_down),
		cmocka_unit_test_teardown(a_window_that_closes_behind_pacing_is_the_receive_window,
					  tear_down),
		/* From here on in networks of their own, which the process does not leave again. */
		cmocka_unit_test_teardown(two_packets_at_a_time_are_the_congestion_window, tear_down),
		cmocka_unit_test_teardown(a_long_way_is_the_network, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
