/* SPDX-License-Identifier: MIT */
#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct stint_loop *loop;
static struct stint_meter *meter;

/* What one end of a connection has seen. */
struct end {
	struct stint_stream *stream;
	uint64_t received, checksum;
	int ends, drained, closed, error;
	bool stay_open; /* after the peer's end */
};

static struct end near, far;
static uint32_t handler;

static int open_loop(void **state)
{
	(void)state;
	near = far = (struct end){0};
	if (stint_meter_new(&meter, NULL) < 0 || stint_loop_new(&loop, NULL) < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "stream", 0);
	return 0;
}

static int close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	meter = stint_meter_free(meter);
	return 0;
}

static uint64_t checksum(uint64_t sum, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	for (size_t i = 0; i < bytes; i++)
		sum = sum * 31 + at[i];
	return sum;
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct end *end = ctx;

	assert_ptr_equal(stream, end->stream);
	end->received += bytes;
	end->checksum = checksum(end->checksum, data, bytes);
}

static void on_end(struct stint_stream *stream, void *ctx)
{
	struct end *end = ctx;

	end->ends++;
	if (!end->stay_open)
		stint_stream_close(stream);
}

static void on_drained(struct stint_stream *stream, void *ctx)
{
	struct end *end = ctx;

	assert_false(stint_stream_full(stream));
	end->drained++;
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct end *end = ctx;

	(void)stream;
	end->closed++;
	end->error = error;
	end->stream = NULL;
}

static const struct stint_stream_callbacks callbacks = {.read = on_read,
							.end = on_end,
							.drained = on_drained,
							.closed = on_closed};

/* Two ends of a TCP connection on loopback, non-blocking, with write buffers of about `sndbuf` bytes. */
static void connect_pair(int fds[2], int sndbuf)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fds[0] >= 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fds[1] >= 0);
	close(listener);
	for (int i = 0; i < 2 && sndbuf; i++)
		assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)), 0);
}

static void open_end(struct end *end, int fd, const struct stint_stream_options *options)
{
	assert_int_equal(stint_stream_new(&end->stream, loop, fd, options, handler, &callbacks, end), 0);
}

static void open_both(int sndbuf, const struct stint_stream_options *near_options)
{
	int fds[2];

	connect_pair(fds, sndbuf);
	open_end(&near, fds[0], near_options);
	open_end(&far, fds[1], NULL);
}

static void iterate_until(const int *flag)
{
	for (int i = 0; i < 10000 && !*flag; i++)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_true(*flag);
}

static char *make_data(size_t bytes)
{
	char *data = malloc(bytes);

	assert_non_null(data);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)(i * 7 + i / 251);
	return data;
}

/* More than the buffers hold: the queue takes it, all of it arrives, in order, and the stalls are timed. */
static void a_long_write_arrives_whole_and_its_stalls_are_timed(void **state)
{
	const size_t bytes = 100u * 1000 * 1000;
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

static void a_queue_without_progress_times_out(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .write_ns = 20 * MS};
	static char data[8000000];

	(void)state;
	open_both(65536, &options);
	assert_int_equal(stint_stream_pause(far.stream), 0);
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void silence_times_out(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void a_close_ends_even_if_the_peer_never_does(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .close_ns = 20 * MS};
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&near, fds[0], &options);
	assert_int_equal(stint_stream_write(near.stream, "bye", 3), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, 0);
	close(fds[1]);
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
	int fds[2], datagram = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int blocking = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(stint_stream_new(&stream, loop, fds[0], NULL, handler, &callbacks, NULL), -ENOTSOCK);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_long_write_arrives_whole_and_its_stalls_are_timed),
		TEST(nothing_written_is_nothing_sent),
		TEST(drained_comes_once_the_queue_is_down_to_the_low_mark),
		TEST(parts_arrive_as_one),
		TEST(a_reference_is_released_once_whatever_happens),
		TEST(each_direction_ends_by_itself),
		TEST(a_reset_is_told_as_the_error_that_it_is),
		TEST(a_paused_stream_leaves_data_in_the_kernel),
		TEST(a_queue_without_progress_times_out),
		TEST(silence_times_out),
		TEST(a_close_ends_even_if_the_peer_never_does),
		TEST(streams_and_the_loop_may_be_freed_while_reading),
		TEST(what_is_no_stream_socket_is_refused),
		TEST(a_traced_stream_shows_short_send_ack_and_write_event),
	};

	return cmocka_run_group_tests_name("stream", tests, fixture_make_directory, fixture_remove_directory);
}
