/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DESCRIPTOR_TABLE_H
#define STINT_PROBES_DESCRIPTOR_TABLE_H

/*
 * The table of descriptors (role_records.h) from user space, which fills in what was registered in ways that the eBPF
 * programs have not seen. They look into it and write to it all the while.
 */

#include <linux/types.h>
#include <stdint.h>

#include "probes/records.h"
#include "probes/role_records.h"

/* `fd` of `pid` is registered in the set `epfd`, for `events` and with `data`, at `time_ns` of CLOCK_MONOTONIC. */
struct stint_descriptor_told {
	uint32_t pid;
	int32_t epfd;
	int32_t fd;
	uint32_t events;
	uint64_t data;
	uint64_t time_ns;
};

enum stint_descriptor_news {
	STINT_DESCRIPTOR_KNOWN = 0, /* or it was closed at that moment */
	STINT_DESCRIPTOR_NEW,       /* what is known of it is known anew */
	STINT_DESCRIPTOR_IN_ITS_PLACE /* the same, but another one had to go, which would be as new the next time */
};

/* `sets`: DESCRIPTOR_SETS of them. Of a new one, what the programs tell at the same time is kept. */
enum stint_descriptor_news stint_descriptor_table_tell(struct descriptor_set *sets,
						       const struct stint_descriptor_told *told);

#endif
