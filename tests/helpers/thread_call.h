/* SPDX-License-Identifier: MIT */
#ifndef THREAD_CALL_H
#define THREAD_CALL_H

/* Which system call a thread sleeps in, for tests that wait until it is there. */

#include <sys/types.h>

/*
 * The number of the system call that the thread sleeps in, as /proc/TID/syscall says; -1 while it runs, or has ended. Fails
 * the test if the file cannot be read.
 */
long thread_call(pid_t tid);

#endif
