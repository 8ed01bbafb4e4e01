/* SPDX-License-Identifier: MIT */
#include "histogram_record.h"

#include <string.h>

void stint_histogram_init(struct stint_histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min = UINT64_MAX;
}

void stint_histogram_record(struct stint_histogram *histogram, uint64_t value)
{
	histogram_record(histogram, value);
}

/* The middle of a bucket, but never outside of what was seen. */
static uint64_t bucket_value(const struct stint_histogram *histogram, uint32_t bucket)
{
	uint64_t low = stint_histogram_bucket_low(bucket);
	uint64_t value = low + (stint_histogram_bucket_low(bucket + 1) - low) / 2;
	uint64_t min = relaxed_load(&histogram->min), max = relaxed_load(&histogram->max);

	if (value > max)
		value = max;
	return value < min && min <= max ? min : value;
}

uint64_t stint_histogram_quantile(const struct stint_histogram *histogram, double quantile)
{
	uint64_t count = relaxed_load(&histogram->count), seen = 0, rank;

	if (count == 0 || !(quantile >= 0.0 && quantile <= 1.0))
		return 0;
	rank = (uint64_t)(quantile * (double)count);
	if ((double)rank < quantile * (double)count)
		rank++;
	if (rank == 0)
		return relaxed_load(&histogram->min);
	for (uint32_t i = 0; i < STINT_HISTOGRAM_BUCKETS; i++) {
		seen += relaxed_load(&histogram->bucket[i]);
		if (seen >= rank)
			return bucket_value(histogram, i);
	}
	return relaxed_load(&histogram->max);
}
