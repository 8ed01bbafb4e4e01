/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FUNCTION_START_H
#define STINT_PROBES_FUNCTION_START_H

/*
 * Where the function begins that an address is in, of a file without symbols: by the call frame information, of which
 * each function has its own (parts that the compiler moved away, "cold" ones, have one too, and count as functions).
 */

#include <stdbool.h>
#include <stdint.h>

#include <elfutils/libdwfl.h>

/*
 * `at`, and what is written, are addresses in the process. False: none covers it, or the file has no sorted index of
 * them.
 */
bool stint_function_start(Dwfl_Module *module, uint64_t at, uint64_t *ret);

#endif
