/* SPDX-License-Identifier: MIT */
#ifndef METERED_FIXTURE_H
#define METERED_FIXTURE_H

/* A loop with a meter, new for each test. */

#include "loop_fixture.h"

static struct stint_loop *loop;
static struct stint_meter *meter;

static int fixture_open_loop(void)
{
	return stint_meter_new(&meter, NULL) < 0 ? -1 : stint_loop_new(&loop, NULL);
}

static int fixture_close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	meter = stint_meter_free(meter);
	return 0;
}

#endif
