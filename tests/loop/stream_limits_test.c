/* SPDX-License-Identifier: MIT */

/*
 * The time limits of streams. No test depends on how fast the machine is: what must not have happened by a
 * moment is checked by a timer on the same loop, and timers are dispatched in the order of their deadlines.
 */

#include "stream_fixture.h"

#include <errno.h>

static int checks;

/*
 * What a check that found the stream open does next. What is to be due in an order is armed by one callback, as time
 * stands still in there: a machine that stops us between two calls would otherwise swap them.
 */
static void (*next)(void);

/* Deadlines that passed while a read callback was late are checked after it, so this is the order that counts. */
static void still_open(struct stint_timer *timer, void *ctx)
{
	void (*now)(void) = next;

	(void)timer;
	(void)ctx;
	assert_int_equal(near.closed, 0);
	checks++;
	next = NULL;
	if (now)
		now();
}

static void check_after(uint64_t delay_ns)
{
	struct stint_timer *timer;

	assert_int_equal(stint_timer_new(&timer, loop, handler, still_open, NULL), 0);
	assert_int_equal(stint_timer_start(timer, delay_ns, 0), 0);
}

/* The first check of a test, and what it does next, if anything. */
static void check_first_after(uint64_t delay_ns, void (*then)(void))
{
	checks = 0;
	next = then;
	check_after(delay_ns);
}

static void write_a_byte(struct stint_timer *timer, void *ctx)
{
	struct end *end = ctx;
	int error;

	(void)timer;
	if (!end->stream)
		return;
	error = stint_stream_write(end->stream, "x", 1);
	/* The limit may have been reached in the same iteration; `closed` comes at its end. */
	assert_true(error == 0 || error == -EPIPE);
}

static struct stint_timer *write_every_ms(struct end *end)
{
	struct stint_timer *timer;

	assert_int_equal(stint_timer_new(&timer, loop, handler, write_a_byte, end), 0);
	assert_int_equal(stint_timer_start(timer, 0, MS), 0);
	return timer;
}

static void the_idle_limit_ends_a_stream_on_which_nothing_moves(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void what_is_written_puts_the_idle_limit_off(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 20 * MS};
	struct stint_timer *writer;

	(void)state;
	writer = write_every_ms(&near); /* due before the limit, however long we are stopped in here */
	open_both(0, &options);
	check_first_after(100 * MS, NULL);
	iterate_until(&checks);
	stint_timer_free(writer);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void the_read_limit_ends_a_stream_that_only_we_write_to(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .read_ns = 50 * MS};
	struct stint_timer *writer;

	(void)state;
	open_both(0, &options);
	writer = write_every_ms(&near);
	iterate_until(&near.closed);
	stint_timer_free(writer);
	assert_int_equal(near.error, -ETIMEDOUT);
	assert_int_equal(near.received, 0);
}

static void expect_and_check(void)
{
	assert_int_equal(stint_stream_expect(near.stream, true), 0);
	check_after(19 * MS);
}

static void nothing_that_is_not_owed_is_late(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .read_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	assert_int_equal(stint_stream_expect(near.stream, false), 0);
	check_first_after(100 * MS, expect_and_check);
	iterate_until(&near.closed);
	assert_int_equal(checks, 2);
	assert_int_equal(near.error, -ETIMEDOUT);
	assert_int_equal(stint_stream_expect(NULL, true), -EINVAL);
}

static void resume_and_check(void)
{
	assert_int_equal(stint_stream_resume(near.stream), 0);
	check_after(19 * MS);
}

static void what_a_paused_stream_does_not_read_is_not_late(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .read_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	assert_int_equal(stint_stream_pause(near.stream), 0);
	check_first_after(100 * MS, resume_and_check);
	iterate_until(&near.closed);
	assert_int_equal(checks, 2);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void after_the_peers_end_nothing_is_owed(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .read_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	near.stay_open = true;
	assert_int_equal(stint_stream_shutdown(far.stream), 0);
	iterate_until(&near.ends);
	check_first_after(100 * MS, NULL);
	iterate_until(&checks);
	assert_int_equal(near.closed, 0);
}

static void the_write_limit_ends_a_stream_whose_queue_stands_still(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .write_ns = 20 * MS};
	static char data[8000000];
	struct stint_timer *writer;

	(void)state;
	open_both(65536, &options);
	assert_int_equal(stint_stream_pause(far.stream), 0);
	writer = write_every_ms(&far); /* what comes does not help */
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	iterate_until(&near.closed);
	stint_timer_free(writer);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void the_write_limit_leaves_a_stream_with_nothing_queued_alone(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .write_ns = 20 * MS};

	(void)state;
	open_both(0, &options);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), 0);
	check_first_after(100 * MS, NULL);
	iterate_until(&checks);
	assert_int_equal(near.closed, 0);
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

/*
 * A peer that reads `bytes` from time to time. Far too little for a write event within the limits below, as a third of the
 * buffer of TCP must be free for that, and three quarters of a unix socket's.
 */
