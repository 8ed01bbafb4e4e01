/* SPDX-License-Identifier: MIT */

/* Streams that send at the end of an iteration what was written in it. */

#include "stream_fixture.h"

#include <linux/tcp.h> /* the C library's struct tcp_info ends earlier */
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WRITES 100

static const struct stint_stream_options coalescing = {.size = sizeof(coalescing), .coalesce = true};
static uint32_t segments_in_the_callback;
static int peer;

/* Segments with data that the kernel has sent, by its own count. */
static uint32_t segments(const struct end *end)
{
	struct tcp_info info = {0};
	socklen_t bytes = sizeof(info);

	assert_int_equal(getsockopt(stint_stream_descriptor(end->stream), IPPROTO_TCP, TCP_INFO, &info,
				    &bytes),
			 0);
	return info.tcpi_data_segs_out;
}

static uint64_t waiting(int fd)
{
	int bytes = 0;

	assert_int_equal(ioctl(fd, FIONREAD, &bytes), 0);
	return (uint64_t)bytes;
}

static void await_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poller, 1, 60000), 1);
}

/* What has been sent need not be there yet: on a busy machine another thread of the kernel delivers it. */
static void await_bytes(int fd, uint64_t bytes)
{
	while (waiting(fd) < bytes)
		await_readable(fd);
	assert_int_equal(waiting(fd), bytes);
}

/* `near` is the stream, its peer a bare socket. */
static void open_near(const struct stint_stream_options *options)
{
	int fds[2];

	connect_pair(fds, 0);
	open_end(&near, fds[0], options);
	peer = fds[1];
}

static void write_often(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	for (int i = 0; i < WRITES; i++)
		assert_int_equal(stint_stream_write(near.stream, "0123456789", 10), 0);
	segments_in_the_callback = segments(&near);
	stint_timer_free(timer);
}

static void at_once(stint_timer_callback callback)
{
	struct stint_timer *timer;

	assert_int_equal(stint_timer_new(&timer, loop, handler, callback, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
}

static void writes_of_an_iteration_are_one_segment(void **state)
{
	(void)state;
	open_near(&coalescing);
	at_once(write_often);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(segments_in_the_callback, 0);
	await_bytes(peer, WRITES * 10);
	assert_int_equal(segments(&near), 1);
	assert_int_equal(stint_stream_queued_bytes(near.stream), 0);
	close(peer);
}

static void without_it_each_write_is_one(void **state)
{
	(void)state;
	open_near(NULL);
	at_once(write_often);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_true(segments_in_the_callback > 1); /* how many is the congestion window's to say */
	close(peer);
}

static void write_and_stop(struct stint_timer *timer, void *ctx)
{
	write_often(timer, ctx);
	stint_loop_stop(loop);
}

static void a_stop_lets_them_go_out(void **state)
{
	(void)state;
	open_near(&coalescing);
	at_once(write_and_stop);
	assert_int_equal(stint_loop_run(loop), 0);
	await_bytes(peer, WRITES * 10);
	close(peer);
}

static int released;

static void count_release(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
	released++;
}

/* Copies, parts, references and a file, more than one dispatch sends. */
static void all_ways_of_writing_keep_their_order(void **state)
{
	const size_t piece = 500000;
	char *data = make_data(4 * piece), path[] = "/tmp/stint-test-XXXXXX";
	struct iovec parts[] = {{data + piece, 1}, {data + piece + 1, piece - 1}};
	int file = mkstemp(path);

	(void)state;
	assert_true(file >= 0);
	unlink(path);
	assert_int_equal(write(file, data + 3 * piece, piece), piece);
	open_both(0, &coalescing);
	released = 0;
	assert_int_equal(stint_stream_write(near.stream, data, piece), 0);
	assert_int_equal(stint_stream_writev(near.stream, parts, 2), 0);
	assert_int_equal(stint_stream_write_reference(near.stream, data + 2 * piece, piece, count_release,
						      NULL),
			 0);
	assert_int_equal(stint_stream_send_file(near.stream, file, 0, piece, NULL, NULL), 0);
	assert_int_equal(released, 0);
	assert_int_equal(stint_stream_queued_bytes(near.stream), 4 * piece);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(released, 1);
	assert_int_equal(far.received, 4 * piece);
	assert_int_equal(far.checksum, checksum(0, data, 4 * piece));
	assert_int_equal(near.drained, 0); /* it closes */
	assert_int_equal(near.error, 0);
	free(data);
}

static void the_queue_is_full_until_it_has_gone_out(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options),
						     .coalesce = true,
						     .high_bytes = 1000,
						     .low_bytes = 500};
	char data[1001] = {0};

	(void)state;
	open_near(&options);
	assert_int_equal(stint_stream_write(near.stream, data, 1000), 0);
	assert_false(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_write(near.stream, data, 1), 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(near.drained, 0);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.drained, 1);
	assert_false(stint_stream_full(near.stream));
	await_bytes(peer, 1001);
	close(peer);
}

