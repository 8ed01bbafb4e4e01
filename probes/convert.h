/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_CONVERT_H
#define STINT_PROBES_CONVERT_H

/*
 * From the records of the ring buffer to what the callbacks are given. Pure functions: no state, no
 * system calls. Records come from our own programs, but lengths in them are checked all the same.
 */

#include <linux/types.h>

#include "probes/probes.h"
#include "probes/records.h"

/* Everything of an overrun but its stack, handler and descriptor. */
void stint_convert_overrun(struct stint_probes_overrun *ret, const struct record_overrun *record);

/*
 * Which descriptor was handled longest in the overrun, and whom that made wait. `fds` are the descriptors
 * of the `fds_len` ready events, -1 where one is not known. Inferred from the first system call on each: from
 * there to the first one on the next is its turn, and who had none before the turn's end had to wait for it.
 * Sets the verdict on the iteration too, which is by the turns; after stint_convert_overrun().
 */
void stint_convert_victims(struct stint_probes_overrun *ret, const struct record_overrun *record,
			   const int32_t *fds, uint32_t fds_len);

void stint_convert_stall(struct stint_probes_stall *ret, const struct record_stall *record);
/* The largest part of a stall: one of its limits, or all that followed the ACK. */
int stint_stall_cause(const struct stint_probes_stall *stall);

void stint_convert_acks(struct stint_probes_acks *ret, const struct record_why *record);
void stint_convert_alarm(struct stint_probes_alarm *ret, const struct record_alarm *record);
/* All but what its descriptor is, and the handler. */
void stint_convert_hang(struct stint_probes_hang *ret, const struct record_hang *record);
void stint_convert_socket(struct stint_probes_socket_event *ret, const struct record_socket *record);

#endif
