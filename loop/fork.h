/* SPDX-License-Identifier: MIT */
#ifndef FORK_H
#define FORK_H

#include <stdint.h>

/*
 * How many forks lie between this process and the one that called fork_generation() first. What was made in another
 * generation is the parent's: its epoll set and its threads are not ours. (A child by vfork() or a bare clone() is not
 * counted; it should do nothing but execute another program anyway.)
 */
extern uint32_t fork_generation_now;

/* Counts forks from here on, and returns the generation. Any thread. */
uint32_t fork_generation(void);

#endif
