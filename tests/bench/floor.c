/* SPDX-License-Identifier: MIT */

/* floor enter|exit|both: has empty programs on the tracepoints of system calls until SIGINT. */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/types.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Woverlength-strings"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wpointer-arith"
#include "tests/bench/floor.skel.h"
#pragma GCC diagnostic pop

int main(int argc, char **argv)
{
	struct floor_skeleton *skeleton = floor_skeleton__open();
	const char *which = argc == 2 ? argv[1] : "both";

	if (!skeleton)
		return 1;
	bpf_program__set_autoload(skeleton->progs.on_enter, strcmp(which, "exit") != 0);
	bpf_program__set_autoload(skeleton->progs.on_exit, strcmp(which, "enter") != 0);
	if (floor_skeleton__load(skeleton) != 0 || floor_skeleton__attach(skeleton) != 0)
		return 1;
	signal(SIGINT, SIG_DFL); /* a shell has those in the background ignore it */
	fprintf(stderr, "attached\n");
	pause();
	return 0;
}
