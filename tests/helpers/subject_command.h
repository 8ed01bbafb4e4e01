/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_COMMAND_H
#define SUBJECT_COMMAND_H

/* What a test writes to a subject's standard input, and what the subject answers on its standard output. */

#include <stdint.h>

enum subject_verb {
	SUBJECT_SYNC = 0, /* answer, nothing else: all iterations before it are over */
	SUBJECT_SPIN,     /* compute until the thread's CPU clock is `arg` further */
	SUBJECT_BLOCK,    /* sleep for `arg` ns */
	SUBJECT_PIN,      /* stay on CPU `arg` */
	SUBJECT_MEET,     /* wait for all other loops to be given this too, then compute for `arg` */
	SUBJECT_BURST,  /* make three descriptors ready at once; the first to be handled computes for `arg` */
	SUBJECT_NESTED, /* an inner epoll set becomes ready, is drained with a timeout of 0, then computes */
	SUBJECT_OTHER,  /* wait in a second epoll set of the same thread, and compute after that */
	SUBJECT_POLLS,  /* `arg` polls with a timeout of 0 that return nothing, one after the other */
	SUBJECT_DEEP,   /* as SPIN, and then as BLOCK, below a function with 64 KiB of its own on the stack */
	SUBJECT_INSIDE, /* block for `arg` ns in waits of other kinds, inside the handler */

	/* Of the subject `late`, as are SYNC, SPIN, BLOCK and PIN. */
	SUBJECT_KERNEL,    /* compute in the kernel until the thread's CPU clock is `arg` further */
	SUBJECT_LOCK,      /* wait for a mutex that another thread holds for `arg` ns */
	SUBJECT_FLOCK,     /* the same with flock() on a file */
	SUBJECT_PIPE,      /* read a pipe into which another thread writes after `arg` ns */
	SUBJECT_START,     /* start a process whose beginning, until it is another program, takes `arg` ns */
	SUBJECT_SEND_COLD, /* sendfile() a file that is not in memory to /dev/null; fd: of that */
	SUBJECT_COLD,      /* touch pages of a file that are not in memory; cpu_ns: how many had to be read */
	/* touch pages that were not there until the CPU clock is `arg` further; cpu_ns: how many, and user_ns, kernel_ns */
	SUBJECT_PAGES,
	SUBJECT_HUGE_PAGES, /* the same with huge pages; cpu_ns: how many page faults that took */
	SUBJECT_STOP,  /* stop by SIGSTOP, until somebody sends SIGCONT; `arg` times, but at least once */
	SUBJECT_CALLS, /* make `arg` system calls that do nothing */
};

struct subject_command {
	uint32_t loop; /* which of the subject's loops, from 0 */
	uint32_t verb;
	uint64_t arg;
};

struct subject_answer {
	uint32_t loop;
	int32_t tid;
	int32_t epfd; /* the loop's own */
	int32_t fd; /* what the verb was about: BURST: the descriptor that computed; OTHER: the second set */
	uint64_t cpu_ns;             /* of the thread's CPU clock, in the command */
	uint64_t user_ns, kernel_ns; /* PAGES, HUGE_PAGES: as getrusage() has it of the thread */
};

#endif
