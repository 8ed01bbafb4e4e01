/* SPDX-License-Identifier: MIT */

/*
 * Which socket a listener accepts from, and when it does not: adopted ones, pauses, IPv6 alone, the file of a unix
 * socket.
 */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static const struct stint_listener_options own = {.size = sizeof(own), .own_path = true};
static struct stint_loop *loop;
static struct stint_listener *listener;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int accepted, pause_after;

static void on_accept(struct stint_listener *from, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)peer;
	(void)bytes;
	(void)ctx;
	close(fd);
	if (++accepted == pause_after)
		assert_int_equal(stint_listener_pause(from), 0);
}

static int open_loop(void **state)
{
	(void)state;
	accepted = pause_after = 0;
	listener = NULL;
	snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/socket", fixture_directory);
	return stint_loop_new(&loop, NULL);
}

static int close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	unlink(address.sun_path);
	return 0;
}

static int listen_on_path(const struct stint_listener_options *options)
{
	return stint_listener_new(&listener, loop, (const struct sockaddr *)&address, sizeof(address),
				  options, 0, on_accept, NULL);
}

static void connect_one(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

/* A socket of this test at the path; it listens if `backlog` is not 0. */
static int bind_by_hand(int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	if (backlog)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static bool path_exists(void)
{
	struct stat status;

	return lstat(address.sun_path, &status) == 0;
}

static void a_socket_that_listens_is_adopted(void **state)
{
	int fd = bind_by_hand(8);

	(void)state;
	assert_int_equal(stint_listener_adopt(&listener, loop, fd, 0, on_accept, NULL), 0);
	assert_int_equal(stint_listener_descriptor(listener), fd);
	connect_one();
	while (accepted < 1)
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	listener = stint_listener_free(listener);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_true(path_exists());
}

static void what_cannot_accept_is_not_adopted(void **state)
{
	int fd = bind_by_hand(0), pipe_ends[2], datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(stint_listener_adopt(&listener, loop, fd, 0, on_accept, NULL), -EINVAL);
	assert_int_equal(stint_listener_adopt(&listener, loop, -1, 0, on_accept, NULL), -EBADF);
	assert_int_equal(stint_listener_adopt(&listener, loop, pipe_ends[0], 0, on_accept, NULL), -ENOTSOCK);
	assert_int_equal(stint_listener_adopt(&listener, loop, datagrams, 0, on_accept, NULL), -EPROTOTYPE);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(stint_listener_adopt(&listener, loop, fd, 0, on_accept, NULL), -EINVAL);
	assert_null(listener);
	assert_int_equal(close(fd), 0);
	close(datagrams);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

static void paused_by_its_callback_it_accepts_no_more_until_resumed(void **state)
{
	(void)state;
	pause_after = 2;
	assert_int_equal(listen_on_path(&own), 0);
	for (int i = 0; i < 5; i++)
		connect_one();
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(accepted, 2);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(accepted, 2);
	assert_int_equal(stint_listener_resume(listener), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(accepted, 5);
	assert_int_equal(stint_listener_pauses(listener), 0);
	assert_int_equal(stint_listener_pause(NULL), -EINVAL);
}

static void with_ipv6_only_the_port_is_free_for_ipv4(void **state)
{
	const struct stint_listener_options options = {.size = sizeof(options), .ipv6_only = true};
	const struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET};
	struct stint_listener *second;
	int error = stint_listener_new(&listener, loop, (const struct sockaddr *)&any, sizeof(any), &options,
				       0, on_accept, NULL);

	(void)state;
	if (error == -EAFNOSUPPORT)
		skip();
	assert_int_equal(error, 0);
	ipv4.sin_port = htons((uint16_t)stint_listener_port(listener));
	assert_int_equal(stint_listener_new(&second, loop, (const struct sockaddr *)&ipv4, sizeof(ipv4), NULL,
					    0, on_accept, NULL),
			 0);
}

static void a_stale_file_is_removed_and_ours_at_the_end(void **state)
{
	(void)state;
	close(bind_by_hand(8));
	assert_int_equal(listen_on_path(NULL), -EADDRINUSE);
	assert_int_equal(listen_on_path(&own), 0);
	connect_one();
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(accepted, 1);
	listener = stint_listener_free(listener);
	assert_false(path_exists());
}

static void a_relative_path_is_removed_also_from_elsewhere(void **state)
{
	const struct sockaddr_un relative = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_equal(chdir(fixture_directory), 0);
	assert_int_equal(stint_listener_new(&listener, loop, (const struct sockaddr *)&relative,
					    sizeof(relative), &own, 0, on_accept, NULL),
			 0);
	assert_int_equal(fchdir(before), 0);
	close(before);
	assert_true(path_exists());
	listener = stint_listener_free(listener);
	assert_false(path_exists());
}

static void where_somebody_listens_nothing_is_removed(void **state)
{
	int fd = bind_by_hand(8);

	(void)state;
	assert_int_equal(listen_on_path(&own), -EADDRINUSE);
	connect_one();
	close(fd);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	int fd = open(address.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	(void)state;
	assert_int_equal(listen_on_path(&own), -EADDRINUSE);
	assert_true(path_exists());
	close(fd);
}

static void a_file_that_another_has_put_there_is_left_alone(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(listen_on_path(&own), 0);
	assert_int_equal(unlink(address.sun_path), 0);
	fd = bind_by_hand(8);
	listener = stint_listener_free(listener);
	connect_one();
	close(fd);
}

static void a_forked_child_leaves_the_file_to_its_parent(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(listen_on_path(&own), 0);
	pid = fork();
	if (pid == 0) {
		stint_loop_free(loop);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	connect_one();
}

static void an_address_without_a_path_has_none_to_own(void **state)
{
	const struct sockaddr_in any = {.sin_family = AF_INET};
	const struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0stint-test"};

	(void)state;
	assert_int_equal(stint_listener_new(&listener, loop, (const struct sockaddr *)&any, sizeof(any), &own,
					    0, on_accept, NULL),
			 -EINVAL);
	assert_int_equal(stint_listener_new(&listener, loop, (const struct sockaddr *)&abstract,
					    offsetof(struct sockaddr_un, sun_path) + 11, &own, 0, on_accept,
					    NULL),
			 -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_socket_that_listens_is_adopted),
		TEST(what_cannot_accept_is_not_adopted),
		TEST(paused_by_its_callback_it_accepts_no_more_until_resumed),
		TEST(with_ipv6_only_the_port_is_free_for_ipv4),
		TEST(a_stale_file_is_removed_and_ours_at_the_end),
		TEST(a_relative_path_is_removed_also_from_elsewhere),
		TEST(where_somebody_listens_nothing_is_removed),
		TEST(a_file_that_is_no_socket_is_left_alone),
		TEST(a_file_that_another_has_put_there_is_left_alone),
		TEST(a_forked_child_leaves_the_file_to_its_parent),
		TEST(an_address_without_a_path_has_none_to_own),
	};

	return cmocka_run_group_tests_name("listener_socket", tests, fixture_make_directory,
					   fixture_remove_directory);
}
