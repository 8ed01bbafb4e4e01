/* SPDX-License-Identifier: MIT */

/* What the function may do that a piece of the queue is released with: write, free its stream, free the loop. */

#include "stream_fixture.h"

#define PIECES      3
#define PIECE_BYTES 100u
#define BIG_BYTES   8000000u

static char *data; /* PIECES small pieces, then a big one */
static int released;
static void (*act)(void); /* what the first release does */
static int fds[2];

static void on_release(void *piece, void *ctx)
{
	void (*now)(void) = act;

	(void)piece;
	(void)ctx;
	released++;
	act = NULL;
	if (now)
		now();
}

/* Until the socket takes no more; what it has taken are zeros. */
static size_t fill_socket(void)
{
	static const char zeros[65536];
	size_t filled = 0;
	ssize_t done;

	while ((done = send(stint_stream_descriptor(near.stream), zeros, sizeof(zeros),
			    MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		filled += (size_t)done;
	assert_int_equal(errno, EAGAIN);
	return filled;
}

/*
 * The socket is full: the pieces wait, to be sent by one call. It is a unix socket, which has room again when the far end
 * reads, and not before. Returns what the far end gets before the pieces.
 */
static size_t queue_pieces(void (*first_release)(void))
{
	size_t filled;

	released = 0;
	act = first_release;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	open_end(&near, fds[0], NULL);
	filled = fill_socket();
	for (size_t i = 0; i < PIECES; i++)
		assert_int_equal(stint_stream_write_reference(near.stream, data + i * PIECE_BYTES,
							      PIECE_BYTES, on_release, NULL),
				 0);
	assert_int_equal(stint_stream_queued_bytes(near.stream), PIECES * PIECE_BYTES);
	return filled;
}

/* ---- it writes ---- */

static void write_a_reference(void)
{
	assert_int_equal(stint_stream_write_reference(near.stream, data + PIECES * PIECE_BYTES, BIG_BYTES,
						      on_release, NULL),
			 0);
	assert_in_range(stint_stream_queued_bytes(near.stream), 1, BIG_BYTES - 1);
}

static void write_a_copy(void)
{
	assert_int_equal(stint_stream_write(near.stream, data + PIECES * PIECE_BYTES, BIG_BYTES), 0);
	assert_in_range(stint_stream_queued_bytes(near.stream), 1, BIG_BYTES - 1);
}

static void all_arrives_when_a_release_does(void (*write)(void), int releases)
{
	uint64_t expected = 0;
	size_t filled, bytes = PIECES * PIECE_BYTES + BIG_BYTES;

	data = make_data(bytes);
	filled = queue_pieces(write);
	open_end(&far, fds[1], NULL);
	for (size_t i = 0; i < filled; i++)
		expected = checksum(expected, "", 1);
	expected = checksum(expected, data, bytes);
	while (far.received < filled + bytes && !near.closed)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.closed, 0);
	assert_int_equal(far.received, filled + bytes);
	assert_int_equal(far.checksum, expected);
	assert_int_equal(released, releases);
	free(data);
}

/* The pieces behind the one that is released are sent, too, and not yet off the queue. */
static void what_a_release_writes_by_reference_arrives_last_and_whole(void **state)
{
	(void)state;
	all_arrives_when_a_release_does(write_a_reference, PIECES + 1);
}

static void what_a_release_writes_as_a_copy_arrives_last_and_whole(void **state)
{
	(void)state;
	all_arrives_when_a_release_does(write_a_copy, PIECES);
}

/* ---- it frees its stream, or the loop ---- */

static void free_stream(void)
{
	near.stream = stint_stream_free(near.stream);
	assert_int_equal(released, PIECES); /* the others are given back before that returns */
}

static void free_loop(void)
{
	loop = stint_loop_free(loop);
}

/* What needs more than all memory fails the stream. */
static void fail_stream(void)
{
	assert_int_equal(stint_stream_write(near.stream, data, SIZE_MAX), -ENOMEM);
}

static void free_by_hand(void)
{
	near.stream = stint_stream_free(near.stream);
}

static void (*in_callback)(void);

static void on_deferred(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	(void)ctx;
	in_callback();
}

static void begin(void (*first_release)(void))
{
	static char pieces[PIECES * PIECE_BYTES];

	data = pieces;
	queue_pieces(first_release);
}

static void act_in_callback(void (*now)(void))
{
	struct stint_deferred *deferred;

	in_callback = now;
	assert_int_equal(stint_deferred_new(&deferred, loop, handler, on_deferred, NULL), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
}

static void all_were_released_and_nobody_told(void)
{
	assert_int_equal(released, PIECES);
	assert_int_equal(near.closed, 0);
	close(fds[1]);
}

static void a_stream_freed_by_a_release_as_it_fails_is_not_told_of_it(void **state)
{
	(void)state;
	begin(free_stream);
	fail_stream();
	assert_int_equal(stint_loop_run(loop), 0);
	all_were_released_and_nobody_told();
}

static void the_same_in_a_callback(void **state)
{
	(void)state;
	begin(free_stream);
	act_in_callback(fail_stream);
	assert_int_equal(stint_loop_run(loop), 0);
	all_were_released_and_nobody_told();
}

static void the_loop_may_be_freed_by_a_release_as_its_stream_fails(void **state)
{
	(void)state;
	begin(free_loop);
	fail_stream();
	assert_null(loop);
	all_were_released_and_nobody_told();
}

static void the_loop_may_be_freed_by_a_release_as_its_stream_is(void **state)
{
	(void)state;
	begin(free_loop);
	free_by_hand();
	assert_null(loop);
	all_were_released_and_nobody_told();
}

static void the_loop_may_be_freed_so_in_a_callback(void **state)
{
	(void)state;
	begin(free_loop);
	act_in_callback(free_by_hand);
	assert_null(loop);
	all_were_released_and_nobody_told();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_a_release_writes_by_reference_arrives_last_and_whole),
		TEST(what_a_release_writes_as_a_copy_arrives_last_and_whole),
		TEST(a_stream_freed_by_a_release_as_it_fails_is_not_told_of_it),
		TEST(the_same_in_a_callback),
		TEST(the_loop_may_be_freed_by_a_release_as_its_stream_fails),
		TEST(the_loop_may_be_freed_by_a_release_as_its_stream_is),
		TEST(the_loop_may_be_freed_so_in_a_callback),
	};

	return cmocka_run_group_tests_name("stream_release", tests, fixture_make_directory,
					   fixture_remove_directory);
}
