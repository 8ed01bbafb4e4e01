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
 * a CPU, and for the owner's system call to let go of the socket. So not each is within the tolerance, on a machine that
 * is busy otherwise; but none is early, and more than half are.
 */
static struct write_case run;
static struct watching watching;
static struct capture capture;
static struct loopback pair = {.sender = -1, .receiver = -1};
static struct captured_ack captured[ACKS_MAX];
static struct captured_ack recorded[ACKS_MAX];
static uint64_t apart_ns[ACKS_MAX];
static size_t first,
	last_of[ACKS_MAX]; /* where the recording begins in the capture, and what each of it is there */

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

static uint64_t distance_ns(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns;
}

/*
 * How many of the captured ACKs, up to the one at `last`, make one of so many bytes; 0 if none do. The kernel makes one
 * of those that wait together for the owner's system call, if their options are the same (tcp_add_backlog).
 */
static size_t merged(size_t last, uint64_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = last + 1; i-- > 0;) {
		sum += captured[i].bytes;
		if (sum >= bytes || !captured[i].like_previous)
			return sum == bytes ? last + 1 - i : 0;
	}
	return 0;
}

static void print_lists(size_t captured_len, size_t recorded_len)
{
	for (size_t i = 0; i < captured_len; i++)
		print_message("captured %" PRIu64 " ns, %u bytes\n", captured[i].time_ns, captured[i].bytes);
	for (size_t i = 0; i < recorded_len; i++)
		print_message("recorded %" PRIu64 " ns, %u bytes\n", recorded[i].time_ns, recorded[i].bytes);
}

/*
 * Each ACK that was recorded is one of the capture, or several made one: from the last on, the latest that had come by
 * then. Leaves in last_of[] which. Returns how many gaps there are between them: the recording begins with the first
 * full buffer and ends with the close, and in between it has all but those that the kernel let nobody see.
 */
static uint64_t find_recorded(size_t captured_len, size_t recorded_len)
{
	size_t end = captured_len;
	uint64_t gaps = 0;

	for (size_t i = recorded_len; i-- > 0;) {
		size_t at = end, count = 0;

		while (at > 0 && count == 0) {
			at--;
			if (captured[at].time_ns <= recorded[i].time_ns + TOLERANCE_NS)
				count = merged(at, recorded[i].bytes);
		}
		if (count == 0) {
			print_lists(captured_len, recorded_len);
			fail_msg("ACK %zu of those recorded is not in the capture", i);
		}
		gaps += i + 1 < recorded_len && at + 1 != end;
		last_of[i] = at;
		end = at + 1 - count;
	}
	first = end;
	return gaps;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* No ACK was processed before it came, by more than what is unsure of the clocks, and most as they came. */
static void assert_same_times(size_t len)
{
	size_t in_time = 0;

	for (size_t i = 0; i < len; i++) {
		uint64_t captured_ns = captured[last_of[i]].time_ns;

		assert_true(recorded[i].time_ns + TOLERANCE_NS >= captured_ns);
		apart_ns[i] = distance_ns(captured_ns, recorded[i].time_ns);
		in_time += apart_ns[i] <= TOLERANCE_NS;
	}
	qsort(apart_ns, len, sizeof(apart_ns[0]), by_size);
	print_message("%zu ACKs, made of %zu: apart by %" PRIu64 " ns (median), %" PRIu64
		      " ns (90 %%), %" PRIu64 " ns (most); %zu within 100 us\n",
		      len, last_of[len - 1] + 1 - first, apart_ns[len / 2], apart_ns[len * 9 / 10],
		      apart_ns[len - 1], in_time);
}

static void check_capture(const char *sender, const char *peer)
{
	const struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	struct stint_probes_losses losses;
	size_t captured_len, recorded_len;

	watching_or_skip();
	network_enter("true");
	capture_start(&capture);
	write_case_run_with(&run, sender, peer, &options);
	capture_stop(&capture);
	captured_len =
		capture_acks(&capture, run.account.sender_port, run.account.peer_port, captured, ACKS_MAX);
	recorded_len = take_recorded();
	assert_true(recorded_len > 20);
	stint_probes_losses(run.watching.probes, &losses);
	assert_int_equal(find_recorded(captured_len, recorded_len), losses.acks_unseen);
	assert_same_times(recorded_len);
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
