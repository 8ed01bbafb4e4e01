/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_NOW_H
#define STINT_PROBES_NOW_H

#include <stdint.h>
#include <time.h>

/* ns of CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns(). */
static inline uint64_t stint_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
