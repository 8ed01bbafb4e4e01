/* SPDX-License-Identifier: MIT */

/* What streams survive: peers that reset at each stage, being freed in each callback, every descriptor in use. */

#include "stream_fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>

static void reset(int fd)
{
	struct linger linger = {.l_onoff = 1};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fd);
}

/* Stages at which the peer is gone: idle, with a full queue, paused, after our FIN, after its own, closing. */
enum stage { IDLE, QUEUED, PAUSED, SHUT, ENDED, CLOSING, STAGES };

static void go_to_stage(enum stage stage, int peer)
{
	static char data[4000000];

	near.stay_open = true;
	if (stage == QUEUED || stage == CLOSING)
		assert_int_equal(stint_stream_write(near.stream, data, sizeof(data)), 0);
	if (stage == PAUSED)
		assert_int_equal(stint_stream_pause(near.stream), 0);
	if (stage == SHUT)
		assert_int_equal(stint_stream_shutdown(near.stream), 0);
	if (stage == CLOSING)
		assert_int_equal(stint_stream_close(near.stream), 0);
	if (stage == ENDED) {
		assert_int_equal(shutdown(peer, SHUT_WR), 0);
		iterate_until(&near.ends);
	}
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(near.closed, 0);
}

static void a_peer_that_resets_at_any_stage_is_told_once_and_leaves_nothing(void **state)
{
	(void)state;
	for (enum stage stage = IDLE; stage < STAGES; stage++) {
		int fds[2];

		near = (struct end){0};
		connect_pair(fds, 65536);
		open_end(&near, fds[0], NULL);
		go_to_stage(stage, fds[1]);
		reset(fds[1]);
		assert_int_equal(stint_loop_run(loop), 0); /* nothing keeps it running */
		assert_int_equal(near.closed, 1);
		if (near.error != -ECONNRESET && near.error != -EPIPE)
			fail_msg("stage %d: %s", stage, strerror(-near.error));
	}
}

/* shutdown() finds the connection gone before the event has told why. */
static void a_shutdown_after_an_untold_reset_says_that_it_was_one(void **state)
{
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&near, fds[0], NULL);
	reset(fds[1]);
	assert_int_equal(stint_stream_shutdown(near.stream), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.closed, 1);
	assert_int_equal(near.error, -ECONNRESET);
}

/* A peer whose host has gone sends nothing, not even a reset: silence is all there is to go by. */
static void a_half_open_peer_is_found_by_the_limits(void **state)
{
	struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 20 * MS};
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	open_end(&near, fds[0], &options);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(near.error, -ETIMEDOUT);
	close(fds[1]);
}

/* ---- freed in each of its own callbacks ---- */

enum callback { READ, END, DRAINED, CLOSED, RELEASED, CALLBACKS };

static enum callback freed_in;
static int freed;

static void free_if(enum callback now, struct stint_stream *stream)
{
	if (now != freed_in)
		return;
	freed++;
	near.stream = stint_stream_free(stream);
	assert_null(stint_stream_free(stream)); /* what is freed stays so until the iteration ends */
}

static void read_and_free(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)data;
	(void)bytes;
	(void)ctx;
	free_if(READ, stream);
}

static void end_and_free(struct stint_stream *stream, void *ctx)
{
	(void)ctx;
	free_if(END, stream);
	if (freed_in == CLOSED)
		stint_stream_close(stream);
}

static void drain_and_free(struct stint_stream *stream, void *ctx)
{
	(void)ctx;
	free_if(DRAINED, stream);
}

static void close_and_free(struct stint_stream *stream, int error, void *ctx)
{
	(void)error;
	(void)ctx;
	free_if(CLOSED, stream);
	near.stream = NULL;
}

static void release_and_free(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
	if (near.stream)
		free_if(RELEASED, near.stream);
}

