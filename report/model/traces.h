/* SPDX-License-Identifier: MIT */
#ifndef REPORT_TRACES_H
#define REPORT_TRACES_H

/*
 * Traced sockets, put together from the moments of a model. A socket that both sides saw is one trace: the
 * kernel's moments where the probes saw it, and of the process's own only what those have not (the time before
 * they came, samples of the buffer).
 */

#include "report/model/model.h"

#define TRACES_LIMIT 256

/* How it is known that a cycle was over. */
enum trace_end {
	TRACE_SENT,   /* by the next send */
	TRACE_CLOSED, /* the socket was closed */
	TRACE_OPEN,   /* it was not when the recording ended */
	TRACE_CUT     /* not at all: the model holds no later moments */
};

/*
 * From a send that found the buffer full to the next send, but one that was refused before anything had opened the buffer;
 * or as long as it lasted without one. What was not seen is NULL.
 */
struct trace_cycle {
	enum trace_end ending;
	uint64_t duration_ns;
	const struct model_event *send;
	const struct model_event *cause; /* the ACK that opened the buffer */
	const struct model_event *write_event;
	const struct model_event *woken;
	const struct model_event *returned;
	const struct model_event *next;
	size_t first; /* indexes into the trace's events: of send, and one past the last */
	size_t end;
	size_t acks;
	uint64_t
		threshold_bytes; /* of queued memory, at or below which the write event is raised; of the longest only */
};

struct trace {
	const struct model_process *process;
	int fd;
	const char *local; /* NULL: unknown */
	const char *remote;
	bool from_probes; /* each ACK was seen; else only those that end a send */
	bool from_meter;
	bool is_unix;                      /* a unix socket: its ACKs are reads of the peer */
	const struct model_event **events; /* by time */
	size_t events_len;
	struct trace_cycle *cycles;
	size_t cycles_len;
	size_t longest; /* of those cycles, by time */
};

struct traces {
	struct trace
		*items; /* those that each ACK was seen of first; of these the one with the longest cycle */
	size_t len;
	size_t left_out; /* sockets beyond TRACES_LIMIT */
};

/* -ENOMEM. The model must outlive it. */
int traces_new(struct traces **ret, const struct model *model);
struct traces *traces_free(struct traces *traces);

#endif
