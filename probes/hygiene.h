/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_HYGIENE_H
#define STINT_PROBES_HYGIENE_H

/*
 * From where on a bad habit is a finding. The thresholds, with their reasons; each also has to have happened often
 * enough to be no accident.
 */

#include <linux/types.h>

#include "probes/bpf_object.h"
#include "probes/probes.h"

/*
 * EPOLLOUT returned, and no send after it, FINDING_IDLE_OUTS_MIN times in a row (role_records.h): a connect that is
 * over is reported once or twice so, and a buffer that has just been emptied once.
 *
 * Data left behind by a read under EPOLLET that was touched again only because more came: so often, and this many times
 * as often as the program came back by itself. A program that remembers what is left (nginx) comes back.
 */
#define HYGIENE_NOT_DRAINED_MIN   3
#define HYGIENE_NOT_DRAINED_RATIO 3
/* ... or that lay there for FINDING_LYING_NS (role_records.h). */
/*
 * A full wait after which the next one returned at once: more was ready, or became so meanwhile. So many, and half of
 * the waits.
 */
#define HYGIENE_FULL_MIN 100
/* Changes of registrations that EPOLLONESHOT does not ask for: so many, and one for every two events. */
#define HYGIENE_REARMS_MIN 100
/* Polls with a timeout of 0 that returned nothing, one after the other: so many, and half of all waits. libuv asks once. */
#define HYGIENE_SPINS_MIN 1000
/*
 * Waits that returned nothing but what nobody has served for FINDING_LEFT_READY_MIN waits in a row (role_records.h): so
 * many, and one of so many waits that returned events.
 */
#define HYGIENE_VAIN_MIN   100
#define HYGIENE_VAIN_SHARE 100

/*
 * Calls `visit` for each finding of the loops so far. -ENOMEM, or what `visit` returned if that was not 0.
 */
int stint_hygiene_read(const struct stint_bpf_role_maps *maps, const struct loop_counters *loops,
		       const struct loop_habits *habits, uint32_t loops_len, uint64_t now_ns,
		       stint_probes_finding_visit visit, void *ctx);

/* The thread of a loop is over, and its findings were read: makes room for others. */
void stint_hygiene_forget(const struct stint_bpf_role_maps *maps, const struct loop_counters *loop);

#endif
