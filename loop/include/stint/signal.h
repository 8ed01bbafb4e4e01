/* SPDX-License-Identifier: MIT */
#ifndef STINT_SIGNAL_H
#define STINT_SIGNAL_H

/*
 * Signals as callbacks of a loop.
 *
 * No signal mask is touched: while any loop watches a signal, a handler is installed for it (sigaction(), with SA_RESTART
 * and SA_ONSTACK) that posts to every loop that watches it, each of which calls its own callbacks. So threads may be
 * started before or after, programs that are executed inherit nothing (signalfd() would leave the signals blocked in
 * them), and it does not matter in which thread the kernel delivers the signal. It must not be blocked in all of them:
 * one that is stays pending, and no callback comes, without an error.
 *
 * With the last source of a signal, what was set for it before the first one is set again; unless the program has
 * meanwhile set something else, which then stays. A child that came by fork() has the program's own settings back at once.
 *
 * The rules for callbacks, errors and threads are those of loop.h.
 */

#include <stint/loop.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_signal;

struct stint_signal_info {
	int number;
	uint32_t
		count; /* how many have come since the last callback, at least 1 (the kernel merges them, too) */
	pid_t pid; /* of the sender of the last one; for SIGCHLD the child; 0: the kernel (a terminal's Ctrl-C) */
	uid_t uid; /* the sender's real user */
};

typedef void (*stint_signal_callback)(struct stint_signal *signal, const struct stint_signal_info *info,
				      void *ctx);

/*
 * Watches a signal. It keeps stint_loop_run() from returning until it is freed, or in the background. In the figures,
 * its wait is from the run of the signal handler to the callback.
 *
 * -EINVAL also for what cannot be handled (SIGKILL, SIGSTOP) or not later (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
 * SIGSYS: the faulty instruction would run again); -ENOMEM, -EMFILE, -ENFILE.
 */
STINT_API int stint_signal_new(struct stint_signal **ret, struct stint_loop *loop, int number,
			       uint32_t handler, stint_signal_callback callback, void *ctx);
STINT_API struct stint_signal *stint_signal_free(struct stint_signal *signal);

/* Whether it keeps the loop running: see stint_fd_set_background(). -EINVAL. */
STINT_API int stint_signal_set_background(struct stint_signal *signal, bool background);

#ifdef __cplusplus
}
#endif

#endif
