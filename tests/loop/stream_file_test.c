/* SPDX-License-Identifier: MIT */

/* Ranges of files on a stream. */

#include "stream_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static int releases;

static void on_release(int fd, void *ctx)
{
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_ptr_equal(ctx, &releases);
	releases++;
}

static int make_file(const char *data, size_t bytes)
{
	int fd = memfd_create("stint-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
	return fd;
}

static void finish_both(void)
{
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(far.closed, 1);
}

/* Longer than the buffers, between two writes, not from the file's beginning: all in order, stalls timed. */
static void a_range_arrives_in_order_with_what_is_written_and_its_stalls_are_timed(void **state)
{
	const size_t bytes = 20000000, offset = 12345;
	char *data = make_data(bytes);
	int fd = make_file(data, bytes);
	uint64_t expected;

	(void)state;
	releases = 0;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_write(near.stream, data, 100), 0);
	assert_int_equal(stint_stream_send_file(near.stream, fd, offset, bytes - offset, on_release,
						&releases),
			 0);
	assert_true(stint_stream_queued_bytes(near.stream) > 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_write(near.stream, data, 200), 0);
	assert_int_equal(releases, 0);
	finish_both();
	expected = checksum(0, data, 100);
	expected = checksum(expected, data + offset, bytes - offset);
	assert_int_equal(far.received, 300 + bytes - offset);
	assert_int_equal(far.checksum, checksum(expected, data, 200));
	assert_int_equal(near.error, 0);
	assert_int_equal(releases, 1);
	assert_true(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_WRITE_STALL].count > 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), bytes);
	close(fd);
	free(data);
}

static void a_range_that_fits_the_buffer_is_sent_at_once_and_released(void **state)
{
	int fd = make_file("0123456789", 10);

	(void)state;
	releases = 0;
	open_both(0, NULL);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 2, 5, on_release, &releases), 0);
	assert_int_equal(releases, 1);
	assert_int_equal(stint_stream_queued_bytes(near.stream), 0);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 0, 0, on_release, &releases), 0);
	assert_int_equal(releases, 2);
	finish_both();
	assert_int_equal(far.received, 5);
	assert_int_equal(far.checksum, checksum(0, "23456", 5));
	close(fd);
}

static void without_a_release_the_library_closes_the_file(void **state)
{
	char *data = make_data(4000000);
	int fd = make_file(data, 4000000);

	(void)state;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 0, 4000000, NULL, NULL), 0);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	finish_both();
	assert_int_equal(far.received, 4000000);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	free(data);
}

/*
 * The peer has closed: its reset comes as the first part of the range goes out, and finds sendfile() about to send the
 * next one. It returns the first part's length, with SIGPIPE raised.
 */
static void a_reset_between_two_parts_of_a_file_raises_no_signal(void **state)
{
	char *data = make_data(1000000);
	int file = make_file(data, 1000000), fds[2];

	(void)state;
	releases = 0;
	connect_pair(fds, 0);
	open_end(&near, fds[0], NULL);
	near.stay_open = true;
	close(fds[1]);
	iterate_until(&near.ends);
	(void)stint_stream_send_file(near.stream, file, 0, 1000000, on_release, &releases);
	iterate_until(&near.closed);
	assert_true(near.error == -EPIPE || near.error == -ECONNRESET);
	assert_int_equal(releases, 1);
	close(file);
	free(data);
}

/* This process's own memory as a file: sendfile() refuses it, pread() does not. */
static void a_file_that_sendfile_refuses_is_read_in_chunks(void **state)
{
	const size_t bytes = 3000000;
	char *data = make_data(bytes);
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), fds[2];
	off_t offset = (off_t)(uintptr_t)data;

	(void)state;
	assert_true(fd >= 0);
	connect_pair(fds, 65536);
	assert_int_equal(sendfile(fds[0], fd, &offset, 10), -1);
	open_end(&near, fds[0], NULL);
	open_end(&far, fds[1], NULL);
	assert_int_equal(stint_stream_write(near.stream, data, 10), 0);
	assert_int_equal(stint_stream_send_file(near.stream, fd, (uintptr_t)data + 10, bytes - 10, NULL,
						NULL),
			 0);
	finish_both();
	assert_int_equal(far.received, bytes);
	assert_int_equal(far.checksum, checksum(0, data, bytes));
	free(data);
}

