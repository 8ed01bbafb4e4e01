/* SPDX-License-Identifier: MIT */

/*
 * When Linux tells a sender that it may go on, on a real connection: a send that finds the buffer full comes back
 * short; EPOLLOUT comes once ACKs have brought the queue's memory (sk_wmem_queued) to 2/3 of SO_SNDBUF or below and
 * the unsent data, doubled, below TCP_NOTSENT_LOWAT; edge-triggered it comes once. The queue is asked of the kernel by
 * SO_MEMINFO and SIOCOUTQNSD, beside stint, and what stint says of the same connection is held against both.
 *
 * Nothing is sent while the queue drains, so it only falls. That makes the comparisons exact although ACKs may come at
 * any time: where the rule held before the look, the event has to come; where an event came, the rule has to hold after.
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loopback.h"
#include "watching.h"

#define LOWAT_BYTES 65536
#define STEP_BYTES  8192 /* read at a time, so that the queue falls slowly */
#define LIMIT_MS    20000

static struct loopback pair;
static struct watching watching;
static uint32_t lowat_bytes;
static int epfd;

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	loopback_open(&pair);
	lowat_bytes = UINT32_MAX;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	return epfd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (watching.probes)
		watching_close(&watching);
	close(epfd);
	loopback_close(&pair);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void set_lowat(void)
{
	int lowat = LOWAT_BYTES;

	lowat_bytes = LOWAT_BYTES;
	assert_return_code(setsockopt(pair.sender, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)),
			   errno);
}

/* With all the space there is: no event is left over when the socket is registered full. */
static void fill_and_register(uint32_t events)
{
	struct epoll_event event = {.events = events};

	loopback_send_too_much(&pair);
	assert_return_code(epoll_ctl(epfd, EPOLL_CTL_ADD, pair.sender, &event), errno);
}

static bool is_told(int timeout_ms)
{
	struct epoll_event event;
	int len = epoll_wait(epfd, &event, 1, timeout_ms);

	assert_return_code(len, errno);
	if (len == 1)
		assert_int_equal(event.events, EPOLLOUT);
	return len == 1;
}

static bool is_at_two_thirds(void)
{
	uint32_t queued = loopback_queued_bytes(&pair), sndbuf = loopback_sndbuf_bytes(&pair);

	return queued < sndbuf && sndbuf - queued >= queued / 2;
}

static bool may_send(void)
{
	return is_at_two_thirds() && (uint64_t)loopback_unsent_bytes(&pair) * 2 < lowat_bytes;
}

/* Reads until the event comes. Returns how often the sender was not told, as it was not to be. */
static unsigned drain_until_told(void)
{
	unsigned untold = 0;

	for (;;) {
		bool may, told;

		loopback_read(&pair, STEP_BYTES);
		may = may_send();
		told = is_told(may ? LIMIT_MS : 0);
		if (may)
			assert_true(told);
		if (told)
			break;
		untold++;
	}
	assert_true(may_send());
	return untold;
}

static void drain_all(bool told_meanwhile)
{
	while (loopback_unacked_bytes(&pair) > 0) {
		loopback_read(&pair, STEP_BYTES);
		assert_int_equal(is_told(0), told_meanwhile);
	}
	assert_int_equal(is_told(0), told_meanwhile);
}

/* ---- the kernel ---- */

static void a_send_larger_than_the_buffer_comes_back_short(void **state)
{
	uint32_t taken;

	(void)state;
	taken = loopback_send_too_much(&pair);
	assert_in_range(taken, 1, 4194303);
	assert_false(is_at_two_thirds());
}

static void no_event_comes_above_two_thirds_and_one_at_or_below(void **state)
{
	(void)state;
	fill_and_register(EPOLLOUT);
	assert_false(is_told(0));
	assert_true(drain_until_told() > 0);
}

static void a_level_triggered_event_stays(void **state)
{
	(void)state;
	fill_and_register(EPOLLOUT);
	drain_until_told();
	drain_all(true);
}

static void an_edge_triggered_event_comes_exactly_once(void **state)
{
	(void)state;
	fill_and_register(EPOLLOUT | EPOLLET);
	drain_until_told();
	drain_all(false);
}

static void each_short_send_makes_an_edge_of_its_own(void **state)
{
	(void)state;
	fill_and_register(EPOLLOUT | EPOLLET);
	for (int round = 0; round < 3; round++) {
		assert_true(drain_until_told() > 0);
		assert_false(is_told(0));
		loopback_send_too_much(&pair);
	}
}

