/* SPDX-License-Identifier: MIT */
#ifndef FRAMES_FIXTURE_H
#define FRAMES_FIXTURE_H

/* What tests of names share: frames of stacks that nobody has taken, and the handler that they make. */

#include <stdio.h>

#include "probes/handler_name.h"

__attribute__((unused)) static struct stint_frame frame(const char *name, uint64_t function_start)
{
	struct stint_frame ret = {.pc = function_start ? function_start + 5 : 0x999,
				  .function_start = function_start,
				  .has_symbol = function_start != 0};

	snprintf(ret.name, sizeof(ret.name), "%s", name);
	return ret;
}

__attribute__((unused)) static const char *handler_of(const struct stint_frame *loop, size_t loop_len,
						      const struct stint_frame *overrun, size_t overrun_len,
						      int fd)
{
	static char name[64];

	stint_handler_name(name, sizeof(name), loop, loop_len, overrun, overrun_len, true, fd);
	return name;
}

#endif
