/* SPDX-License-Identifier: MIT */
#include "probes/debug_files.h"

#include <stdbool.h>
#include <string.h>

static char debug_directory[] = "/usr/lib/debug";
char *stint_debug_path = debug_directory;

int stint_find_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			 const char *file_name, const char *link, GElf_Word crc, char **debug_name)
{
	size_t len = strlen(debug_directory);
	bool installed =
		link && strncmp(link, debug_directory, len) == 0 && link[len] == '/' && !strstr(link, "..");

	if (link && strchr(link, '/') && !installed)
		return -1;
	return dwfl_standard_find_debuginfo(module, userdata, name, base, file_name, link, crc, debug_name);
}
