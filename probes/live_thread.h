/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_LIVE_THREAD_H
#define STINT_PROBES_LIVE_THREAD_H

#include <stdint.h>

/* As stint_probes_live_thread(), which has it for others. */
uint32_t stint_live_thread(uint32_t pid);

#endif
