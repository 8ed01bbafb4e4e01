/* SPDX-License-Identifier: MIT */
#include "probes/remedy.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Needs no quotes in a shell. */
static bool is_plain(const char *path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._+-";

	return *path && !path[strspn(path, plain)];
}

static bool file_counts(void)
{
	struct statvfs file_system;

	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 && statvfs("/proc/self/exe", &file_system) == 0 &&
	       !(file_system.f_flag & ST_NOSUID);
}

void stint_capability_remedy(char *ret, size_t bytes, int capability)
{
	char path[256];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[len > 0 ? len : 0] = '\0';
	if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0)
		snprintf(ret, bytes, "run stint outside this container, or start that with the capability");
	else if (!file_counts())
		snprintf(ret, bytes, "sudo stint ... (capabilities of a file do not count here)");
	else
		snprintf(ret, bytes, "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog=ep %s",
			 is_plain(path) ? path : "\"$(command -v stint)\"");
}
