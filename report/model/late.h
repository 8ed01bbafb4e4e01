/* SPDX-License-Identifier: MIT */
#ifndef REPORT_LATE_H
#define REPORT_LATE_H

/*
 * What a process was late by, in sum: the time that its overruns took, by what they spent it on, and who or what was in the
 * way. The parts of an iteration count for a dispatch in it in proportion.
 */

#include "report/model/model.h"

enum late_kind {
	LATE_USER, /* these six as enum model_verdict_kind */
	LATE_KERNEL,
	LATE_RUNNABLE,
	LATE_THROTTLED,
	LATE_BLOCKED,
	LATE_STOLEN,
	LATE_STOPPED,   /* by a signal, a tracer or its frozen cgroup: no part of LATE_BLOCKED here */
	LATE_COMPUTING, /* where the probes do not tell more: user or kernel */
	LATE_OFF_CPU,   /* runnable, throttled or blocked */
	LATE_UNKNOWN,
	LATE_KINDS
};

#define LATE_PARTIES 3

/* Who or what was in the way: a process that had the CPU, or a system call. */
struct late_party {
	const char *name;
	uint64_t pid;     /* of who had the CPU; MODEL_UNKNOWN: several of that name, or it is no process */
	bool is_own;      /* a thread of the process itself */
	bool is_recorder; /* stint itself */
	uint64_t sum_ns;
};

struct late_cause {
	enum late_kind kind;
	uint64_t sum_ns;
	struct late_party parties[LATE_PARTIES]; /* most in sum first */
	size_t parties_len;
	uint64_t parties_ns; /* of all, also those that are not listed, or have no name */
};

/*
 * Overruns that went beyond their budget by what the process itself did: without their time runnable, throttled,
 * stolen or stopped.
 */
struct late_own {
	uint64_t overruns;
	const struct model_handler *handler; /* that has most of that time; NULL: none is known */
	uint64_t handler_overruns;
	uint64_t handler_own_ns;
	uint64_t longest_ns;         /* of that handler, of that time */
	enum late_kind longest_kind; /* what most of it was */
	const char *where;           /* that most of it went through (where.h); NULL: not known */
	const char *
		longest_call; /* in which it blocked, or computed in the kernel; NULL: not known, or in none */
};

struct late {
	uint64_t overruns; /* that the model has: the longest ones */
	uint64_t sum_ns;   /* that they took */
	uint64_t over_ns;  /* of that, beyond budget */
	const struct model_overrun *longest;
	struct late_cause causes[LATE_KINDS]; /* most time first; none without any */
	size_t causes_len;
	struct late_own own;
};

/* `handler` NULL: of all. */
void late_of(struct late *ret, const struct model *model, const struct model_process *process,
	     const struct model_handler *handler);

/* In sum, what the process could do nothing about by itself: it was runnable, throttled, stolen from or stopped. */
bool late_is_of_machine(enum late_kind kind);

/*
 * The processes of the model, those with most time beyond budget first, then in the model's order. `ret` has room for
 * model->processes_len. Returns how many were late.
 */
size_t late_order(const struct model_process **ret, const struct model *model);

/* The system call that most of the verdict's part was spent in, "page faults", or "stops ..."; NULL: none of these. */
const char *late_call(const struct model_overrun *overrun);

#endif
