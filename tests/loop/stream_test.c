/* SPDX-License-Identifier: MIT */
#include "stream_fixture.h"

#include <netinet/tcp.h>
#include <sys/eventfd.h>

/* More than the buffers hold: the queue takes it, all of it arrives, in order, and the stalls are timed. */
static void a_long_write_arrives_whole_and_its_stalls_are_timed(void **state)
{
	/* valgrind takes longer for it than the 10 s that a close has. */
	const size_t bytes = fixture_on_valgrind() ? 10u * 1000 * 1000 : 100u * 1000 * 1000;
	char *data = make_data(bytes);
	const struct stint_histogram *stalls;

	(void)state;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write(near.stream, data, bytes), 0);
	assert_true(stint_stream_queued_bytes(near.stream) > 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, bytes);
	assert_int_equal(far.checksum, checksum(0, data, bytes));
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, 0);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
	stalls = &fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_WRITE_STALL];
	assert_true(stalls->count > 0);
	free(data);
}

static void nothing_written_is_nothing_sent(void **state)
{
	(void)state;
	open_both(0, NULL);
	assert_int_equal(stint_stream_write(near.stream, NULL, 0), 0);
	assert_int_equal(stint_stream_writev(near.stream, NULL, 0), 0);
	assert_int_equal(stint_stream_queued_bytes(near.stream), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, 0);
	assert_int_equal(far.ends, 1);
}

static void drained_comes_once_the_queue_is_down_to_the_low_mark(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options),
					       .high_bytes = 500000,
					       .low_bytes = 1000};
	char *data = make_data(8000000);

	(void)state;
	open_both(65536, &options);
	assert_int_equal(stint_stream_write(near.stream, data, 8000000), 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(near.drained, 0);
	iterate_until(&near.drained);
	assert_true(stint_stream_queued_bytes(near.stream) <= 1000);
	assert_int_equal(near.drained, 1);
	free(data);
}

static void parts_arrive_as_one(void **state)
{
	char *data = make_data(3000000);
	struct iovec parts[] = {{data, 5}, {data + 5, 0}, {data + 5, 1999995}, {data + 2000000, 1000000}};

	(void)state;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_writev(near.stream, parts, 4), 0);
	assert_int_equal(stint_stream_write(near.stream, data, 100), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, 3000100);
	assert_int_equal(far.checksum, checksum(checksum(0, data, 3000000), data, 100));
	free(data);
}

static void more_parts_than_one_call_takes_arrive(void **state)
{
	const int count = 3000;
	char *data = make_data((size_t)count);
	struct iovec *parts = calloc((size_t)count, sizeof(*parts));

	(void)state;
	assert_non_null(parts);
	for (int i = 0; i < count; i++)
		parts[i] = (struct iovec){data + i, 1};
	open_both(0, NULL);
	assert_int_equal(stint_stream_writev(near.stream, parts, count), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, count);
	assert_int_equal(far.checksum, checksum(0, data, (size_t)count));
	free(parts);
	free(data);
}

static int releases;

static void on_release(void *data, void *ctx)
{
	assert_ptr_not_equal(data, NULL);
	assert_ptr_equal(ctx, &releases);
	releases++;
}

static void a_reference_is_released_once_whatever_happens(void **state)
{
	static char data[4000000];

	(void)state;
	releases = 0;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write_reference(near.stream, data, 10, on_release, &releases), 0);
	assert_int_equal(releases, 1);
	assert_int_equal(stint_stream_write_reference(near.stream, data, sizeof(data), on_release, &releases),
			 0);
	assert_int_equal(stint_stream_write_reference(near.stream, data, 1, on_release, &releases), 0);
	assert_int_equal(releases, 1);
	near.stream = stint_stream_free(near.stream);
	assert_int_equal(releases, 3);
	assert_int_equal(near.closed, 0);
}

static void free_reference(void *data, void *ctx)
{
	assert_ptr_equal(data, ctx);
	free(data);
	releases++;
}

/* Part of it is sent at once: what is released is what was given, all the same. */
static void a_reference_is_released_as_it_was_given(void **state)
{
	const size_t bytes = 4000000;
	char *data = make_data(bytes);
	uint64_t expected = checksum(0, data, bytes);

	(void)state;
	releases = 0;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write_reference(near.stream, data, bytes, free_reference, data), 0);
	assert_in_range(stint_stream_queued_bytes(near.stream), 1, bytes - 1);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(releases, 1);
	assert_int_equal(far.received, bytes);
	assert_int_equal(far.checksum, expected);
}

