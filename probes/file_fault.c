/* SPDX-License-Identifier: MIT */
#include "probes/file_fault.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static _Thread_local sigjmp_buf *volatile guard; /* NULL: not in a guarded call */
static struct sigaction before;

static void on_fault(int number)
{
	if (guard)
		siglongjmp(*guard, 1);
	/* Of another thread: it happens again, to whoever had the signal before. */
	sigaction(number, &before, NULL);
}

bool stint_file_fault_guard(void (*run)(void *ctx), void *ctx)
{
	/* Not blocked while it is handled, so that the mask need not be saved and restored. */
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
	sigjmp_buf place;
	bool whole;

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &before);
	whole = sigsetjmp(place, 0) == 0;
	if (whole) {
		guard = &place;
		run(ctx);
	}
	guard = NULL;
	sigaction(SIGBUS, &before, NULL);
	return whole;
}
