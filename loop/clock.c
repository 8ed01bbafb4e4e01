/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLOCKSOURCE          "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define FIRST_CALIBRATION_NS 200000u
#define TRIES                16

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

/* Whether the time is told without entering the kernel, which takes a fraction of a system call then. */
static bool time_needs_no_call(void)
{
	uint64_t library = UINT64_MAX, call = UINT64_MAX;
	struct timespec time;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = clock_ticks(), between, after;

		(void)clock_gettime_ns(CLOCK_MONOTONIC);
		between = clock_ticks();
		(void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
		after = clock_ticks();
		library = between - before < library ? between - before : library;
		call = after - between < call ? after - between : call;
	}
	return library < call / 2;
}

/*
 * A guest's kvm-clock is the TSC at a rate that the host tells. The kernel lets it be read without a call only while the
 * host says that the TSCs of all processors agree.
 */
static bool is_of_tsc(const char *source)
{
#if defined(__x86_64__)
	return strcmp(source, "tsc\n") == 0 || (strcmp(source, "kvm-clock\n") == 0 && time_needs_no_call());
#else
	(void)source;
	return false;
#endif
}

static void probe(void)
{
	char source[32] = "";
	int fd = open(CLOCKSOURCE, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return;
	length = read(fd, source, sizeof(source) - 1);
	close(fd);
	kernel_trusts_tsc = length > 0 && is_of_tsc(source);
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

static bool is_near(uint64_t mult, uint64_t other)
{
	return mult - other + other / 64 <= other / 32;
}

/* The rate since the last anchor; 0 if it is not to be believed, or not yet. */
static uint64_t new_rate(struct clock *clock, uint64_t ticks, uint64_t ns)
{
	uint64_t mult = 0;

	/* A clock that was just made, or one that a debugger or a snapshot tore: keep the rate. */
	if (ticks > clock->base_ticks && ns - clock->base_ns >= CLOCK_ANCHOR_MIN_NS)
		mult = rate(ticks - clock->base_ticks, ns - clock->base_ns);
	if (!mult || is_near(mult, clock->mult) || is_near(mult, clock->doubted_mult)) {
		clock->doubted_mult = 0;
		return mult;
	}
	clock->doubted_mult = mult;
	return 0;
}

void clock_anchor(struct clock *clock)
{
	uint64_t ticks, ns, mult;

	if (!clock->tsc) {
		clock->next_anchor_ns = clock_read(clock) + CLOCK_ANCHOR_MAX_NS;
		return;
	}
	read_pair(&ticks, &ns);
	mult = new_rate(clock, ticks, ns);
	if (mult)
		clock->mult = mult;
	set_base(clock, ticks, ns);
	if (clock->interval_ns < CLOCK_ANCHOR_MAX_NS)
		clock->interval_ns *= 2;
	clock->next_anchor_ns = ns + clock->interval_ns;
}

/* CLOCK_MONOTONIC is read after the sample: one that is right is not ahead of it, however long we are stopped between. */
static bool is_torn(const struct clock *clock, uint64_t ns)
{
	if (!clock->tsc)
		return false;
	if (ns < clock->now_ns)
		return clock->now_ns - ns > CLOCK_BACK_MAX_NS;
	return ns > clock_gettime_ns(CLOCK_MONOTONIC) + CLOCK_BACK_MAX_NS;
}

__attribute__((cold, noinline)) uint64_t clock_settle_oddly(struct clock *clock, uint64_t ns)
{
	if (is_torn(clock, ns)) {
		clock_anchor(clock);
		ns = clock_sample(clock);
	}
	return clock_advance(clock, ns);
}
