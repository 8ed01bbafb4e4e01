/* SPDX-License-Identifier: MIT */
#ifndef WRITE_CASE_H
#define WRITE_CASE_H

/* The subject write_cases under watch, from its first instruction to its end. */

#include <stdbool.h>
#include <stdint.h>

#include "subject_writes.h"
#include "watching.h"

struct write_case {
	struct watching watching;
	struct subject_writes account; /* what the subject told of itself */
};

/*
 * Runs it with these manners, and takes all that the probes have to tell. Skips the test where there are no probes,
 * or the subject says that this machine cannot do it. Fails if anything was lost.
 */
void write_case_run(struct write_case *run, const char *sender, const char *peer);
void write_case_run_with(struct write_case *run, const char *sender, const char *peer,
			 const struct stint_probes_options *options);
void write_case_end(struct write_case *run);

/* Over all stalls: what the ACK stage was spent on, and the rest. */
uint64_t write_case_limit_ns(const struct write_case *run, enum stint_probes_limit limit);
uint64_t write_case_own_ns(const struct write_case *run);

/* The longest stall. Fails if there is none. */
const struct stint_probes_stall *write_case_longest(const struct write_case *run);

/* What has to hold in each case: stages and limits add up, and every ACK in a stall has an outcome. */
void assert_write_case_consistent(const struct write_case *run);

#endif
