/* SPDX-License-Identifier: MIT */
#ifndef SOURCES_FIXTURE_H
#define SOURCES_FIXTURE_H

/* What tests of a loop's sources share: a loop for each, pipes, callbacks that count. */

#include "metered_fixture.h"

#include <fcntl.h>

static int calls;

static int open_loop(void **state)
{
	(void)state;
	calls = 0;
	return fixture_open_loop();
}

/* A pipe whose reading end is ready, if `ready`. */
static void make_pipe(int fds[2], bool ready)
{
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	if (ready)
		assert_int_equal(write(fds[1], "x", 1), 1);
}

static void close_pipe(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void count_tick(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	++*(int *)ctx;
}

static void tick_never(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	fail();
}

static void start_again(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	if (++calls < 5)
		stint_timer_start(timer, 0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)

#endif
