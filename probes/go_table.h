/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_GO_TABLE_H
#define STINT_PROBES_GO_TABLE_H

/*
 * The functions of a Go program, which has them in a table of its own (.gopclntab), as its runtime unwinds by it: they are
 * there also where symbols and debug information were left out (-ldflags "-s -w"), as in most containers. Layout: that of
 * Go 1.16, and that of 1.18 and later, as runtime/symtab.go and debug/gosym have it.
 */

#include <libelf.h>
#include <stdbool.h>
#include <stdint.h>

struct stint_go_function {
	uint64_t start;
	const char *name; /* in the file, and its end is there */
	const char *file; /* its source's path; the same. NULL: not known */
	uint32_t line;    /* 0: not known */
};

/*
 * The function at address `at` of the file, as it asks to be loaded. What it gives is valid as long as `elf`. False: there
 * is none, or the file has no such table, or one of a layout that is not known, or a broken one. `elf` may be NULL.
 */
bool stint_go_function(Elf *elf, uint64_t at, struct stint_go_function *ret);

#endif
