/* SPDX-License-Identifier: MIT */

/*
 * The kernel's own tools as oracles: a packet capture for when ACKs came and what they acknowledged, and `ss` for what
 * a socket's buffers hold.
 */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture.h"
#include "command.h"
#include "loopback.h"
#include "network.h"
#include "write_case.h"

#define ACKS_MAX     65536
#define TOLERANCE_NS UINT64_C(100000)
#define LIMIT_S      20

/*
 * A segment is stamped as it enters the receiving side, and an ACK is what TCP processes. In between, it may wait: for
 * a CPU, and for the owner's system call to let go of the socket. So not each is within the tolerance, and on a machine
 * that is busy otherwise, a whole run may not be: the times are right if those of one run in a few are.
 */
#define SHARE_IN_TIME 0.8
#define RUNS          3

static struct write_case run;
static struct watching watching;
static struct capture capture;
static struct loopback pair = {.sender = -1, .receiver = -1};
static struct captured_ack captured[ACKS_MAX];
static struct captured_ack recorded[ACKS_MAX];
static uint64_t apart_ns[ACKS_MAX];

static int tear_down(void **state)
{
	(void)state;
	capture_free(&capture);
	if (run.watching.probes)
		write_case_end(&run);
	if (watching.probes)
		watching_close(&watching);
	if (pair.sender >= 0)
		loopback_close(&pair);
	pair.sender = pair.receiver = -1;
	return 0;
}

/* ---- ss ---- */

struct skmem {
	uint64_t sndbuf_bytes; /* tb */
	uint64_t queued_bytes; /* w */
};

static struct skmem ask_ss(void)
{
	char source[32], output[4096];
	const char *argv[] = {"ss", "-H", "-t", "-i", "-m", "-n", "src", source, NULL};
	struct skmem skmem = {0};
	const char *text;

	snprintf(source, sizeof(source), "127.0.0.1:%u", pair.sender_port);
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	text = strstr(output, "skmem:(");
	assert_non_null(text);
	assert_non_null(strstr(text, ",tb"));
	assert_non_null(strstr(text, ",w"));
	skmem.sndbuf_bytes = strtoull(strstr(text, ",tb") + 3, NULL, 10);
	skmem.queued_bytes = strtoull(strstr(text, ",w") + 2, NULL, 10);
	return skmem;
}

/* What was recorded last of the socket. */
static struct skmem last_recorded(void)
{
	const struct stint_probes_socket_event *event;

	watching_take(&watching);
	assert_true(watching.events_len > 0);
	event = &watching.events[watching.events_len - 1];
	return (struct skmem){.sndbuf_bytes = event->sndbuf_bytes, .queued_bytes = event->queued_bytes};
}

/* Nobody reads: once the receive buffer is full, too, nothing moves. */
static void a_stalled_sockets_buffers_are_those_that_ss_shows(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	time_t limit = time(NULL) + LIMIT_S;
	struct skmem ss, stint;

	(void)state;
	watching_or_skip();
	loopback_open(&pair);
	watching_open(&watching, &options);
	watching_add(&watching, getpid());
	loopback_send_too_much(&pair);
	do {
		ss = ask_ss();
		stint = last_recorded();
	} while (ss.queued_bytes != stint.queued_bytes && time(NULL) < limit);
	assert_true(ss.queued_bytes * 3 > ss.sndbuf_bytes * 2);
	assert_int_equal(stint.queued_bytes, ss.queued_bytes);
	assert_int_equal(stint.sndbuf_bytes, ss.sndbuf_bytes);
}

/* ---- tcpdump ---- */

static size_t take_recorded(void)
{
	size_t len = 0;

	for (size_t i = 0; i < run.watching.events_len; i++) {
		const struct stint_probes_socket_event *event = &run.watching.events[i];

		if (event->kind != STINT_PROBES_SOCKET_ACK)
			continue;
		assert_true(len < ACKS_MAX);
		recorded[len++] = (struct captured_ack){.time_ns = event->time_ns,
							.bytes = (uint32_t)event->done_bytes};
	}
	return len;
}

