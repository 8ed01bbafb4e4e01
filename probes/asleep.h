/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_ASLEEP_H
#define STINT_PROBES_ASLEEP_H

#include <linux/types.h>
#include <stdint.h>

#include "probes/records.h"

/*
 * Reads the stack of a thread that slept as its registers were taken, if it sleeps where it did: what it reads else is
 * another stack. 0; -ESTALE; -ETIMEDOUT: for a second the process's memory could not be had, as it is locked by a thread of
 * its that does not go on; or a negative errno.
 */
int stint_asleep_read(struct record_stack *stack);

#endif
