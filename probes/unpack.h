/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_UNPACK_H
#define STINT_PROBES_UNPACK_H

/*
 * Records that are as long as what there is to tell, as they come out of the ring buffer. They are our own programs', but
 * nothing is read beyond their end, whatever lengths they say.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "probes/records.h"

/* The bytes of a stack's record that has so many of the stack, or as many as there may be. */
size_t stint_unpack_stack_bytes(__u32 stack_bytes);

/* Is that all of a stack's record? */
bool stint_unpack_is_stack(const void *data, size_t bytes);

/*
 * Of which kind (enum record_type) a record is, of which there is as much as that kind has, but for the arrays of an
 * overrun; 0: it is none.
 */
__u32 stint_unpack_type(const void *data, size_t bytes);

/*
 * An overrun, with its arrays where they belong, and zero what there is not. False if that is not all of its record, or if
 * it says lengths that there cannot be.
 */
bool stint_unpack_overrun(struct record_overrun *ret, const void *data, size_t bytes);

#endif
