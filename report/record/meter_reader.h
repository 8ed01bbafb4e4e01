/* SPDX-License-Identifier: MIT */
#ifndef REPORT_METER_READER_H
#define REPORT_METER_READER_H

/*
 * Reads the meter's file of a process (stint/meter_file.h) while its owner writes it. Nothing in it is
 * trusted: it may be hostile, half written, or cut short at any moment, so it is read with pread() and not
 * mapped, and every offset, count and name is checked.
 *
 * Counters are cumulative; what they grew by is for the caller to find out. Rings are read onwards from
 * where the last call ended.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/record/meter_births.h"
#include "stint/meter_file.h"

struct meter_reader;

/*
 * Finds and opens the file of process `pid`. -ENOENT: it has none, or only what an earlier process of that pid, or an
 * earlier program of this one, left, or another user put there; -EPROTO: it is not a meter's file, or of a version that
 * this build does not know; -EACCES. `births` (may be NULL) are told what came of it.
 */
int meter_reader_new(struct meter_reader **ret, uint32_t pid, struct meter_births *births);

/* The same with the file given, for any pid; `why` (may be NULL) is told what is wrong with a file. */
int meter_reader_open(struct meter_reader **ret, const char *path, const char **why);

struct meter_reader *meter_reader_free(struct meter_reader *reader);

const struct stint_meter_file_header *meter_reader_header(const struct meter_reader *reader);

struct meter_reader_block {
	uint64_t overruns;
	uint64_t over_ns;
	uint64_t blame_ns;
	uint64_t victims;
	uint64_t jobs_refused;
	uint64_t file_reads_cached;
	uint64_t file_reads_missed;
};

/* Valid during a call only. Names are NUL-terminated, and otherwise whatever the program wrote. */
struct meter_reader_visitor {
	/* Loop `loop` of the table; called before anything that belongs to it. */
	void (*loop)(void *ctx, uint32_t loop, const struct stint_meter_file_loop *entry);
	/* Handler `handler` was dispatched by `loop`. */
	void (*block)(void *ctx, uint32_t loop, uint32_t handler,
		      const struct stint_meter_file_handler *entry, const struct meter_reader_block *block);
	/* A histogram of the loop (`handler` negative), or of the block just visited. */
	void (*histogram)(void *ctx, uint32_t loop, int64_t handler,
			  const struct stint_meter_file_metric *metric,
			  const struct stint_histogram *histogram);
	/* Called before the overrun that it was taken in, if that has ended. `stack_bytes` is within bounds. */
	void (*stack)(void *ctx, uint32_t loop, const struct stint_meter_file_stack *stack);
	void (*overrun)(void *ctx, uint32_t loop, const char *handler,
			const struct stint_meter_file_overrun *overrun);
	void (*socket)(void *ctx, uint32_t loop, const struct stint_meter_file_socket *moment);
};

/*
 * Visits everything. 0, or -EPROTO if the file has become unusable, or has far more in it, or takes far longer, than what
 * libstint writes (what was visited until then is good).
 */
int meter_reader_visit(struct meter_reader *reader, const struct meter_reader_visitor *visitor, void *ctx);

/* Passes over what is in the rings now: they are read from here on. */
int meter_reader_skip_rings(struct meter_reader *reader);

/* Whether the file is nobody's any more: its owner has removed it, or made another in its place. */
bool meter_reader_is_over(const struct meter_reader *reader);

/*
 * Whether its process has left it, as it freed it or has executed another program since. A process whose memory is not ours
 * to look into, or that has ended, has not.
 */
bool meter_reader_is_left(const struct meter_reader *reader);

/* Entries of rings that were overwritten before they were read, or were too many at once. */
uint64_t meter_reader_lost(const struct meter_reader *reader);

#endif
