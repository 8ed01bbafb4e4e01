/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_HISTOGRAM_BPF_H
#define STINT_PROBES_HISTOGRAM_BPF_H

/* The bucket of a value: the scheme of libstint's histograms, in the instructions that eBPF has. */

/* floor(log2(value)), value not 0: eBPF has no instruction that counts leading zeros. */
static __always_inline u32 log2_floor(u64 value)
{
	u32 exponent = 0;

	if (value >> 32) {
		value >>= 32;
		exponent += 32;
	}
	if (value >> 16) {
		value >>= 16;
		exponent += 16;
	}
	if (value >> 8) {
		value >>= 8;
		exponent += 8;
	}
	if (value >> 4) {
		value >>= 4;
		exponent += 4;
	}
	if (value >> 2) {
		value >>= 2;
		exponent += 2;
	}
	return exponent + (u32)(value >> 1);
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
