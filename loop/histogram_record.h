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

/* Only the bucket of a value that is known to be within the range: its count and sum, and extremes, are the caller's. */
static inline void histogram_bucket_add(struct stint_histogram *histogram, uint64_t value)
{
	/* stint_histogram_bucket_in_range(), as a sum of addresses: two instructions less. */
	uint64_t exponent = 63u ^ (uint64_t)__builtin_clzll(value | STINT_HISTOGRAM_SUB_BUCKETS);
	uint64_t shift = exponent - STINT_HISTOGRAM_SUB_BITS;
	uint64_t *octave = histogram->bucket + (shift << STINT_HISTOGRAM_SUB_BITS);

	counter_add(&octave[value >> shift], 1);
}

/* Has the extremes include values of which `low` is the least and `high` the greatest. */
static inline void histogram_extend(struct stint_histogram *histogram, uint64_t low, uint64_t high)
{
	if (__builtin_expect(low < histogram->min, 0))
		relaxed_store(&histogram->min, low);
	if (__builtin_expect(high > histogram->max, 0))
		relaxed_store(&histogram->max, high);
}

static inline void histogram_record(struct stint_histogram *histogram, uint64_t value)
{
	uint32_t bucket = stint_histogram_bucket(value);

	counter_add(&histogram->count, 1);
	counter_add(&histogram->sum, value);
	histogram_extend(histogram, value, value);
	if (__builtin_expect(bucket < STINT_HISTOGRAM_BUCKETS, 1))
		counter_add(&histogram->bucket[bucket], 1);
	else
		counter_add(&histogram->overflow, 1);
}

#endif
