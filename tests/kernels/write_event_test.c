/* SPDX-License-Identifier: MIT */

/*
 * What the probes infer of write events, against the oracle, which sees them happen: all found, none
 * invented, at the right time, and with the right ACK as their cause.
 */
#include "kernels_fixture.h"

#include <inttypes.h>
#include <poll.h>

#include "probes/probes.h"

#define NETEM_RTT_NS UINT64_C(40000000)

struct seen {
	char local[64]; /* events of other sockets are not looked at */
	uint32_t events_len, stalls_len;
	struct stint_probes_socket_event events[ORACLE_EVENTS];
	struct stint_probes_stall stalls[ORACLE_EVENTS];
};

static struct seen seen;

static void see_event(void *ctx, const struct stint_probes_socket_event *event)
{
	(void)ctx;
	if (event->kind != STINT_PROBES_SOCKET_WRITE_EVENT || strcmp(event->local, seen.local) != 0)
		return;
	assert_true(seen.events_len < ORACLE_EVENTS);
	seen.events[seen.events_len++] = *event;
}

static void see_stall(void *ctx, const struct stint_probes_stall *stall)
{
	(void)ctx;
	if (strcmp(stall->local, seen.local) != 0)
		return;
	assert_true(seen.stalls_len < ORACLE_EVENTS);
	seen.stalls[seen.stalls_len++] = *stall;
}

static struct stint_probes *open_probes(const struct fixture_writing *writing)
{
	static const struct stint_probes_callbacks callbacks = {.socket = see_event, .stall = see_stall};
	const struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	struct stint_probes *probes;
	int error;

	memset(&seen, 0, sizeof(seen));
	snprintf(seen.local, sizeof(seen.local), "127.0.0.1:%u", writing->port);
	error = stint_probes_new(&probes, &options, &callbacks, NULL);
	if (error)
		fail_msg("%s", stint_probes_error(probes));
	assert_int_equal(stint_probes_watch(probes, (uint32_t)writing->writer), 0);
	return probes;
}

/* Lets the writer do its work, and takes all that the probes have to tell of it. */
static void watch_writing(struct fixture_writing *writing, struct stint_probes *probes)
{
	struct pollfd done = {.fd = fixture_done_fd(writing), .events = POLLIN};
	struct stint_probes_losses losses;

	fixture_go(writing);
	do {
		assert_true(stint_probes_poll(probes, 20) >= 0);
	} while (poll(&done, 1, 0) == 0);
	assert_true(stint_probes_poll(probes, 20) >= 0);
	stint_probes_losses(probes, &losses);
	assert_int_equal(losses.ring_full, 0);
	assert_int_equal(losses.table_full, 0);
}

