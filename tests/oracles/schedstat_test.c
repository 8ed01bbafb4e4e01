/* SPDX-License-Identifier: MIT */

/*
 * The time that a loop waited for a CPU, against the scheduler's own account of the thread:
 * /proc/PID/task/TID/schedstat.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "subject.h"
#include "watching.h"

#define MS    UINT64_C(1000000)
#define TIMES 5

/* A switch takes some us itself, with the clock of the samples; whose they are, the two see differently. */
#define SWITCH_NS 10000

static struct watching watching;
static struct subject subject;

static int tear_down(void **state)
{
	(void)state;
	subject_stop(&subject, SIGKILL);
	watching_close(&watching);
	return 0;
}

/* How long it was runnable but not running, ever. */
static uint64_t run_delay_ns(int32_t tid)
{
	uint64_t on_cpu_ns, delay_ns;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", subject.pid, tid);
	file = fopen(path, "r");
	if (!file) {
		printf("skipped: this kernel has no schedstat\n");
		skip();
	}
	assert_int_equal(fscanf(file, "%" SCNu64 " %" SCNu64, &on_cpu_ns, &delay_ns), 2);
	fclose(file);
	return delay_ns;
}

struct told {
	uint64_t runnable_ns;
	uint64_t switches;
};

static struct told told_since(size_t first, int32_t tid)
{
	struct told told = {0};

	for (size_t i = first; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		if (overrun->tid != (uint32_t)tid)
			continue;
		told.runnable_ns += overrun->runnable_ns;
		told.switches += overrun->segments_len + overrun->segments_lost;
	}
	return told;
}

/* Both compute 50 ms at once on one CPU. Returns how far apart the two accounts of the first are. */
static uint64_t compete(int32_t tid)
{
	uint64_t counted_ns, apart_ns, switches_ns;
	struct told told;
	size_t first;

	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	first = watching.overruns_len;
	counted_ns = run_delay_ns(tid);
	subject_send(&subject, 0, SUBJECT_MEET, 50 * MS);
	subject_send(&subject, 1, SUBJECT_MEET, 50 * MS);
	subject_answer(&subject);
	subject_answer(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	counted_ns = run_delay_ns(tid) - counted_ns;
	watching_take(&watching);
	told = told_since(first, tid);
	assert_true(told.runnable_ns >= 10 * MS);
	printf("told %.3f ms in %" PRIu64 " switches, counted %.3f ms\n", (double)told.runnable_ns / 1e6,
	       told.switches, (double)counted_ns / 1e6);
	apart_ns =
		told.runnable_ns > counted_ns ? told.runnable_ns - counted_ns : counted_ns - told.runnable_ns;
	switches_ns = told.switches * SWITCH_NS;
	return apart_ns > switches_ns ? apart_ns - switches_ns : 0;
}

/* The scheduler also counts what is outside of overruns: so they need not agree each time. */
static void time_runnable_is_what_the_scheduler_counts(void **state)
{
	uint64_t least_apart_ns = UINT64_MAX;
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start_loops(&subject, "wait", "2");
	watching_add(&watching, subject.pid);
	answer = subject_do(&subject, 0, SUBJECT_PIN, 0);
	subject_do(&subject, 1, SUBJECT_PIN, 0);
	for (int i = 0; i < TIMES; i++) {
		uint64_t apart_ns = compete(answer.tid);

		if (apart_ns < least_apart_ns)
			least_apart_ns = apart_ns;
	}
	assert_true(least_apart_ns <= MS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(time_runnable_is_what_the_scheduler_counts, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