/* What it got is no whole, and must not look like one. */
static void a_stream_freed_with_data_queued_is_reset(void **state)
{
	char *data = make_data(4000000);

	(void)state;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write(near.stream, data, 4000000), 0);
	near.stream = stint_stream_free(near.stream);
	iterate_until(&far.closed);
	assert_int_equal(far.error, -ECONNRESET);
	assert_int_equal(far.ends, 0);
	free(data);
}

/* The far end stops writing first and goes on reading; then the near one does. */
static void each_direction_ends_by_itself(void **state)
{
	(void)state;
	open_both(0, NULL);
	near.stay_open = true;
	assert_int_equal(stint_stream_shutdown(far.stream), 0);
	assert_int_equal(stint_stream_write(far.stream, "x", 1), -EPIPE);
	iterate_until(&near.ends);
	assert_int_equal(near.closed, 0);
	assert_int_equal(stint_stream_write(near.stream, "still here", 10), 0);
	while (far.received < 10)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, 0);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
}

static void a_reset_is_told_as_the_error_that_it_is(void **state)
{
	struct linger linger = {.l_onoff = 1};
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&near, fds[0], NULL);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fds[1]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -ECONNRESET);
}

static void a_paused_stream_leaves_data_in_the_kernel(void **state)
{
	(void)state;
	open_both(0, NULL);
	assert_int_equal(stint_stream_pause(far.stream), 0);
	assert_int_equal(stint_stream_write(near.stream, "wait", 4), 0);
	assert_int_equal(stint_loop_iterate(loop, 10 * MS), 0);
	assert_int_equal(far.received, 0);
	assert_int_equal(stint_stream_resume(far.stream), 0);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(far.received, 4);
}

static void free_in_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)data;
	(void)bytes;
	(void)stream;
	near.stream = stint_stream_free(near.stream);
	far.stream = stint_stream_free(far.stream);
	if (ctx)
		loop = stint_loop_free(loop);
}

static void streams_and_the_loop_may_be_freed_while_reading(void **state)
{
	const struct stint_stream_callbacks freeing = {.read = free_in_read};
	int fds[2];

	(void)state;
	for (int with_loop = 0; with_loop < 2; with_loop++) {
		connect_pair(fds, 0);
		open_end(&near, fds[0], NULL);
		assert_int_equal(stint_stream_new(&far.stream, loop, fds[1], NULL, handler, &freeing,
						  with_loop ? &loop : NULL),
				 0);
		assert_int_equal(stint_stream_write(near.stream, "x", 1), 0);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_null(near.stream);
	}
	assert_null(loop);
}

static void what_is_no_stream_socket_is_refused(void **state)
{
	struct stint_stream *stream;
	int fds[2], event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int blocking = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(stint_stream_new(&stream, loop, event, NULL, handler, &callbacks, NULL), -ENOTSOCK);
	assert_int_equal(stint_stream_new(&stream, loop, fds[0], NULL, handler, &callbacks, NULL), -EINVAL);
	close(event);
	assert_int_equal(stint_stream_new(&stream, loop, datagram, NULL, handler, &callbacks, NULL),
			 -EPROTOTYPE);
	assert_int_equal(stint_stream_new(&stream, loop, blocking, NULL, handler, &callbacks, NULL), -EINVAL);
	assert_int_equal(stint_stream_new(&stream, loop, blocking, NULL, handler, NULL, NULL), -EINVAL);
	assert_int_equal(stint_stream_write(NULL, "x", 1), -EINVAL);
	assert_int_equal(stint_stream_close(NULL), -EINVAL);
	assert_null(stint_stream_free(NULL));
	close(fds[0]);
	close(fds[1]);
	close(datagram);
	close(blocking);
}

/* ---- traced ---- */

static int kinds[8];
static uint64_t acked_bytes;

static void observe(const struct stint_meter_file_socket *moment, void *ctx)
{
	(void)ctx;
	kinds[moment->kind]++;
	if (moment->kind == STINT_METER_SOCKET_ACK)
		acked_bytes = moment->done_bytes;
}

static void expect_no_trace(int fd, int error)
{
	struct stint_socket_trace *trace;

	assert_true(fd >= 0);
	assert_int_equal(stint_socket_trace_new(&trace, stint_loop_account(loop), fd, NULL, NULL), error);
	close(fd);
	assert_int_equal(stint_socket_trace_new(&trace, stint_loop_account(loop), fd, NULL, NULL), -EBADF);
}

