/* SPDX-License-Identifier: MIT */
#ifndef LATE_SIGNAL_H
#define LATE_SIGNAL_H

#include <signal.h>
#include <stdbool.h>

/* Not one that the kernel raises for an instruction, which would only run again if its handler returned. */
static inline bool signal_may_be_late(int number)
{
	return number > 0 && number < NSIG && number != SIGSEGV && number != SIGBUS && number != SIGFPE &&
	       number != SIGILL && number != SIGTRAP && number != SIGSYS;
}

#endif
