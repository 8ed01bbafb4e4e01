/* SPDX-License-Identifier: MIT */

/* Connections that break: what came before is read, also where it was a send that found out. */

#include "stream_fixture.h"

#include <sys/ioctl.h>
#include <sys/wait.h>

#define SPOKEN 100000u /* more than a dispatch reads */

static void reset(int fd)
{
	struct linger linger = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fd);
}

/* Sends `bytes` from the one socket to the other, and returns when they are there: their checksum. */
static uint64_t say(int from, int to, size_t bytes)
{
	char *data = make_data(bytes);
	uint64_t sum = checksum(0, data, bytes);
	int there = 0;

	assert_int_equal(send(from, data, bytes, MSG_NOSIGNAL), bytes);
	while (there < (int)bytes)
		assert_int_equal(ioctl(to, FIONREAD, &there), 0);
	free(data);
	return sum;
}

/* The near end is a stream; its peer has sent SPOKEN bytes, and then a reset. */
static uint64_t open_to_a_peer_that_spoke_and_reset(void)
{
	const int room = 1 << 20;
	uint64_t sum;
	int fds[2];

	near = (struct end){0};
	connect_pair(fds, 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	open_end(&near, fds[0], NULL);
	sum = say(fds[1], fds[0], SPOKEN);
	reset(fds[1]);
	return sum;
}

static void assert_all_was_read(uint64_t sum, size_t bytes, int error)
{
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.received, bytes);
	assert_int_equal(near.checksum, sum);
	assert_int_equal(near.ends, 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, error);
}

/* An error, a hang-up, or data that nobody wants would be reported by each poll. */
static void assert_no_spin(void)
{
	assert_true(fixture_iterations_in_20_ms(loop) < 20);
}

static void what_came_before_a_reset_is_read(void **state)
{
	(void)state;
	assert_all_was_read(open_to_a_peer_that_spoke_and_reset(), SPOKEN, -ECONNRESET);
}

static void a_paused_stream_keeps_what_came_before_a_reset_until_it_goes_on(void **state)
{
	uint64_t sum;

	(void)state;
	sum = open_to_a_peer_that_spoke_and_reset();
	assert_int_equal(stint_stream_pause(near.stream), 0);
	assert_no_spin();
	assert_int_equal(near.closed, 0);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	assert_int_equal(stint_stream_resume(near.stream), 0);
	assert_all_was_read(sum, SPOKEN, -ECONNRESET);
}

static void read_and_pause(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	on_read(stream, data, bytes, ctx);
	assert_int_equal(stint_stream_pause(stream), 0);
}

/* As a proxy does whose other side is full. */
static void a_stream_paused_halfway_through_what_came_before_a_reset_keeps_the_rest(void **state)
{
	const struct stint_stream_callbacks pausing = {.read = read_and_pause, .closed = on_closed};
	uint64_t sum;
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	assert_int_equal(stint_stream_new(&near.stream, loop, fds[0], NULL, handler, &pausing, &near), 0);
	sum = say(fds[1], fds[0], SPOKEN);
	reset(fds[1]);
	while (near.received == 0 && !near.closed)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_no_spin();
	assert_in_range(near.received, 1, SPOKEN - 1);
	assert_int_equal(near.closed, 0);
	assert_int_equal(stint_stream_resume(near.stream), 0);
	assert_all_was_read(sum, SPOKEN, -ECONNRESET);
}

/* Its queue goes with the connection, and what came is read all the same. */
static void answer_and_pause(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	static const char answer[8 << 20];

	on_read(stream, data, bytes, ctx);
	assert_int_equal(stint_stream_write(stream, answer, sizeof(answer)), 0);
	assert_true(stint_stream_full(stream));
	assert_int_equal(stint_stream_pause(stream), 0);
}

