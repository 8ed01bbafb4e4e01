/* SPDX-License-Identifier: MIT */
#ifndef STINT_HISTOGRAM_H
#define STINT_HISTOGRAM_H

/*
 * The histogram that every figure of stint is kept in: log-linear, fixed size, counters that only grow.
 *
 * Values below 64 have a bucket each. Above, every octave [2^n, 2^(n+1)) is cut into 64 buckets of equal
 * width, so a bucket is at most 1/64 of its lower bound wide, and its middle is within 1/128 (0.79 %) of
 * every value in it. The last octave ends at 2^42 ns (73 minutes); what lies beyond is counted in
 * `overflow` and in no bucket.
 *
 * Price: 2,368 counters of 8 bytes (18.5 KiB); a record is a conversion to a double, a shift and three
 * read-modify-writes, no allocation, no lock, no system call.
 *
 * One thread writes. Any number of readers may look on, from other processes too: every counter is
 * written with a relaxed atomic store, so a reader sees whole counters. They may be some records apart from each
 * other: the loop counts buckets at once, the rest at the end of its batch at the latest. An interval is the
 * difference of two reads; nobody ever clears.
 */

#include <stdint.h>
#include <stint/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STINT_HISTOGRAM_SUB_BITS    6
#define STINT_HISTOGRAM_SUB_BUCKETS (1u << STINT_HISTOGRAM_SUB_BITS)
#define STINT_HISTOGRAM_MAX_BITS    42
#define STINT_HISTOGRAM_BUCKETS \
	((STINT_HISTOGRAM_MAX_BITS - STINT_HISTOGRAM_SUB_BITS + 1) * STINT_HISTOGRAM_SUB_BUCKETS)

/*
 * Plain data, shared between processes through the meter's file (meter_file.h).
 * `count` includes what is counted in `overflow`; `min` is UINT64_MAX as long as `count` is 0.
 */
struct stint_histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t min;
	uint64_t max;
	uint64_t overflow;
	uint64_t bucket[STINT_HISTOGRAM_BUCKETS];
};

/* The bucket of a value that is known to be within the range. */
static inline uint32_t stint_histogram_bucket_in_range(uint64_t value)
{
	/* Below 64, the bit added makes the shift 0, and the value its own bucket. */
	uint32_t exponent = 63u ^ (uint32_t)__builtin_clzll(value | STINT_HISTOGRAM_SUB_BUCKETS);
	uint32_t shift = exponent - STINT_HISTOGRAM_SUB_BITS;

	return (shift << STINT_HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/*
 * The bucket of `value`, or STINT_HISTOGRAM_BUCKETS if the value is beyond the range.
 * Bucket b of octave shift s holds [ (64 + b % 64) << s, ... ), with s = b / 64 - 1.
 */
static inline uint32_t stint_histogram_bucket(uint64_t value)
{
	return value >> STINT_HISTOGRAM_MAX_BITS ? STINT_HISTOGRAM_BUCKETS
						 : stint_histogram_bucket_in_range(value);
}

/* The lowest value of a bucket; for `bucket` == STINT_HISTOGRAM_BUCKETS, the first value out of range. */
static inline uint64_t stint_histogram_bucket_low(uint32_t bucket)
{
	uint32_t shift;

	if (bucket < 2 * STINT_HISTOGRAM_SUB_BUCKETS)
		return bucket;
	shift = (bucket >> STINT_HISTOGRAM_SUB_BITS) - 1;
	return (uint64_t)(STINT_HISTOGRAM_SUB_BUCKETS + (bucket & (STINT_HISTOGRAM_SUB_BUCKETS - 1)))
	       << shift;
}

/* Makes an empty one: all zero but `min`. */
STINT_API void stint_histogram_init(struct stint_histogram *histogram);

/* Counts one value. One thread may write; readers may look on. */
STINT_API void stint_histogram_record(struct stint_histogram *histogram, uint64_t value);

/*
 * The value at or below which a share `quantile` (0 to 1) of what was recorded lies: the middle of its
 * bucket, held within the true min and max, so within 0.79 % of the exact order statistic. `max` if that
 * one lies beyond the range; 0 if nothing was recorded or the argument makes no sense.
 */
STINT_API uint64_t stint_histogram_quantile(const struct stint_histogram *histogram, double quantile);

#ifdef __cplusplus
}
#endif

#endif