static struct {
	int fd, error;
	size_t bytes, received;
} reader;

static void read_some(struct stint_timer *timer, void *ctx)
{
	static char buffer[131072];
	size_t left = reader.bytes;

	(void)timer;
	(void)ctx;
	while (left > 0 && reader.error == 0) {
		ssize_t got =
			recv(reader.fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer), MSG_DONTWAIT);

		if (got < 0 && errno == EAGAIN)
			return;
		reader.error = got > 0 ? 0 : got == 0 ? -ENODATA : -errno;
		left -= got > 0 ? (size_t)got : 0;
		reader.received += got > 0 ? (size_t)got : 0;
	}
}

static struct stint_timer *read_slowly(int fd, size_t bytes, uint64_t period_ns)
{
	struct stint_timer *timer;

	reader.fd = fd;
	reader.bytes = bytes;
	reader.error = 0;
	reader.received = 0;
	assert_int_equal(stint_timer_new(&timer, loop, handler, read_some, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, period_ns), 0);
	return timer;
}

/* The stream with 40 MB to write, to a peer that reads so slowly until it stops, lives just as long. */
static void expect_alive_while_read(const int fds[2], size_t bytes, uint64_t period_ns)
{
	struct stint_timer *timer = read_slowly(fds[1], bytes, period_ns);

	check_first_after(400 * MS, NULL);
	iterate_until(&checks);
	stint_timer_free(timer);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
}

static void keep(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
}

/* By reference: while a copy of it is made, time goes by, and it counts. */
static void write_much(int fd, const struct stint_stream_options *options)
{
	static char data[40000000];

	open_end(&near, fd, options);
	assert_int_equal(stint_stream_write_reference(near.stream, data, sizeof(data), keep, NULL), 0);
}

/* A stream with a limit, and its peer, which reads nothing. */
static struct {
	int fds[2];
	struct stint_stream_options options;
} first;

static void has_ended(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	/* `closed` comes later in the same iteration. */
	assert_int_equal(fcntl(first.fds[0], F_GETFD), -1);
	checks++;
}

/* A half more than the limit, and half of what twice the limit would be. */
static void begin_and_check(struct stint_timer *timer, void *ctx)
{
	uint64_t limit_ns = first.options.write_ns + first.options.idle_ns + first.options.close_ns;

	(void)ctx;
	if (first.options.idle_ns)
		open_end(&near, first.fds[0], &first.options);
	else
		write_much(first.fds[0], &first.options);
	if (first.options.close_ns)
		assert_int_equal(stint_stream_close(near.stream), 0);
	stint_timer_free(timer);
	assert_int_equal(stint_timer_new(&timer, loop, handler, has_ended, NULL), 0);
	assert_int_equal(stint_timer_start(timer, limit_ns * 3 / 2, 0), 0);
}

static void expect_an_end_by_the_first_limit(int own, int peer, struct stint_stream_options options)
{
	struct stint_timer *timer;

	checks = 0;
	options.size = sizeof(options);
	first.fds[0] = own;
	first.fds[1] = peer;
	first.options = options;
	assert_int_equal(stint_timer_new(&timer, loop, handler, begin_and_check, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	iterate_until(&checks);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
	close(peer);
}

static void expect_it_on_a_unix_socket(struct stint_stream_options options)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	expect_an_end_by_the_first_limit(fds[0], fds[1], options);
}

static void the_first_write_limit_is_as_long_as_any(void **state)
{
	(void)state;
	expect_it_on_a_unix_socket((struct stint_stream_options){.write_ns = 20 * MS});
}

static void so_it_is_on_a_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	expect_an_end_by_the_first_limit(fds[1], fds[0], (struct stint_stream_options){.write_ns = 20 * MS});
}

static void so_is_the_first_idle_limit(void **state)
{
	(void)state;
	expect_it_on_a_unix_socket((struct stint_stream_options){.idle_ns = 20 * MS});
}

static void so_is_the_limit_of_a_close(void **state)
{
	(void)state;
	expect_it_on_a_unix_socket((struct stint_stream_options){.close_ns = 20 * MS});
}

/* Of 4 MB on our side, twice that in the kernel; the peer's holds half a MB, and once it has read all that, it says so. */
static void connect_lopsided(int fds[2])
{
	const int bytes = 262144;

	connect_pair(fds, 4000000);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
}

static void a_peer_that_reads_slowly_is_not_idle(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 100 * MS};
	int fds[2];

	(void)state;
	connect_lopsided(fds);
	write_much(fds[0], &options);
	expect_alive_while_read(fds, 524288, 30 * MS);
	close(fds[1]);
}

static void a_queue_moves_while_a_peer_on_a_unix_socket_reads(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .write_ns = 100 * MS};
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	write_much(fds[0], &options);
	expect_alive_while_read(fds, 40000, 10 * MS);
	close(fds[1]);
}

static void a_close_takes_as_long_as_the_peer_reads(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .close_ns = 100 * MS};
	int fds[2];

	(void)state;
	connect_lopsided(fds);
	write_much(fds[0], &options);
	assert_int_equal(stint_stream_close(near.stream), 0);
	expect_alive_while_read(fds, 524288, 30 * MS);
	close(fds[1]);
}

