/* SPDX-License-Identifier: MIT */
#include "recorded.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int recorded_open(struct recorded *recorded)
{
	*recorded = (struct recorded){.directory = "/tmp/stint-test-XXXXXX"};
	if (!mkdtemp(recorded->directory))
		return -1;
	snprintf(recorded->recording, sizeof(recorded->recording), "%s/r.stint", recorded->directory);
	return 0;
}

int recorded_close(struct recorded *recorded)
{
	if (recorded->recorder.pid > 0)
		command_end(&recorded->recorder, SIGKILL, NULL, 0);
	subject_stop(&recorded->subject, SIGKILL);
	unlink(recorded->recording);
	return rmdir(recorded->directory);
}
