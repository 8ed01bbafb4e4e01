/* SPDX-License-Identifier: MIT */

/* The oracle against a program that counts its write events itself. */
#include "kernels_fixture.h"

static void every_event_is_told_by_epoll_once(void **state)
{
	static const struct fixture_plan plan = {
		.rounds = 8,
		.round_bytes = 1 << 20,
		.spin_us = 3000,
		.read_bytes = 32768,
		.pause_us = 500,
	};
	struct fixture_writing writing;
	struct oracle_skeleton *oracle;
	char nothing;

	(void)state;
	fixture_enter_network();
	fixture_open(&writing, &plan);
	oracle = fixture_open_oracle(writing.port);
	fixture_go(&writing);
	assert_int_equal(read(fixture_done_fd(&writing), &nothing, 1), 0);
	print_message("%u short sends, %u events by epoll, %u by the oracle in %llu calls\n",
		      writing.account->shorts, writing.account->edges, oracle->bss->events_len,
		      (unsigned long long)oracle->bss->calls);
	assert_int_equal(oracle->bss->lost, 0);
	assert_int_equal(oracle->bss->events_len, writing.account->edges);
	assert_int_equal(writing.account->edges, writing.account->shorts);
	assert_true(writing.account->edges >= plan.rounds);
	oracle_skeleton__destroy(oracle);
	fixture_close(&writing);
}

/* The rule that design and reports state: an event is raised at 2/3 of the buffer or below, not before. */
static void events_are_raised_at_two_thirds_of_the_buffer(void **state)
{
	static const struct fixture_plan plan = {.rounds = 4,
						 .round_bytes = 1 << 20,
						 .read_bytes = 16384,
						 .pause_us = 500};
	struct fixture_writing writing;
	struct oracle_skeleton *oracle;
	char nothing;

	(void)state;
	fixture_enter_network();
	fixture_open(&writing, &plan);
	oracle = fixture_open_oracle(writing.port);
	fixture_go(&writing);
	assert_int_equal(read(fixture_done_fd(&writing), &nothing, 1), 0);
	assert_true(oracle->bss->calls > oracle->bss->events_len);
	for (uint32_t i = 0; i < oracle->bss->events_len; i++) {
		const struct oracle_event *event = &oracle->bss->events[i];

		assert_int_equal(event->sndbuf_bytes, 2 * FIXTURE_SNDBUF);
		assert_true(event->queued_bytes <= event->sndbuf_bytes / 3 * 2);
		assert_true(event->segment_ns <= event->enter_ns && event->enter_ns <= event->exit_ns);
	}
	oracle_skeleton__destroy(oracle);
	fixture_close(&writing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_event_is_told_by_epoll_once),
		cmocka_unit_test(events_are_raised_at_two_thirds_of_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
