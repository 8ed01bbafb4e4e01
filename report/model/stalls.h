/* SPDX-License-Identifier: MIT */
#ifndef REPORT_STALLS_H
#define REPORT_STALLS_H

/* Write stalls summed up: for each process, and for each of its sockets. Percentiles are exact. */

#include "report/model/model.h"

enum stall_stage {
	STALL_ACK,
	STALL_KERNEL,
	STALL_SCHEDULER,
	STALL_LOOP,
	STALL_QUEUE,
	STALL_STAGES,
	STALL_WHOLE = STALL_STAGES,
	STALL_COLUMNS
};

/* As recordings and JSON have them, by enum model_limit, model_cause and model_no_event. */
extern const char *const stall_cause_keys[MODEL_CAUSE_UNKNOWN + 1];
extern const char *const stall_no_event_keys[MODEL_NO_EVENTS];
extern const char *const stall_ending_keys[MODEL_STALL_OPEN + 1];

extern const char *const stall_stage_names[STALL_COLUMNS];

/* What the stage waits for, as the end of a sentence; and up to when it lasts, in a few words. */
extern const char *const stall_stage_meanings[STALL_STAGES];
extern const char *const stall_stage_ends[STALL_COLUMNS];

/* Sums and percentiles are of those stalls that ended with a send, and are unknown where none did. */
struct stall_group {
	const struct model_process *process;
	const struct model_stall *first; /* names the socket; NULL: all sockets of the process */
	size_t sockets;                  /* that stalled */
	size_t count;                    /* of stalls that ended with a send */
	size_t closed, open;             /* that ended otherwise, or had not ended */
	const struct model_stall *longest_closed, *longest_open; /* NULL: there are none */
	uint64_t all_ns;                                         /* whole stalls, of all these */
	uint64_t retransmits;
	uint64_t sum_ns[STALL_COLUMNS];
	uint64_t p50_ns[STALL_COLUMNS];
	uint64_t p99_ns[STALL_COLUMNS];
	uint64_t max_ns[STALL_COLUMNS];
	enum stall_stage worst; /* that took most time in sum */
	uint64_t limit_ns[MODEL_LIMITS];
	size_t by_lowat, by_queue;
};

struct stall_groups {
	struct stall_group *items; /* a process, then its sockets, those that stalled longest first; ... */
	size_t len;
};

/* -ENOMEM. The model must outlive it. */
int stall_groups_new(struct stall_groups **ret, const struct model *model);
struct stall_groups *stall_groups_free(struct stall_groups *groups);

#endif
