/* SPDX-License-Identifier: MIT */
#ifndef STINT_TIMEOUT_H
#define STINT_TIMEOUT_H

/*
 * Many timers of one kind, each inside a struct of the caller's, as a connection's with its idle timeout. They take no
 * memory, so arming one cannot fail for want of it, and 32 bytes each: loop, handler and callback are the kind's. They are
 * due once; the callback may arm its own anew. For anything else there is stint_timer_new().
 *
 * All functions are for the loop's thread.
 */

#include <stint/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_timeouts;

/*
 * All zero: not armed. So one in memory from calloc() needs nothing more. While it is armed it is the loop's: it can't be
 * copied, moved or freed before stint_timeout_stop(). Fastest where it begins at a multiple of 32 bytes.
 */
struct stint_timeout {
	uint64_t reserved[4];
};

/*
 * `timeout` is not armed any more: what it is in may be freed. To find that, subtract offsetof(struct yours, timeout).
 * `ctx` is the kind's.
 */
typedef void (*stint_timeout_callback)(struct stint_timeout *timeout, void *ctx);

/*
 * Makes a kind, which is the loop's: freed with it. -EINVAL: a NULL (`ctx` may be one), or no such handler. -ENOMEM; also
 * beyond 4096 kinds on a loop.
 */
STINT_API int stint_timeouts_new(struct stint_timeouts **ret, struct stint_loop *loop, uint32_t handler,
				 stint_timeout_callback callback, void *ctx);

/*
 * Disarms all timeouts of that kind, by a look at all timers of the loop, and frees the kind; stint_loop_free() does
 * so too. NULL is allowed. Returns NULL.
 */
STINT_API struct stint_timeouts *stint_timeouts_free(struct stint_timeouts *kind);

/*
 * Whether those keep the loop running that are armed from now on: see stint_fd_set_background(). One that is armed already
 * keeps to what it was armed with. -EINVAL.
 */
STINT_API int stint_timeouts_set_background(struct stint_timeouts *kind, bool background);

/*
 * Arms it, or arms it anew, of whatever kind of this loop it was: due `delay_ns` after stint_loop_now_ns(). -EINVAL:
 * a NULL.
 */
STINT_API int stint_timeout_start(struct stint_timeouts *kind, struct stint_timeout *timeout,
				  uint64_t delay_ns);

/* Disarms it. 0 also if it was not armed; -EINVAL: a NULL. */
STINT_API int stint_timeout_stop(struct stint_timeouts *kind, struct stint_timeout *timeout);

/* Its deadline; 0 if it is not armed, or NULL. */
STINT_API uint64_t stint_timeout_due_ns(const struct stint_timeout *timeout);

#ifdef __cplusplus
}
#endif

#endif
