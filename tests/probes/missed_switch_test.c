/* SPDX-License-Identifier: MIT */

/* When a thread got a CPU without a program seeing it: from the clocks of a kernel that is played here, tick by tick. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* The eBPF side's own words, to compile its formula here. */
typedef uint64_t u64;
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#include "probes/bpf/missed_switch.bpf.h"

#define MS      UINT64_C(1000000)
#define TICK_NS (4 * MS)

/* A queue's clock has another zero than ours; and leaves out what the hypervisor took. */
#define CLOCK_ZERO (UINT64_C(777) * MS)

struct played {
	u64 off_ns, on_ns, now_ns;
	u64 runnable_ns; /* as it was seen */
	u64 stolen_ns;   /* since it was on */
	bool moved;      /* to another queue, with a clock of its own */
};

static u64 queue_clock(const struct played *played, u64 time_ns)
{
	return time_ns - CLOCK_ZERO + (played->moved && time_ns >= played->on_ns ? 3333 * MS : 0);
}

/* Both clocks of a thread are brought up to date as it leaves a CPU or gets one, and at each tick in between. */
static u64 found(const struct played *played)
{
	u64 ticks = (played->now_ns - played->on_ns) / TICK_NS;
	u64 up_to_date_ns = played->on_ns + ticks * TICK_NS;
	u64 ran_ns = up_to_date_ns - played->on_ns;
	u64 stolen_ns = played->stolen_ns < ran_ns ? played->stolen_ns : ran_ns;
	const struct missed_switch missed = {
		.off_ns = played->off_ns,
		.runnable_ns = played->runnable_ns,
		.now_ns = played->now_ns,
		.ran_ns = ran_ns - stolen_ns,
		.off_clock_ns = queue_clock(played, played->off_ns),
		.last_clock_ns = queue_clock(played, up_to_date_ns) - stolen_ns,
		.same_queue = !played->moved,
	};

	return since_when_on(&missed);
}

/* At whatever moment between two ticks it is looked at. */
static void it_is_known_to_the_nanosecond_where_the_queue_is_the_same(void **state)
{
	struct played played = {.off_ns = 1000 * MS, .on_ns = 1003 * MS + 217};

	(void)state;
	for (u64 ran_ns = 1; ran_ns < 5 * TICK_NS; ran_ns += MS / 7) {
		played.now_ns = played.on_ns + ran_ns;
		assert_int_equal(found(&played), played.on_ns);
	}
}

/* Short by what has run since the last tick: not more, and never from before it was off. */
static void it_is_at_the_latest_what_the_cpu_clock_tells_in_another_queue(void **state)
{
	struct played played = {.off_ns = 1000 * MS, .on_ns = 1003 * MS + 217, .moved = true};

	(void)state;
	for (u64 ran_ns = 1; ran_ns < 5 * TICK_NS; ran_ns += MS / 7) {
		played.now_ns = played.on_ns + ran_ns;
		assert_int_equal(found(&played), played.on_ns + ran_ns % TICK_NS);
	}
}

static void it_is_not_before_the_wake_up_that_was_seen(void **state)
{
	struct played played = {.off_ns = 1000 * MS,
				.on_ns = 1003 * MS,
				.runnable_ns = 1003 * MS,
				.now_ns = 1010 * MS};

	(void)state;
	assert_int_equal(found(&played), 1003 * MS);
	played.runnable_ns = 1002 * MS;
	assert_int_equal(found(&played), 1003 * MS);
	played.runnable_ns = 1004 * MS; /* as another CPU's clock has it */
	assert_int_equal(found(&played), 1004 * MS);
}

/* Neither clock has it, so up to a tick of it cannot be told from the lag. More than any tick is not believed in. */
static void what_the_hypervisor_took_does_not_make_it_earlier_than_it_was(void **state)
{
	struct played played = {.off_ns = 1000 * MS, .on_ns = 1003 * MS, .now_ns = 1100 * MS};

	(void)state;
	for (played.stolen_ns = 0; played.stolen_ns < 90 * MS; played.stolen_ns += MS)
		assert_true(found(&played) >= played.on_ns);
	played.stolen_ns = 30 * MS;
	assert_int_equal(found(&played), played.on_ns + 30 * MS + (played.now_ns - played.on_ns) % TICK_NS);
}

/* Its clocks can say nothing then that lies between. */
static void a_cpu_clock_ahead_of_time_is_held_to_the_time_that_it_was_away(void **state)
{
	const struct missed_switch missed = {.off_ns = 1000 * MS,
					     .now_ns = 1001 * MS,
					     .ran_ns = 2 * MS,
					     .last_clock_ns = 5 * MS};

	(void)state;
	assert_int_equal(since_when_on(&missed), 1000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_known_to_the_nanosecond_where_the_queue_is_the_same),
		cmocka_unit_test(it_is_at_the_latest_what_the_cpu_clock_tells_in_another_queue),
		cmocka_unit_test(it_is_not_before_the_wake_up_that_was_seen),
		cmocka_unit_test(what_the_hypervisor_took_does_not_make_it_earlier_than_it_was),
		cmocka_unit_test(a_cpu_clock_ahead_of_time_is_held_to_the_time_that_it_was_away),
	};

	return cmocka_run_group_tests_name("missed switch", tests, NULL, NULL);
}
