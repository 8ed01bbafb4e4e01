/* SPDX-License-Identifier: MIT */
#ifndef REPORT_PROBE_SOURCE_H
#define REPORT_PROBE_SOURCE_H

/* Brings what the kernel knows of processes under watch into a recording. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/record/session.h"

struct probe_source;

/* Which processes are followed beside those that are watched: as in struct stint_probes_options. */
struct probe_source_follow {
	bool children;
	const char *name;
	uint64_t cgroup;
};

/* Loads the probes. If that fails, `why` of `why_size` bytes says why, in words for the user, and *ret is NULL. */
int probe_source_new(struct probe_source **ret, struct session *session, bool trace_sockets,
		     const struct probe_source_follow *follow, char *why, size_t why_size);
struct probe_source *probe_source_free(struct probe_source *source);

/* The reason for the last failure. */
const char *probe_source_error(const struct probe_source *source);

/* Watches process `pid`, whose row is `process`. */
int probe_source_watch(struct probe_source *source, uint32_t pid, int64_t process);

/* Whether events were left when they were last taken, which come the next time. */
bool probe_source_is_behind(const struct probe_source *source);

/* A process has ended, and all that was known of it has been read: makes room for others. */
void probe_source_forget(struct probe_source *source, int64_t process);

/* Whether any process is watched, also one that has not come to a loop yet. */
bool probe_source_is_watching(const struct probe_source *source);

/* Watches process `pid` as one that is followed: it has a row once it comes to a loop. */
int probe_source_add_followed(struct probe_source *source, uint32_t pid);

/* Why a function is timed in no process, as in probes.h; NULL: it is in one. */
const char *probe_source_function_missing(const struct probe_source *source, uint32_t number);

/* Waits for events, up to `timeout_ms`, and takes what is there. */
int probe_source_poll(struct probe_source *source, int timeout_ms);

/* From then on probe_source_poll() is over soon. */
void probe_source_end_at(struct probe_source *source, uint64_t time_ns);

/* What goes on is told, as it is by now; what happens from `end_ns` on is not noted. */
int probe_source_stop(struct probe_source *source, uint64_t *end_ns);

/* Takes what is there to the last, at the end; for some seconds at most, and what is left then is counted as lost. */
int probe_source_drain(struct probe_source *source);

/* Takes what is there, and writes what the loops' counters grew by under `second`. */
int probe_source_read(struct probe_source *source, uint64_t second);

/* Writes what was lost, and what the probes cost. */
void probe_source_write_losses(struct probe_source *source);

#endif
