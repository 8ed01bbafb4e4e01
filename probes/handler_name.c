/* SPDX-License-Identifier: MIT */
#include "probes/handler_name.h"

#include <stdio.h>
#include <string.h>

/* The same function; where no symbol covers it, the same place in it. */
static bool same_function(const struct stint_frame *a, const struct stint_frame *b)
{
	if (a->function_start || b->function_start)
		return a->function_start == b->function_start;
	return a->pc == b->pc;
}

/* The frame at `depth` from the outermost. */
static const struct stint_frame *at_depth(const struct stint_frame *frames, size_t len, size_t depth)
{
	return &frames[len - 1 - depth];
}

static size_t common_depth(const struct stint_frame *loop, size_t loop_len, const struct stint_frame *overrun,
			   size_t overrun_len)
{
	size_t depth = 0;

	while (depth < loop_len && depth < overrun_len &&
	       same_function(at_depth(loop, loop_len, depth), at_depth(overrun, overrun_len, depth)))
		depth++;
	return depth;
}

/* A stack may be cut at its beginning: where in the other one does what is left of it begin? 0 if it does not. */
static size_t cut_begins(const struct stint_frame *cut, size_t cut_len, const struct stint_frame *other,
			 size_t other_len)
{
	for (size_t depth = 0; cut_len && depth < other_len; depth++)
		if (same_function(at_depth(cut, cut_len, 0), at_depth(other, other_len, depth)))
			return depth;
	return 0;
}

/* How many frames from the overrun's outermost are the loop's own. */
static size_t parting_depth(const struct stint_frame *loop, size_t loop_len,
			    const struct stint_frame *overrun, size_t overrun_len)
{
	size_t skipped = cut_begins(loop, loop_len, overrun, overrun_len), depth;

	depth = common_depth(loop, loop_len, overrun, overrun_len - skipped);
	if (depth)
		return depth + skipped;
	skipped = cut_begins(overrun, overrun_len, loop, loop_len);
	return common_depth(loop, loop_len - skipped, overrun, overrun_len);
}

/*
 * The first function below `depth` that has a name: in stripped binaries static functions have none, and
 * what calls the handler (the loop's own dispatch) is often one of them.
 */
static const char *first_named(const struct stint_frame *frames, size_t len, size_t depth)
{
	for (size_t below = depth; below < len; below++)
		if (at_depth(frames, len, below)->function_start)
			return at_depth(frames, len, below)->name;
	return at_depth(frames, len, depth)->name;
}

/* What runs before main(), which may have been left by a jump to another function and be in no stack. */
static bool is_start(const struct stint_frame *frame)
{
	return strcmp(frame->name, "_start") == 0 || strncmp(frame->name, "__libc_start_", 13) == 0 ||
	       strcmp(frame->name, "clone3") == 0 || strcmp(frame->name, "start_thread") == 0;
}

static const char *called_by_main(const struct stint_frame *frames, size_t len)
{
	for (size_t depth = 0; depth + 1 < len; depth++)
		if (strcmp(at_depth(frames, len, depth)->name, "main") == 0)
			return first_named(frames, len, depth + 1);
	for (size_t depth = 0; depth < len; depth++)
		if (!is_start(at_depth(frames, len, depth)))
			return first_named(frames, len, depth);
	return first_named(frames, len, 0);
}

void stint_handler_name(char *ret, size_t ret_bytes, const struct stint_frame *loop, size_t loop_len,
			const struct stint_frame *overrun, size_t overrun_len, int fd)
{
	size_t depth = parting_depth(loop, loop_len, overrun, overrun_len);

	if (!overrun_len && fd >= 0)
		snprintf(ret, ret_bytes, "fd %d", fd);
	else if (!overrun_len)
		snprintf(ret, ret_bytes, "unknown");
	else if (!depth)
		snprintf(ret, ret_bytes, "%s", called_by_main(overrun, overrun_len));
	else if (depth == overrun_len)
		snprintf(ret, ret_bytes, "%s (the loop itself)",
			 at_depth(overrun, overrun_len, depth - 1)->name);
	else
		snprintf(ret, ret_bytes, "%s", first_named(overrun, overrun_len, depth));
}