static void what_is_no_tcp_socket_is_not_traced(void **state)
{
	struct stint_socket_trace *trace;

	(void)state;
	assert_int_equal(stint_socket_trace_new(&trace, stint_loop_account(loop), -1, NULL, NULL), -EBADF);
	expect_no_trace(open("/dev/null", O_RDONLY | O_CLOEXEC), -ENOTSOCK);
	expect_no_trace(eventfd(0, EFD_CLOEXEC), -ENOTSOCK);
	expect_no_trace(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -EOPNOTSUPP);
	expect_no_trace(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), -EOPNOTSUPP);
	expect_no_trace(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -EINVAL); /* it is not connected */
}

static void a_traced_stream_shows_short_send_ack_and_write_event(void **state)
{
	struct stint_socket_trace *trace;
	char *data = make_data(4000000);

	(void)state;
	memset(kinds, 0, sizeof(kinds));
	open_both(65536, NULL);
	assert_int_equal(stint_socket_trace_new(&trace, stint_loop_account(loop),
						stint_stream_descriptor(near.stream), observe, NULL),
			 0);
	assert_int_equal(stint_stream_set_trace(near.stream, trace), 0);
	assert_int_equal(stint_stream_write(near.stream, data, 4000000), 0);
	while (acked_bytes < 4000000)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(kinds[STINT_METER_SOCKET_OPEN], 1);
	assert_true(kinds[STINT_METER_SOCKET_SEND_SHORT] > 0);
	assert_true(kinds[STINT_METER_SOCKET_SEND] > 0);
	assert_true(kinds[STINT_METER_SOCKET_WRITE_EVENT] > 0);
	assert_int_equal(kinds[STINT_METER_SOCKET_CLOSE], 1);
	assert_int_equal(acked_bytes, 4000000);
	assert_int_equal(stint_socket_trace_sample(trace), -EBADF);
	assert_int_equal(stint_socket_trace_lost(trace), 0);
	stint_socket_trace_free(trace);
	free(data);
}

/* With both directions ended the kernel reports EPOLLHUP for as long as anybody watches. */
static void a_paused_stream_with_both_ends_seen_does_not_spin(void **state)
{
	(void)state;
	open_both(0, NULL);
	assert_int_equal(stint_stream_pause(far.stream), 0);
	assert_int_equal(stint_stream_write(near.stream, "wait", 4), 0);
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_stream_shutdown(far.stream), 0);
	assert_true(fixture_iterations_in_20_ms(loop) < 20);
	assert_int_equal(far.received, 0);
	assert_int_equal(stint_stream_resume(far.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, 4);
	assert_int_equal(far.ends, 1);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
	assert_int_equal(near.closed, 1);
}

static int nodelay_of(const struct stint_stream *stream)
{
	int on = -1;
	socklen_t bytes = sizeof(on);

	assert_int_equal(getsockopt(stint_stream_descriptor(stream), IPPROTO_TCP, TCP_NODELAY, &on, &bytes),
			 0);
	return on;
}

/* Else the second of two small writes waits for the peer's delayed ACK of the first. */
static void small_writes_are_not_held_back_unless_that_is_left_as_it_was(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .leave_nodelay = true};

	(void)state;
	open_both(0, &options);
	assert_int_equal(nodelay_of(near.stream), 0);
	assert_int_equal(nodelay_of(far.stream), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_long_write_arrives_whole_and_its_stalls_are_timed),
		TEST(nothing_written_is_nothing_sent),
		TEST(drained_comes_once_the_queue_is_down_to_the_low_mark),
		TEST(parts_arrive_as_one),
		TEST(small_writes_are_not_held_back_unless_that_is_left_as_it_was),
		TEST(more_parts_than_one_call_takes_arrive),
		TEST(a_reference_is_released_once_whatever_happens),
		TEST(a_reference_is_released_as_it_was_given),
		TEST(a_stream_freed_with_data_queued_is_reset),
		TEST(each_direction_ends_by_itself),
		TEST(a_reset_is_told_as_the_error_that_it_is),
		TEST(a_paused_stream_leaves_data_in_the_kernel),
		TEST(streams_and_the_loop_may_be_freed_while_reading),
		TEST(what_is_no_stream_socket_is_refused),
		TEST(a_paused_stream_with_both_ends_seen_does_not_spin),
		TEST(what_is_no_tcp_socket_is_not_traced),
		TEST(a_traced_stream_shows_short_send_ack_and_write_event),
	};

	return cmocka_run_group_tests_name("stream", tests, fixture_make_directory, fixture_remove_directory);
}
