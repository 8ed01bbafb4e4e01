/* SPDX-License-Identifier: MIT */
#ifndef NETWORK_H
#define NETWORK_H

/*
 * Enters a network of the test's own, which has nothing but loopback, and makes it what `command` (for the shell) says.
 * The process does not leave it again. Skips the test where this user may not.
 */
void network_enter(const char *command);

#endif
