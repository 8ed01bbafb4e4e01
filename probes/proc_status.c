/* SPDX-License-Identifier: MIT */
#include "probes/proc_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "probes/live_thread.h"

/*
 * The line "NSpid:" has the numbers from the outermost namespace to the innermost; kernels without those have no such
 * line.
 */
bool stint_proc_status(uint32_t pid, struct stint_proc_status *ret)
{
	char path[64], line[256];
	bool has_uid = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	*ret = (struct stint_proc_status){.inside_pid = pid};
	while (fgets(line, sizeof(line), file)) {
		const char *last = strrchr(line, '\t');

		if (sscanf(line, "Uid: %*u %u", &ret->uid) == 1)
			has_uid = true;
		if (strncmp(line, "NSpid:", 6) == 0 && last)
			ret->inside_pid = (uint32_t)strtoul(last + 1, NULL, 10);
	}
	fclose(file);
	return has_uid && ret->inside_pid;
}

uint32_t stint_proc_network(uint32_t pid)
{
	struct stat status;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/ns/net", stint_live_thread(pid));
	return stat(path, &status) == 0 ? (uint32_t)status.st_ino : 0;
}
