/* SPDX-License-Identifier: MIT */
#include "courtesy.h"

#include <sched.h>
#include <sys/resource.h>

#define NICE 10

/* To give way is refused to nobody. */
void courtesy_give_way(void)
{
	const struct sched_param none = {.sched_priority = 0};

	if (sched_getscheduler(0) != SCHED_OTHER)
		return;
	(void)sched_setscheduler(0, SCHED_BATCH, &none);
	if (getpriority(PRIO_PROCESS, 0) < NICE)
		(void)setpriority(PRIO_PROCESS, 0, NICE);
}
