/* SPDX-License-Identifier: MIT */

/* Streams on one end of a pipe: it goes one way, and to write where nobody reads raises no SIGPIPE. */

#include "stream_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY (3u << 20) /* beyond what a pipe holds, and what a dispatch sends */

static void open_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

/* `near` writes, `far` reads. */
static void open_both_ends(const struct stint_stream_options *near_options)
{
	int fds[2];

	open_pipe(fds);
	open_end(&near, fds[1], near_options);
	open_end(&far, fds[0], NULL);
}

static void what_a_child_prints_is_read_to_its_end(void **state)
{
	int fds[2], status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0); /* a program expects its output to wait */
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	open_end(&far, fds[0], NULL);
	far.stay_open = true;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(fds[1], STDOUT_FILENO);
		execlp("seq", "seq", "1", "100000", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(far.received, 588895);
	assert_int_equal(far.ends, 1);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
}

static void what_is_written_arrives_whole_and_in_order(void **state)
{
	char *data = make_data(MANY);
	const struct iovec parts[] = {{data, 10},
				      {data + 10, MANY / 2},
				      {data + 10 + MANY / 2, MANY / 2 - 10}};

	(void)state;
	open_both_ends(NULL);
	assert_int_equal(stint_stream_writev(near.stream, parts, 3), 0);
	assert_true(stint_stream_full(near.stream));
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, MANY);
	assert_int_equal(far.checksum, checksum(0, data, MANY));
	assert_int_equal(near.drained, 1);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, 0);
	assert_int_equal(near.ends, 0); /* nobody writes to it */
	assert_int_equal(far.ends, 1);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
	free(data);
}

static void a_close_sends_what_is_queued(void **state)
{
	char *data = make_data(MANY);

	(void)state;
	open_both_ends(NULL);
	assert_int_equal(stint_stream_write(near.stream, data, MANY), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, MANY);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, 0);
	free(data);
}

/* Nobody loses anything by it, so it waits for nothing. */
static void a_close_of_the_reading_end_is_at_once(void **state)
{
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&far, fds[0], NULL);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(stint_stream_close(far.stream), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(far.closed, 1);
	assert_int_equal(far.error, 0);
	assert_int_equal(far.received, 0);
	close(fds[1]);
}

static void the_reading_end_cannot_be_written_to(void **state)
{
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&far, fds[0], NULL);
	assert_int_equal(stint_stream_write(far.stream, "x", 1), -EPIPE);
	assert_int_equal(stint_stream_shutdown(far.stream), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(far.closed, 0);
	close(fds[1]);
}

/* With the default action, a SIGPIPE would end the test. */
static void a_reader_that_has_gone_is_an_error_of_the_next_write(void **state)
{
	int fds[2];
	sigset_t pending;

	(void)state;
	open_pipe(fds);
	open_end(&near, fds[1], NULL);
	close(fds[0]);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -EPIPE);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGPIPE));
}

static void a_reader_that_goes_while_it_is_waited_for_ends_the_stream(void **state)
{
	char *data = make_data(MANY);
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&near, fds[1], NULL);
	assert_int_equal(stint_stream_write(near.stream, data, MANY), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(near.closed, 0);
	close(fds[0]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.error, -EPIPE);
	free(data);
}

/* Also while nothing is written. */
static void a_reader_that_goes_is_told_without_a_write(void **state)
{
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&near, fds[1], NULL);
	close(fds[0]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -EPIPE);
}

static void a_sigpipe_of_the_programs_own_stays_pending(void **state)
{
	sigset_t pipe, before, pending;
	int fds[2], number;

	(void)state;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	assert_int_equal(sigprocmask(SIG_BLOCK, &pipe, &before), 0);
	raise(SIGPIPE);
	open_pipe(fds);
	open_end(&near, fds[1], NULL);
	close(fds[0]);
	assert_int_equal(stint_stream_write(near.stream, "x", 1), -EPIPE);
	assert_int_equal(sigpending(&pending), 0);
	assert_true(sigismember(&pending, SIGPIPE));
	assert_int_equal(sigwait(&pipe, &number), 0);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

static void a_paused_stream_whose_writer_has_gone_does_not_spin(void **state)
{
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&far, fds[0], NULL);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	assert_int_equal(stint_stream_pause(far.stream), 0);
	close(fds[1]);
	assert_true(fixture_iterations_in_20_ms(loop) < 20);
	assert_int_equal(far.received, 0);
	assert_int_equal(stint_stream_resume(far.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, 5);
	assert_int_equal(far.closed, 1);
}

static void a_file_is_sent_into_it(void **state)
{
	char path[] = "/tmp/stint-test-XXXXXX";
	char *data = make_data(MANY);
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, data, MANY), MANY);
	open_both_ends(NULL);
	assert_int_equal(stint_stream_send_file(near.stream, fd, 0, MANY, NULL, NULL), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, MANY);
	assert_int_equal(far.checksum, checksum(0, data, MANY));
	free(data);
}

