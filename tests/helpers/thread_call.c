/* SPDX-License-Identifier: MIT */

#include "thread_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

long thread_call(pid_t tid)
{
	char path[64], line[256] = "", *end;
	FILE *file;
	long call;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)tid);
	file = fopen(path, "re");
	assert_non_null(file);
	if (!fgets(line, sizeof(line), file))
		*line = '\0';
	fclose(file);
	call = strtol(line, &end, 10);
	return end == line ? -1 : call; /* or "running" */
}