static uint64_t outside_ns(uint64_t time_ns, uint64_t from_ns, uint64_t to_ns)
{
	if (time_ns < from_ns)
		return from_ns - time_ns;
	return time_ns > to_ns ? time_ns - to_ns : 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void print_both(const struct oracle_skeleton *oracle)
{
	uint32_t len = oracle->bss->events_len;

	for (uint32_t i = 0; i < len || i < seen.stalls_len; i++) {
		const struct oracle_event *event = &oracle->bss->events[i];
		const struct stint_probes_stall *stall = &seen.stalls[i];
		uint64_t raised_ns = stall->start_ns + stall->ack_ns + stall->kernel_ns;

		print_message("%3u: oracle segment %" PRIu64 " raised %" PRIu64 "..%" PRIu64 "\n", i,
			      i < len ? (uint64_t)event->segment_ns : 0,
			      i < len ? (uint64_t)event->enter_ns : 0,
			      i < len ? (uint64_t)event->exit_ns : 0);
		if (i < seen.stalls_len)
			print_message("     stall from %" PRIu64 " cause %" PRIu64 " raised %" PRIu64 "%s\n",
				      stall->start_ns, stall->cause_time_ns, raised_ns,
				      stall->raise_inferred ? " (inferred)" : "");
	}
}

/*
 * Events come in the order of time on both sides, so the nth of one is the nth of the other. Where a wake-up showed
 * the event, its time lies within the kernel's own function. Where only the bit did, it is the ACK's, which must be
 * the one whose processing ended in that function. How much earlier that is, is printed: on an emulated CPU some
 * hundred us, as the kernel first sends what that ACK has made room for in the network.
 */
static void compare(const struct oracle_skeleton *oracle)
{
	uint64_t early_ns = 0;
	uint32_t inferred = 0, without_cause = 0;

	if (oracle->bss->events_len != seen.events_len || seen.events_len != seen.stalls_len)
		print_both(oracle);
	assert_int_equal(seen.events_len, oracle->bss->events_len);
	assert_int_equal(seen.stalls_len, oracle->bss->events_len);
	for (uint32_t i = 0; i < seen.events_len; i++) {
		const struct oracle_event *truth = &oracle->bss->events[i];
		const struct stint_probes_stall *stall = &seen.stalls[i];
		uint64_t time_ns = seen.events[i].time_ns;

		/* One that was raised within the send is earlier than the stall, whose stages begin with it. */
		assert_int_equal(stall->start_ns + stall->ack_ns + stall->kernel_ns,
				 larger(time_ns, stall->start_ns));
		assert_int_equal(stall->sndbuf_bytes, truth->sndbuf_bytes);
		if (!stall->cause_time_ns) {
			without_cause++;
			continue;
		}
		assert_in_range(stall->cause_time_ns, truth->segment_ns, truth->enter_ns);
		/* So the ACK stage ends where the kernel was at that ACK, whatever kept whom from a CPU. */
		assert_int_equal(stall->start_ns + stall->ack_ns,
				 larger(stall->cause_time_ns, stall->start_ns));
		if (!stall->raise_inferred) {
			assert_in_range(time_ns, truth->enter_ns, truth->exit_ns);
			continue;
		}
		inferred++;
		assert_in_range(time_ns, truth->segment_ns, truth->exit_ns);
		early_ns = larger(early_ns, outside_ns(time_ns, truth->enter_ns, truth->exit_ns));
	}
	print_message(
		"%u write events, all found, each with its ACK but %u; %u told by the bit, at most %" PRIu64
		" ns early, the others on time\n",
		seen.events_len, without_cause, inferred, early_ns);
	/* A socket is known from its first full buffer on: ACKs within that very send were nobody's. */
	assert_true(without_cause <= 1);
}

/* The first stall of each round cannot end before the network has been there and back. */
static void check_rounds(const struct fixture_writing *writing)
{
	uint32_t round = 0;

	assert_true(seen.stalls_len >= writing->plan.rounds);
	for (uint32_t i = 0; i < seen.stalls_len; i++) {
		const struct stint_probes_stall *stall = &seen.stalls[i];
		uint64_t begun_ns = writing->account->round_start_ns[round];

		if (round == writing->plan.rounds || stall->start_ns < begun_ns)
			continue;
		print_message("round %u: ACK stage %.3f ms after %.3f ms of send, the other stages %.3f ms\n",
			      round, (double)stall->ack_ns / 1e6, (double)(stall->start_ns - begun_ns) / 1e6,
			      (double)(stall->duration_ns - stall->ack_ns) / 1e6);
		assert_true(stall->start_ns + stall->ack_ns - begun_ns >= NETEM_RTT_NS);
		round++;
	}
	assert_int_equal(round, writing->plan.rounds);
}

static void delay_network(void)
{
	if (system("/usr/sbin/tc qdisc add dev lo root netem delay 20ms limit 10000") != 0)
		fixture_cannot("netem cannot be had here (tc, sch_netem); make check-kernels has it");
}

static void run_against_oracle(const struct fixture_plan *plan, bool delayed)
{
	struct fixture_writing writing;
	struct oracle_skeleton *oracle;
	struct stint_probes *probes;

	fixture_enter_network();
	if (delayed)
		delay_network();
	fixture_open(&writing, plan);
	oracle = fixture_open_oracle(writing.port);
	probes = open_probes(&writing);
	watch_writing(&writing, probes);
	assert_int_equal(oracle->bss->lost, 0);
	assert_true(oracle->bss->events_len >= plan->rounds && oracle->bss->events_len <= ORACLE_EVENTS);
	compare(oracle);
	if (delayed)
		check_rounds(&writing);
	probes = stint_probes_free(probes);
	oracle_skeleton__destroy(oracle);
	fixture_close(&writing);
}

static void all_events_are_found_of_a_writer_that_waits(void **state)
{
	static const struct fixture_plan plan = {.rounds = 8,
						 .round_bytes = 1 << 20,
						 .read_bytes = 32768,
						 .pause_us = 500};

	(void)state;
	run_against_oracle(&plan, false);
}

/* Here the event is raised while nobody sleeps: no wake-up tells it, only the bit does. */
static void all_events_are_found_of_a_writer_that_computes(void **state)
{
	static const struct fixture_plan plan = {
		.rounds = 8, .round_bytes = 1 << 20, .spin_us = 5000, .read_bytes = 32768, .pause_us = 500};

	(void)state;
	run_against_oracle(&plan, false);
}

/* So many and so fast that ACKs come while the writer is inside its send. */
static void all_events_are_found_of_a_fast_writer(void **state)
{
	static const struct fixture_plan plan = {.rounds = 32, .round_bytes = 2 << 20, .read_bytes = 1 << 20};

	(void)state;
	run_against_oracle(&plan, false);
}

/*
 * 20 ms each way. A round sends 1.2 MB into 1 MB of buffer on a connection where all before is acknowledged:
 * the first ACK can come back one round trip after the send began, and no sooner. When it does, the oracle tells.
 */
static void a_delayed_network_shows_in_the_ack_stage(void **state)
{
	static const struct fixture_plan plan = {.rounds = 6,
						 .round_bytes = 1200000,
						 .sndbuf_bytes = 524288,
						 .drain = true,
						 .read_bytes = 1 << 20};

	(void)state;
	run_against_oracle(&plan, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_events_are_found_of_a_writer_that_waits),
		cmocka_unit_test(all_events_are_found_of_a_writer_that_computes),
		cmocka_unit_test(all_events_are_found_of_a_fast_writer),
		cmocka_unit_test(a_delayed_network_shows_in_the_ack_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
