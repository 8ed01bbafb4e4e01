/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_UNIX_NAMES_H
#define STINT_PROBES_UNIX_NAMES_H

/* The paths of unix sockets, by stint's own number of the socket. Of the last few thousand: others have none. */

#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include "probes/records.h"

struct stint_unix_names;

/* -ENOMEM. */
int stint_unix_names_new(struct stint_unix_names **ret);
struct stint_unix_names *stint_unix_names_free(struct stint_unix_names *names);

void stint_unix_names_add(struct stint_unix_names *names, const struct record_unix *record);

/*
 * Puts paths into what is known of the ends without: `local` "unix:[1234]" becomes "/run/x", `remote` "pid 12" becomes
 * "/run/x (pid 12)". An abstract name has "@" in the place of each NUL; of one that is too long, the end is kept.
 */
void stint_unix_name(const struct stint_unix_names *names, uint64_t socket, char *local, char *remote,
		     size_t bytes);

#endif
