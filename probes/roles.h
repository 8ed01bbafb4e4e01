/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_ROLES_H
#define STINT_PROBES_ROLES_H

/* Roles: their names, and their histograms, of which the kernel keeps 32 bits a bucket. */

#include <linux/types.h>

#include "probes/bpf_object.h"
#include "probes/probes.h"

struct stint_roles;

/* `maps` stay the caller's. Memory: 150 KiB a role that is in use. -ENOMEM, or what mmap() said. */
int stint_roles_new(struct stint_roles **ret, const struct stint_bpf_role_maps *maps);
struct stint_roles *stint_roles_free(struct stint_roles *roles);

/* Calls `visit` for each role. -ENOMEM, or what `visit` returned if that was not 0. */
int stint_roles_read(struct stint_roles *roles, stint_probes_role_visit visit, void *ctx);

/* Gives back the room of those whose thread is over and whose last figures were read. 0, or a negative errno. */
int stint_roles_release(struct stint_roles *roles);

/* What the descriptor is whose turn in an overrun's iteration is known; empty if it had none. */
void stint_roles_name_turn(struct stint_roles *roles, char *ret, size_t ret_bytes,
			   const struct record_overrun *record, int32_t fd);

/* "clients of :6379", "upstream 10.0.0.1:80", "timerfd" */
void stint_role_name(char *ret, size_t ret_bytes, const struct role_key *key);

#endif
