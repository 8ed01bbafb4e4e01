/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_OWN_OFFSET_H
#define STINT_PROBES_OWN_OFFSET_H

#include <stdint.h>

/* Where in this program's own file an address of its code is; 0 if that is not found. */
uint64_t stint_own_offset(uint64_t address);

#endif
