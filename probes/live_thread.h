/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_LIVE_THREAD_H
#define STINT_PROBES_LIVE_THREAD_H

#include <stdint.h>

/*
 * The number by which /proc tells of a process's memory, files and namespaces: its own; or, if its first thread has
 * left, for which these are nobody's, that of another thread. Its own, too, if there is none.
 */
uint32_t stint_live_thread(uint32_t pid);

#endif
