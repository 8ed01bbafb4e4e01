/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_IDLE_SLEEP_H
#define STINT_PROBES_IDLE_SLEEP_H

/*
 * Whether a thread that sleeps is one of a runtime's that has nothing to do. Such runtimes (Go's, tokio, asio) have several
 * threads come to one epoll set, and those that are not wanted there sleep elsewhere, on a futex as a rule. From outside
 * that looks as a handler does that waits for a lock, but not by its stack: what called the sleep is the runtime's function
 * for just that.
 */

#include <stdbool.h>
#include <stddef.h>

#include "probes/frame.h"

/* By its names: frames are innermost first, as they come from the unwinder. Without names it is not known to be one. */
bool stint_idle_sleep(const struct stint_frame *frames, size_t len);

/* Whether it sleeps on a condition variable of the C library: those have two words, by turns. */
bool stint_idle_sleep_is_condition(const struct stint_frame *frames, size_t len);

/* Whether Java's machine has parked it: on words of the thread's own, whatever it waits for. */
bool stint_idle_sleep_is_park(const struct stint_frame *frames, size_t len);

#endif
