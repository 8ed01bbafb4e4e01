/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define CLOCKSOURCE          "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define FIRST_CALIBRATION_NS 200000u

/* Found once a process; the rate is where the clocks of later loops begin. */
static pthread_once_t probe_once = PTHREAD_ONCE_INIT;
static bool kernel_trusts_tsc;
static uint64_t first_mult;

/* One moment on both clocks: of three tries the one with the shortest way there and back. */
static void read_pair(uint64_t *ticks, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 3; i++) {
		uint64_t before = clock_ticks();
		uint64_t mono_ns = clock_gettime_ns(CLOCK_MONOTONIC);
		uint64_t span = clock_ticks() - before;

		if (span >= best)
			continue;
		best = span;
		*ticks = before + span / 2;
		*ns = mono_ns;
	}
}

/* 0: a tick is no shorter than a ns, and the rate has no place in 64 bits. No processor with such a TSC is known. */
static uint64_t rate(uint64_t ticks, uint64_t ns)
{
	return ticks > ns ? (uint64_t)(((clock_wide)ns << 64) / ticks) : 0;
}

static void set_base(struct clock *clock, uint64_t ticks, uint64_t ns)
{
	clock->base_ticks = ticks;
	clock->base_ns = ns;
	clock->offset_ns = 0;
	clock->offset_ns = ns - clock_from_ticks(clock, ticks);
}

static void calibrate(void)
{
	uint64_t ticks0, ns0, ticks1, ns1;

	read_pair(&ticks0, &ns0);
	do {
		read_pair(&ticks1, &ns1);
	} while (ns1 - ns0 < FIRST_CALIBRATION_NS);
	first_mult = rate(ticks1 - ticks0, ns1 - ns0);
}

static void probe(void)
{
	char name[8] = "";
	int fd = open(CLOCKSOURCE, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return;
	length = read(fd, name, sizeof(name) - 1);
	close(fd);
#if defined(__x86_64__)
	kernel_trusts_tsc = length >= 4 && memcmp(name, "tsc\n", 4) == 0;
#else
	(void)length;
#endif
	if (kernel_trusts_tsc)
		calibrate();
}

void clock_init(struct clock *clock)
{
	uint64_t ticks, ns;

	pthread_once(&probe_once, probe);
	memset(clock, 0, sizeof(*clock));
	clock->tsc = kernel_trusts_tsc && first_mult != 0;
	clock->mult = first_mult;
	clock->interval_ns = CLOCK_ANCHOR_MIN_NS;
	if (clock->tsc) {
		read_pair(&ticks, &ns);
		set_base(clock, ticks, ns);
	}
	clock->next_anchor_ns = clock_read(clock) + clock->interval_ns;
}

void clock_anchor(struct clock *clock)
{
	uint64_t ticks, ns, mult;

	if (!clock->tsc) {
		clock->next_anchor_ns = clock->now_ns + CLOCK_ANCHOR_MAX_NS;
		return;
	}
	read_pair(&ticks, &ns);
	/* A clock that was just made, or one that a debugger or a snapshot tore: keep the rate. */
	mult = ticks > clock->base_ticks && ns - clock->base_ns >= CLOCK_ANCHOR_MIN_NS
		       ? rate(ticks - clock->base_ticks, ns - clock->base_ns)
		       : 0;
	if (mult)
		clock->mult = mult;
	set_base(clock, ticks, ns);
	if (clock->interval_ns < CLOCK_ANCHOR_MAX_NS)
		clock->interval_ns *= 2;
	clock->next_anchor_ns = ns + clock->interval_ns;
}
