/* SPDX-License-Identifier: MIT */
#include "probes/doing.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "probes/proc_line.h"

/* "NUMBER 0xARGUMENT ...", "-1 ..." in no system call, or "running". One that is over has nothing there. */
static enum stint_doing what_it_does(uint32_t pid, uint32_t tid, int32_t *fd)
{
	char path[64], line[256];
	long number = -1;
	uint64_t argument = 0;

	*fd = -1;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%" PRIu32 "/syscall", pid, tid);
	if (!stint_proc_line(line, sizeof(line), path))
		return STINT_DOING_NOTHING;
	if (sscanf(line, "%ld 0x%" SCNx64, &number, &argument) < 1)
		return STINT_DOING_COMPUTE;
	*fd = (int32_t)argument;
	switch (number) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return STINT_DOING_WAIT;
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_io_uring_enter:
	case SYS_restart_syscall: /* of a poll() as a rule */
		return STINT_DOING_OTHER_WAIT;
	case SYS_futex:
		return STINT_DOING_LOCK;
	default:
		return STINT_DOING_SOMETHING;
	}
}

void stint_doing_read(uint32_t pid,
		      void (*visit)(void *ctx, uint32_t tid, enum stint_doing doing, int32_t fd), void *ctx)
{
	char path[64];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	folder = opendir(path);
	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);
		enum stint_doing doing;
		int32_t fd;

		if (!tid)
			continue;
		doing = what_it_does(pid, tid, &fd);
		visit(ctx, tid, doing, fd);
	}
	closedir(folder);
}