static void free_stream(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
	near.stream = stint_stream_free(near.stream);
}

static void a_release_may_free_the_stream(void **state)
{
	(void)state;
	open_near(&coalescing);
	assert_int_equal(stint_stream_write_reference(near.stream, "one", 3, free_stream, NULL), 0);
	assert_int_equal(stint_stream_write(near.stream, "two", 3), 0);
	assert_non_null(near.stream);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_null(near.stream);
	assert_int_equal(near.closed, 0);
	close(peer);
}

static void a_peer_that_has_gone_is_an_error_of_the_stream(void **state)
{
	const struct linger linger = {.l_onoff = 1};

	(void)state;
	open_near(&coalescing);
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(peer);
	assert_int_equal(stint_stream_write(near.stream, "one", 3), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_true(near.error == -ECONNRESET || near.error == -EPIPE);
}

static void one_that_moves_takes_them_along(void **state)
{
	struct stint_detached *detached;
	char data[10];

	(void)state;
	open_near(&coalescing);
	assert_int_equal(stint_stream_write(near.stream, "0123456789", 10), 0);
	assert_int_equal(stint_stream_detach(&detached, near.stream), 0);
	assert_int_equal(waiting(peer), 0);
	assert_int_equal(stint_stream_attach(&near.stream, detached, loop, handler, NULL, &near), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0); /* nor is a write event waited for there */
	await_bytes(peer, 10);
	assert_int_equal(read(peer, data, 10), 10);
	assert_memory_equal(data, "0123456789", 10);
	/* There, too, what is written in an iteration goes out together. */
	at_once(write_often);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	await_bytes(peer, 10 * WRITES);
	assert_int_equal(segments(&near), 2);
	close(peer);
}

static void an_end_comes_behind_what_was_written(void **state)
{
	(void)state;
	open_both(0, &coalescing);
	near.stay_open = true;
	assert_int_equal(stint_stream_write(near.stream, "0123456789", 10), 0);
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, 10);
	assert_int_equal(far.ends, 1);
	assert_int_equal(near.error, 0);
	assert_int_equal(far.error, 0);
}

