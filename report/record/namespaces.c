/* SPDX-License-Identifier: MIT */
#include "report/record/namespaces.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "probes/probes.h"

/* The line "NSpid:" has the numbers from the outermost namespace to the innermost. */
uint32_t namespaces_pid(uint32_t pid)
{
	char path[64], line[256];
	uint32_t inside = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (!inside && fgets(line, sizeof(line), file)) {
		const char *last = strrchr(line, '\t');

		if (strncmp(line, "NSpid:", 6) == 0 && last)
			inside = (uint32_t)strtoul(last, NULL, 10);
	}
	fclose(file);
	return inside;
}

uint64_t namespaces_net(uint32_t pid)
{
	struct stat status;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/ns/net", stint_probes_live_thread(pid));
	return stat(path, &status) == 0 ? status.st_ino : 0;
}
