/* SPDX-License-Identifier: MIT */
#include "report/record/namespaces.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "probes/probes.h"
#include "probes/proc_status.h"

uint32_t namespaces_pid(uint32_t pid)
{
	struct stint_proc_status is;

	return stint_proc_status(pid, &is) ? is.inside_pid : 0;
}

uint64_t namespaces_net(uint32_t pid)
{
	struct stat status;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/ns/net", stint_probes_live_thread(pid));
	return stat(path, &status) == 0 ? status.st_ino : 0;
}
