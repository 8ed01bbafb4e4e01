/* SPDX-License-Identifier: MIT */

/*
 * A child by fork() shares its parent's epoll set: whatever it does with what it has from the parent, the parent goes
 * on.
 */

#include "loop_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct stint_loop *loop;

/* One of each kind that has a descriptor in the epoll set; all but the stream and the mailbox count their calls here. */
static struct stint_fd *source;
static struct stint_listener *listener;
static struct stint_stream *stream;
static struct stint_mailbox *mailbox;
static struct stint_signal *watched;
static int pipe_fds[2], pair[2];
static int fd_calls, accepted, bytes_read, posts, signals;

static void on_fd(struct stint_fd *fd, uint32_t events, void *ctx)
{
	char byte;

	(void)events;
	(void)ctx;
	assert_int_equal(read(stint_fd_descriptor(fd), &byte, 1), 1);
	fd_calls++;
}

static void on_accept(struct stint_listener *from, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)from;
	(void)peer;
	(void)bytes;
	(void)ctx;
	close(fd);
	accepted++;
}

static void on_read(struct stint_stream *from, const void *data, size_t bytes, void *ctx)
{
	(void)from;
	(void)data;
	(void)ctx;
	bytes_read += (int)bytes;
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	posts += error == 0;
}

static void on_signal(struct stint_signal *from, const struct stint_signal_info *info, void *ctx)
{
	(void)from;
	(void)info;
	(void)ctx;
	signals++;
}

static int make_sources(void **state)
{
	const struct stint_stream_callbacks callbacks = {.read = on_read};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)state;
	fd_calls = accepted = bytes_read = posts = signals = 0;
	if (stint_loop_new(&loop, NULL) < 0 || pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0 ||
	    stint_fd_new(&source, loop, pipe_fds[0], STINT_READ, 0, on_fd, NULL) < 0 ||
	    stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address), NULL, 0,
			       on_accept, NULL) < 0 ||
	    stint_stream_new(&stream, loop, pair[0], NULL, 0, &callbacks, NULL) < 0 ||
	    stint_mailbox_new(&mailbox, loop) < 0 ||
	    stint_signal_new(&watched, loop, SIGUSR1, 0, on_signal, NULL) < 0)
		return -1;
	return 0;
}

static int free_sources(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(pair[1]);
	return 0;
}

/* Runs `act` in a child, which must return 0. */
static void in_child(int (*act)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(act());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Each source is made ready, and its callback must come. */
static void all_are_called(void)
{
	struct stint_post post = {.callback = on_post};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_port = htons((uint16_t)stint_listener_port(listener));
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	raise(SIGUSR1);
	for (int i = 0; i < 1000 && !(fd_calls && accepted && bytes_read && posts && signals); i++)
		assert_int_equal(stint_loop_iterate(loop, 10 * MS), 0);
	assert_int_equal(fd_calls, 1);
	assert_int_equal(accepted, 1);
	assert_int_equal(bytes_read, 1);
	assert_int_equal(posts, 1);
	assert_int_equal(signals, 1);
	close(client);
}

static int free_each(void)
{
	stint_fd_free(source);
	stint_listener_free(listener);
	stint_stream_free(stream);
	stint_signal_free(watched);
	stint_mailbox_free(mailbox);
	stint_loop_free(loop);
	return 0;
}

static int free_loop(void)
{
	stint_loop_free(loop);
	return 0;
}

static int use_loop(void)
{
	struct stint_fd *added;
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return 1;
	if (stint_loop_run(loop) != -ECHILD || stint_loop_iterate(loop, 0) != -ECHILD)
		return 2;
	if (stint_fd_new(&added, loop, fds[0], STINT_READ, 0, on_fd, NULL) != -ECHILD)
		return 3;
	return stint_fd_set_events(source, 0) == 0 ? 0 : 4;
}

static void count_tick(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	++*(int *)ctx;
}

static int run_a_loop_of_its_own(void)
{
	struct stint_loop *own;
	struct stint_timer *timer;
	int ticks = 0;

	stint_loop_free(loop);
	if (stint_loop_new(&own, NULL) < 0 || stint_timer_new(&timer, own, 0, count_tick, &ticks) < 0 ||
	    stint_timer_start(timer, 0, 0) < 0 || stint_loop_run(own) < 0)
		return 1;
	stint_loop_free(own);
	return ticks == 1 ? 0 : 2;
}

static void a_child_that_frees_each_source_takes_none_from_its_parent(void **state)
{
	(void)state;
	in_child(free_each);
	all_are_called();
}

static void a_child_that_frees_the_loop_takes_nothing_from_its_parent(void **state)
{
	(void)state;
	in_child(free_loop);
	all_are_called();
}

static void a_child_cannot_run_its_parents_loop_nor_add_to_it(void **state)
{
	(void)state;
	in_child(use_loop);
	all_are_called();
}

static void a_child_may_have_a_loop_of_its_own(void **state)
{
	(void)state;
	in_child(run_a_loop_of_its_own);
	all_are_called();
}

static struct stint_socket_trace *trace;

static int free_traced(void)
{
	stint_loop_free(loop);
	stint_socket_trace_free(trace);
	return 0;
}

static int free_trace(void)
{
	stint_socket_trace_free(trace);
	return 0;
}

static unsigned timestamping(int fd)
{
	unsigned flags = 0;
	socklen_t bytes = sizeof(flags);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, &bytes), 0);
	return flags;
}

static void a_child_that_frees_a_trace_leaves_its_parents_socket_traced(void **state)
{
	const struct stint_stream_callbacks callbacks = {.read = on_read};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stint_stream *traced;
	unsigned flags;

	(void)state;
	address.sin_port = htons((uint16_t)stint_listener_port(listener));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(stint_stream_new(&traced, loop, fd, NULL, 0, &callbacks, NULL), 0);
	assert_int_equal(stint_socket_trace_new(&trace, stint_loop_account(loop), fd, NULL, NULL), 0);
	assert_int_equal(stint_stream_set_trace(traced, trace), 0);
	flags = timestamping(fd);
	assert_int_not_equal(flags, 0);
	in_child(free_traced);
	assert_int_equal(timestamping(fd), flags);
	in_child(free_trace);
	assert_int_equal(timestamping(fd), flags);
	stint_stream_free(traced);
	trace = stint_socket_trace_free(trace);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_sources, free_sources)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_child_that_frees_each_source_takes_none_from_its_parent),
		TEST(a_child_that_frees_the_loop_takes_nothing_from_its_parent),
		TEST(a_child_cannot_run_its_parents_loop_nor_add_to_it),
		TEST(a_child_may_have_a_loop_of_its_own),
		TEST(a_child_that_frees_a_trace_leaves_its_parents_socket_traced),
	};

	return cmocka_run_group_tests_name("fork", tests, fixture_make_directory, fixture_remove_directory);
}
