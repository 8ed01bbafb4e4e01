/* SPDX-License-Identifier: MIT */
#include "write_case.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject.h"

#define SUBJECT_CANNOT 77

void write_case_run_with(struct write_case *run, const char *sender, const char *peer,
			 const struct stint_probes_options *options)
{
	const char *arguments[] = {sender, peer, NULL};
	struct stint_probes_losses losses;
	struct subject subject = {0};
	int status;

	memset(run, 0, sizeof(*run));
	watching_or_skip();
	watching_open(&run->watching, options);
	subject_start(&subject, "tests/subjects/write_cases", arguments);
	watching_add(&run->watching, subject.pid);
	subject_go(&subject);
	watching_until_exit(&run->watching, subject.pid);
	watching_take(&run->watching);
	if (read(subject.from, &run->account, sizeof(run->account)) < 0)
		fail_msg("the subject cannot be read");
	status = subject_stop(&subject, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUBJECT_CANNOT) {
		watching_close(&run->watching);
		printf("skipped: %s cannot be had on this kernel by this user\n", sender);
		skip();
	}
	assert_int_equal(status, 0);
	assert_true(run->account.sndbuf_bytes > 0);
	stint_probes_losses(run->watching.probes, &losses);
	assert_int_equal(losses.ring_full, 0);
	assert_int_equal(losses.table_full, 0);
}

void write_case_run(struct write_case *run, const char *sender, const char *peer)
{
	write_case_run_with(run, sender, peer, NULL);
}

void write_case_end(struct write_case *run)
{
	watching_close(&run->watching);
}

uint64_t write_case_limit_ns(const struct write_case *run, enum stint_probes_limit limit)
{
	uint64_t sum_ns = 0;

	for (size_t i = 0; i < run->watching.stalls_len; i++)
		sum_ns += run->watching.stalls[i].limit_ns[limit];
	return sum_ns;
}

uint64_t write_case_own_ns(const struct write_case *run)
{
	uint64_t sum_ns = 0;

	for (size_t i = 0; i < run->watching.stalls_len; i++)
		sum_ns += run->watching.stalls[i].duration_ns - run->watching.stalls[i].ack_ns;
	return sum_ns;
}

const struct stint_probes_stall *write_case_longest(const struct write_case *run)
{
	const struct stint_probes_stall *longest = NULL;

	for (size_t i = 0; i < run->watching.stalls_len; i++)
		if (!longest || run->watching.stalls[i].duration_ns > longest->duration_ns)
			longest = &run->watching.stalls[i];
	assert_non_null(longest);
	return longest;
}

static void assert_parts_add_up(const struct stint_probes_stall *stall)
{
	uint64_t limits_ns = 0;

	assert_int_equal(stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns +
				 stall->queue_ns,
			 stall->duration_ns);
	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++)
		limits_ns += stall->limit_ns[limit];
	assert_int_equal(limits_ns, stall->ack_ns);
}

void assert_write_case_consistent(const struct write_case *run)
{
	const struct watching *watching = &run->watching;
	uint64_t in_stalls = 0, outcomes = 0;

	for (size_t i = 0; i < watching->stalls_len; i++) {
		assert_parts_add_up(&watching->stalls[i]);
		in_stalls += watching->stalls[i].acks;
	}
	assert_int_equal(watching->stalls_len, run->account.short_sends);
	if (watching->acks_len > 0) {
		const struct stint_probes_acks *acks = &watching->acks[watching->acks_len - 1];

		for (int why = 0; why < STINT_PROBES_NO_EVENTS; why++)
			outcomes += acks->no_event[why];
		assert_int_equal(acks->told + outcomes, acks->acks);
		outcomes = acks->acks;
	}
	/*
	 * One that made the event before the short send returned is an outcome and not in the stall; one that another
	 * CPU handles as a stall ends may be counted too late for the stall.
	 */
	assert_in_range(outcomes, in_stalls, in_stalls + 2 * watching->stalls_len);
}