static void a_stream_may_be_freed_in_each_of_its_callbacks(void **state)
{
	const struct stint_stream_callbacks freeing = {.read = read_and_free,
						       .end = end_and_free,
						       .drained = drain_and_free,
						       .closed = close_and_free};
	static char data[4000000];

	(void)state;
	for (freed_in = READ; freed_in < CALLBACKS; freed_in++) {
		int fds[2];

		freed = 0;
		far = (struct end){0};
		connect_pair(fds, 65536);
		open_end(&far, fds[1], NULL);
		assert_int_equal(stint_stream_new(&near.stream, loop, fds[0], NULL, handler, &freeing, NULL),
				 0);
		assert_int_equal(stint_stream_write_reference(near.stream, data, sizeof(data),
							      release_and_free, NULL),
				 0);
		assert_int_equal(stint_stream_write(far.stream, "x", 1), 0);
		assert_int_equal(stint_stream_shutdown(far.stream), 0);
		while (!freed)
			assert_int_equal(stint_loop_iterate(loop, S), 0);
		assert_int_equal(freed, 1);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(far.closed, 1);
	}
}

/* ---- every descriptor in use ---- */

#define DESCRIPTORS 256

static int accepted, replies;

static void echo_back(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)ctx;
	stint_stream_write(stream, data, bytes);
}

static void count_reply(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)stream;
	(void)data;
	(void)ctx;
	replies += (int)bytes;
}

static void accept_and_echo(struct stint_listener *listener, int fd, const struct sockaddr *peer,
			    socklen_t peer_bytes, void *ctx)
{
	static const struct stint_stream_callbacks echoing = {.read = echo_back};
	struct stint_stream *stream;

	(void)listener;
	(void)peer;
	(void)peer_bytes;
	(void)ctx;
	accepted++;
	if (stint_stream_new(&stream, loop, fd, NULL, 0, &echoing, NULL) < 0)
		_exit(3);
}

/* Connects until descriptors run out; what was accepted by then is served, the rest waits in the backlog. */
static int connect_all(const struct sockaddr_in *address)
{
	static const struct stint_stream_callbacks counting = {.read = count_reply};
	int clients = 0, fd;

	while ((fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0) {
		struct stint_stream *stream;

		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
		    fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
		    stint_stream_new(&stream, loop, fd, NULL, 0, &counting, NULL) < 0 ||
		    stint_stream_write(stream, "x", 1) < 0)
			_exit(4);
		clients++;
		stint_loop_iterate(loop, 0);
	}
	return errno == EMFILE ? clients : -1;
}

static void serve_with_few_descriptors(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	const struct rlimit few = {.rlim_cur = DESCRIPTORS, .rlim_max = DESCRIPTORS};
	struct stint_listener *listener;
	int clients;

	if (setrlimit(RLIMIT_NOFILE, &few) < 0 || stint_loop_new(&loop, &options) < 0 ||
	    stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address), NULL, 0,
			       accept_and_echo, NULL) < 0)
		_exit(1);
	address.sin_port = htons((uint16_t)stint_listener_port(listener));
	clients = connect_all(&address);
	if (clients < DESCRIPTORS / 3)
		_exit(2);
	while (replies < accepted)
		stint_loop_iterate(loop, S);
	if (accepted < clients - 1 || stint_listener_pauses(listener) > 1000)
		_exit(5);
	_exit(0);
}

static void as_many_connections_as_descriptors_are_served(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	fixture_skip_on_valgrind(
		"has descriptors of its own, and closes connections that are accepted beyond the limit");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		serve_with_few_descriptors();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_peer_that_resets_at_any_stage_is_told_once_and_leaves_nothing),
		TEST(a_shutdown_after_an_untold_reset_says_that_it_was_one),
		TEST(a_half_open_peer_is_found_by_the_limits),
		TEST(a_stream_may_be_freed_in_each_of_its_callbacks),
		cmocka_unit_test(as_many_connections_as_descriptors_are_served),
	};

	return cmocka_run_group_tests_name("stream_survival", tests, fixture_make_directory,
					   fixture_remove_directory);
}
