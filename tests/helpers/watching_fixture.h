/* SPDX-License-Identifier: MIT */
#ifndef WATCHING_FIXTURE_H
#define WATCHING_FIXTURE_H

/* The probes and a program of tests/subjects that they watch: neither is open before a test, nor after it. */

#include <signal.h>
#include <string.h>

#include "subject.h"
#include "watching.h"

static struct watching watching;
static struct subject subject;

__attribute__((unused)) static int watching_set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&subject, 0, sizeof(subject));
	return 0;
}

/* For tests that set nothing of the probes; where this machine allows none, they skip themselves. */
__attribute__((unused)) static int watching_set_up_opened(void **state)
{
	struct stint_probes_support support;

	watching_set_up(state);
	if (stint_probes_supported(&support) == 0)
		watching_open(&watching, NULL);
	return 0;
}

__attribute__((unused)) static int watching_tear_down(void **state)
{
	(void)state;
	subject_stop(&subject, SIGKILL);
	watching_close(&watching);
	return 0;
}

#endif
