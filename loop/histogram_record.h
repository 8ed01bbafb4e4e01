/* SPDX-License-Identifier: MIT */
#ifndef HISTOGRAM_RECORD_H
#define HISTOGRAM_RECORD_H

/*
 * The record path of a histogram, inlined into the dispatch. A single writer needs no locked instructions, but a
 * reader in another process must never see half a counter, so each is written whole, by one store.
 */

#include <stint/histogram.h>

#define relaxed_store(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
#define relaxed_load(place)         __atomic_load_n((place), __ATOMIC_RELAXED)

/* For counters that one thread writes: no locked instruction needed. */
static inline void counter_add(uint64_t *counter, uint64_t value)
{
#if defined(__x86_64__)
	/* Compilers make three instructions of an atomic load, add and store, and this is the hottest place there is. */
	__asm__("addq %1, %0" : "+m"(*counter) : "er"(value) : "cc");
#else
	relaxed_store(counter, *counter + value);
#endif
}

static inline void histogram_record(struct stint_histogram *histogram, uint64_t value)
{
	uint32_t bucket = stint_histogram_bucket(value);

	counter_add(&histogram->count, 1);
	counter_add(&histogram->sum, value);
	if (__builtin_expect(value < histogram->min, 0))
		relaxed_store(&histogram->min, value);
	if (__builtin_expect(value > histogram->max, 0))
		relaxed_store(&histogram->max, value);
	if (__builtin_expect(bucket < STINT_HISTOGRAM_BUCKETS, 1))
		counter_add(&histogram->bucket[bucket], 1);
	else
		counter_add(&histogram->overflow, 1);
}

#endif
