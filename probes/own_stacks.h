/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_OWN_STACKS_H
#define STINT_PROBES_OWN_STACKS_H

/*
 * The loops' own stacks of one process, which are those at their waits (own_stack.bpf.h): what they leave is a handler's.
 */

#include <stddef.h>
#include <stdint.h>

#include "probes/frame.h"

/* Of further ones, those are forgotten that were not asked for the longest: a program may make loops for ever. */
#define STINT_OWN_STACKS_MAX        1024
#define STINT_OWN_STACKS_FRAMES_MAX 16384 /* of all of them: 5 MB */

struct stint_own_stacks;

struct stint_own_stack {
	uint32_t tid;
	int32_t epfd;
	uint64_t used; /* the higher, the later */
	size_t len;
	struct stint_frame frames[]; /* innermost first */
};

/* -ENOMEM. */
int stint_own_stacks_new(struct stint_own_stacks **ret);
struct stint_own_stacks *stint_own_stacks_free(struct stint_own_stacks *stacks);

/*
 * Keeps a copy of the loop's, for the one that it had. `len`: at most STINT_OWN_STACKS_FRAMES_MAX. -ENOMEM; the one that it
 * had is gone then, too.
 */
int stint_own_stacks_put(struct stint_own_stacks *stacks, uint32_t tid, int32_t epfd,
			 const struct stint_frame *frames, size_t len);

/* NULL: it has none. Valid until the next put. */
const struct stint_own_stack *stint_own_stacks_find(struct stint_own_stacks *stacks, uint32_t tid,
						    int32_t epfd);

#endif
