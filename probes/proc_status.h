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

/* The number of its network namespace, which is that of an inode; 0 if it is gone or does not tell. */
uint32_t stint_proc_network(uint32_t pid);

#endif
