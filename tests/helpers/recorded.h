/* SPDX-License-Identifier: MIT */
#ifndef RECORDED_H
#define RECORDED_H

/* A program of tests/subjects, and `stint record` of it, in a directory of their own. */

#include "command.h"
#include "subject.h"

struct recorded {
	char directory[64];
	char recording[96];
	struct subject subject;
	struct command recorder; /* its pid is 0 while it does not run */
};

/* 0, or -1. Neither program runs. */
int recorded_open(struct recorded *recorded);

/* Ends what runs, and removes the directory, which must hold the recording only. 0, or -1. */
int recorded_close(struct recorded *recorded);

#endif
