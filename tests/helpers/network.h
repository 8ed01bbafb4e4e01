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
 * A counter of the process' network by its name ("RetransSegs"): of /proc/net/snmp or /proc/net/netstat, whichever is
 * `table`. Fails the test if it is not there.
 */
uint64_t network_counter(const char *table, const char *name);

#endif
