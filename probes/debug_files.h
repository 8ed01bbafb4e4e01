/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_DEBUG_FILES_H
#define STINT_PROBES_DEBUG_FILES_H

/* Where libdwfl may look for the debug information of programs under watch: for its struct Dwfl_Callbacks. */

#include <elfutils/libdwfl.h>

/*
 * Only where distributions install it: a program under watch may name any file, also one that cannot be opened without
 * waiting for ever.
 */
extern char *stint_debug_path;
int stint_find_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			 const char *file_name, const char *link, GElf_Word crc, char **debug_name);

#endif
