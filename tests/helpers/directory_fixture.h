/* SPDX-License-Identifier: MIT */
#ifndef DIRECTORY_FIXTURE_H
#define DIRECTORY_FIXTURE_H

/* A folder of a test program's own, for its recording and for the meters of what it starts. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char directory[64];
static char recording[96];

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("STINT_DIR", directory, 1) != 0)
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

#endif
