/* SPDX-License-Identifier: MIT */
#ifndef SIGPIPE_H
#define SIGPIPE_H

/*
 * sendfile(), and write() to a pipe, have no MSG_NOSIGNAL. Around them SIGPIPE is blocked, and one of the call's own is
 * taken back; if it was blocked already, it stays pending, which is what whoever blocked it expects. It is raised also
 * where a part was sent before, which is then what the call returns: so after any that did not send all.
 */

#include <signal.h>
#include <stdbool.h>

void sigpipe_hold(sigset_t *before);
void sigpipe_release(const sigset_t *before, bool may_be_pending);

#endif
