/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>

/* What sources and callbacks ask of their loop. */

uint64_t stint_loop_now_ns(struct stint_loop *loop)
{
	if (!loop)
		return 0;
	return loop->dispatching ? loop->clock->now_ns : clock_read(loop->clock);
}

int stint_loop_handler(struct stint_loop *loop, const char *name, uint64_t budget_ns)
{
	if (!loop || !name || !*name)
		return -EINVAL;
	return loop->account ? stint_meter_handler(loop->meter, name, budget_ns) : 0;
}

struct stint_meter_loop *stint_loop_account(struct stint_loop *loop)
{
	return loop ? loop->account : NULL;
}
