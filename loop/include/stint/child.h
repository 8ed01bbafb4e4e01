/* SPDX-License-Identifier: MIT */
#ifndef STINT_CHILD_H
#define STINT_CHILD_H

/*
 * The end of child processes, by pidfd: no SIGCHLD is handled, and no other child is waited for.
 *
 * The rules for callbacks, errors and threads are those of loop.h.
 */

#include <stint/loop.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_child;

struct stint_child_exit {
	pid_t pid; /* free to be another process from now on */
	/*
	 * 0; -ECHILD: somebody else has waited for it (or SIGCHLD is ignored); -EBADF: somebody has closed its pidfd:
	 * nothing below is known then
	 */
	int error;
	bool signalled; /* a signal ended it */
	bool core_dumped;
	int status;       /* its exit status, 0 to 255, or that signal's number */
	uint64_t user_ns; /* CPU time that it, and what it has waited for, has used */
	uint64_t system_ns;
	uint64_t max_rss_bytes; /* the largest resident set of any of those */
};

typedef void (*stint_child_callback)(const struct stint_child_exit *exit, void *ctx);

/*
 * Waits for the end of `pid`, a child of this process that nobody has waited for, and that no one else will. The callback
 * is called once, from the loop, also if it has ended already; the child has been waited for then (it is no zombie any
 * more), and the handle is dead. It keeps stint_loop_run() from returning until then. The end of one that a debugger
 * holds is told when it lets go.
 *
 * -ECHILD: no child of this process; -ESRCH: no process at all; -ENOSYS, -EPERM: a kernel before 5.4, or a sandbox,
 * has no pidfds for it; -EINVAL, -ENOMEM, -EMFILE, -ENFILE.
 */
STINT_API int stint_child_new(struct stint_child **ret, struct stint_loop *loop, pid_t pid, uint32_t handler,
			      stint_child_callback callback, void *ctx);

/* Watches it no longer: it is neither ended nor waited for, and its end is the caller's to wait for. */
STINT_API struct stint_child *stint_child_free(struct stint_child *child);

/* Whether it keeps the loop running: see stint_fd_set_background(). -EINVAL. */
STINT_API int stint_child_set_background(struct stint_child *child, bool background);

/*
 * Sends it a signal, and never another process that has got its number. Not to what it has started: for those, spawn it
 * with a process group of its own, and kill() that until the callback has come. -ESRCH: somebody else has waited for it,
 * and the callback is on its way; -EINVAL, -EPERM.
 */
STINT_API int stint_child_kill(struct stint_child *child, int number);

STINT_API pid_t stint_child_pid(const struct stint_child *child); /* -EINVAL for NULL */

#ifdef __cplusplus
}
#endif

#endif
