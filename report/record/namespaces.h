/* SPDX-License-Identifier: MIT */
#ifndef REPORT_NAMESPACES_H
#define REPORT_NAMESPACES_H

/* In which namespaces a process is, as containers have their own. */

#include <stdint.h>

/* The number that it has in the innermost of its pid namespaces; 0 if that cannot be known. */
uint32_t namespaces_pid(uint32_t pid);

/* The inode number of its network namespace, as `lsns` shows it; 0 if that cannot be known. */
uint64_t namespaces_net(uint32_t pid);

#endif