static void a_file_that_ends_before_its_range_fails_the_stream(void **state)
{
	char *data = make_data(1000000);
	int fd = make_file(data, 1000000);

	(void)state;
	releases = 0;
	open_both(0, NULL);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 0, 1000001, on_release, &releases), 0);
	iterate_until(&near.closed);
	assert_int_equal(near.error, -ENODATA);
	assert_int_equal(releases, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_in_range(far.received, 0, 1000000);
	assert_int_equal(far.error, -ECONNRESET);
	close(fd);
	free(data);
}

/* Also where nothing of it was sent or queued: what the peer has got by then is not the whole. */
static void a_file_that_has_ended_before_its_range_resets_the_connection(void **state)
{
	int fd = make_file("0123456789", 10);

	(void)state;
	releases = 0;
	open_both(0, NULL);
	assert_int_equal(stint_stream_write(near.stream, "first", 5), 0);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 10, 1, on_release, &releases), -EPIPE);
	assert_int_equal(releases, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.error, -ENODATA);
	assert_int_equal(far.ends, 0);
	assert_int_equal(far.error, -ECONNRESET);
	close(fd);
}

static void a_stream_that_is_freed_releases_the_file(void **state)
{
	char *data = make_data(4000000);
	int fd = make_file(data, 4000000);

	(void)state;
	releases = 0;
	open_both(65536, NULL);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 0, 4000000, on_release, &releases), 0);
	near.stream = stint_stream_free(near.stream);
	assert_int_equal(releases, 1);
	close(fd);
	free(data);
}

static int pipe_signals;

static void on_pipe_signal(int number)
{
	(void)number;
	pipe_signals++;
}

/* sendfile() raises SIGPIPE, which would end a program that did not think of it. */
static void a_reset_while_a_file_is_sent_raises_no_signal(void **state)
{
	struct sigaction catch = {.sa_handler = on_pipe_signal}, before;
	struct linger linger = {.l_onoff = 1};
	int fd = make_file("x", 1), fds[2], sent = -1;
	sigset_t pending;

	(void)state;
	pipe_signals = 0;
	assert_int_equal(sigaction(SIGPIPE, &catch, &before), 0);
	connect_pair(fds, 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	open_end(&near, fds[0], NULL);
	close(fds[1]);
	for (int i = 0; i < 2 && sent != -EPIPE; i++) /* the first may find the reset itself */
		sent = stint_stream_send_file(near.stream, fd, 0, 1, on_release, &releases);
	assert_int_equal(sent, -EPIPE);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGPIPE));
	assert_int_equal(pipe_signals, 0);
	sigaction(SIGPIPE, &before, NULL);
	close(fd);
}

static void what_is_no_range_of_a_readable_file_is_refused(void **state)
{
	int pipe_fds[2], file = make_file("x", 1), write_only;

	(void)state;
	releases = 0;
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	write_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
	open_both(0, NULL);
	assert_int_equal(stint_stream_send_file(near.stream, -1, 0, 1, NULL, NULL), -EBADF);
	assert_int_equal(stint_stream_send_file(near.stream, write_only, 0, 1, on_release, &releases),
			 -EBADF);
	assert_int_equal(stint_stream_send_file(near.stream, pipe_fds[0], 0, 1, on_release, &releases),
			 -ESPIPE);
	assert_int_equal(stint_stream_send_file(near.stream, file, 1, UINT64_MAX, on_release, &releases),
			 -EINVAL);
	assert_int_equal(stint_stream_send_file(NULL, file, 0, 1, on_release, &releases), -EINVAL);
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_stream_send_file(near.stream, file, 0, 1, on_release, &releases), -EPIPE);
	assert_int_equal(releases, 5);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(write_only);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_range_arrives_in_order_with_what_is_written_and_its_stalls_are_timed),
		TEST(a_range_that_fits_the_buffer_is_sent_at_once_and_released),
		TEST(without_a_release_the_library_closes_the_file),
		TEST(a_file_that_sendfile_refuses_is_read_in_chunks),
		TEST(a_file_that_ends_before_its_range_fails_the_stream),
		TEST(a_file_that_has_ended_before_its_range_resets_the_connection),
		TEST(a_stream_that_is_freed_releases_the_file),
		TEST(a_reset_while_a_file_is_sent_raises_no_signal),
		TEST(a_reset_between_two_parts_of_a_file_raises_no_signal),
		TEST(what_is_no_range_of_a_readable_file_is_refused),
	};

	return cmocka_run_group_tests_name("stream_file", tests, fixture_make_directory,
					   fixture_remove_directory);
}