static bool is_run_of_same_bytes(size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (captured[from + i].bytes != recorded[i].bytes)
			return false;
	return true;
}

static uint64_t distance_ns(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns;
}

/*
 * The recording begins with the first full buffer and ends with the close: it has to be a run of the capture, without
 * a gap. Of those runs with the same bytes, the one at the same time. SIZE_MAX if there is none: about one paced
 * connection in twenty, on a busy machine, for a reason that is not known yet; both lists are printed.
 */
static size_t find_run(size_t captured_len, size_t recorded_len)
{
	size_t found = SIZE_MAX;

	for (size_t from = 0; from + recorded_len <= captured_len; from++)
		if (is_run_of_same_bytes(from, recorded_len) &&
		    (found == SIZE_MAX || distance_ns(captured[from].time_ns, recorded[0].time_ns) <
						  distance_ns(captured[found].time_ns, recorded[0].time_ns)))
			found = from;
	if (found != SIZE_MAX)
		return found;
	for (size_t i = 0; i < captured_len; i++)
		print_message("captured %" PRIu64 " ns, %u bytes\n", captured[i].time_ns, captured[i].bytes);
	for (size_t i = 0; i < recorded_len; i++)
		print_message("recorded %" PRIu64 " ns, %u bytes\n", recorded[i].time_ns, recorded[i].bytes);
	print_message("the %zu ACKs recorded are no run of the %zu captured\n", recorded_len, captured_len);
	return SIZE_MAX;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* No ACK was processed before it came, by more than what is unsure of the clocks. True if most were at once. */
static bool are_same_times(size_t from, size_t len)
{
	size_t in_time = 0;

	for (size_t i = 0; i < len; i++) {
		assert_true(recorded[i].time_ns + TOLERANCE_NS >= captured[from + i].time_ns);
		apart_ns[i] = distance_ns(captured[from + i].time_ns, recorded[i].time_ns);
		in_time += apart_ns[i] <= TOLERANCE_NS;
	}
	qsort(apart_ns, len, sizeof(apart_ns[0]), by_size);
	print_message("%zu ACKs: apart by %" PRIu64 " ns (median), %" PRIu64 " ns (90 %%), %" PRIu64
		      " ns (most); %zu within 100 us\n",
		      len, apart_ns[len / 2], apart_ns[len * 9 / 10], apart_ns[len - 1], in_time);
	return (double)in_time >= SHARE_IN_TIME * (double)len;
}

static bool check_run(const char *sender, const char *peer)
{
	const struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	size_t captured_len, recorded_len, from;
	bool same_times;

	capture_start(&capture);
	write_case_run_with(&run, sender, peer, &options);
	capture_stop(&capture);
	captured_len =
		capture_acks(&capture, run.account.sender_port, run.account.peer_port, captured, ACKS_MAX);
	recorded_len = take_recorded();
	assert_true(recorded_len > 20);
	from = find_run(captured_len, recorded_len);
	same_times = from != SIZE_MAX && are_same_times(from, recorded_len);
	capture_free(&capture);
	write_case_end(&run);
	return same_times;
}

static void check_capture(const char *sender, const char *peer)
{
	watching_or_skip();
	network_enter("true");
	for (int i = 0; i < RUNS; i++)
		if (check_run(sender, peer))
			return;
	fail_msg("in none of %d runs most ACKs were recorded as they came", RUNS);
}

static void each_ack_of_a_slow_reader_is_in_the_capture(void **state)
{
	(void)state;
	check_capture("level", "slow");
}

static void each_ack_of_a_paced_sender_is_in_the_capture(void **state)
{
	(void)state;
	check_capture("paced", "fast");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_stalled_sockets_buffers_are_those_that_ss_shows, tear_down),
		/* From here on in networks of their own, which the process does not leave again. */
		cmocka_unit_test_teardown(each_ack_of_a_slow_reader_is_in_the_capture, tear_down),
		cmocka_unit_test_teardown(each_ack_of_a_paced_sender_is_in_the_capture, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
