/* SPDX-License-Identifier: MIT */
#ifndef REPORT_UNITS_H
#define REPORT_UNITS_H

/*
 * Figures for people. Three digits that count, and the unit that fits: "812 ns", "4.06 us", "50.3 ms",
 * "12.0 s". An unknown figure is "-".
 */

#include <stdint.h>

struct figure {
	char text[32];
};

struct figure units_ns(uint64_t ns);

/* "2,097,152" */
struct figure units_count(uint64_t count);

/* "once", "2 times" */
struct figure units_times(uint64_t count);

/* "812 B", "1023 KiB", "1.50 MiB" */
struct figure units_bytes(uint64_t bytes);

/* "98.2 %"; "-" if `whole` is 0. */
struct figure units_share(uint64_t part, uint64_t whole);

/* In sentences: "98 %", "< 1 %". Of nothing it is "0 %". */
struct figure units_percent(uint64_t part, uint64_t whole);

#endif
