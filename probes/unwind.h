/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_UNWIND_H
#define STINT_PROBES_UNWIND_H

/*
 * Unwinds user stacks from a copy of the registers and of the stack's top, by the call frame information
 * that every binary carries (.eh_frame), with elfutils: no frame pointers, no debug information, and no
 * need for the thread to stand still or still to exist.
 *
 * Price: some 100 us a stack, a few ms the first time a module is met. Names come from .symtab, else from
 * .dynsym, those of C++ demangled, without parameters; a function that is in neither is told from others by its frame
 * information. One thread per unwinder.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "probes/frame.h"

#define STINT_UNWIND_REGISTERS 17

/* In DWARF's order for x86-64: rax rdx rcx rbx rsi rdi rbp rsp r8 ... r15 rip. */
struct stint_unwind_regs {
	uint64_t reg[STINT_UNWIND_REGISTERS];
	uint32_t
		absent; /* a bit for each page of 4096 bytes, from that of rsp on, that the copy does not have */
};

struct stint_unwinder;
struct stint_images; /* image.h */

/*
 * Reads the modules of a process; what is known of them is shared with unwinders of the same `images`, which may be NULL
 * and must outlive it. -ESRCH, -EACCES, -ENOMEM, -ENOTSUP (not an x86-64 build), -EIO.
 */
int stint_unwinder_new(struct stint_unwinder **ret, struct stint_images *images, uint32_t pid);
struct stint_unwinder *stint_unwinder_free(struct stint_unwinder *unwinder);

/*
 * Fills `frames`, innermost first, and returns how many; or a negative errno if not even one is known.
 * `stack` is a copy of the memory from the stack pointer up. `complete` is false if the stack's beginning
 * was not reached: the copy was cut, or a function has no frame information. That of a greenlet begins where
 * nobody returns to.
 */
int stint_unwinder_run(struct stint_unwinder *unwinder, const struct stint_unwind_regs *regs,
		       const void *stack, size_t stack_bytes, struct stint_frame *frames, size_t frames_max,
		       bool *complete);

/* Names data at an address: "BEFOREat 0x...", and in brackets the variable that it is in, if that is known. */
void stint_unwinder_name(struct stint_unwinder *unwinder, uint64_t address, const char *before, char *ret,
			 size_t ret_bytes);

#endif
