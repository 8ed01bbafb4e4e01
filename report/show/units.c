/* SPDX-License-Identifier: MIT */
#include "report/show/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct figure unknown(void)
{
	return (struct figure){"-"};
}

/* `step` of one unit make the next. A value that would round up to the next unit's 1 is shown in that. */
static struct figure scaled(uint64_t value, const char *const *names, int units, double step)
{
	double number = (double)value;
	struct figure figure;
	int unit = 0, digits;

	while (unit + 1 < units && number >= step - (unit ? 0.5 : 0)) {
		number /= step;
		unit++;
	}
	digits = unit == 0 ? 0 : number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
	snprintf(figure.text, sizeof(figure.text), "%.*f %s", digits, number, names[unit]);
	return figure;
}

struct figure units_ns(uint64_t ns)
{
	static const char *const names[] = {"ns", "us", "ms", "s"};

	return ns == UINT64_MAX ? unknown() : scaled(ns, names, 4, 1000);
}

struct figure units_bytes(uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};

	return bytes == UINT64_MAX ? unknown() : scaled(bytes, names, 5, 1024);
}

struct figure units_count(uint64_t count)
{
	struct figure figure;
	char digits[24];
	size_t len, out = 0;

	if (count == UINT64_MAX)
		return unknown();
	len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			figure.text[out++] = ',';
		figure.text[out++] = digits[i];
	}
	figure.text[out] = '\0';
	return figure;
}

struct figure units_times(uint64_t count)
{
	struct figure figure = units_count(count), times;

	if (count == 1)
		snprintf(times.text, sizeof(times.text), "once");
	else
		snprintf(times.text, sizeof(times.text), "%.25s times", figure.text);
	return times;
}

struct figure units_share(uint64_t part, uint64_t whole)
{
	struct figure figure;

	if (whole == 0 || part == UINT64_MAX || whole == UINT64_MAX)
		return unknown();
	snprintf(figure.text, sizeof(figure.text), "%.1f %%", 100 * (double)part / (double)whole);
	return figure;
}

struct figure units_percent(uint64_t part, uint64_t whole)
{
	double percent = whole ? 100 * (double)part / (double)whole : 0;
	struct figure figure;

	if (percent > 0 && percent < 1)
		snprintf(figure.text, sizeof(figure.text), "< 1 %%");
	else
		snprintf(figure.text, sizeof(figure.text), "%.0f %%", percent);
	return figure;
}
