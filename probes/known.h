/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_KNOWN_H
#define STINT_PROBES_KNOWN_H

/*
 * Which processes are known: those that were asked for, and of those that are followed the ones that have come to a loop.
 * Who becomes one, who is none any more, and whom that is told.
 */

#include <linux/types.h>

#include "probes/bpf_object.h"
#include "probes/function.h"
#include "probes/kernel_symbols.h"
#include "probes/probes.h"
#include "probes/process.h"

#define STINT_KNOWN_MAX 1024

struct stint_known;

/*
 * All that it is given must outlive it; `functions` may be NULL. Calls `appeared`, `exited` and `refused` of `callbacks`,
 * with `ctx`. -ENOMEM.
 */
int stint_known_new(struct stint_known **ret, struct stint_bpf *bpf, struct stint_kernel_symbols *kernel,
		    struct stint_functions *functions, const struct stint_probes_callbacks *callbacks,
		    void *ctx);

/* With all processes. NULL is allowed. Returns NULL. */
struct stint_known *stint_known_free(struct stint_known *known);

/* NULL: it is not known. A process is valid, here and below, until stint_known_drop(), _exited() or _changed(). */
struct stint_process *stint_known_find(const struct stint_known *known, uint32_t pid);

/*
 * Makes one known that is not, and tells nobody. -ENOSPC: there are STINT_KNOWN_MAX already; or as
 * stint_probes_may_inspect() and stint_process_new() say.
 */
int stint_known_add(struct stint_known *known, uint32_t pid, struct stint_process **ret);

/* Takes one back that was added: it is not told to have exited. */
void stint_known_drop(struct stint_known *known, uint32_t pid);

/*
 * The process that a record of `time_ns` is of. One that is not known yet was followed, and has come to its first loop: it
 * is told to have appeared, its functions are timed; or, if it may not be inspected or there are too many, to be refused,
 * and it is not watched any more. NULL then, and if it is gone.
 */
struct stint_process *stint_known_meet(struct stint_known *known, uint32_t pid, uint64_t time_ns);

/* It has exited: told, once. Its pid may be given to another process from now on, and be watched anew. */
void stint_known_exited(struct stint_known *known, uint32_t pid);

/*
 * It is another program now: what is known of its modules and stacks was the program's before. If it is gone already, its
 * exit follows; if this user may not inspect it any more, it is told to be refused, and to have exited.
 */
void stint_known_changed(struct stint_known *known, uint32_t pid);

/*
 * Now and then: has processes exited of which the ring buffer, as it was full once, may have lost the record that says so.
 */
void stint_known_find_lost_exits(struct stint_known *known);

#endif
