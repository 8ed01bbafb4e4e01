/* SPDX-License-Identifier: MIT */
#include "probes/unpack.h"

#include <string.h>

size_t stint_unpack_stack_bytes(__u32 stack_bytes)
{
	return offsetof(struct record_stack, stack) +
	       (stack_bytes < RECORD_STACK_BYTES ? stack_bytes : RECORD_STACK_BYTES);
}

bool stint_unpack_is_stack(const void *data, size_t bytes)
{
	__u32 stack_bytes;

	if (bytes < stint_unpack_stack_bytes(0))
		return false;
	memcpy(&stack_bytes, (const char *)data + offsetof(struct record_stack, stack_bytes),
	       sizeof(stack_bytes));
	return stack_bytes <= RECORD_STACK_BYTES && stint_unpack_stack_bytes(stack_bytes) <= bytes;
}
