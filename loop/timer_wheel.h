/* SPDX-License-Identifier: MIT */
#ifndef TIMER_WHEEL_H
#define TIMER_WHEEL_H

/*
 * The timers that are armed, by deadline: a hierarchical wheel of lists, and in front of it what it has come to, sorted.
 *
 * Time is cut into ticks of 2^18 ns (262 us). The wheel stands at a tick. A slot of level 0 is one tick, of level
 * l 64^l ticks; a timer is in the level of the highest group of six bits in which its tick differs from the wheel's,
 * so all of level 0 comes before all of level 1, and so on: the next slot is found by one look at each level's
 * bit mask. When the wheel comes to a slot all of which has passed, its timers are sorted, exact to the nanosecond: few of
 * them into the front list; many into a run, which is an array, so that as they come due each can be fetched from memory
 * before its turn. Those of a slot that has passed in part are placed anew, in lower levels.
 *
 * A timer's slot follows from its deadline and the wheel's tick: until the wheel comes to the slot, its tick stays in the
 * slots before it of the same level, so the level stays too. So it is kept nowhere.
 *
 * Arming and disarming touch the timer, its neighbours in the list and the slot, and need no memory, so they cannot
 * fail. With many timers each of these is a cache miss; they only write to the neighbours, so nothing waits for those.
 * A timer for a time within the present tick, or before it, finds its place a few steps back from the front list's end, or
 * goes to the inbox, which is sorted and merged into the front list once one of its timers is due. Price: 32 bytes a
 * timer, 20 KB a loop. A run takes 16 bytes a timer while it lasts, and as much again while it is sorted; up to
 * 64 KB are kept for the next. If there is none to be had, the front list must do for many too.
 *
 * A slot remembers the earliest deadline that was put in it. If that timer is gone since, and others are not, the
 * loop wakes up once for nothing, when the slot is next in turn.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stint/loop.h>

#define WHEEL_TICK_BITS 18
#define WHEEL_SLOT_BITS 6
#define WHEEL_SLOTS     (1u << WHEEL_SLOT_BITS)
#define WHEEL_LEVELS    8 /* 18 + 8 * 6 bits: every deadline there is */
#define WHEEL_NEVER     UINT64_MAX

#define WHEEL_PERIODIC 1u
#define WHEEL_WAITS \
	2u /* it is in the inbox, and due from the next wheel_take_due() on, though it may have passed */

/* Two in a cache line. What is needed only when it fires is elsewhere (timer_memory.h, timeout.c). */
struct stint_timer {
	struct stint_timer *next; /* in its list, or of those that are free */
	/* What points to it: a list's head, the `next` before it, or its entry in a run; NULL: not armed. */
	struct stint_timer **link;
	uint64_t due_ns;
	uint32_t handler; /* of a timeout its kind */
	uint8_t periodic; /* 0 or WHEEL_PERIODIC, or that and WHEEL_WAITS */
	bool used;        /* false: free; it tells nothing of a timeout */
	bool is_timeout;
	bool background; /* armed, it does not keep the loop running */
};

_Static_assert(sizeof(struct stint_timer) == 32, "no timer lies in two cache lines");

/*
 * A slot's timers are in several lists. In one, where the next timer is comes from memory with the last; in several, so
 * many are on their way at a time.
 */
#define WHEEL_LISTS 4

/* A slot is known by its place: level * WHEEL_SLOTS + index. */
#define WHEEL_PLACES (WHEEL_LEVELS * WHEEL_SLOTS)

struct timer_wheel {
	uint64_t tick;              /* slots up to this one are empty: their timers are in front */
	struct stint_timer *front;  /* sorted */
	struct stint_timer *last;   /* of the front list; NULL if that is empty */
	struct stint_timer *inbox;  /* not sorted; those that come due are in front after wheel_take_due() */
	uint64_t inbox_earliest_ns; /* of those that were put there since it was last empty */
	struct wheel_run *runs;     /* each later than the one before */
	struct wheel_run *spare;    /* memory for the next */
	/* A bit for each slot that has timers, or had some that were removed since. */
	uint64_t occupied[WHEEL_LEVELS];
	struct stint_timer *slot[WHEEL_PLACES][WHEEL_LISTS];
	/* Of those that were put there since the slot was last seen to be empty. */
	uint64_t earliest_ns[WHEEL_PLACES];
};

void wheel_init(struct timer_wheel *wheel);

/* Has no timers any more, and no memory but its own. */
void wheel_clear(struct timer_wheel *wheel);

/* Has a wheel without timers stand at a time that is not before the one at which it stood. */
void wheel_begin(struct timer_wheel *wheel, uint64_t now_ns);

/* The earliest deadline, or a little before it (see above); WHEEL_NEVER if there is no timer. */
uint64_t wheel_next_ns(struct timer_wheel *wheel);

/* Has the wheel come forward to `now_ns`, and tells how many are due then. */
uint64_t wheel_take_due(struct timer_wheel *wheel, uint64_t now_ns);

