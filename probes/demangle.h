/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DEMANGLE_H
#define STINT_PROBES_DEMANGLE_H

/*
 * The names of functions of C++ and Rust (demangle_rust.h) as people write them, without their parameters:
 * "v8::internal::Execution::Call". A function's own types say little in a stack, and are long.
 */

#include <stddef.h>

/*
 * Writes the name, always; one that is not mangled, is too long to be, or cannot be read, as it stands.
 * At most `symbol_len` bytes of `symbol` are looked at. Any thread.
 */
void stint_demangle(char *ret, size_t ret_bytes, const char *symbol, size_t symbol_len);

#endif
