/* SPDX-License-Identifier: MIT */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

/*
 * Enters a network of the test's own, which has nothing but loopback, and makes it what `command` (for the shell) says.
 * The process does not leave it again. Skips the test where this user may not.
 */
void network_enter(const char *command);

/*
 * Another network, which has nothing but loopback: a descriptor of it, the caller's. The test stays in its own. Skips the
 * test where this user may not.
 */
int network_new(void);

/* For what is begun in it: the way back, for network_return(), which closes that. */
int network_move(int network);
void network_return(int own);

/* A TCP socket (IPv4) of that network, with FD_CLOEXEC. */
int network_socket(int network);

/*
 * A counter of the process' network by its name ("RetransSegs"): of /proc/net/snmp or /proc/net/netstat, whichever is
 * `table`. Fails the test if it is not there.
 */
uint64_t network_counter(const char *table, const char *name);

#endif
