/* SPDX-License-Identifier: MIT */
#ifndef REPORT_CLOCK_NS_H
#define REPORT_CLOCK_NS_H

#include <stdint.h>
#include <time.h>

/* A clock that is always there, in ns: CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID. */
static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
