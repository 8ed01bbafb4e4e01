/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FUNCTION_SYMBOLS_H
#define STINT_PROBES_FUNCTION_SYMBOLS_H

/*
 * Where a function of a process begins: its name looked up in the symbol tables of the file that it is in, or of the
 * separate debug information for that.
 */

#include <stddef.h>
#include <stdint.h>

struct stint_function_site {
	int fd;             /* the file, open: the one that is mapped, whatever its path leads to by now */
	uint64_t offset;    /* in the file */
	uint64_t address;   /* as the file's symbol table has it */
	uint8_t code[8];    /* its first bytes */
	char module[64];    /* the file's name, without its folder */
	char function[128]; /* as its symbol has it, without a version */
};

/*
 * Finds "NAME" in the program of process `pid`, or "MODULE:NAME" in a library that it has mapped: its file's name, or
 * the part of that before ".so". NAME may be a C++ function's without its parameters, and "NAME@0xADDRESS" is the one
 * of several that is there. The descriptor is the caller's. -ENOENT: there is none, or several, or it may not be
 * timed; `why` has that in words. -ESRCH, -EACCES, -ENOMEM.
 */
int stint_function_find(struct stint_function_site *ret, uint32_t pid, const char *wanted, char *why,
			size_t why_bytes);

#endif
