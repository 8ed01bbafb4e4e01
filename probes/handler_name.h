/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_HANDLER_NAME_H
#define STINT_PROBES_HANDLER_NAME_H

/*
 * The handler of an overrun in a program that we know nothing of: the stack at the wait is the loop's own, the stack of the
 * overrun begins as that one does, and the first function after the parting is the handler (in a stripped binary: the first
 * that has a name, or what called libc; of a loop in a library that calls the program back: what the library calls outside
 * of itself, or, if that is another such library, what that one calls; of a dispatch that is known by name, as haproxy's,
 * what that calls). Where a function of JavaScript is below that, the first one that is not node's own is it; of a Rust
 * program, the first that is of no runtime's crate (std, tokio), of one in Go the first of neither Go's own packages nor a
 * framework's; where the Python interpreter is, the first function of another library that it called, or the last built-in
 * one of its own, or what that called of libc, if there is one.
 */

#include <stddef.h>

#include "probes/frame.h"

/*
 * Writes a name, always: where the overrun was spent in the loop's own function, that function's name with
 * " (the loop itself)"; without the loop's stack, the function that main() called; without a stack, "fd N",
 * or "unknown" if `fd` is negative. Frames are innermost first, as they come from the unwinder. `complete`: the overrun's
 * are all that there are. If they are not, and nothing of them is the loop's own, the first of them may be anywhere below
 * the handler: its name, with " or its caller".
 */
void stint_handler_name(char *ret, size_t ret_bytes, const struct stint_frame *loop, size_t loop_len,
			const struct stint_frame *overrun, size_t overrun_len, bool complete, int fd);

#endif
