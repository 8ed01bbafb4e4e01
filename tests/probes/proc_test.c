/* SPDX-License-Identifier: MIT */

/* What the probes read of a process in /proc: its registrations, and the ports that it listens on. */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/epoll_fds.h"
#include "probes/listeners.h"
#include "probes/unwind.h"

/* ---- /proc/PID/fdinfo ---- */

static void a_registration_is_parsed(void **state)
{
	uint32_t events;
	uint64_t data;
	int32_t fd;

	(void)state;
	assert_int_equal(stint_epoll_fds_parse("tfd:        5 events:       19 data:     7fff00000005  pos:0 "
					       "ino:1a sdev:8\n",
					       &fd, &events, &data),
			 0);
	assert_int_equal(fd, 5);
	assert_int_equal(events, 0x19);
	assert_int_equal(data, 0x7fff00000005);
}

static void a_line_that_is_no_registration_is_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"pos:\t0\n",
		"flags:\t02\n",
		"tfd:\n",
		"tfd: x",
		"tfd: 5",
		"tfd: 5 events: zz",
		"tfd: -1 events: 19 data: 5",
		"tfd: 5 events: 19 data:",
		" tfd 5 19",
		"%s%n%s%n%s",
		"data: 5 events: 19 tfd: 5",
	};
	uint32_t events = 1;
	uint64_t data = 2;
	int32_t fd = 3;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(stint_epoll_fds_parse(lines[i], &fd, &events, &data), -EINVAL);
	assert_true(fd == 3 && events == 1 && data == 2);
}

struct registration {
	int32_t fd;
	uint64_t data;
	int seen;
};

static int note_registration(void *ctx, int32_t fd, uint32_t events, uint64_t data)
{
	struct registration *registration = ctx;

	(void)events;
	registration->fd = fd;
	registration->data = data;
	registration->seen++;
	return registration->seen == 2 ? -ECANCELED : 0;
}

static void registrations_of_this_process_are_read(void **state)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};
	struct registration seen = {0};
	int before = stint_epoll_fds_count((uint32_t)getpid()), pipes[2], epfd = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(stint_epoll_fds_count((uint32_t)getpid()), before + 1);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, pipes[0], &event), 0);
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen), 0);
	assert_int_equal(seen.seen, 1);
	assert_int_equal(seen.fd, pipes[0]);
	assert_true(seen.data == 0x123456789abcdef0);
	event.events = EPOLLOUT;
	assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, pipes[1], &event), 0);
	seen.seen = 0;
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen),
			 -ECANCELED);
	close(epfd);
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen), -ENOENT);
	close(pipes[0]);
	close(pipes[1]);
}

/* A process that is gone for sure: it was ours, and its end was taken note of. */
static uint32_t pid_of_nobody(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return (uint32_t)pid;
}

static void a_process_that_is_gone_is_no_such_process(void **state)
{
	struct stint_unwinder *unwinder;
	uint32_t pid = pid_of_nobody();

	(void)state;
	assert_int_equal(stint_epoll_fds_count(pid), -ESRCH);
	assert_int_equal(stint_epoll_fds_read(pid, 3, note_registration, NULL), -ENOENT);
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, pid), -ESRCH);
}

/* ---- ports that are listened on ---- */

static struct listened {
	uint16_t port;
	unsigned own, others;
} listened;

static void count_port(void *ctx, uint16_t port, bool own)
{
	(void)ctx;
	listened.own += port == listened.port && own;
	listened.others += port == listened.port && !own;
}

/* On a port of the kernel's choice, which is in `listened` from then on. */
static int listen_on_loopback(int family)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)&address;
	socklen_t bytes = sizeof(address);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (family == AF_INET)
		*ipv4 = (struct sockaddr_in){.sin_family = AF_INET,
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, bytes) != 0) {
		print_message("skipped: no loopback of family %d\n", family);
		skip();
	}
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	listened = (struct listened){
		.port = ntohs(address.sin6_port)}; /* both families have it at the same place */
	return fd;
}

static void a_port_is_its_processs_own(void **state)
{
	const int families[] = {AF_INET, AF_INET6};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = listen_on_loopback(families[i]);

		stint_listeners_read((uint32_t)getpid(), count_port, NULL);
		assert_int_equal(listened.own, 1);
		assert_int_equal(listened.others, 0);
		close(fd);
	}
}

static int connect_to(int listener, int family)
{
	struct sockaddr_in6 address;
	socklen_t bytes = sizeof(address);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, bytes), 0);
	return fd;
}

/* Of the first family it is open still as the second one's is looked for. */
static void a_port_is_found_beside_connections_of_either_family(void **state)
{
	const int families[] = {AF_INET, AF_INET6};
	int listeners[2], connections[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		listeners[i] = listen_on_loopback(families[i]);
		connections[i] = connect_to(listeners[i], families[i]);
		stint_listeners_read((uint32_t)getpid(), count_port, NULL);
		assert_int_equal(listened.own, 1);
	}
	for (int i = 0; i < 2; i++) {
		close(connections[i]);
		close(listeners[i]);
	}
}

static void a_port_of_another_process_is_not_its_own(void **state)
{
	int fd = listen_on_loopback(AF_INET), closed[2], leave[2];
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe(closed), 0);
	assert_int_equal(pipe(leave), 0);
	child = fork();
	if (child == 0) {
		close(fd);
		close(leave[1]);
		_exit(write(closed[1], "c", 1) != 1 || read(leave[0], &byte, 1) != 0);
	}
	assert_int_equal(read(closed[0], &byte, 1), 1);
	stint_listeners_read((uint32_t)child, count_port, NULL);
	close(leave[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(leave[0]);
	close(closed[0]);
	close(closed[1]);
	close(fd);
	assert_int_equal(listened.own, 0);
	assert_int_equal(listened.others, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_registration_is_parsed),
		cmocka_unit_test(a_line_that_is_no_registration_is_refused),
		cmocka_unit_test(registrations_of_this_process_are_read),
		cmocka_unit_test(a_process_that_is_gone_is_no_such_process),
		cmocka_unit_test(a_port_is_its_processs_own),
		cmocka_unit_test(a_port_is_found_beside_connections_of_either_family),
		cmocka_unit_test(a_port_of_another_process_is_not_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
