/* SPDX-License-Identifier: MIT */
#include "usdt.h"

/* In the section in which tools look for them. */
#define SEMAPHORE __attribute__((section(".probes"), used))

SEMAPHORE unsigned short stint_dispatch_begin_semaphore;
SEMAPHORE unsigned short stint_dispatch_end_semaphore;
SEMAPHORE unsigned short stint_overrun_semaphore;
