/* SPDX-License-Identifier: MIT */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>

/*
 * Copies options of a caller whose struct, which begins with its size, may be older (shorter) or newer (longer) than
 * the `known` bytes of ours. All zero for a NULL. -EINVAL: it asks for something that we do not know.
 */
int options_take(void *ret, size_t known, const void *given);

#endif
