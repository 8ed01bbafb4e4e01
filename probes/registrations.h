/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_REGISTRATIONS_H
#define STINT_PROBES_REGISTRATIONS_H

/*
 * Tells the eBPF programs of descriptors that they cannot have seen being added to an epoll set: those added
 * before stint came, and those added in ways that are no system call. Also on which ports a process listens.
 */

#include <linux/types.h>

#include "probes/bpf_object.h"

struct stint_registrations;

/* `loops` and `habits` have `len` entries, and stay the caller's. -ENOMEM. */
int stint_registrations_new(struct stint_registrations **ret, const struct stint_bpf_role_maps *maps,
			    const struct loop_counters *loops, const struct loop_habits *habits,
			    uint32_t len);
struct stint_registrations *stint_registrations_free(struct stint_registrations *registrations);

/* Everything that is registered in the epoll sets of a process now. What cannot be read stays unknown. */
void stint_registrations_scan(struct stint_registrations *registrations, uint32_t pid);

/* Looks again at those sets whose events could not be attributed: rarer and rarer where that is of no use. */
void stint_registrations_refresh(struct stint_registrations *registrations, uint64_t now_ns);

#endif
