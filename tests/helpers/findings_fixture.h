/* SPDX-License-Identifier: MIT */
#ifndef FINDINGS_FIXTURE_H
#define FINDINGS_FIXTURE_H

/* What is found of a program of tests/subjects that goes its rounds once it is given a byte, and answers with one. */

#include "watching_fixture.h"

#define FINDINGS_MAX 16

static struct stint_probes_finding findings[FINDINGS_MAX];
static size_t findings_len;

static int findings_set_up(void **state)
{
	findings_len = 0;
	return watching_set_up_opened(state);
}

static int findings_keep(void *ctx, const struct stint_probes_finding *finding)
{
	(void)ctx;
	assert_true(findings_len < FINDINGS_MAX);
	findings[findings_len++] = *finding;
	return 0;
}

/* Runs it to the end of its rounds, and reads what was found. False: it has ended before that. */
static bool findings_run(const char *program, const char *const *arguments)
{
	char byte;

	watching_or_skip();
	subject_start(&subject, program, arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	assert_int_equal(write(subject.to, "", 1), 1);
	if (read(subject.from, &byte, 1) != 1)
		return false;
	watching_take(&watching);
	assert_int_equal(stint_probes_read_findings(watching.probes, findings_keep, NULL), 0);
	return true;
}

#endif
