/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_FUNCTIONS_H
#define SUBJECT_FUNCTIONS_H

/* What the subject `functions` is told on its standard input, each in an iteration of its loop, and what it answers. */

#include <stdint.h>

#define SUBJECT_THREADS      4
#define SUBJECT_THREAD_CALLS 50

enum subject_calls {
	SUBJECT_CALL_NOTHING = 0,
	SUBJECT_CALL_SPIN, /* known_spin(): `count` times, each computes for `ns` by the clock */
	SUBJECT_CALL_RECURSE, /* known_recursion(): once, `count` calls of it deep, of which the innermost computes */
	SUBJECT_CALL_JUMP,      /* known_jump(): `count` times, each computes, and leaves by longjmp() */
	SUBJECT_CALL_JUMP_DEEP, /* the same, from a frame deeper in the stack than all other calls */
	SUBJECT_CALL_TAIL,      /* known_tail(): `count` times, each goes on to known_spin() by a jump */
	SUBJECT_CALL_THREADS,   /* known_spin() by SUBJECT_THREADS threads at once, each so often */
	SUBJECT_CALL_FORK,      /* known_fork(): a child returns from it too, calls known_spin(), and exits */
	SUBJECT_CALL_FOREVER,   /* known_forever(), in a thread of its own: it never returns */
	SUBJECT_CALL_SLEEP      /* known_sleep(): `count` times, each blocked for `ns` */
};

struct subject_call {
	uint32_t what; /* enum subject_calls */
	uint32_t count;
	uint64_t ns;
};

/*
 * By its own clock, all calls together: what the probes see lies between the two, however often the program loses its
 * CPU. `least` is from a function's first statement to its last, `most` from before its call to behind it.
 */
struct subject_called {
	uint64_t least_ns;
	uint64_t most_ns;
	uint64_t longest_ns; /* of `most` */
};

#endif