/* As a server does that resumes as the queue has drained, which will not be. */
static void a_stream_paused_for_its_own_queue_ends_with_the_reset(void **state)
{
	const struct stint_stream_callbacks pausing = {.read = answer_and_pause, .closed = on_closed};
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	assert_int_equal(stint_stream_new(&near.stream, loop, fds[0], NULL, handler, &pausing, &near), 0);
	say(fds[1], fds[0], 5);
	while (near.received < 5)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	say(fds[1], fds[0], 6);
	reset(fds[1]);
	for (int i = 0; i < 5 && !near.closed; i++)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.received, 5);
	assert_int_equal(near.error, -ECONNRESET);
}

static void what_came_before_a_reset_is_read_also_with_a_queue(void **state)
{
	static char data[4000000];
	uint64_t sum;
	int fds[2];

	(void)state;
	connect_pair(fds, 65536);
	open_end(&near, fds[0], NULL);
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	sum = say(fds[1], fds[0], 1000);
	reset(fds[1]);
	assert_all_was_read(sum, 1000, -ECONNRESET);
}

/* What still comes is thrown away by a close, so there is nothing to wait for. */
static void a_closing_stream_ends_with_the_reset(void **state)
{
	(void)state;
	open_to_a_peer_that_spoke_and_reset();
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.received, 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -ECONNRESET);
}

/* ---- a send finds out ---- */

enum way { WRITE, WRITEV, REFERENCE, SEND_FILE, WAYS };

static int releases;

static void on_release(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
	releases++;
}

static int write_by(enum way way, int file)
{
	static char data[] = "more";
	struct iovec parts[] = {{data, 2}, {data + 2, 2}};

	switch (way) {
	case WRITE:
		return stint_stream_write(near.stream, data, 4);
	case WRITEV:
		return stint_stream_writev(near.stream, parts, 2);
	case REFERENCE:
		return stint_stream_write_reference(near.stream, data, 4, on_release, NULL);
	default:
		return stint_stream_send_file(near.stream, file, 0, 4, NULL, NULL);
	}
}

static int file_of_4_bytes(void)
{
	int fd = memfd_create("stint-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "more", 4), 4);
	return fd;
}

/* The peer has answered, and is gone with what was written to it: each way of sending finds that out before a read does. */
static void an_answer_is_read_though_no_more_can_be_sent(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * WAYS; i++) {
		const bool tcp = i >= WAYS;
		uint64_t sum;
		int fds[2], sent = 0;

		near = (struct end){0};
		releases = 0;
		if (tcp)
			connect_pair(fds, 0);
		else
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
						    fds),
					 0);
		open_end(&near, fds[0], NULL);
		sum = say(fds[1], fds[0], SPOKEN);
		if (tcp)
			reset(fds[1]);
		else
			close(fds[1]);
		sent = write_by((enum way)(i % WAYS), file_of_4_bytes());
		assert_int_equal(sent, -EPIPE);
		assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
		assert_int_equal(releases, i % WAYS == REFERENCE);
		assert_all_was_read(sum, SPOKEN, tcp ? -ECONNRESET : -EPIPE);
	}
}

/*
 * A queue that is released by `release`; the peer takes what there is, so that its close is no reset, answers, and is gone
 * before the rest is sent.
 */
static uint64_t open_to_a_peer_that_answered_and_left_a_queue(void (*release)(void *, void *))
{
	static char data[4000000];
	uint64_t sum;
	int fds[2];

	releases = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	open_end(&near, fds[0], NULL);
	assert_int_equal(stint_stream_write_reference(near.stream, data, sizeof(data), release, NULL), 0);
	while (read(fds[1], data, sizeof(data)) > 0)
		;
	sum = say(fds[1], fds[0], 1000);
	close(fds[1]);
	assert_int_equal(releases, 0);
	return sum;
}

static void an_answer_is_read_though_the_queue_cannot_be_sent(void **state)
{
	uint64_t sum;

	(void)state;
	sum = open_to_a_peer_that_answered_and_left_a_queue(on_release);
	assert_all_was_read(sum, 1000, -EPIPE);
	assert_int_equal(releases, 1);
}

static bool with_loop;

