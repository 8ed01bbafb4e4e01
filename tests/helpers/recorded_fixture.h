/* SPDX-License-Identifier: MIT */
#ifndef STINT_TESTS_RECORDED_FIXTURE_H
#define STINT_TESTS_RECORDED_FIXTURE_H

/* What the tests share that have one program under a recorder: each test its own. */

#include "recorded.h"

static struct recorded recorded;

static int set_up(void **state)
{
	(void)state;
	return recorded_open(&recorded);
}

static int tear_down(void **state)
{
	(void)state;
	return recorded_close(&recorded);
}

#endif
