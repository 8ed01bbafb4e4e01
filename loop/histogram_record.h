/* SPDX-License-Identifier: MIT */
#ifndef HISTOGRAM_RECORD_H
#define HISTOGRAM_RECORD_H

/*
 * The record path of a histogram, inlined into the dispatch. A single writer needs no locked instructions, but a
 * reader in another process must never see half a counter, so each is written whole, by one store.
 */

#include <float.h>
#include <stint/histogram.h>
#include <string.h>

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

_Static_assert(FLT_RADIX == 2 && DBL_MANT_DIG == 53 && DBL_MAX_EXP == 1024, "a double is as IEEE 754 has it");

/*
 * Only the bucket of a value that is known to be within the range: its count and sum, and extremes, are the caller's.
 *
 * The same as stint_histogram_bucket_in_range(), for less. A double is log-linear by itself: the upper bits of one, its
 * exponent and the first STINT_HISTOGRAM_SUB_BITS of its fraction, are the bucket but for a constant, from the value on
 * at which buckets are no longer of one value each. (Values within the range are whole in it, so nothing is rounded.)
 */
static inline void histogram_bucket_add(struct stint_histogram *histogram, uint64_t value)
{
	const uint64_t first = (1023u + STINT_HISTOGRAM_SUB_BITS - 1) << STINT_HISTOGRAM_SUB_BITS;
	double number = (double)(int64_t)value;
	uint64_t bits;

	if (value < STINT_HISTOGRAM_SUB_BUCKETS) {
		counter_add(&histogram->bucket[value], 1);
		return;
	}
	memcpy(&bits, &number, sizeof(bits));
	counter_add(&histogram->bucket[(bits >> (52 - STINT_HISTOGRAM_SUB_BITS)) - first], 1);
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
	counter_add(&histogram->count, 1);
	counter_add(&histogram->sum, value);
	histogram_extend(histogram, value, value);
	if (__builtin_expect(value >> STINT_HISTOGRAM_MAX_BITS == 0, 1))
		histogram_bucket_add(histogram, value);
	else
		counter_add(&histogram->overflow, 1);
}

#endif
