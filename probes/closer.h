/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_CLOSER_H
#define STINT_PROBES_CLOSER_H

/*
 * Closes things whose closing waits for the kernel, in a thread of its own: to take a uprobe away was seen to take 0.1 s,
 * in which the ring would not be read.
 */

#include <stdint.h>

struct stint_closer;

/* -ENOMEM. */
int stint_closer_new(struct stint_closer **ret);

/*
 * Waits until all is closed. If that takes longer than a second, `lingers` is called, once, with how many are not closed
 * yet; it may be NULL. So may the closer. Returns NULL.
 */
struct stint_closer *stint_closer_free(struct stint_closer *closer, void (*lingers)(void *ctx, uint32_t left),
				       void *ctx);

/*
 * Has `close` called with `what`, soon, in the order of these calls. At once, by the caller, if there is no thread to be
 * had, or if so many wait to be closed that there is no end to it.
 */
void stint_closer_add(struct stint_closer *closer, void (*close)(void *what), void *what);

#endif
