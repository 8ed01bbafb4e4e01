/* SPDX-License-Identifier: MIT */
#ifndef CLOCK_H
#define CLOCK_H

/*
 * The clock of one loop: ns of CLOCK_MONOTONIC, never going backwards.
 *
 * Where the kernel itself trusts the TSC as its clock source, be it by way of kvm-clock, a reading is one rdtsc, a
 * multiplication and an addition, half of what clock_gettime() costs or less. The conversion is anchored to
 * CLOCK_MONOTONIC again and again (clock_anchor), so an error in the measured rate does not add up: the first anchors
 * come after 1, 2, 4 ... ms, each doubling the length over which the rate is known, up to CLOCK_ANCHOR_MAX_NS. If an
 * anchor finds that the readings ran ahead, the clock stands still until true time has caught up.
 *
 * While the machine sleeps CLOCK_MONOTONIC stands, and the TSC goes on, or begins anew. So what a poll returns to is no
 * reading before it has been found to be near the last anchor, nor is any other sample that is far from the last
 * reading, as after a sleep amid a callback, before CLOCK_MONOTONIC was asked. A rate that suddenly is another is taken
 * when the next anchor finds the same one, which a second sleep will hardly give. Only of a moment that another thread
 * noted in ticks before the sleep (enum clock_stamp) nothing tells that there was one: by the anchor of afterwards it seems
 * as much earlier as the ticks went on, or, where they began anew, to be yet to come.
 *
 * Belongs to one thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define CLOCK_ANCHOR_MIN_NS 1000000u
#define CLOCK_ANCHOR_MAX_NS 64000000u

struct clock {
	uint64_t now_ns; /* the last reading */
	bool tsc;
	uint32_t interval_ns; /* from the last anchor to the next */
	uint64_t base_ticks;
	uint64_t base_ns;
	uint64_t mult;      /* ns per tick, times 2^64: of a product with ticks, the upper half is ns */
	uint64_t offset_ns; /* what is to be added to that, so that base_ticks becomes base_ns */
	uint64_t next_anchor_ns;
	uint64_t doubted_mult; /* another rate, which the last anchor has found, and not taken; 0: none */
};

__extension__ typedef unsigned __int128 clock_wide;

static inline uint64_t clock_gettime_ns(clockid_t id)
{
	struct timespec ts;

	/* Cannot fail for the clocks that are asked for here. */
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#else
	return 0;
#endif
}

/*
 * Lets so many ticks pass, or fewer: if the processors have different ones, the thread may have gone to one that is
 * behind.
 */
static inline void clock_pass(uint64_t ticks)
{
#if defined(__x86_64__)
	uint64_t until = clock_ticks() + ticks;

	for (uint64_t i = 0; i < ticks / 16 && clock_ticks() < until; i++)
		_mm_pause();
#else
	(void)ticks;
#endif
}

/* The time of a moment at which any thread read the ticks; only where the clock is made of them. */
static inline uint64_t clock_from_ticks(const struct clock *clock, uint64_t ticks)
{
	return (uint64_t)(((clock_wide)ticks * clock->mult) >> 64) + clock->offset_ns;
}

static inline uint64_t clock_sample_tsc(const struct clock *clock)
{
	return clock_from_ticks(clock, clock_ticks());
}

/* What the clock would say, but for a reading before that was ahead of it. */
static inline uint64_t clock_sample(const struct clock *clock)
{
	if (__builtin_expect(clock->tsc, 1))
		return clock_sample_tsc(clock);
	return clock_gettime_ns(CLOCK_MONOTONIC);
}

/* A sample that is further from the last reading is looked at before it is made one. */
#define CLOCK_STRIDE_MAX_NS CLOCK_ANCHOR_MAX_NS

/* Cold: a sample that is earlier than the last reading, or much later. */
uint64_t clock_settle_oddly(struct clock *clock, uint64_t ns);

/* Makes a sample a reading. */
static inline uint64_t clock_settle(struct clock *clock, uint64_t ns)
{
	if (__builtin_expect(ns - clock->now_ns > CLOCK_STRIDE_MAX_NS, 0))
		return clock_settle_oddly(clock, ns);
	clock->now_ns = ns;
	return ns;
}

static inline uint64_t clock_read(struct clock *clock)
{
	return clock_settle(clock, clock_sample(clock));
}

/* The tick at which a reading becomes `ns`, a time since the last anchor; 0 without a TSC. */
static inline uint64_t clock_to_ticks(const struct clock *clock, uint64_t ns)
{
	if (!clock->tsc)
		return 0;
	return clock->base_ticks + (uint64_t)(((clock_wide)(ns - clock->base_ns) << 64) / clock->mult) + 1;
}

/*
 * A moment noted by another thread for the loop: ticks where its clock is made of them, which the loop turns into
 * time for less than a call of clock_gettime() costs.
 */
enum clock_stamp { CLOCK_STAMP_NONE, CLOCK_STAMP_TICKS, CLOCK_STAMP_NS };

static inline enum clock_stamp clock_stamp_of(const struct clock *clock)
{
	return clock->tsc ? CLOCK_STAMP_TICKS : CLOCK_STAMP_NS;
}

static inline uint64_t clock_stamp_now(enum clock_stamp stamp)
{
	if (stamp == CLOCK_STAMP_TICKS)
		return clock_ticks();
	return stamp == CLOCK_STAMP_NS ? clock_gettime_ns(CLOCK_MONOTONIC) : 0;
}

static inline uint64_t clock_stamp_ns(const struct clock *clock, enum clock_stamp stamp, uint64_t at)
{
	return stamp == CLOCK_STAMP_TICKS ? clock_from_ticks(clock, at) : at;
}

void clock_init(struct clock *clock);

/* Ties the conversion to CLOCK_MONOTONIC anew, if the time for it has come. */
void clock_anchor(struct clock *clock);

/* The clock never stands for longer than this because one processor's TSC is behind another's, or an anchor inexact. */
#define CLOCK_BACK_MAX_NS 1000000u

/* Of a sample: it is beyond the next anchor, or so far back that the TSC must have been set. */
static inline bool clock_anchor_due(const struct clock *clock, uint64_t sample_ns)
{
	return sample_ns >= clock->next_anchor_ns || sample_ns + CLOCK_BACK_MAX_NS < clock->now_ns;
}

/* Makes a sample that is known to be right a reading, unless one before was ahead of it. */
static inline uint64_t clock_advance(struct clock *clock, uint64_t ns)
{
	if (ns > clock->now_ns)
		clock->now_ns = ns;
	return clock->now_ns;
}

/* The reading behind a wait, during which the machine may have slept. `sample_ns`: one of the clock from then. */
static inline uint64_t clock_settle_waited(struct clock *clock, uint64_t sample_ns)
{
	if (__builtin_expect(clock_anchor_due(clock, sample_ns), 0)) {
		clock_anchor(clock);
		return clock_advance(clock, clock_sample(clock));
	}
	return clock_settle(clock, sample_ns);
}

#endif
