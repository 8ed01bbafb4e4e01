/* SPDX-License-Identifier: MIT */

/* A program that is not ours: redis-server as the distribution has it, made to stall, and its own slow log. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "redis.h"
#include "watching.h"

#define MS       1000000u
#define SLEEPS   5
#define LOOPS    3
#define SLOW_MAX 8

static struct watching watching;
static struct redis redis;

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&redis, 0, sizeof(redis));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	watching_close(&watching);
	redis_stop(&redis);
	return 0;
}

static void watch_redis(void)
{
	watching_or_skip();
	if (!redis_start(&redis)) {
		printf("skipped: redis-server is not installed (apt-get install redis-server)\n");
		skip();
	}
	watching_open(&watching, NULL);
	watching_add(&watching, redis.pid);
	REDIS_DO(&redis, "PING");
	REDIS_DO(&redis, "SLOWLOG", "RESET");
}

/* A later command is answered: the iterations before are over. */
static void take_all(void)
{
	REDIS_DO(&redis, "PING");
	REDIS_DO(&redis, "PING");
	watching_take(&watching);
	assert_overruns_consistent(&watching);
}

/* What redis' own slow log says, in us, the oldest first. Each entry is of a command of three words. */
static size_t read_slow_log(uint64_t *us)
{
	char *text = strdup(REDIS_DO(&redis, "SLOWLOG", "GET", "100")), *rest = text, *line;
	uint64_t newest_first[SLOW_MAX];
	size_t len = 0;

	assert_non_null(text);
	for (int i = 0; (line = strsep(&rest, "\n")) && *line; i++) {
		/* id, time, duration, three words, client's address, client's name (which may be empty) */
		if (i % 8 == 2) {
			assert_true(len < SLOW_MAX);
			newest_first[len++] = strtoull(line, NULL, 10);
		}
		if (i % 8 == 6)
			i++, strsep(&rest, "\n");
	}
	free(text);
	for (size_t i = 0; i < len; i++)
		us[i] = newest_first[len - 1 - i];
	return len;
}

/* The iteration without the command, and without waiting for a CPU: redis' work around the command. */
static uint64_t around_command_ns(const struct stint_probes_overrun *overrun, uint64_t command_ns)
{
	uint64_t rest_ns = overrun->duration_ns - command_ns;

	return rest_ns > overrun->runnable_ns ? rest_ns - overrun->runnable_ns : 0;
}

/* What redis calls the command's time is within the iteration, and is nearly all of it. */
static void assert_slow_log_agrees(uint64_t least_ns, size_t count)
{
	uint64_t us[SLOW_MAX], around_ns = UINT64_MAX;

	assert_int_equal(watching_count(&watching, least_ns), count);
	assert_int_equal(read_slow_log(us), count);
	for (size_t i = 0; i < count; i++) {
		const struct stint_probes_overrun *overrun = &watching_overrun(&watching, least_ns, i)->is;
		uint64_t this_ns;

		assert_true(us[i] * 1000 <= overrun->duration_ns);
		this_ns = around_command_ns(overrun, us[i] * 1000);
		around_ns = this_ns < around_ns ? this_ns : around_ns;
	}
	assert_true(around_ns <= MS);
}

static void each_debug_sleep_is_an_overrun_blocked_in_its_system_call(void **state)
{
	uint64_t least_ns = UINT64_MAX;

	(void)state;
	watch_redis();
	for (int i = 0; i < SLEEPS; i++)
		REDIS_DO(&redis, "DEBUG", "SLEEP", "0.05");
	take_all();
	assert_slow_log_agrees(40 * MS, SLEEPS);
	for (size_t i = 0; i < SLEEPS; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 40 * MS, i);

		if (overrun->is.duration_ns - overrun->is.runnable_ns < least_ns)
			least_ns = overrun->is.duration_ns - overrun->is.runnable_ns;
		assert_true(overrun->is.duration_ns >= 50 * MS);
		assert_true(overrun->is.blocked_ns >= 49 * MS);
		assert_true(overrun->is.syscalls_len >= 1);
		assert_non_null(strstr(overrun->is.syscalls[0].name, "nanosleep"));
		assert_true(overrun->is.syscalls[0].duration_ns >= 50 * MS);
		assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
		assert_true(watched_stack_has(overrun, "debugCommand") || watched_stack_has(overrun, "call"));
		assert_string_equal(overrun->handler, "readQueryFromClient");
		assert_int_equal(overrun->is.ready_events, 1);
		assert_true(overrun->is.fd >= 0);
	}
	/* A hypervisor may take the CPU away, which the scheduler does not see: but not each time. */
	assert_in_range(least_ns, 50 * MS, 52 * MS);
}

/* Redis' own monitor of latency: of each kind of event the last time, the latest and the longest, in ms. */
static void redis_tells_of_the_same_latency(void **state)
{
	const struct stint_probes_overrun *overrun;
	unsigned long longest_ms = 0;
	const char *text;

	(void)state;
	watch_redis();
	REDIS_DO(&redis, "CONFIG", "SET", "latency-monitor-threshold", "20");
	REDIS_DO(&redis, "DEBUG", "SLEEP", "0.05");
	take_all();
	text = strstr(REDIS_DO(&redis, "LATENCY", "LATEST"), "command\n");
	assert_non_null(text);
	assert_int_equal(sscanf(text, "command\n%*u\n%*u\n%lu", &longest_ms), 1);
	assert_int_equal(watching_count(&watching, 40 * MS), 1);
	overrun = &watching_overrun(&watching, 40 * MS, 0)->is;
	assert_in_range(longest_ms, 50, overrun->duration_ns / MS);
}

static void each_lua_loop_is_an_overrun_on_the_cpu(void **state)
{
	static const char script[] = "local x = 0 for i = 1, 10000000 do x = x + i % 7 end return x";

	(void)state;
	watch_redis();
	for (int i = 0; i < LOOPS; i++)
		REDIS_DO(&redis, "EVAL", script, "0");
	take_all();
	assert_slow_log_agrees(15 * MS, LOOPS);
	for (size_t i = 0; i < LOOPS; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 15 * MS, i);

		assert_true(overrun->is.on_cpu_ns > overrun->is.blocked_ns);
		assert_true(overrun->is.on_cpu_ns >= 20 * MS);
		assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_COMPUTED);
		assert_true(watched_stack_has(overrun, "evalGenericCommand"));
		assert_true(watched_stack_has(overrun, "main"));
		assert_string_equal(overrun->handler, "readQueryFromClient");
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Were one of its iterations long by what the machine did, its client has seen that too. */
static void redis_at_work_has_iterations_and_no_overrun_of_its_own(void **state)
{
	struct stint_probes_losses losses;
	size_t late = 0;

	(void)state;
	watch_redis();
	for (int i = 0; i < 1000; i++) {
		uint64_t begin_ns = now_ns();

		REDIS_DO(&redis, "SET", "key", "value");
		late += now_ns() - begin_ns >= 15 * MS;
	}
	take_all();
	assert_int_equal(watching_loops(&watching), 1);
	assert_in_range(watching_count(&watching, 15 * MS), 0, late);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.ring_full, 0);
	assert_int_equal(losses.table_full, 0);
	assert_int_equal(losses.stacks_cut, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_debug_sleep_is_an_overrun_blocked_in_its_system_call,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(redis_tells_of_the_same_latency, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_lua_loop_is_an_overrun_on_the_cpu, set_up, tear_down),
		cmocka_unit_test_setup_teardown(redis_at_work_has_iterations_and_no_overrun_of_its_own,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
