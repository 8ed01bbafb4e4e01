/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_READY_H
#define STINT_PROBES_READY_H

/* What the wait of an overrun's iteration found ready, whichever kind of wait it was. */

#include <linux/types.h>
#include <stdint.h>

#include "probes/records.h"

struct stint_ready {
	uint64_t data; /* epoll: what was registered; else the descriptor */
	uint32_t
		events; /* epoll and poll: the bits that the kernel returned; select: POLLIN, POLLOUT, POLLPRI */
	uint32_t reserved;
};

/* Fills `ret` with up to RECORD_READY events, in the order of the program's array, and returns how many. */
uint32_t stint_ready_read(struct stint_ready *ret, const struct record_overrun *record);

#endif
