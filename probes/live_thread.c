/* SPDX-License-Identifier: MIT */
#include "probes/live_thread.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A thread that has left has no current folder any more. */
static bool is_live(uint32_t tid)
{
	char path[64], target[8];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/cwd", tid);
	return readlink(path, target, sizeof(target)) >= 0 || errno != ENOENT;
}

uint32_t stint_live_thread(uint32_t pid)
{
	const struct dirent *entry;
	uint32_t found = 0;
	char path[64];
	DIR *tasks;

	if (is_live(pid))
		return pid;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return pid;
	while (!found && (entry = readdir(tasks))) {
		uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (tid && is_live(tid))
			found = tid;
	}
	closedir(tasks);
	return found ? found : pid;
}
