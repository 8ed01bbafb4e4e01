/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_HISTOGRAM_BPF_H
#define STINT_PROBES_HISTOGRAM_BPF_H

/* The bucket of a value: the scheme of libstint's histograms, in the instructions that eBPF has. */

/* 1 if value > limit, else 0, both below 2^63: without a branch, which the processor would often guess wrong. */
static __always_inline u64 is_above(u64 value, u64 limit)
{
	return (limit - value) >> 63;
}

/* floor(log2(value)), value not 0: eBPF has no instruction that counts leading zeros. */
static __always_inline u32 log2_floor(u64 value)
{
	u64 exponent = 0, step;

	if (value >> 32) {
		value >>= 32;
		exponent = 32;
	}
	step = is_above(value, 0xffff) << 4;
	value >>= step;
	exponent |= step;
	step = is_above(value, 0xff) << 3;
	value >>= step;
	exponent |= step;
	step = is_above(value, 0xf) << 2;
	value >>= step;
	exponent |= step;
	step = is_above(value, 0x3) << 1;
	value >>= step;
	exponent |= step;
	return (u32)exponent + (u32)(value >> 1);
}

/*
 * RECORD_BUCKETS if the value is beyond the range. A global function, as the kernel's verifier looks at those once
 * and by themselves: inlined, its paths would multiply with those of every caller.
 */
__noinline u32 histogram_bucket(u64 value)
{
	u32 exponent, shift;

	if (value < (1u << RECORD_SUB_BITS))
		return (u32)value;
	exponent = log2_floor(value);
	if (exponent >= RECORD_MAX_BITS)
		return RECORD_BUCKETS;
	shift = exponent - RECORD_SUB_BITS;
	return (shift << RECORD_SUB_BITS) + (u32)(value >> shift);
}

#endif
