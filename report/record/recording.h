/* SPDX-License-Identifier: MIT */
#ifndef REPORT_RECORDING_H
#define REPORT_RECORDING_H

/*
 * The writing side of a recording: an SQLite file with the tables of schema.sql.
 *
 * All rows of a second go into one transaction. The journal is a rollback journal, not a write-ahead log:
 * each commit is then in the one file that users copy, and a recorder killed between two commits leaves
 * nothing else behind. Killed amid a commit, it leaves a journal that the next reader rolls back. Nobody waits
 * for the disk: what is measured may be just that, each flush holds up others' too, and the recorder would leave the
 * probes' ring to itself meanwhile. So a recording may be lost with the machine, or its power.
 *
 * Functions return 0 or a negative errno, with the reason in recording_error(); the first error sticks, and
 * later calls return it and do nothing, so that callers may check once a second.
 */

#include <stdbool.h>
#include <stdint.h>

#include "probes/probes.h"

struct recording;

/* 'Stnt': what tells a recording from other SQLite files. */
#define RECORDING_APPLICATION_ID 0x53746e74
#define RECORDING_SCHEMA_VERSION 5

/*
 * Makes the file. One that is there is replaced if it is a recording or empty; refused if it is anything else (-EEXIST), or
 * another process records into it (-EWOULDBLOCK). *ret is set on failure too, for recording_error().
 */
int recording_new(struct recording **ret, const char *path);

/* Commits and closes. NULL is allowed. Returns NULL. */
struct recording *recording_free(struct recording *recording);

const char *recording_error(const struct recording *recording);

/*
 * Ends the transaction and begins the next. While somebody reads the file it cannot be written to: the transaction goes on
 * then, and the next call ends it. Nobody else can begin to read meanwhile, so that will be soon.
 */
int recording_commit(struct recording *recording);

/* The last one: waits for those who read, up to 10 s, and fails with -EBUSY after that. */
int recording_finish(struct recording *recording);

void recording_meta_text(struct recording *recording, const char *key, const char *value);
void recording_meta_number(struct recording *recording, const char *key, int64_t value);

/* The losses of which nothing is missing but a part of stacks, as a list for SQL. */
#define RECORDING_STACKS_INCOMPLETE "'stacks_cut', 'watchdog_stacks'"
void recording_loss(struct recording *recording, const char *name, uint64_t count, const char *meaning);

/* These return the row's id, or 0 on failure. */
int64_t recording_process(struct recording *recording, uint32_t pid, const char *command);
int64_t recording_handler(struct recording *recording, int64_t process, const char *name, bool from_meter,
			  uint64_t budget_ns);
/* `epfd` -1: not known. */
int64_t recording_loop(struct recording *recording, int64_t process, uint32_t tid, int epfd, const char *name,
		       bool from_meter);

/* It has another than before: its worker calls itself so, or it is another program now. */
void recording_process_command(struct recording *recording, int64_t process, const char *command);

/* That it was not there from the start, but came to its first loop then. */
void recording_process_appeared(struct recording *recording, int64_t process, uint64_t time_ns);

/* That it is in namespaces of its own: its number there, and its network's (0: that is ours). */
void recording_process_inside(struct recording *recording, int64_t process, uint32_t pid, uint64_t netns);

void recording_process_exited(struct recording *recording, int64_t process, uint64_t time_ns);

struct recording_handler_counts {
	uint64_t overruns;
	uint64_t over_ns;
	uint64_t blame_ns;
	uint64_t victims;
};
/* Sets, not adds. */
void recording_handler_counts(struct recording *recording, int64_t handler,
			      const struct recording_handler_counts *counts);
/* Adds to what is counted of a handler by that name. */
void recording_handler_count(struct recording *recording, int64_t handler, const char *name, uint64_t count);
void recording_loop_counts(struct recording *recording, int64_t loop, uint64_t iterations, uint64_t busy_ns,
			   uint64_t poll_ns);

/* Whose figure it is: exactly one of them is not 0. */
struct recording_owner {
	int64_t handler;
	int64_t loop;
	int64_t role;
	int64_t function;
};

/* Returns the row's id, or 0 on failure. */
int64_t recording_role(struct recording *recording, int64_t process, const char *name, const char *kind);

