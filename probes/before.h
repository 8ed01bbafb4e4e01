/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_BEFORE_H
#define STINT_PROBES_BEFORE_H

/*
 * Which thread of a process is amid an iteration of its loop that began before stint came. Nothing has been seen of it, so
 * that is inferred from what /proc tells at that moment: there is an epoll set, and nobody waits in it.
 *
 *   - If nobody waits in any set, it is the first thread, as in most programs; but if that waits for a lock or for another
 *     thread, and just one does something else, it is that one.
 *   - If others wait in theirs, it is the one thread that does not wait for a lock, if there is one. A set with a single
 *     registration then is none: it may be a library's.
 *   - None, if a thread waits in poll(), select() or a ring: by those, a set may be watched too.
 *   - Of a process that was asked for by its number and has no set at all, it is the first thread, if that computes, nobody
 *     else does anything, and nobody waits. It is held to be a loop's only as long as it goes on computing, or if it comes
 *     to a wait: what is blocked may wait for events in a way of its own.
 *
 * A set that is in another set is none, and one that has several numbers is one. And it was none's iteration if, as it is
 * to be told, all those sets were waited in.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "probes/records.h"

struct stint_before;

/* -ENOMEM. */
int stint_before_new(struct stint_before **ret);
struct stint_before *stint_before_free(struct stint_before *before);

/*
 * The thread, 0: none. Of a process that was looked at before, what was found then is forgotten. `asked`: the user gave its
 * number, and by that says that it has a loop.
 */
uint32_t stint_before_find(struct stint_before *before, uint32_t pid, bool asked);

/* Whether what was found has no set. */
bool stint_before_is_without_set(const struct stint_before *before, uint32_t pid);

/* Somebody has waited in that set; -1: in something else. */
void stint_before_waited(struct stint_before *before, uint32_t pid, int32_t epfd);

/*
 * Whether there is a set of those that were found still that nobody has waited in; without any, whether nobody has
 * waited.
 */
bool stint_before_has_unwaited(const struct stint_before *before, uint32_t pid);

#endif
