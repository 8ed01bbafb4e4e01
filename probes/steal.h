/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_STEAL_H
#define STINT_PROBES_STEAL_H

#include <stdbool.h>

/*
 * Whether a count of stolen time of 0 means that nothing was stolen: there is no hypervisor, or it is one that tells.
 * False where a hypervisor takes CPUs away and says nothing.
 */
bool stint_steal_is_told(void);

#endif
