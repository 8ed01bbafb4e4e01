/* SPDX-License-Identifier: MIT */
#ifndef TIMER_WHEEL_H
#define TIMER_WHEEL_H

/*
 * The timers that are armed, by deadline: a hierarchical wheel of lists, and in front of it one sorted list.
 *
 * Time is cut into ticks of 2^18 ns (262 us). The wheel stands at a tick. A slot of level 0 is one tick, of level
 * l 64^l ticks; a timer is in the level of the highest group of six bits in which its tick differs from the wheel's,
 * so all of level 0 comes before all of level 1, and so on: the next slot is found by one look at each level's
 * bit mask. When the wheel comes to a slot of level 0, its timers are sorted into the front list, exact to the
 * nanosecond; those of a higher level are placed anew, in lower ones.
 *
 * Arming and disarming touch the timer, its neighbours in the list and the slot, and need no memory, so they
 * cannot fail. Price: 32 bytes a timer, 12 KB a loop. Arming for a time within the present tick walks back over the
 * front list's timers of a later deadline.
 *
 * A slot remembers the earliest deadline that was put in it. If that timer is gone since, the loop wakes up once
 * for nothing, when the slot is next in turn.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stint/loop.h>

#define WHEEL_TICK_BITS 18
#define WHEEL_SLOT_BITS 6
#define WHEEL_SLOTS     (1u << WHEEL_SLOT_BITS)
#define WHEEL_LEVELS    8 /* 18 + 8 * 6 bits: every deadline there is */
#define WHEEL_NO_PLACE  UINT16_MAX
#define WHEEL_FRONT     (UINT16_MAX - 1)
#define WHEEL_NEVER     UINT64_MAX

/* Two in a cache line. What is needed only when the timer fires is elsewhere (timer_memory.h). */
struct stint_timer {
	uint64_t due_ns;
	struct stint_timer *next;  /* in its list, or of those that are free */
	struct stint_timer **link; /* what points to it: the list's head, or the `next` before it */
	uint32_t handler;
	uint16_t place; /* WHEEL_NO_PLACE: not armed; WHEEL_FRONT; or level * WHEEL_SLOTS + slot */
	bool periodic;
	bool used; /* false: free */
};

_Static_assert(sizeof(struct stint_timer) == 32, "no timer lies in two cache lines");

struct wheel_slot {
	struct stint_timer *first;
	uint64_t earliest_ns; /* of those that were put here since it was last empty */
	uint64_t count;
};

struct timer_wheel {
	uint64_t tick;             /* slots up to this one are empty: their timers are in the front list */
	struct stint_timer *front; /* sorted */
	struct stint_timer *last;  /* of the front list; NULL if that is empty */
	uint64_t occupied[WHEEL_LEVELS];
	struct wheel_slot slot[WHEEL_LEVELS * WHEEL_SLOTS];
};

static inline uint64_t wheel_tick(uint64_t time_ns)
{
	return time_ns >> WHEEL_TICK_BITS;
}

/* Puts a timer where its deadline belongs; it must have no place. */
void wheel_add(struct timer_wheel *wheel, struct stint_timer *timer);

/* Takes it from its place. */
void wheel_remove(struct timer_wheel *wheel, struct stint_timer *timer);

/* The same as both, with another deadline; cheaper if that is in the same slot. */
void wheel_move(struct timer_wheel *wheel, struct stint_timer *timer, uint64_t due_ns);

/* The earliest deadline, or a little before it (see above); WHEEL_NEVER if there is no timer. */
uint64_t wheel_next_ns(const struct timer_wheel *wheel);

/* How many are due at `now_ns`. */
uint64_t wheel_count_due(const struct timer_wheel *wheel, uint64_t now_ns);

/*
 * The first timer if it is due at `now_ns`, else NULL. The wheel comes forward as far as that needs; if nothing
 * is due, to `now_ns`.
 */
struct stint_timer *wheel_first_due(struct timer_wheel *wheel, uint64_t now_ns);

#endif