static void read_of_first(void)
{
	static char data[40000];

	assert_int_equal(recv(first.fds[1], data, sizeof(data), 0), sizeof(data));
}

static void read_and_close(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	read_of_first();
	assert_int_equal(stint_stream_close(near.stream), 0);
	stint_timer_free(timer);
}

static void read_and_limit(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	read_of_first();
	assert_int_equal(stint_stream_set_limits(near.stream, 0, 0, 100 * MS), 0);
	check_after(80 * MS);
	stint_timer_free(timer);
}

static void (*in_between)(struct stint_timer *timer, void *ctx);

static void begin_and_go_on(struct stint_timer *timer, void *ctx)
{
	bool has_limit = first.options.write_ns;

	(void)ctx;
	write_much(first.fds[0], &first.options);
	stint_timer_free(timer);
	assert_int_equal(stint_timer_new(&timer, loop, handler, in_between, NULL), 0);
	assert_int_equal(stint_timer_start(timer, has_limit ? 50 * MS : 200 * MS, 0), 0);
	if (has_limit)
		check_first_after(120 * MS, NULL);
}

static void expect_an_end_after_a_check(uint64_t write_ns, void (*then)(struct stint_timer *timer, void *ctx))
{
	struct stint_timer *timer;

	checks = 0;
	in_between = then;
	first.options = (struct stint_stream_options){.size = sizeof(first.options),
						      .write_ns = write_ns,
						      .close_ns = 10 * S};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, first.fds), 0);
	assert_int_equal(stint_timer_new(&timer, loop, handler, begin_and_go_on, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	iterate_until(&checks);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
	close(first.fds[1]);
}

/* The write limit began anew as it read, of which nobody has asked before the close. */
static void what_a_peer_has_read_before_a_close_counts(void **state)
{
	(void)state;
	expect_an_end_after_a_check(100 * MS, read_and_close);
}

/* The queue stands for longer than that, and whether anything went meanwhile nobody has asked. */
static void a_write_limit_that_is_set_amid_a_stall_is_not_over_yet(void **state)
{
	(void)state;
	expect_an_end_after_a_check(0, read_and_limit);
}

static void a_peer_that_a_close_gives_up_on_sees_a_reset(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .close_ns = 20 * MS};
	int fds[2];

	(void)state;
	connect_pair(fds, 65536);
	write_much(fds[0], &options);
	assert_int_equal(stint_stream_close(near.stream), 0);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ETIMEDOUT);
	stint_timer_free(read_slowly(fds[1], SIZE_MAX, 0));
	while (reader.error == 0)
		read_some(NULL, NULL);
	assert_int_equal(reader.error, -ECONNRESET);
	close(fds[1]);
}

static void close_and_check(void)
{
	assert_int_equal(stint_stream_close(near.stream), 0);
	check_after(20 * MS);
}

static void a_limit_beyond_all_time_is_never_reached(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options),
					       .idle_ns = UINT64_MAX,
					       .read_ns = UINT64_MAX,
					       .write_ns = UINT64_MAX,
					       .close_ns = UINT64_MAX};
	static char data[8000000];
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&near, fds[0], &options);
	assert_int_equal(stint_stream_write_reference(near.stream, data, sizeof(data), NULL, NULL), 0);
	check_first_after(20 * MS, close_and_check);
	while (checks < 2 && !near.closed)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.closed, 0);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_idle_limit_ends_a_stream_on_which_nothing_moves),
		TEST(what_is_written_puts_the_idle_limit_off),
		TEST(the_read_limit_ends_a_stream_that_only_we_write_to),
		TEST(nothing_that_is_not_owed_is_late),
		TEST(what_a_paused_stream_does_not_read_is_not_late),
		TEST(after_the_peers_end_nothing_is_owed),
		TEST(the_write_limit_ends_a_stream_whose_queue_stands_still),
		TEST(the_write_limit_leaves_a_stream_with_nothing_queued_alone),
		TEST(the_first_write_limit_is_as_long_as_any),
		TEST(so_it_is_on_a_pipe),
		TEST(so_is_the_first_idle_limit),
		TEST(so_is_the_limit_of_a_close),
		TEST(a_close_ends_even_if_the_peer_never_does),
		TEST(a_peer_that_reads_slowly_is_not_idle),
		TEST(a_queue_moves_while_a_peer_on_a_unix_socket_reads),
		TEST(a_close_takes_as_long_as_the_peer_reads),
		TEST(what_a_peer_has_read_before_a_close_counts),
		TEST(a_write_limit_that_is_set_amid_a_stall_is_not_over_yet),
		TEST(a_peer_that_a_close_gives_up_on_sees_a_reset),
		TEST(a_limit_beyond_all_time_is_never_reached),
	};

	return cmocka_run_group_tests_name("stream_limits", tests, fixture_make_directory,
					   fixture_remove_directory);
}