/* The memory is there from the beginning: it is the unsent data that is waited for. */
static void a_low_water_mark_holds_the_event_until_half_of_it_is_unsent(void **state)
{
	(void)state;
	set_lowat();
	fill_and_register(EPOLLOUT | EPOLLET);
	assert_true(is_at_two_thirds());
	assert_true(drain_until_told() > 0);
	drain_all(false);
}

/* ---- stint ---- */

struct seen {
	uint64_t before_ns, full_ns, told_ns;
	uint32_t queued_bytes; /* when the event had come */
	uint32_t unsent_bytes;
};

/* One stall: from a send that is larger than the buffer, to a byte that is sent once the event has come. */
static void stall_once(struct seen *seen, uint32_t events)
{
	struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};

	watching_or_skip();
	watching_open(&watching, &options);
	watching_add(&watching, getpid());
	seen->before_ns = now_ns();
	fill_and_register(events);
	seen->full_ns = now_ns();
	drain_until_told();
	seen->told_ns = now_ns();
	seen->queued_bytes = loopback_queued_bytes(&pair);
	seen->unsent_bytes = loopback_unsent_bytes(&pair);
	assert_int_equal(send(pair.sender, "x", 1, MSG_NOSIGNAL), 1);
	watching_take(&watching);
}

/*
 * The ACK with the mark of the cause is the first after which the event was due, and there is one. But unsent data also
 * goes when a segment opens the peer's window, and acknowledges nothing.
 */
static void assert_cause(const struct stint_probes_stall *stall)
{
	unsigned causes = 0;

	for (size_t i = 0; i < watching.events_len; i++) {
		const struct stint_probes_socket_event *event = &watching.events[i];

		if (event->kind != STINT_PROBES_SOCKET_ACK)
			continue;
		if (event->cause) {
			causes++;
			assert_int_equal(event->time_ns, stall->cause_time_ns);
			assert_true(event->queued_bytes <= stall->threshold_bytes);
		} else if (event->time_ns < stall->cause_time_ns && !stall->by_lowat) {
			assert_true(event->queued_bytes > stall->threshold_bytes);
		}
	}
	assert_in_range(causes, stall->by_lowat ? 0 : 1, 1);
}

static void check_stint(uint32_t events)
{
	const struct stint_probes_stall *stall;
	struct seen seen;
	uint64_t raised_ns;

	stall_once(&seen, events);
	assert_int_equal(watching.stalls_len, 1);
	stall = &watching.stalls[0];
	assert_int_equal(stall->fd, pair.sender);
	assert_in_range(stall->start_ns, seen.before_ns, seen.full_ns);
	assert_int_equal(stall->sndbuf_bytes, loopback_sndbuf_bytes(&pair));
	assert_int_equal(stall->threshold_bytes, loopback_sndbuf_bytes(&pair) * 2 / 3);
	assert_in_range(stall->queued_bytes, seen.queued_bytes, stall->threshold_bytes);
	assert_in_range(stall->cause_time_ns, stall->start_ns, seen.told_ns);
	raised_ns = stall->start_ns + stall->ack_ns + stall->kernel_ns;
	assert_in_range(raised_ns, stall->cause_time_ns, seen.told_ns);
	assert_true(stall->acks > 0);
	assert_cause(stall);
	assert_int_equal(stall->by_lowat, lowat_bytes != UINT32_MAX);
	assert_int_equal(stall->lowat_bytes, lowat_bytes != UINT32_MAX ? lowat_bytes : 0);
	assert_true(stall->unsent_bytes >= seen.unsent_bytes);
	assert_true((uint64_t)stall->unsent_bytes * 2 < lowat_bytes);
}

static void stint_names_the_ack_that_brought_the_queue_to_two_thirds(void **state)
{
	(void)state;
	check_stint(EPOLLOUT);
}

static void stint_says_the_same_of_an_edge(void **state)
{
	(void)state;
	check_stint(EPOLLOUT | EPOLLET);
}

static void stint_names_the_segment_that_let_half_the_low_water_mark_go(void **state)
{
	(void)state;
	set_lowat();
	check_stint(EPOLLOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_send_larger_than_the_buffer_comes_back_short, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(no_event_comes_above_two_thirds_and_one_at_or_below, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_level_triggered_event_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_edge_triggered_event_comes_exactly_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(each_short_send_makes_an_edge_of_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_low_water_mark_holds_the_event_until_half_of_it_is_unsent,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(stint_names_the_ack_that_brought_the_queue_to_two_thirds,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(stint_says_the_same_of_an_edge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stint_names_the_segment_that_let_half_the_low_water_mark_go,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
