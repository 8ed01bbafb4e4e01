/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_ASLEEP_H
#define STINT_PROBES_ASLEEP_H

#include <linux/types.h>
#include <stdint.h>

#include "probes/records.h"

/*
 * Reads the stack of a thread that slept as its registers were taken, if it sleeps where it did: what it reads else is
 * another stack. 0; -ESTALE, or the errno of process_vm_readv(2).
 */
int stint_asleep_read(struct record_stack *stack);

#endif
