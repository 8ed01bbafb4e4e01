/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_EPOLL_FDS_H
#define STINT_PROBES_EPOLL_FDS_H

/* What /proc tells of a process' epoll descriptors: which there are, and what is registered in them. */

#include <stdint.h>

/* Called for each registration; a value other than 0 ends the reading and is returned. */
typedef int (*stint_epoll_fds_visit)(void *ctx, int32_t fd, uint32_t events, uint64_t data);

/*
 * Reads /proc/PID/fdinfo/EPFD. 0; -ENOENT if there is no such process or descriptor, -EACCES, -EIO, or what
 * `visit` returned. Lines that are not registrations are passed over, whatever they hold.
 */
int stint_epoll_fds_read(uint32_t pid, int32_t epfd, stint_epoll_fds_visit visit, void *ctx);

/* Takes one line of fdinfo apart ("tfd: 5 events: 19 data: 5 ..."). 0, or -EINVAL if it is not one. */
int stint_epoll_fds_parse(const char *line, int32_t *fd, uint32_t *events, uint64_t *data);

/*
 * Calls `visit` for each epoll descriptor that a process has open; a value other than 0 ends it and is returned.
 * -ESRCH if there is no such process, -EACCES.
 */
int stint_epoll_fds_list(uint32_t pid, int (*visit)(void *ctx, int32_t epfd), void *ctx);

/* How many epoll descriptors a process has open; -ESRCH if there is no such process, -EACCES. */
int stint_epoll_fds_count(uint32_t pid);

#endif
