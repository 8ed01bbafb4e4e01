/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DESCRIPTOR_TABLE_H
#define STINT_PROBES_DESCRIPTOR_TABLE_H

/*
 * The table of descriptors (role_records.h) from user space, which fills in what was registered in ways that the eBPF
 * programs have not seen. They look into it and write to it all the while.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "probes/records.h"
#include "probes/role_records.h"

/*
 * `fd` of `pid` is registered in the set `epfd`, for `events` and with `data`. `sets`: DESCRIPTOR_SETS of them. Times are
 * CLOCK_MONOTONIC. True if that was news: what is known of it is then known anew. What the programs tell at the same time is
 * newer.
 */
bool stint_descriptor_table_tell(struct descriptor_set *sets, uint32_t pid, int32_t epfd, int32_t fd,
				 uint32_t events, uint64_t data, uint64_t now_ns);

#endif
