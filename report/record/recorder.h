/* SPDX-License-Identifier: MIT */
#ifndef REPORT_RECORDER_H
#define REPORT_RECORDER_H

/*
 * Records processes into a file, once a second, from both sides: their meters' files and the probes.
 *
 *   recorder_new -> recorder_add (a pid, as often as wanted) -> recorder_run -> recorder_free
 *
 * One thread. Functions return 0 or a negative errno, with the reason in recorder_error().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report/record/recording.h"

struct recorder;

struct recorder_options {
	const char *path;   /* of the recording */
	uint64_t budget_ns; /* of iterations; handlers with a meter have their own */
	bool trace_sockets; /* each ACK of sockets that stall */
	uint16_t
		trace_port; /* with it: of sockets with this port, from the handshake on; 0: all that stall */
	bool no_probes;
	uint8_t trace_address[16]; /* with trace_port: at the same end, as in struct endpoint */
	bool trace_by_fd; /* with trace_sockets: those that are descriptor trace_fd of their process */
	int32_t trace_fd;

	/* Functions to be timed, as in struct stint_probes_options: these need the probes. To be kept by the caller. */
	const char *const *functions;
	uint32_t functions_len;

	/* These need the probes. What is followed is recorded from its first wait on. */
	bool follow_children;    /* of all that is recorded, and theirs */
	const char *follow_name; /* processes of that name (comm) that are started meanwhile; NULL: none */
	uint64_t
		follow_cgroup; /* processes that come to be in that cgroup or below, by its number; 0: none */

	uint32_t
		loops_expected; /* the probes' tables have room for half as many again, and for 64 at least */

	/* What a process that was followed calls itself; and that one may not be recorded, and why. NULL: nobody asks. */
	void (*command_of)(char *ret, size_t size, uint32_t pid);
	void (*refused)(uint32_t pid, int err);

	/* An iteration goes on, for 5 s by now, then 10, and so on. NULL: nobody asks. */
	void (*hangs)(const struct stint_probes_hang *hang);

	/* recorder_free() waits for the kernel, since a second, to take away so many uprobes. NULL: nobody asks. */
	void (*lingers)(uint32_t uprobes);

	/* A loop has been seen, and no process has that function: told once. NULL: nobody asks. */
	void (*function_missing)(const char *name, const char *why);
};

/*
 * Makes the recording and loads the probes. That those are not to be had is no error: recorder_probes_missing()
 * says why. *ret is set on failure too, for recorder_error().
 */
int recorder_new(struct recorder **ret, const struct recorder_options *options);

/* Ends the recording with its last rows. NULL is allowed. Returns NULL. */
struct recorder *recorder_free(struct recorder *recorder);

const char *recorder_error(const struct recorder *recorder);

/* Why there are no probes; NULL if there are. */
const char *recorder_probes_missing(const struct recorder *recorder);

/* Records process `pid`, called `command`, from now on. What is to be recorded of it is found as it appears. */
int recorder_add(struct recorder *recorder, uint32_t pid, const char *command);

/*
 * Records process `pid` as one that is followed: from its first wait on. Without probes, nothing is followed, and 0
 * is returned.
 */
int recorder_follow(struct recorder *recorder, uint32_t pid);

/* Why function `number` of the options is timed in no process so far, in words; NULL: it is in one. */
const char *recorder_function_missing(const struct recorder *recorder, uint32_t number);

/* Whether anything can be known of a process that was added: by probes, or by its meter. */
bool recorder_sees(const struct recorder *recorder, uint32_t pid);

/*
 * Records until `duration_ns` is over (0: no limit), `*stop` is true (set by a signal handler), or every
 * process has exited. What is recorded is committed once a second.
 */
int recorder_run(struct recorder *recorder, uint64_t duration_ns, const volatile bool *stop);

/* How long it recorded, once recorder_run() is over; and what is in the recording. */
uint64_t recorder_duration_ns(const struct recorder *recorder);
void recorder_sums(const struct recorder *recorder, struct recording_sums *ret);

/* Meters that were gone before they were looked at: of those nothing is in the recording. */
uint64_t recorder_meters_missed(const struct recorder *recorder);

#endif
