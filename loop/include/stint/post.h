/* SPDX-License-Identifier: MIT */
#ifndef STINT_POST_H
#define STINT_POST_H

/*
 * Posts: callbacks that any thread hands to a loop, through a mailbox of that loop.
 *
 *	struct result {
 *		struct stint_post post;
 *		int value;
 *	};
 *	...
 *	result->post = (struct stint_post){.callback = on_result, .ctx = result, .handler = handler};
 *	stint_mailbox_post(mailbox, &result->post);	// in any thread, or in a signal handler
 *
 * The queue is lock-free and has no limit but the posts themselves, which are the caller's memory: posting allocates
 * nothing, waits for nobody, and fails only once the mailbox is closed. Posts run in the order in which they were
 * made, those of one thread in that thread's order. What the thread wrote before posting, the callback sees.
 *
 * The loop is woken once for a burst: by the post that found the queue empty and the loop not about to look at it.
 *
 * In the figures, a post is a dispatch of its handler, and its wait is from the posting to the start; of one that waited
 * while the machine slept (suspend), it may have that sleep in it. The wake-up itself is a dispatch of the handler
 * "stint.wakeup", which the library registers with the first mailbox or signal.
 *
 * A program under ThreadSanitizer needs a library that is built with it (make SAN=thread BUILD=build/tsan; then link
 * build/tsan/libstint.a): of any other it sees no atomic operation, and reports posts and jobs as races.
 *
 * Price: 48 bytes a post; a mailbox is an eventfd and some 200 bytes.
 */

#include <stint/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_mailbox;
struct stint_post;

/*
 * `error` 0: called by the loop. -ECANCELED: the mailbox was closed before the post's turn, and this call, from within
 * stint_mailbox_free() or stint_loop_free(), only gives the post back. Either way it is the caller's again, who may free
 * it or post it once more.
 */
typedef void (*stint_post_callback)(struct stint_post *post, int error, void *ctx);

/* To be all zero but for the first three. Not to be moved or changed while it is posted. */
struct stint_post {
	stint_post_callback callback;
	void *ctx;
	uint32_t handler; /* one that does not exist counts as "other" */
	uint32_t posted;  /* this and what follows is the library's */
	struct stint_post *next;
	uint64_t posted_at;
	uint64_t reserved;
};

/*
 * Makes a mailbox on the loop, in the loop's thread. It keeps stint_loop_run() from returning until it is freed.
 * -EINVAL, -ENOMEM, -EMFILE, -ENFILE.
 */
STINT_API int stint_mailbox_new(struct stint_mailbox **ret, struct stint_loop *loop);

/*
 * Closes it, in the loop's thread, as freeing the loop does too: every post that has not run is given back with
 * -ECANCELED, from here, and later ones are refused. The memory goes with the last reference.
 */
STINT_API struct stint_mailbox *stint_mailbox_free(struct stint_mailbox *mailbox);

/*
 * Whether it keeps the loop running while no post is there: see stint_fd_set_background(). A post that was made before the
 * loop would return is run first. -EINVAL.
 */
STINT_API int stint_mailbox_set_background(struct stint_mailbox *mailbox, bool background);

/*
 * A reference, for a thread that may post when the mailbox has been closed, or while it is: to be taken by whoever knows
 * that it is not freed yet (the loop's thread, before it starts the other one; or a thread with a reference of its own),
 * and given back by any thread, but not in a signal handler. Both accept NULL; the first returns `mailbox`, the second
 * NULL.
 */
STINT_API struct stint_mailbox *stint_mailbox_ref(struct stint_mailbox *mailbox);
STINT_API struct stint_mailbox *stint_mailbox_unref(struct stint_mailbox *mailbox);

/*
 * Has `post->callback` called once by the loop. From any thread, and from signal handlers (errno stays as it is).
 *
 * -EALREADY: it is on its way, and the one call to come sees what was written before; so a post can serve as a mere
 * wake-up. -ESHUTDOWN: the mailbox is closed; the callback will not be called. -EINVAL: a NULL.
 */
STINT_API int stint_mailbox_post(struct stint_mailbox *mailbox, struct stint_post *post);

/* How often posts have woken the loop. Any thread. */
STINT_API uint64_t stint_mailbox_wakeups(const struct stint_mailbox *mailbox);

#ifdef __cplusplus
}
#endif

#endif
