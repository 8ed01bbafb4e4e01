/* SPDX-License-Identifier: MIT */

/*
 * A thread that is woken while it is about to leave its CPU wants that from then on: it is runnable, and not blocked.
 * Of each sleep a moment is known at which the thread was woken, which comes before that at which it was on a CPU
 * again.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "watching_fixture.h"

#define SUBJECT_CANNOT 77

static void skip_with_one_cpu(void)
{
	int status = subject_stop(&subject, 0);

	if (WIFEXITED(status) && WEXITSTATUS(status) == SUBJECT_CANNOT) {
		printf("skipped: there is one CPU\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void one_that_is_woken_as_it_leaves_its_cpu_is_runnable(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .budget_ns = 1};
	uint64_t sleeps = 0, never_asleep = 0, never_woken = 0;

	(void)state;
	watching_or_skip();
	watching_open(&watching, &options);
	subject_start(&subject, "tests/subjects/early_wakes", NULL);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	watching_until_exit(&watching, subject.pid);
	watching_take(&watching);
	skip_with_one_cpu();
	for (size_t i = 0; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		for (uint32_t at = 0; at < overrun->segments_len; at++) {
			const struct stint_probes_segment *segment = &overrun->segments[at];

			sleeps++;
			never_asleep += segment->runnable_ns == segment->off_ns;
			never_woken += segment->runnable_ns == segment->on_ns;
		}
	}
	print_message("%" PRIu64 " times off a CPU; of those %" PRIu64 " without sleeping, %" PRIu64
		      " without being woken\n",
		      sleeps, never_asleep, never_woken);
	assert_true(sleeps > 0);
	assert_int_equal(never_woken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_is_woken_as_it_leaves_its_cpu_is_runnable,
						watching_set_up, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
