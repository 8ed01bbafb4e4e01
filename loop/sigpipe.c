/* SPDX-License-Identifier: MIT */
#include "sigpipe.h"

#include <stddef.h>
#include <time.h>

static void only_sigpipe(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGPIPE);
}

void sigpipe_hold(sigset_t *before)
{
	sigset_t pipe;

	only_sigpipe(&pipe);
	pthread_sigmask(SIG_BLOCK, &pipe, before);
}

void sigpipe_release(const sigset_t *before, bool may_be_pending)
{
	const struct timespec at_once = {0};
	sigset_t pipe;

	only_sigpipe(&pipe);
	if (may_be_pending && !sigismember(before, SIGPIPE))
		sigtimedwait(&pipe, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, before, NULL);
}
