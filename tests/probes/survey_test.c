/* SPDX-License-Identifier: MIT */

/*
 * Stalls that are looked at all the time while they go on, from another CPU, as often amid an ACK's processing: what opened
 * the buffer is known all the same.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "watching_fixture.h"

#define ROUNDS 20
#define LOOKS  50 /* before what they tell is taken */

static void look_until_exits(size_t exits)
{
	time_t limit = time(NULL) + 60;

	while (watching.exited_len < exits) {
		for (int i = 0; i < LOOKS; i++)
			assert_int_equal(stint_probes_tell_open(watching.probes), 0);
		assert_true(stint_probes_poll(watching.probes, 0) >= 0);
		if (time(NULL) > limit)
			fail_msg("the subject does not exit");
	}
	watching_take(&watching);
}

static void looking_at_a_stall_takes_nothing_from_it(void **state)
{
	const char *const arguments[] = {"level", "slow", NULL};
	uint64_t ended = 0, looks = 0, unknown = 0, unseen = 0;
	struct stint_probes_losses losses;

	(void)state;
	watching_or_skip();
	for (size_t i = 1; i <= ROUNDS; i++) {
		subject_start(&subject, "tests/subjects/write_cases", arguments);
		watching_add(&watching, subject.pid);
		subject_go(&subject);
		look_until_exits(i);
		assert_int_equal(subject_stop(&subject, 0), 0);
	}
	for (size_t i = 0; i < watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];

		looks += stall->ending == STINT_PROBES_OPEN;
		if (stall->ending != STINT_PROBES_SENT)
			continue;
		ended++;
		unknown += stall->cause_time_ns == 0;
	}
	stint_probes_losses(watching.probes, &losses);
	unseen = losses.acks_unseen;
	print_message("%" PRIu64 " stalls, %" PRIu64 " looks at them: %" PRIu64
		      " without the ACK that opened the buffer; %" PRIu64 " ACKs were not seen\n",
		      ended, looks, unknown, unseen);
	assert_true(ended > 0 && looks > 0);
	assert_true(unknown <= unseen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(looking_at_a_stall_takes_nothing_from_it,
						watching_set_up_opened, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
