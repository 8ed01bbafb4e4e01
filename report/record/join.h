/* SPDX-License-Identifier: MIT */
#ifndef REPORT_JOIN_H
#define REPORT_JOIN_H

/*
 * Writes overruns, and finds those that were seen twice: the meter tells the dispatch and the handler's own
 * name, the probes tell for the iteration around it what the time went on. Where a dispatch lies within an
 * iteration, its row holds both, cut to the dispatch (probes/cut.h). What is known of the iteration as a whole only, its
 * timed functions and whom it held up, is told of its longest dispatch.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/record/recording.h"
#include "report/record/roster.h"
#include "stint/meter_file.h"

struct join;

/* `recording` and `roster` must outlive it. -ENOMEM. */
int join_new(struct join **ret, struct recording *recording, struct roster *roster, uint64_t budget_ns);
struct join *join_free(struct join *join);

/* A dispatch that overran, as its process tells it. */
struct join_dispatch {
	int64_t process;
	int64_t handler;
	uint32_t tid;
	bool running; /* it had not ended when it was last looked at */
	struct stint_meter_file_overrun overrun;
	enum stint_probes_stack stack_kind; /* what the process's watchdog took; NONE: nothing */
	const char *const *frames;          /* outermost first */
	uint32_t frames_len;
};

/* Copies it. -ENOMEM. */
int join_add_dispatch(struct join *join, const struct join_dispatch *dispatch);

/* An iteration that overran; copied. -ENOMEM. */
int join_add_iteration(struct join *join, int64_t process, const struct stint_probes_overrun *overrun);

/*
 * To be called after all that both sides know of `process` until now was added: an iteration that was held
 * has all its dispatches now. A dispatch without an iteration waits for two more calls, as its iteration may
 * still be going on.
 *
 * `has_meter`: where no dispatch of an iteration overran, it was the sum of many, and no handler is charged
 * with it; without a meter the handler is the one that the stack tells.
 */
void join_settle(struct join *join, int64_t process, bool has_meter);

/* The same for what is still held at the end. */
void join_settle_last(struct join *join, int64_t process, bool has_meter);

#endif
