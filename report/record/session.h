/* SPDX-License-Identifier: MIT */
#ifndef REPORT_SESSION_H
#define REPORT_SESSION_H

/* What the recorder's sources write to. Owned by the recorder. */

#include <stdint.h>

#include "report/record/join.h"
#include "report/record/meter_births.h"
#include "report/record/recording.h"
#include "report/record/roster.h"
#include "report/record/series.h"

struct session {
	struct recording *recording;
	struct roster *roster;
	struct series_set *series;
	struct join *join;
	struct meter_births *births; /* NULL: not known on this machine */
	uint64_t start_ns;
	uint64_t budget_ns;
	uint16_t trace_port; /* where sockets are traced; 0: all that stall */
	uint8_t trace_address[16];
	bool trace_by_fd;
	int32_t trace_fd;
	const char *const *functions; /* to be timed; as in struct stint_probes_options */
	uint32_t functions_len;
	uint32_t loops_expected; /* as in struct recorder_options */

	/* A process that is followed came to a loop: the recorder's, which returns its row. Or it may not be watched. */
	int64_t (*appeared)(void *ctx, uint32_t pid, uint64_t time_ns);
	void (*refused)(void *ctx, uint32_t pid, int err);
	/* An iteration goes on: see stint_probes_hang. */
	void (*hangs)(void *ctx, const struct stint_probes_hang *hang);
	/* The probes are not gone yet: see stint_probes_callbacks. */
	void (*lingers)(void *ctx, uint32_t uprobes);
	void *ctx;
};

#endif
