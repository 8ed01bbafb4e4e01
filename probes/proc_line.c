/* SPDX-License-Identifier: MIT */
#include "probes/proc_line.h"

#include <stdio.h>

bool stint_proc_line(char *ret, size_t ret_bytes, const char *path)
{
	FILE *file = fopen(path, "re");
	bool found;

	if (!file)
		return false;
	found = fgets(ret, (int)ret_bytes, file) && *ret;
	fclose(file);
	return found;
}