static void free_in_release(void *data, void *ctx)
{
	struct stint_detached *detached;

	on_release(data, ctx);
	assert_int_equal(stint_stream_detach(&detached, near.stream), -EBUSY);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	near.stream = stint_stream_free(near.stream);
	if (with_loop)
		loop = stint_loop_free(loop);
}

static void a_release_may_free_a_stream_that_fails_with_an_answer_unread(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		with_loop = i == 1;
		open_to_a_peer_that_answered_and_left_a_queue(free_in_release);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(releases, 1);
		assert_int_equal(near.received, 0);
		assert_int_equal(near.closed, 0);
	}
}

/* It need not be gone, and could speak for ever. */
static void a_peer_that_takes_no_more_is_heard_as_far_as_it_has_spoken(void **state)
{
	uint64_t sum;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	open_end(&near, fds[0], NULL);
	sum = say(fds[1], fds[0], 1000);
	assert_int_equal(shutdown(fds[1], SHUT_RD), 0);
	assert_int_equal(stint_stream_write(near.stream, "more", 4), -EPIPE);
	assert_int_equal(send(fds[1], "and on", 6, MSG_NOSIGNAL), 6);
	assert_all_was_read(sum, 1000, -EPIPE);
	close(fds[1]);
}

static void an_answer_is_read_though_no_end_can_be_sent(void **state)
{
	uint64_t sum;

	(void)state;
	sum = open_to_a_peer_that_spoke_and_reset();
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_all_was_read(sum, SPOKEN, -ECONNRESET);
}

/* ---- our own end ---- */

/* Nothing is queued, and the peer has read all: only a reset says that it was not the whole. */
static void a_reset_is_seen_by_the_peer_and_told_by_closed(void **state)
{
	(void)state;
	open_both(0, NULL);
	assert_int_equal(stint_stream_write(near.stream, "half of it", 10), 0);
	while (far.received < 10)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(stint_stream_reset(near.stream), 0);
	assert_int_equal(near.closed, 0); /* it comes from the loop */
	assert_int_equal(stint_stream_reset(near.stream), -EPIPE);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -ECONNABORTED);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.ends, 0);
	assert_int_equal(far.error, -ECONNRESET);
	assert_int_equal(stint_stream_reset(NULL), -EINVAL);
}

/* A part of it has gone, and nothing is queued. */
static void a_write_that_finds_no_memory_is_seen_as_a_reset(void **state)
{
	static char data[64 << 20];
	struct rlimit before;
	int error;

	(void)state;
	open_both(65536, NULL);
	fixture_take_memory(&before);
	error = stint_stream_write(near.stream, data, sizeof(data));
	assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
	assert_int_equal(error, -ENOMEM);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.error, -ENOMEM);
	assert_int_equal(far.ends, 0);
	assert_int_equal(far.error, -ECONNRESET);
}

static void look_whether_full(struct stint_stream *stream, int error, void *ctx)
{
	on_closed(stream, error, ctx);
	assert_false(stint_stream_full(stream));
	assert_int_equal(stint_stream_queued_bytes(stream), 0);
}

static void what_has_ended_is_not_full(void **state)
{
	const struct stint_stream_callbacks looking = {.read = on_read, .closed = look_whether_full};
	static char data[4000000];
	int fds[2];

	(void)state;
	connect_pair(fds, 65536);
	open_end(&far, fds[1], NULL);
	assert_int_equal(stint_stream_new(&near.stream, loop, fds[0], NULL, handler, &looking, &near), 0);
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_reset(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
}

/* Whatever it was about to do: its FIN sent or not, its peer's seen or not, paused, closing, with a queue. */
static void a_reset_ends_a_stream_in_each_state(void **state)
{
	static char data[4000000];

	(void)state;
	for (int i = 0; i < 5; i++) {
		near = far = (struct end){0};
		open_both(65536, NULL);
		near.stay_open = far.stay_open = true;
		if (i == 1)
			assert_int_equal(stint_stream_shutdown(near.stream), 0);
		if (i == 2)
			assert_int_equal(stint_stream_shutdown(far.stream), 0);
		if (i == 3)
			assert_int_equal(stint_stream_pause(near.stream), 0);
		if (i == 4)
			assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
		if (i == 4)
			assert_int_equal(stint_stream_close(near.stream), 0);
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
		assert_int_equal(stint_stream_reset(near.stream), 0);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(near.closed, 1);
		assert_int_equal(near.error, -ECONNABORTED);
		assert_int_equal(far.closed, 1);
		assert_int_equal(far.error,
				 i == 1 ? -EPIPE : -ECONNRESET); /* the kernel's word for one behind a FIN */
	}
}

static void reset_in_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	on_read(stream, data, bytes, ctx);
	assert_int_equal(stint_stream_reset(stream), 0);
}