static void one_that_nobody_reads_reaches_its_limit(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options), .write_ns = 20 * MS};
	char *data = make_data(MANY);
	int fds[2];

	(void)state;
	open_pipe(fds);
	open_end(&near, fds[1], &options);
	assert_int_equal(stint_stream_write(near.stream, data, MANY), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.error, -ETIMEDOUT);
	close(fds[0]);
	free(data);
}

static void read_one(struct stint_timer *timer, void *ctx)
{
	int *left = ctx;
	char byte;

	assert_int_equal(read(left[1], &byte, 1), 1);
	if (--left[0] > 0)
		return;
	stint_timer_free(timer);
	stint_stream_free(near.stream);
}

/* It takes a byte every 10 ms, which frees no page: there is no room to write, and yet something goes. */
static void a_reader_that_is_slow_but_reads_is_not_cut_off(void **state)
{
	const struct stint_stream_options options = {.size = sizeof(options), .write_ns = 500 * MS};
	char *data = make_data(MANY);
	struct stint_timer *timer;
	int fds[2], left[2] = {200};

	(void)state;
	open_pipe(fds);
	left[1] = fds[0];
	open_end(&near, fds[1], &options);
	assert_int_equal(stint_stream_write(near.stream, data, MANY), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, read_one, left), 0);
	assert_int_equal(stint_timer_start(timer, 0, 10 * MS), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 0);
	assert_int_equal(left[0], 0);
	close(fds[0]);
	free(data);
}

static void it_moves_to_another_loop_with_what_is_queued(void **state)
{
	char *data = make_data(MANY);
	struct stint_detached *detached;

	(void)state;
	open_both_ends(NULL);
	assert_int_equal(stint_stream_write(near.stream, data, MANY), 0);
	assert_int_equal(stint_stream_detach(&detached, near.stream), 0);
	assert_int_equal(stint_stream_attach(&near.stream, detached, loop, handler, NULL, &near), 0);
	assert_int_equal(stint_stream_close(near.stream), 0);
	assert_int_equal(stint_stream_detach(&detached, far.stream), 0);
	assert_int_equal(stint_stream_attach(&far.stream, detached, loop, handler, NULL, &far), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(far.received, MANY);
	assert_int_equal(far.checksum, checksum(0, data, MANY));
	assert_int_equal(far.closed, 1);
	free(data);
}

static void what_is_no_stream_is_refused(void **state)
{
	char path[] = "/tmp/stint-test-XXXXXX";
	int fd;

	(void)state;
	assert_non_null(mkdtemp(path));
	assert_int_equal(chdir(path), 0);
	assert_int_equal(mkfifo("both", 0600), 0);
	fd = open("both",
		  O_RDWR | O_NONBLOCK | O_CLOEXEC); /* both ends at once: what is written comes back */
	assert_true(fd >= 0);
	assert_int_equal(stint_stream_new(&near.stream, loop, fd, NULL, handler, &callbacks, &near),
			 -EPROTOTYPE);
	close(fd);
	unlink("both");
	fd = open("/dev/null", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(stint_stream_new(&near.stream, loop, fd, NULL, handler, &callbacks, &near),
			 -ENOTSOCK);
	close(fd);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_a_child_prints_is_read_to_its_end),
		TEST(what_is_written_arrives_whole_and_in_order),
		TEST(a_close_sends_what_is_queued),
		TEST(a_close_of_the_reading_end_is_at_once),
		TEST(the_reading_end_cannot_be_written_to),
		TEST(a_reader_that_has_gone_is_an_error_of_the_next_write),
		TEST(a_reader_that_goes_while_it_is_waited_for_ends_the_stream),
		TEST(a_reader_that_goes_is_told_without_a_write),
		TEST(a_sigpipe_of_the_programs_own_stays_pending),
		TEST(a_paused_stream_whose_writer_has_gone_does_not_spin),
		TEST(a_file_is_sent_into_it),
		TEST(one_that_nobody_reads_reaches_its_limit),
		TEST(a_reader_that_is_slow_but_reads_is_not_cut_off),
		TEST(it_moves_to_another_loop_with_what_is_queued),
		TEST(what_is_no_stream_is_refused),
	};

	return cmocka_run_group_tests_name("stream on a pipe", tests, NULL, NULL);
}
