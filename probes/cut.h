/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_CUT_H
#define STINT_PROBES_CUT_H

/*
 * What of an iteration lies in a part of it: in one dispatch, whose begin and end a program's own meter has told. A pure
 * function.
 */

#include "probes/probes.h"

/*
 * Makes `overrun`, an iteration, that part of it which goes from `start_ns` to `end_ns`: its times and parts, the verdict,
 * and what is known by its moment to lie in there (system calls, times off the CPU, page faults, the longest block, the
 * stack). The parts add up to the part's length. The system calls are not counted (calls_unknown). Of whose moment
 * nothing is known (rivals, victims, functions) there is none, but the rivals if it waited for a CPU only in there.
 *
 * Between two of the iteration's marks, the sums are known within bounds only. Where that could make another part the
 * largest, the verdict is unknown.
 *
 * False if its time off the CPU is not known, as the iteration left the CPU more often than was kept: then the verdict is
 * unknown, and on_cpu_ns, runnable_ns, blocked_ns and the parts are 0.
 */
bool stint_cut(struct stint_probes_overrun *overrun, uint64_t start_ns, uint64_t end_ns);

#endif
