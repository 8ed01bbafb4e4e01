/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_CHECKS_H
#define STINT_PROBES_CHECKS_H

/*
 * What this machine and this user's privileges allow the probes, one thing after the other. What can be tried is tried
 * on the kernel, and not concluded from settings; what was loaded or attached for that is gone again at return.
 */

enum stint_probes_check_state {
	STINT_PROBES_CHECK_OK,
	STINT_PROBES_CHECK_LESS,   /* recordings lack something for it, which `detail` names */
	STINT_PROBES_CHECK_MISSING /* no probes without it */
};

struct stint_probes_check {
	const char *what; /* "CAP_BPF", "tracepoint program" */
	enum stint_probes_check_state state;
	char detail[128];
	char remedy[384]; /* a command, or what else to do; empty if `state` is OK, or none is known */
};

typedef void (*stint_probes_check_visit)(void *ctx, const struct stint_probes_check *check);

/* Visits all checks in an order to read them in; `check` is valid during the visit. Takes some seconds. */
void stint_probes_check(stint_probes_check_visit visit, void *ctx);

#endif
