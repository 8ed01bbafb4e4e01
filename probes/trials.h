/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_TRIALS_H
#define STINT_PROBES_TRIALS_H

/*
 * The smallest real thing of each kind that stint asks the kernel for. Each is made, and gone again at return: 0, or the
 * kernel's negative errno.
 */

/* A program on the tracepoint sched_switch by its BTF type, loaded and attached. -ENOENT: there is no such type. */
int stint_try_tracepoint(void);

/* A program for the iterator over tasks, loaded, attached and run. */
int stint_try_iterator(void);

/* A ring buffer and a mappable array. */
int stint_try_maps(void);

/* A perf event on the software clock, for this thread. */
int stint_try_sampling(void);

/* A uprobe in this process, on a function that is not called. -ENODEV: the kernel has none. */
int stint_try_uprobe(void);

#endif
