/* SPDX-License-Identifier: MIT */
#ifndef REPORT_WORDS_H
#define REPORT_WORDS_H

/*
 * What a recording says, in plain words: whole sentences with figures, the same in the terminal and in HTML.
 * `escape` is the output's own (escape.h); the words around the names are harmless in each of them.
 */

#include "report/model/model.h"
#include "report/model/pick.h"
#include "report/model/stalls.h"
#include "report/model/traces.h"
#include "report/show/buffer.h"

typedef void (*words_escape)(struct buffer *out, const char *text);

/* "Recorded 2026-11-23 20:39:03 UTC for 10.0 s on HOST, Linux 6.18." */
void words_recording(struct buffer *out, words_escape escape, const struct model *model);

/* "redis-server (pid 12)"; of a long command its beginning and its end. */
void words_process(struct buffer *out, words_escape escape, const struct model_process *process);

/* ", ~clients of :6379 (fd 14)": which descriptor an overrun was about, as far as that is known. */
void words_descriptor(struct buffer *out, words_escape escape, const struct model_overrun *overrun);

/* True if the process had an overrun. */
bool words_is_late(const struct model *model, const struct model_process *process);

/* "blocked in clock_nanosleep", "computing", ... */
void words_cause(struct buffer *out, words_escape escape, const struct model_overrun *overrun);

/* Of a process: "126 stalls on 42 sockets, ...: most of it waiting for the ACK that opens the buffer". */
void words_stalls(struct buffer *out, words_escape escape, const struct stall_group *group);

/* What happened between a short send and the next one. */
void words_cycle(struct buffer *out, const struct trace *trace, const struct trace_cycle *cycle);

/* The longest, NULL if there is none. */
const struct trace_cycle *words_best_cycle(const struct trace *trace);

/* "Half of the 12,000 dispatches took 4.1 us or less, ..." */
void words_distribution(struct buffer *out, const struct pick_distribution *distribution);

/* "3 ring_full: overruns that found ..."; "Not lost, but incomplete: 7 stacks_cut: ...". */
void words_loss(struct buffer *out, words_escape escape, const struct model_loss *loss);

/* What stint cost. */
void words_cost(struct buffer *out, const struct model *model);

/* Whether its handler is but named for its descriptor (words_descriptor()), which says it all. */
bool words_has_no_stack(const struct model_overrun *overrun);

/* Of a recording that no process is in. */
const char *words_no_process(const struct model *model);

/* The kernel's side was recorded. */
bool words_has_probes(const struct model *model);

/* Why the kernel's side is missing, and what would bring it. */
void words_no_probes(struct buffer *out, words_escape escape, const struct model *model);

#endif
