/* SPDX-License-Identifier: MIT */
#ifndef WATCHED_ROLES_H
#define WATCHED_ROLES_H

/* What the probes know of descriptors by role, those of one name in several threads together. */

#include <stddef.h>

#include "watching.h"

/* Takes all that there is, and then reads the roles: without their buckets. What was read before is forgotten. */
void watched_roles_read(struct watching *watching);
size_t watched_roles_len(void);
const struct stint_probes_role *watched_role_at(size_t i);

/* Fails the test if none has that name. */
const struct stint_probes_role *watched_role(const char *name);

/* The stages of all events of a role are what their ages are, or the test fails. */
void watched_role_adds_up(const struct stint_probes_role *role);

#endif
