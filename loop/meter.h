/* SPDX-License-Identifier: MIT */
#ifndef METER_H
#define METER_H

/* The process's meter (meter.c), for the parts of the library that write into it. */

#include "meter_map.h"

struct stint_meter {
	struct meter_map map;
	struct stint_meter_options options; /* as taken: no defaults are left to be filled in */
	unsigned references;                /* under the lock */
};

/* Around changes of what threads share: references, and the tables' counts. */
void meter_lock(void);
void meter_unlock(void);

#endif
