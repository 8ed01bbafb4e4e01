/* SPDX-License-Identifier: MIT */
#include "probes/doing.h"
#include "probes/epoll_fds.h"
#include "probes/probes.h"

static void count_wait(void *ctx, uint32_t tid, enum stint_doing doing, int32_t fd)
{
	(void)tid;
	(void)fd;
	*(uint32_t *)ctx += doing == STINT_DOING_WAIT || doing == STINT_DOING_OTHER_WAIT;
}

uint32_t stint_probes_expected_loops(uint32_t pid)
{
	int sets = stint_epoll_fds_count(pid);
	uint32_t waits = 0;

	stint_doing_read(pid, count_wait, &waits);
	if (sets > 0 && (uint32_t)sets > waits)
		return (uint32_t)sets;
	return waits ? waits : 1;
}