static void one_that_is_freed_resets_the_connection(void **state)
{
	char byte;

	(void)state;
	open_near(&coalescing);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), 0);
	stint_stream_free(near.stream);
	await_readable(peer);
	assert_int_equal(read(peer, &byte, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(peer);
}

/* ---- limits: what is held back has not been tried, so its time begins at the end of the iteration ---- */

#define LIMIT_NS (20 * MS)

static struct stint_deferred *deferred;
static uint64_t worked_until_ns;

/* Behind a write of this iteration, and for longer than any limit. */
static void work(void)
{
	fixture_spin(2 * LIMIT_NS);
	worked_until_ns = fixture_now_ns(CLOCK_MONOTONIC);
}

static void write_and_work(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	assert_int_equal(stint_stream_write(near.stream, "0123456789", 10), 0);
	stint_timer_free(timer);
	work();
}

/* What this writes is held back until step 6 of the next iteration, so a limit that is due by then comes before it. */
static void write_late_and_work(struct stint_deferred *which, void *ctx)
{
	const bool *closing = ctx;

	assert_int_equal(stint_stream_write(near.stream, "0123456789", 10), 0);
	if (*closing)
		assert_int_equal(stint_stream_close(near.stream), 0);
	deferred = stint_deferred_free(which);
	work();
}

static void late_in_the_iteration(bool *closing)
{
	assert_int_equal(stint_deferred_new(&deferred, loop, handler, write_late_and_work, closing), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
}

/* One way only: a machine that stops us makes it later. The two clocks may be apart by a little. */
static void expect_the_limit_after_the_work(int error)
{
	iterate_until(&near.closed);
	assert_true(fixture_now_ns(CLOCK_MONOTONIC) > worked_until_ns + LIMIT_NS - MS);
	assert_int_equal(near.error, error);
}

static void raise_flag(struct stint_timer *timer, void *ctx)
{
	*(int *)ctx = 1;
	stint_timer_free(timer);
}

/*
 * A unix socket whose buffer has no room, so that what is tried does not go. By the first time that the limit is looked
 * for, the kernel is asked what has gone, which counts as progress; so that is over.
 */
static void open_stuck(const struct stint_stream_options *options)
{
	static const char data[65536];
	struct stint_timer *timer;
	int fds[2], passed = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (size_t bytes = sizeof(data); bytes > 0; bytes /= 2)
		while (send(fds[0], data, bytes, 0) > 0)
			;
	open_end(&near, fds[0], options);
	peer = fds[1];
	assert_int_equal(stint_timer_new(&timer, loop, handler, raise_flag, &passed), 0);
	assert_int_equal(stint_timer_start(timer, 2 * LIMIT_NS, 0), 0);
	iterate_until(&passed);
}

static const struct stint_stream_options write_limited = {.size = sizeof(write_limited),
							  .coalesce = true,
							  .write_ns = LIMIT_NS};

static void the_write_limit_begins_with_the_first_try(void **state)
{
	(void)state;
	open_stuck(&write_limited);
	at_once(write_and_work);
	expect_the_limit_after_the_work(-ETIMEDOUT);
	close(peer);
}

/* There no dispatch reads the clock. */
static void nor_before_it_without_a_meter(void **state)
{
	const struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};

	stint_loop_free(loop);
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	handler = (uint32_t)stint_loop_handler(loop, "stream", 0);
	the_write_limit_begins_with_the_first_try(state);
}

static void a_write_limit_in_between_ends_nothing(void **state)
{
	bool closing = false;

	(void)state;
	open_stuck(&write_limited);
	late_in_the_iteration(&closing);
	expect_the_limit_after_the_work(-ETIMEDOUT);
	close(peer);
}

/* Of those that are not stuck, all goes out; the peer then does nothing, and the limit comes all the same. */
static void what_was_held_back_goes_out_before_an_idle_limit(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options),
						     .coalesce = true,
						     .idle_ns = LIMIT_NS};
	bool closing = false;

	(void)state;
	open_near(&options);
	late_in_the_iteration(&closing);
	expect_the_limit_after_the_work(-ETIMEDOUT);
	await_bytes(peer, 10);
	close(peer);
}

static void what_was_held_back_goes_out_before_a_close_gives_up(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options),
						     .coalesce = true,
						     .close_ns = LIMIT_NS};
	bool closing = true;

	(void)state;
	open_near(&options);
	late_in_the_iteration(&closing);
	expect_the_limit_after_the_work(0);
	await_bytes(peer, 10);
	close(peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(writes_of_an_iteration_are_one_segment),
		TEST(without_it_each_write_is_one),
		TEST(a_stop_lets_them_go_out),
		TEST(all_ways_of_writing_keep_their_order),
		TEST(the_queue_is_full_until_it_has_gone_out),
		TEST(a_release_may_free_the_stream),
		TEST(a_peer_that_has_gone_is_an_error_of_the_stream),
		TEST(one_that_moves_takes_them_along),
		TEST(an_end_comes_behind_what_was_written),
		TEST(one_that_is_freed_resets_the_connection),
		TEST(the_write_limit_begins_with_the_first_try),
		TEST(nor_before_it_without_a_meter),
		TEST(a_write_limit_in_between_ends_nothing),
		TEST(what_was_held_back_goes_out_before_an_idle_limit),
		TEST(what_was_held_back_goes_out_before_a_close_gives_up),
	};

	return cmocka_run_group_tests_name("coalescing streams", tests, NULL, NULL);
}
