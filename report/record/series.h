/* SPDX-License-Identifier: MIT */
#ifndef REPORT_SERIES_H
#define REPORT_SERIES_H

/*
 * Turns histograms that only grow, in the meter's file and in the kernel, into rows of a recording: what
 * grew in each second, and the totals within the recording.
 *
 * A figure (say, the service time of one handler) may have several sources (one in each loop's memory); what
 * they grew by is added up. Memory: 19 KB a source.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/record/recording.h"

/* Reads of a histogram; `bucket` has STINT_HISTOGRAM_BUCKETS counters. */
struct series_sample {
	uint64_t count;
	uint64_t sum;
	uint64_t min;
	uint64_t max;
	uint64_t overflow;
	const uint64_t *bucket;
};

/* Which counters a sample was read from: of a process, a loop's, and if `handler` is not negative a handler's. */
struct series_source {
	int64_t process;
	int64_t loop;
	int64_t handler;
	uint32_t metric;
};

struct series_set;

/* `recording` must outlive the set. -ENOMEM. */
int series_new(struct series_set **ret, struct recording *recording);
struct series_set *series_free(struct series_set *set);

/* Takes what the counters hold now as the zero to count from. -ENOMEM. */
int series_baseline(struct series_set *set, struct series_source source, const struct series_sample *sample);

/* Writes what the counters grew by to `second` of the figure (owner, metric). -ENOMEM; names are copied. */
int series_grow(struct series_set *set, struct series_source source, const struct series_sample *sample,
		struct recording_owner owner, const char *metric, const char *unit, uint64_t second);

/* Writes the totals of all figures, in place of those written before. */
void series_write_totals(struct series_set *set);

/* These counters are over: forgets what they held when they were last read. The figure stays as it is. */
void series_end_source(struct series_set *set, struct series_source source);

/* The same for those of a process's loops from `first` to `last`. */
void series_end_loops(struct series_set *set, int64_t process, int64_t first, int64_t last);

/* No source of this figure will grow any more: writes its total, and forgets it. */
void series_end_figure(struct series_set *set, struct recording_owner owner, const char *metric);

/* The same for all sources of a process, and all figures that they had part in: a figure belongs to one process. */
void series_end_process(struct series_set *set, int64_t process);

#endif
