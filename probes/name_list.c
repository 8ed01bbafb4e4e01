/* SPDX-License-Identifier: MIT */
#include "probes/name_list.h"

#include <string.h>

const char *stint_name_list_beginning(const char *const *list, const char *name)
{
	while (*list && strncmp(*list, name, strlen(*list)) != 0)
		list++;
	return *list;
}

bool stint_name_list_has(const char *const *list, const char *word, size_t len)
{
	while (*list && (strlen(*list) != len || strncmp(*list, word, len) != 0))
		list++;
	return *list != NULL;
}
