/* SPDX-License-Identifier: MIT */
#ifndef HISTOGRAM_RECORD_H
#define HISTOGRAM_RECORD_H

/*
 * The record path of a histogram, inlined into the dispatch. Relaxed stores of a single writer compile
 * to plain moves; what they buy is that a reader in another process never sees half a counter.
 */

#include <stint/histogram.h>

#define relaxed_store(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
#define relaxed_load(place)         __atomic_load_n((place), __ATOMIC_RELAXED)

/* For counters that one thread writes: no locked instruction needed. */
static inline void counter_add(uint64_t *counter, uint64_t value)
{
	relaxed_store(counter, *counter + value);
}

static inline void histogram_record(struct stint_histogram *histogram, uint64_t value)
{
	uint32_t bucket = stint_histogram_bucket(value);

	counter_add(&histogram->count, 1);
	counter_add(&histogram->sum, value);
	if (value < histogram->min)
		relaxed_store(&histogram->min, value);
	if (value > histogram->max)
		relaxed_store(&histogram->max, value);
	if (__builtin_expect(bucket < STINT_HISTOGRAM_BUCKETS, 1))
		counter_add(&histogram->bucket[bucket], 1);
	else
		counter_add(&histogram->overflow, 1);
}

#endif
