/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FAULT_COST_H
#define STINT_PROBES_FAULT_COST_H

#include <stdint.h>

/*
 * What a page fault takes before the kernel counts it and after it has, in ns: the way into the kernel, and out of it. It
 * is by how much longer it takes to touch a page that is not there than to have the kernel make it in a system call, here
 * and now: some ms. 0 where that cannot be had (before Linux 5.14).
 */
uint64_t stint_fault_cost_ns(void);

#endif
