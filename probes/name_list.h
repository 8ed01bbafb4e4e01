/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_NAME_LIST_H
#define STINT_PROBES_NAME_LIST_H

/* Lists of names that functions are known by, or begin with. They end with NULL. */

#include <stdbool.h>
#include <stddef.h>

/* The first of a list that a name begins with; NULL: none. */
const char *stint_name_list_beginning(const char *const *list, const char *name);

/* Whether a list has a word of `len` bytes, which need not end there. */
bool stint_name_list_has(const char *const *list, const char *word, size_t len);

#endif
