/* SPDX-License-Identifier: MIT */

/* Whose connections are a server's clients, where ports are listened on by others, and in other network namespaces. */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "network.h"
#include "subject.h"
#include "watched_roles.h"
#include "watching.h"

static struct watching watching;
static struct subject subject, server;
static int network, listener, other_listener;

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&subject, 0, sizeof(subject));
	memset(&server, 0, sizeof(server));
	network = listener = other_listener = -1;
	return 0;
}

static int tear_down(void **state)
{
	const int fds[] = {network, listener, other_listener};

	(void)state;
	subject_stop(&subject, 0);
	subject_stop(&server, SIGKILL);
	watching_close(&watching);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 0;
}

/* On loopback, on a port of the kernel's choice if `port` is 0. Returns it. */
static uint16_t take_port(int fd, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t bytes = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(bind(fd, (struct sockaddr *)&address, bytes), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&address, &bytes), errno);
	return ntohs(address.sin_port);
}

static uint16_t listen_on(int fd, int queue)
{
	uint16_t port = take_port(fd, 0);

	assert_return_code(listen(fd, queue), errno);
	return port;
}

static void connect_to(int fd, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), errno);
}

static int accept_on(int fd)
{
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	assert_return_code(accepted, errno);
	return accepted;
}

static int own_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	return fd;
}

static void open_probes(void)
{
	struct stint_probes_options options = {.size = sizeof(options), .follow_name = "epoll_loop"};

	watching_or_skip();
	watching_open(&watching, &options);
}

/* A process of that network that has `in` in its set, and is told by way of `to`: its only role. */
static void assert_role(int in, int to, const char *role, uint16_t port)
{
	int own = network >= 0 ? network_move(network) : -1;
	char name[64];

	snprintf(name, sizeof(name), "%s:%u", role, port);
	subject_start_fed(&subject, "tests/subjects/epoll_loop", NULL, in, to);
	if (own >= 0)
		network_return(own);
	assert_int_equal(stint_probes_follow(watching.probes, (uint32_t)subject.pid), 0);
	subject_go(&subject);
	for (int i = 0; i < 3; i++)
		subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watched_roles_read(&watching);
	assert_int_equal(watched_roles_len(), 1);
	assert_string_equal(watched_role_at(0)->name, name);
}

/* The process will have the listener, too. */
static void pass_on(int fd)
{
	assert_return_code(fcntl(fd, F_SETFD, 0), errno);
}

static void assert_accepted_is_a_clients(int to, uint16_t port)
{
	connect_to(to, port);
	assert_role(accept_on(listener), to, "clients of ", port);
}

/* The same number in two networks: a connection goes out from it in the other one. */
static void assert_connection_from_is_an_upstreams(uint16_t port)
{
	int in = network_socket(network);
	uint16_t there;

	other_listener = network_socket(network);
	there = listen_on(other_listener, 1);
	take_port(in, port);
	connect_to(in, there);
	assert_role(in, accept_on(other_listener), "upstream 127.0.0.1", there);
}

/* As dovecot's imap is by its login process: which has the listener, is watched by nobody, and is this test. */
static void a_connection_that_a_followed_process_was_given_is_a_clients(void **state)
{
	(void)state;
	open_probes();
	listener = own_socket();
	assert_accepted_is_a_clients(own_socket(), listen_on(listener, 1));
}

static void one_that_was_given_in_another_network_is_a_clients(void **state)
{
	(void)state;
	open_probes();
	network = network_new();
	listener = network_socket(network);
	assert_accepted_is_a_clients(network_socket(network), listen_on(listener, 1));
}

/* Where nothing but the port tells that it was accepted. */
static void one_of_a_listener_without_a_queue_is_a_clients(void **state)
{
	(void)state;
	open_probes();
	listener = own_socket();
	pass_on(listener);
	assert_accepted_is_a_clients(own_socket(), listen_on(listener, 0));
}

static void one_of_a_listener_without_a_queue_in_another_network_is_a_clients(void **state)
{
	(void)state;
	open_probes();
	network = network_new();
	listener = network_socket(network);
	pass_on(listener);
	assert_accepted_is_a_clients(network_socket(network), listen_on(listener, 0));
}

static void a_connection_from_a_port_that_others_listen_on_elsewhere_is_an_upstreams(void **state)
{
	uint16_t port;

	(void)state;
	watching_or_skip();
	network = network_new();
	listener = own_socket();
	port = listen_on(listener, 1);
	open_probes();
	assert_connection_from_is_an_upstreams(port);
}

/* It is held before its first instruction, and yet known by its listener. */
static void one_from_a_port_that_a_watched_process_listens_on_elsewhere_is_an_upstreams(void **state)
{
	uint16_t port;

	(void)state;
	open_probes();
	network = network_new();
	listener = own_socket();
	pass_on(listener);
	port = listen_on(listener, 1);
	subject_start(&server, "tests/subjects/epoll_loop", NULL);
	assert_int_equal(stint_probes_follow(watching.probes, (uint32_t)server.pid), 0);
	assert_connection_from_is_an_upstreams(port);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_connection_that_a_followed_process_was_given_is_a_clients),
		TEST(one_that_was_given_in_another_network_is_a_clients),
		TEST(one_of_a_listener_without_a_queue_is_a_clients),
		TEST(one_of_a_listener_without_a_queue_in_another_network_is_a_clients),
		TEST(a_connection_from_a_port_that_others_listen_on_elsewhere_is_an_upstreams),
		TEST(one_from_a_port_that_a_watched_process_listens_on_elsewhere_is_an_upstreams),
	};

	return cmocka_run_group_tests_name("networks", tests, NULL, NULL);
}
