/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SKELETON_H
#define STINT_PROBES_SKELETON_H

/* The generated skeleton, with its types named and our warnings kept out of code that is not ours. */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Woverlength-strings"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wpointer-arith"

#include <linux/types.h>

#include "probes/bpf/stint.skel.h"

#pragma GCC diagnostic pop

#endif