static void a_stream_may_be_reset_while_reading(void **state)
{
	const struct stint_stream_callbacks resetting = {.read = reset_in_read, .closed = on_closed};
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&far, fds[1], NULL);
	assert_int_equal(stint_stream_new(&near.stream, loop, fds[0], NULL, handler, &resetting, &near), 0);
	assert_int_equal(stint_stream_write(far.stream, "x", 1), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.received, 1);
	assert_int_equal(near.error, -ECONNABORTED);
	assert_int_equal(far.error, -ECONNRESET);
}

/* What it got is no whole, and must not look like one. */
static void a_detached_stream_freed_with_data_queued_is_reset(void **state)
{
	static char data[4000000];
	struct stint_detached *detached;

	(void)state;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	assert_int_equal(stint_stream_detach(&detached, near.stream), 0);
	assert_null(stint_detached_free(detached));
	iterate_until(&far.closed);
	assert_int_equal(far.error, -ECONNRESET);
	assert_int_equal(far.ends, 0);
}

/* The connection is its parent's, which goes on with it. */
static void a_detached_stream_freed_in_a_child_resets_nothing(void **state)
{
	struct linger linger = {.l_onoff = 1};
	socklen_t bytes = sizeof(linger);
	static char data[4000000];
	struct stint_detached *detached;
	int fds[2], status;
	pid_t child;

	(void)state;
	connect_pair(fds, 65536);
	open_end(&near, fds[0], NULL);
	assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	assert_int_equal(stint_stream_detach(&detached, near.stream), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		stint_detached_free(detached);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(getsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, &bytes), 0);
	assert_int_equal(linger.l_onoff, 0);
	stint_detached_free(detached);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_came_before_a_reset_is_read),
		TEST(a_paused_stream_keeps_what_came_before_a_reset_until_it_goes_on),
		TEST(a_stream_paused_halfway_through_what_came_before_a_reset_keeps_the_rest),
		TEST(a_stream_paused_for_its_own_queue_ends_with_the_reset),
		TEST(what_came_before_a_reset_is_read_also_with_a_queue),
		TEST(a_closing_stream_ends_with_the_reset),
		TEST(an_answer_is_read_though_no_more_can_be_sent),
		TEST(an_answer_is_read_though_the_queue_cannot_be_sent),
		TEST(a_release_may_free_a_stream_that_fails_with_an_answer_unread),
		TEST(a_peer_that_takes_no_more_is_heard_as_far_as_it_has_spoken),
		TEST(an_answer_is_read_though_no_end_can_be_sent),
		TEST(a_reset_is_seen_by_the_peer_and_told_by_closed),
		TEST(a_write_that_finds_no_memory_is_seen_as_a_reset),
		TEST(what_has_ended_is_not_full),
		TEST(a_reset_ends_a_stream_in_each_state),
		TEST(a_stream_may_be_reset_while_reading),
		TEST(a_detached_stream_freed_with_data_queued_is_reset),
		TEST(a_detached_stream_freed_in_a_child_resets_nothing),
	};

	return cmocka_run_group_tests_name("stream_reset", tests, fixture_make_directory,
					   fixture_remove_directory);
}