/* Returns the row's id, or 0 on failure. Its counts are set, not added. */
int64_t recording_function(struct recording *recording, int64_t process,
			   const struct stint_probes_function *function);
void recording_function_counts(struct recording *recording, int64_t id,
			       const struct stint_probes_function *function);

/*
 * In place of what was written of the same finding of the same loop before. Forgetting is for those that are no findings
 * any more: before all that a loop has are written again.
 */
void recording_finding(struct recording *recording, int64_t process,
		       const struct stint_probes_finding *finding);
void recording_forget_findings(struct recording *recording, int64_t process, uint64_t loop);

void recording_bucket(struct recording *recording, struct recording_owner owner, const char *metric,
		      uint64_t second, uint32_t bucket, uint64_t count);

struct recording_total {
	uint64_t count;
	uint64_t sum;
	uint64_t min; /* these two only if count - overflow is not 0 */
	uint64_t max;
	uint64_t overflow;
};
void recording_total(struct recording *recording, struct recording_owner owner, const char *metric,
		     const char *unit, const struct recording_total *total);

enum recording_source { RECORDING_METER, RECORDING_PROBES, RECORDING_BOTH };

#define RECORDING_UNKNOWN UINT64_MAX

/* A value of RECORDING_UNKNOWN is stored as NULL. */
struct recording_overrun {
	enum recording_source source;
	int64_t process;
	int64_t handler;
	uint32_t tid;
	bool began_before; /* it was under way when stint came, which is its start here */
	bool running;      /* it had not ended: duration_ns is how long it had run */
	int fd;            /* -1: NULL */
	const char *role;  /* what it is; NULL or empty: NULL */
	uint64_t start_ns;
	uint64_t duration_ns;
	uint64_t iteration_ns;
	uint64_t on_cpu_ns;
	uint64_t runnable_ns;
	uint64_t blocked_ns;
	uint64_t cpu_min_ns;
	uint64_t cpu_max_ns;
	uint64_t victims;
	uint64_t blame_ns;
	uint64_t ready_events;
	uint64_t syscall_count;
	enum stint_probes_stack stack_kind;
	const struct stint_probes_syscall *syscalls;
	uint32_t syscalls_len;
	const struct stint_probes_segment *segments;
	uint32_t segments_len;
	const char *const *frames; /* outermost first */
	uint32_t frames_len;
	const struct stint_probes_frame *places;   /* one for each of them, or NULL */
	const struct stint_probes_overrun *probed; /* the iteration, for the verdict on it; or NULL */
};
void recording_overrun(struct recording *recording, const struct recording_overrun *overrun);

/* What became of a socket's ACKs: replaces what was said of it before. */
void recording_acks(struct recording *recording, int64_t process, const struct stint_probes_acks *acks);
void recording_alarm(struct recording *recording, int64_t process, const struct stint_probes_alarm *alarm);

void recording_stall(struct recording *recording, int64_t process, const struct stint_probes_stall *stall);

/* A moment of a traced socket. RECORDING_UNKNOWN is stored as NULL, as are NULL strings and id 0. */
struct recording_socket_event {
	bool from_meter;
	int64_t process;
	uint64_t socket; /* 0: NULL */
	uint32_t tid;
	int fd;
	const char *local;
	const char *remote;
	uint64_t time_ns;
	const char *kind;
	uint64_t requested_bytes;
	uint64_t done_bytes;
	uint64_t queued_before_bytes;
	uint64_t queued_bytes;
	uint64_t sndbuf_bytes;
	uint64_t unacked_bytes;
	uint64_t snd_wnd_bytes;
	uint64_t snd_cwnd;
	bool cause;
};
/* How many of each there are; 0 where that cannot be found out. */
struct recording_sums {
	uint64_t loops;
	uint64_t loops_twice; /* of those: seen from both sides, by their own meter and by the kernel */
	uint64_t overruns;
	uint64_t stalls;
	uint64_t lost;
	uint64_t stacks_cut; /* not lost, but without their beginning, or not to be had */
};
void recording_sums(struct recording *recording, struct recording_sums *ret);

void recording_socket_event(struct recording *recording, const struct recording_socket_event *event);

#endif
