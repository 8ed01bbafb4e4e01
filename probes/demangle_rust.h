/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DEMANGLE_RUST_H
#define STINT_PROBES_DEMANGLE_RUST_H

/*
 * Rust's names, of either mangling: "_ZN...17h<hash>E", which looks like C++ and has characters of its own in it ("$LT$"),
 * and "_R..." (v0), which rustc takes by default since 2025, and its standard library before that. Without hashes, and of
 * v0 also without what fills in generic parameters, as a future's is all that it awaits.
 */

#include <stdbool.h>
#include <stddef.h>

/*
 * Writes the name; false, and nothing is to be read in `ret`, if the symbol is none of Rust's, or cannot be read. `symbol`
 * is `len` bytes. Takes time in proportion to these and to `ret_bytes`. Any thread.
 */
bool stint_demangle_rust(char *ret, size_t ret_bytes, const char *symbol, size_t len);

#endif
