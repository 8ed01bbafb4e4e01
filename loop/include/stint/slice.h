/* SPDX-License-Identifier: MIT */
#ifndef STINT_SLICE_H
#define STINT_SLICE_H

/*
 * Slices: a long task on the loop itself, run piecemeal. While it is started it is called again and again
 * in step 7 of the iterations, does some of its work, and returns when stint_slice_over() says so:
 *
 *	static void on_slice(struct stint_slice *slice, void *ctx)
 *	{
 *		struct task *task = ctx;
 *
 *		do {
 *			if (!work_a_little(task)) {
 *				stint_slice_free(slice);	// all done
 *				return;
 *			}
 *		} while (!stint_slice_over(slice));
 *	}
 *
 * All slices of a loop together have a share of each iteration, a time (0.5 ms unless said otherwise) that
 * follows the events; then the loop polls, without waiting, and the next iteration begins. So events wait
 * for slices no longer than the share (and what a task takes beyond its end), slices for events no longer
 * than it takes to handle one batch, and a loop that has nothing else to do gives all its time to slices.
 *
 * Among each other, slices share by time and not by calls: the one that has used the least is next, for the
 * share divided by the number of slices, but 50 us at least, while the share lasts. So one that returns late is called
 * less often, and one that returns early is called again while there is time. What has been stopped, or is new, gets no
 * credit for the time before.
 *
 * Each call is a dispatch of the slice's handler: its service time says how well the task keeps to its share.
 *
 * Rules for callbacks, errors and threads as in loop.h.
 */

#include <stint/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_slice;

#define STINT_SLICE_SHARE_DEFAULT_NS 500000u
#define STINT_SLICE_SHARE_MAX_NS     1000000000u

typedef void (*stint_slice_callback)(struct stint_slice *slice, void *ctx);

/* Makes a slice that is not started. -EINVAL, -ENOMEM. */
STINT_API int stint_slice_new(struct stint_slice **ret, struct stint_loop *loop, uint32_t handler,
			      stint_slice_callback callback, void *ctx);
STINT_API struct stint_slice *stint_slice_free(struct stint_slice *slice);

/* Has it called until it is stopped or freed; the loop does not wait meanwhile. 0 also if it is already. */
STINT_API int stint_slice_start(struct stint_slice *slice);
STINT_API int stint_slice_stop(struct stint_slice *slice);

/*
 * Whether the callback should return. True also outside of it, and for NULL. A reading of the TSC (of
 * CLOCK_MONOTONIC where the kernel does not trust it) and a comparison: ask as often as the work allows.
 */
STINT_API bool stint_slice_over(const struct stint_slice *slice);

/* Time that it has run in all, and how often it was called. 0 for NULL. */
STINT_API uint64_t stint_slice_used_ns(const struct stint_slice *slice);
STINT_API uint64_t stint_slice_calls(const struct stint_slice *slice);

/*
 * The share of all slices of the loop in each iteration; 0: STINT_SLICE_SHARE_DEFAULT_NS.
 * -EINVAL: more than STINT_SLICE_SHARE_MAX_NS. Counts from the next iteration on.
 */
STINT_API int stint_loop_set_slice_share(struct stint_loop *loop, uint64_t share_ns);

#ifdef __cplusplus
}
#endif

#endif
