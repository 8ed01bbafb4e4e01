/* SPDX-License-Identifier: MIT */
#ifndef REPORT_CGROUP_H
#define REPORT_CGROUP_H

/* Cgroups of the unified hierarchy (version 2): which one a user means, and who is in it. */

#include <stddef.h>
#include <stdint.h>

/*
 * Finds a cgroup by its path, or by its path below where the unified hierarchy is mounted ("system.slice/redis.service").
 * Writes the path, and the number by which the kernel knows it. -ENOENT: there is none; -ENOTSUP: it is of another
 * hierarchy (version 1), or none is mounted; -ENAMETOOLONG.
 */
int cgroup_find(char *path, size_t size, uint64_t *number, const char *name);

/* Called for each process in a cgroup and those below it; a value other than 0 ends the visit, and is returned. */
int cgroup_visit(const char *path, int (*visit)(void *ctx, uint32_t pid), void *ctx);

#endif
