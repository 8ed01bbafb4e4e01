/* SPDX-License-Identifier: MIT */
#ifndef STREAM_FIXTURE_H
#define STREAM_FIXTURE_H

/* A loop with two ends of a TCP connection on it, both streams, that count what they see. */

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

__attribute__((unused)) static int open_loop(void **state)
{
	(void)state;
	near = far = (struct end){0};
	if (stint_meter_new(&meter, NULL) < 0 || stint_loop_new(&loop, NULL) < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "stream", 0);
	return 0;
}

__attribute__((unused)) static int close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	meter = stint_meter_free(meter);
	return 0;
}

__attribute__((unused)) static uint64_t checksum(uint64_t sum, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	for (size_t i = 0; i < bytes; i++)
		sum = sum * 31 + at[i];
	return sum;
}

__attribute__((unused)) static void on_read(struct stint_stream *stream, const void *data, size_t bytes,
					    void *ctx)
{
	struct end *end = ctx;

	assert_ptr_equal(stream, end->stream);
	end->received += bytes;
	end->checksum = checksum(end->checksum, data, bytes);
}

__attribute__((unused)) static void on_end(struct stint_stream *stream, void *ctx)
{
	struct end *end = ctx;

	end->ends++;
	if (!end->stay_open)
		stint_stream_close(stream);
}

__attribute__((unused)) static void on_drained(struct stint_stream *stream, void *ctx)
{
	struct end *end = ctx;

	assert_false(stint_stream_full(stream));
	end->drained++;
}

__attribute__((unused)) static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct end *end = ctx;

	(void)stream;
	end->closed++;
	end->error = error;
	end->stream = NULL;
}

__attribute__((unused)) static const struct stint_stream_callbacks callbacks = {.read = on_read,
										.end = on_end,
										.drained = on_drained,
										.closed = on_closed};

/* Two ends of a TCP connection on loopback, non-blocking, with write buffers of about `sndbuf` bytes. */
__attribute__((unused)) static void connect_pair(int fds[2], int sndbuf)
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

__attribute__((unused)) static void open_end(struct end *end, int fd,
					     const struct stint_stream_options *options)
{
	assert_int_equal(stint_stream_new(&end->stream, loop, fd, options, handler, &callbacks, end), 0);
}

__attribute__((unused)) static void open_both(int sndbuf, const struct stint_stream_options *near_options)
{
	int fds[2];

	connect_pair(fds, sndbuf);
	open_end(&near, fds[0], near_options);
	open_end(&far, fds[1], NULL);
}

__attribute__((unused)) static void iterate_until(const int *flag)
{
	for (int i = 0; i < 10000 && !*flag; i++)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_true(*flag);
}

__attribute__((unused)) static char *make_data(size_t bytes)
{
	char *data = malloc(bytes);

	assert_non_null(data);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)(i * 7 + i / 251);
	return data;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

#endif
