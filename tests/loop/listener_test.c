/* SPDX-License-Identifier: MIT */

/* A listener while the process is out of descriptors, or that was shut down: it neither spins nor goes deaf. */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/resource.h>

#define CLIENTS 20 /* more than a dispatch accepts */

static struct stint_loop *loop;
static struct stint_meter *meter;
static struct stint_listener *listener;
static struct rlimit before;
static int clients[CLIENTS];
static int fillers[256], filled;
static int accepted;

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

static void connect_clients(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)stint_listener_port(listener)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(clients[i] >= 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof(address)), 0);
	}
}

/* Takes every descriptor that a low limit leaves. */
static void use_up_descriptors(void)
{
	const struct rlimit low = {.rlim_cur = 128, .rlim_max = before.rlim_max};

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	filled = 0;
	for (;;) {
		int fd = dup(clients[0]);

		if (fd < 0)
			break;
		assert_in_range(filled, 0, 255);
		fillers[filled++] = fd;
	}
	assert_int_equal(errno, EMFILE);
}

static void give_descriptors_back(void)
{
	while (filled > 0)
		close(fillers[--filled]);
	setrlimit(RLIMIT_NOFILE, &before);
}

static int open_listener(void **state)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)state;
	accepted = 0;
	if (getrlimit(RLIMIT_NOFILE, &before) < 0 || stint_meter_new(&meter, NULL) < 0 ||
	    stint_loop_new(&loop, NULL) < 0)
		return -1;
	return stint_listener_new(&listener, loop, (const struct sockaddr *)&any, sizeof(any), NULL, 0,
				  on_accept, NULL);
}

static int close_listener(void **state)
{
	(void)state;
	give_descriptors_back();
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	loop = stint_loop_free(loop);
	meter = stint_meter_free(meter);
	return 0;
}

static void out_of_descriptors_it_pauses_and_then_accepts_all(void **state)
{
	uint64_t begin_ns = stint_loop_now_ns(loop);
	int iterations = 0;

	(void)state;
	fixture_skip_on_valgrind("closes connections that are accepted beyond the limit");
	connect_clients();
	use_up_descriptors();
	while (stint_listener_pauses(listener) < 3) {
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
		iterations++;
	}
	/* One that fails to accept, and one that ends the pause, for each; and each pause was waited for. */
	assert_in_range(iterations, 3, 6);
	assert_int_equal(accepted, 0);
	assert_true(stint_loop_now_ns(loop) - begin_ns >= 200 * MS);
	give_descriptors_back();
	while (accepted < CLIENTS)
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(stint_listener_pauses(listener), 3);
}

static void a_paused_listener_can_be_freed(void **state)
{
	(void)state;
	connect_clients();
	use_up_descriptors();
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(stint_listener_pauses(listener), 1);
	listener = stint_listener_free(listener);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(accepted, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_listener, close_listener)

/* The kernel reports EPOLLHUP of it for as long as anybody watches, whatever was asked for. */
static void one_that_was_shut_down_does_not_spin_and_may_listen_again(void **state)
{
	(void)state;
	assert_int_equal(shutdown(stint_listener_descriptor(listener), SHUT_RD), 0);
	assert_in_range(fixture_iterations_in_20_ms(loop), 1, 5);
	assert_int_equal(stint_listener_error(listener), -EINVAL);
	assert_int_equal(stint_listener_pauses(listener), 0);
	assert_int_equal(stint_listener_pause(listener), 0);
	assert_in_range(fixture_iterations_in_20_ms(loop), 1, 5);
	assert_int_equal(listen(stint_listener_descriptor(listener), CLIENTS), 0);
	assert_int_equal(stint_listener_resume(listener), 0);
	connect_clients();
	while (accepted < CLIENTS)
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(stint_listener_error(listener), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(out_of_descriptors_it_pauses_and_then_accepts_all),
		TEST(a_paused_listener_can_be_freed),
		TEST(one_that_was_shut_down_does_not_spin_and_may_listen_again),
	};

	return cmocka_run_group_tests_name("listener", tests, fixture_make_directory,
					   fixture_remove_directory);
}
