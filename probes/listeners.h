/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_LISTENERS_H
#define STINT_PROBES_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Tells of each TCP port that is listened on in the network namespace of a process; `own`: by a socket of the process
 * itself. Where the process does not tell of its descriptors, or more than 1024 sockets listen, those that are in doubt
 * are taken for its own. A port may be told more than once, and tells nothing if the process is gone.
 */
void stint_listeners_read(uint32_t pid, void (*visit)(void *ctx, uint16_t port, bool own), void *ctx);

#endif
