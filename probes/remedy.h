/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_REMEDY_H
#define STINT_PROBES_REMEDY_H

#include <stddef.h>

/*
 * What to do for a capability that is not there: the command that gives this program's file what stint needs, all at
 * once; or something else where a file's capabilities do not count.
 */
void stint_capability_remedy(char *ret, size_t bytes, int capability);

#endif
