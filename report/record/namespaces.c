/* SPDX-License-Identifier: MIT */
#include "report/record/namespaces.h"

#include "probes/proc_status.h"

uint32_t namespaces_pid(uint32_t pid)
{
	struct stint_proc_status is;

	return stint_proc_status(pid, &is) ? is.inside_pid : 0;
}

uint64_t namespaces_net(uint32_t pid)
{
	return stint_proc_network(pid);
}