/* The first timer if it is due at `now_ns`, to which the wheel has come, else NULL. */
struct stint_timer *wheel_first_due(struct timer_wheel *wheel, uint64_t now_ns);

/* How many are worth fetching before their turn. */
#define WHEEL_AHEAD 16u

/* The timer that is so many after the first, where many are due; NULL if that is not known at once. */
const struct stint_timer *wheel_ahead(const struct timer_wheel *wheel, size_t count);

struct wheel_removed {
	uint64_t count;
	uint64_t due;        /* of these */
	uint64_t background; /* of these */
};

/*
 * Takes off all timeouts of one kind, by a look at all there is; tells how many, and how many of these were due at
 * `now_ns`.
 */
struct wheel_removed wheel_remove_timeouts(struct timer_wheel *wheel, uint32_t kind, uint64_t now_ns);

/* Takes a timer that is armed off its list, and puts it in another slot. */
void wheel_change_slot(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t place);

/* Puts a timer in the inbox: however long it has passed, it is not due before the next wheel_take_due(). */
void wheel_add_to_inbox(struct timer_wheel *wheel, struct stint_timer *timer);

/* Puts a timer there whose tick the wheel has come to. */
void wheel_add_to_front(struct timer_wheel *wheel, struct stint_timer *timer);

static inline bool wheel_armed(const struct stint_timer *timer)
{
	return timer->link != NULL;
}

static inline uint64_t wheel_tick(uint64_t time_ns)
{
	return time_ns >> WHEEL_TICK_BITS;
}

/* Of a tick that is later than the wheel's: how many of its bits are below those that tell its slot. */
static inline uint32_t wheel_shift(const struct timer_wheel *wheel, uint64_t tick)
{
	return (63u ^ (uint32_t)__builtin_clzll(tick ^ wheel->tick)) / WHEEL_SLOT_BITS * WHEEL_SLOT_BITS;
}

static inline uint32_t wheel_place(uint64_t tick, uint32_t shift)
{
	return shift / WHEEL_SLOT_BITS * WHEEL_SLOTS + (uint32_t)(tick >> shift) % WHEEL_SLOTS;
}

static inline void wheel_note_deadline(struct timer_wheel *wheel, uint32_t place, uint64_t due_ns)
{
	if (due_ns < wheel->earliest_ns[place])
		wheel->earliest_ns[place] = due_ns;
}

static inline void wheel_push(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t place)
{
	struct stint_timer **first = &wheel->slot[place][(uintptr_t)timer / sizeof(*timer) % WHEEL_LISTS];
	struct stint_timer *next = *first;

	wheel_note_deadline(wheel, place, timer->due_ns);
	wheel->occupied[place / WHEEL_SLOTS] |= UINT64_C(1) << place % WHEEL_SLOTS;
	timer->next = next;
	timer->link = first;
	if (next)
		next->link = &timer->next;
	*first = timer;
}

/* Puts a timer that is not armed, but has a deadline, where that belongs. */
static inline void wheel_add(struct timer_wheel *wheel, struct stint_timer *timer)
{
	uint64_t tick = wheel_tick(timer->due_ns);

	if (tick <= wheel->tick)
		wheel_add_to_front(wheel, timer);
	else
		wheel_push(wheel, timer, wheel_place(tick, wheel_shift(wheel, tick)));
}

/* The one before it, of a timer that is not the first of its list. */
static inline struct stint_timer *wheel_before(const struct stint_timer *timer)
{
	return (struct stint_timer *)((char *)timer->link - offsetof(struct stint_timer, next));
}

static inline void wheel_unlink(struct timer_wheel *wheel, struct stint_timer *timer)
{
	struct stint_timer *next = timer->next, **link = timer->link;

	if (next)
		next->link = link;
	else if (wheel->last == timer)
		wheel->last = link == &wheel->front ? NULL : wheel_before(timer);
	*link = next;
}

/* Takes a timer that is armed off its list. */
static inline void wheel_remove(struct timer_wheel *wheel, struct stint_timer *timer)
{
	wheel_unlink(wheel, timer);
	timer->link = NULL;
}

/*
 * The same as both, with another deadline, whose tick the wheel has not come to; cheaper if that is in the same
 * slot.
 */
static inline void wheel_move(struct timer_wheel *wheel, struct stint_timer *timer, uint64_t due_ns)
{
	uint64_t tick = wheel_tick(due_ns), before_ns = timer->due_ns;
	uint32_t shift = wheel_shift(wheel, tick);

	timer->due_ns = due_ns;
	if ((tick ^ wheel_tick(before_ns)) >> shift)
		wheel_change_slot(wheel, timer, wheel_place(tick, shift));
	else if (due_ns < before_ns) /* or the slot has noted an earlier one */
		wheel_note_deadline(wheel, wheel_place(tick, shift), due_ns);
}

#endif
