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

__u32 stint_unpack_type(const void *data, size_t bytes)
{
	static const size_t least_bytes[] = {
		[RECORD_OVERRUN] = offsetof(struct record_overrun, syscalls),
		[RECORD_STACK] = offsetof(struct record_stack, stack),
		[RECORD_STALL] = sizeof(struct record_stall),
		[RECORD_SOCKET] = sizeof(struct record_socket),
		[RECORD_EXIT] = sizeof(struct record_exit),
		[RECORD_EXEC] = sizeof(struct record_exit),
		[RECORD_JOINED] = sizeof(struct record_exit),
		[RECORD_WHY] = sizeof(struct record_why),
		[RECORD_ALARM] = sizeof(struct record_alarm),
		[RECORD_UNIX] = sizeof(struct record_unix),
		[RECORD_HANG] = sizeof(struct record_hang),
	};
	__u32 type;

	if (bytes < sizeof(type))
		return 0;
	memcpy(&type, data, sizeof(type));
	if (type >= sizeof(least_bytes) / sizeof(least_bytes[0]) || bytes < least_bytes[type])
		return 0;
	return type != RECORD_STACK || stint_unpack_is_stack(data, bytes) ? type : 0;
}

/* One of an overrun's arrays. */
struct array {
	size_t offset;
	size_t entry_bytes;
	size_t most;
	size_t len;
};

#define ENTRY_BYTES(field) sizeof(((struct record_overrun *)NULL)->field[0])
#define ARRAY(field, len)                                                                        \
	{                                                                                        \
		offsetof(struct record_overrun, field), ENTRY_BYTES(field),                      \
			sizeof(((struct record_overrun *)NULL)->field) / ENTRY_BYTES(field), len \
	}

/* What follows the rest of a record, in this order. */
static bool unpack_arrays(struct record_overrun *ret, const char *data, size_t bytes)
{
	const struct array arrays[] = {
		ARRAY(syscalls, ret->syscalls_len),   ARRAY(segments, ret->segments_len),
		ARRAY(touches, ret->touches_len),     ARRAY(turns, ret->turns_len),
		ARRAY(identities, ret->turns_len),    ARRAY(marks, ret->marks_len),
		ARRAY(functions, ret->functions_len), ARRAY(ready, ret->ready_len),
	};

	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		const struct array *array = &arrays[i];
		size_t array_bytes = array->len * array->entry_bytes;

		if (array->len > array->most || array_bytes > bytes)
			return false;
		memcpy((char *)ret + array->offset, data, array_bytes);
		data += array_bytes;
		bytes -= array_bytes;
	}
	return true;
}

bool stint_unpack_overrun(struct record_overrun *ret, const void *data, size_t bytes)
{
	const size_t head_bytes = offsetof(struct record_overrun, syscalls);

	if (bytes < head_bytes)
		return false;
	memcpy(ret, data, head_bytes);
	memset((char *)ret + head_bytes, 0, sizeof(*ret) - head_bytes);
	return unpack_arrays(ret, (const char *)data + head_bytes, bytes - head_bytes);
}
