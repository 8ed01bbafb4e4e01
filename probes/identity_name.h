/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_IDENTITY_NAME_H
#define STINT_PROBES_IDENTITY_NAME_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "probes/records.h"

/* What the programs noted of the event with that descriptor; NULL: nothing. */
const struct record_identity *stint_identity_find(const struct record_overrun *record, __s32 fd);

/*
 * That in words, as those of descriptor_name.h: "tcp 10.0.0.1:80 > 10.0.0.2:4242", "eventfd". False if it is one that
 * only its number leads to the name of (a file, a device), or not known; then nothing is written.
 */
bool stint_identity_name(const struct record_identity *identity, char *ret, size_t ret_bytes);

#endif
