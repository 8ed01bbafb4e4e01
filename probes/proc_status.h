/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_PROC_STATUS_H
#define STINT_PROBES_PROC_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Who a process is, by /proc/PID/status. */
struct stint_proc_status {
	uint32_t inside_pid; /* its number in its own innermost pid namespace */
	uid_t uid;           /* the effective one */
};

/* False: it is gone, or that cannot be read. */
bool stint_proc_status(uint32_t pid, struct stint_proc_status *ret);

#endif
