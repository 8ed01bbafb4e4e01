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

#define relaxed_load(place) __atomic_load_n((place), __ATOMIC_RELAXED)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* as gcc says it */
#endif
#endif

#if defined(__LP64__) && !defined(__SANITIZE_THREAD__)
/*
 * The same store. Of an atomic one, compilers keep the address in a register of its own, and the dispatch is short of
 * them.
 */
#define relaxed_store(place, value) (*(volatile __typeof__(*(place)) *)(place) = (value))
#else
#define relaxed_store(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
#endif

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

/* A whole number within the histogram's range, as a double. */
static inline double histogram_double(uint64_t value)
{
#if defined(__x86_64__)
	double number;

	/* Compilers clear the register first, lest this wait for what was in it; there it has long been ready. */
	__asm__("cvtsi2sdq %1, %0" : "=x"(number) : "rm"(value));
	return number;
#else
	return (double)(int64_t)value;
#endif
}

/*
 * The bucket of a value that is known to be within the range, and at least STINT_HISTOGRAM_SUB_BUCKETS: to count it there,
 * and in count, sum and extremes, is the caller's.
 *
 * The same as stint_histogram_bucket_in_range(), for less. A double is log-linear by itself: the upper bits of one, its
 * exponent and the first STINT_HISTOGRAM_SUB_BITS of its fraction, are the bucket but for a constant, from the value on
 * at which buckets are no longer of one value each. (Values within the range are whole in it, so nothing is rounded.)
 */
static inline uint64_t *histogram_bucket_of_double(struct stint_histogram *histogram, double value)
{
	const uint64_t first = (1023u + STINT_HISTOGRAM_SUB_BITS - 1) << STINT_HISTOGRAM_SUB_BITS;
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return &histogram->bucket[(bits >> (52 - STINT_HISTOGRAM_SUB_BITS)) - first];
}

/* The same for any value within the range. */
static inline uint64_t *histogram_bucket_of(struct stint_histogram *histogram, uint64_t value)
{
	if (value < STINT_HISTOGRAM_SUB_BUCKETS)
		return &histogram->bucket[value];
	return histogram_bucket_of_double(histogram, histogram_double(value));
}

/* Its count and sum, and extremes, are the caller's. */
static inline void histogram_bucket_add(struct stint_histogram *histogram, uint64_t value)
{
	counter_add(histogram_bucket_of(histogram, value), 1);
}

/* The same for any value at all. */
static inline void histogram_place(struct stint_histogram *histogram, uint64_t value)
{
	if (__builtin_expect(value >> STINT_HISTOGRAM_MAX_BITS == 0, 1))
		histogram_bucket_add(histogram, value);
	else
		counter_add(&histogram->overflow, 1);
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
	histogram_place(histogram, value);
}

#endif
