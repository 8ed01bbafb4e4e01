/* SPDX-License-Identifier: MIT */
#ifndef NAMES_FIXTURE_H
#define NAMES_FIXTURE_H

/* What tests of connecting by name share: a loop, listeners on both families, one result. */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct stint_loop *loop;
static struct stint_meter *meter;
static uint32_t handler;
static int results;
static struct stint_connect_name_result result;

/* Listeners on 127.0.0.1 and ::1 at one port; those that are full drop each SYN. */
static int listener4, listener6, filler4, filler6;
static uint16_t port;

__attribute__((unused)) static int open_loop(void **state)
{
	(void)state;
	results = 0;
	listener4 = listener6 = filler4 = filler6 = -1;
	if (stint_meter_new(&meter, NULL) < 0 ||
	    stint_loop_new(&loop, &(struct stint_loop_options){.size = sizeof(struct stint_loop_options),
							       .meter = meter}) < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "connect", 0);
	return 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

__attribute__((unused)) static int close_loop(void **state)
{
	(void)state;
	close_if_open(listener4);
	close_if_open(listener6);
	close_if_open(filler4);
	close_if_open(filler6);
	loop = stint_loop_free(loop);
	meter = stint_meter_free(meter);
	return 0;
}

static union stint_address loopback(int family)
{
	union stint_address address = {.any.sa_family = (sa_family_t)family};

	if (family == AF_INET6)
		address.ipv6.sin6_addr = in6addr_loopback;
	else
		address.ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* -1 if the port is taken. Backlog 0 has room for one connection. */
static int try_listen(int family, int backlog)
{
	union stint_address address = loopback(family);
	socklen_t bytes = family == AF_INET6 ? sizeof(address.ipv6) : sizeof(address.ipv4);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	if (family == AF_INET6) {
		address.ipv6.sin6_port = htons(port);
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
	} else {
		address.ipv4.sin_port = htons(port);
	}
	if (bind(fd, &address.any, bytes) < 0) {
		close(fd);
		return -1;
	}
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, &address.any, &bytes), 0);
	port = ntohs(family == AF_INET6 ? address.ipv6.sin6_port : address.ipv4.sin_port);
	return fd;
}

static int fill(int family)
{
	union stint_address address = loopback(family);
	socklen_t bytes = family == AF_INET6 ? sizeof(address.ipv6) : sizeof(address.ipv4);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.ipv4.sin_port = htons(port); /* at the same place in both */
	assert_int_equal(connect(fd, &address.any, bytes), 0);
	return fd;
}

enum listening { REFUSES, ACCEPTS, FULL };

__attribute__((unused)) static void open_listeners(enum listening ipv4, enum listening ipv6)
{
	static const int backlogs[] = {[REFUSES] = -1, [ACCEPTS] = 16, [FULL] = 0};

	for (int i = 0; i < 100 && listener6 < 0; i++) {
		close_if_open(listener4);
		port = 0;
		listener4 = try_listen(AF_INET, backlogs[ipv4]);
		listener6 = try_listen(AF_INET6, backlogs[ipv6]);
	}
	assert_true(listener4 >= 0 && listener6 >= 0);
	if (ipv4 == FULL)
		filler4 = fill(AF_INET);
	if (ipv6 == FULL)
		filler6 = fill(AF_INET6);
}

__attribute__((unused)) static void on_result(const struct stint_connect_name_result *given, void *ctx)
{
	(void)ctx;
	results++;
	result = *given;
	close_if_open(result.fd);
}

__attribute__((unused)) static void wait_for_result(void)
{
	for (int i = 0; i < 10000 && !results; i++)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(results, 1);
}

__attribute__((unused)) static int count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Tests of both families cannot run without IPv6. */
__attribute__((unused)) static void need_ipv6(void)
{
	union stint_address address = loopback(AF_INET6);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there = fd >= 0 && bind(fd, &address.any, sizeof(address.ipv6)) == 0;

	close_if_open(fd);
	if (there)
		return;
	printf("skipped: no IPv6 on loopback\n");
	skip();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

#endif
