/* SPDX-License-Identifier: MIT */
#include "fork.h"

#include <pthread.h>

uint32_t fork_generation_now;

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The child has one thread, and it is in fork(). */
static void in_child(void)
{
	fork_generation_now++;
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

uint32_t fork_generation(void)
{
	pthread_once(&once, watch_forks);
	return fork_generation_now;
}
