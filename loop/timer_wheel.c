/* SPDX-License-Identifier: MIT */
#include "timer_wheel.h"

/* The front list, and the wheel's turning; what each arming and disarming does is in the header. */

/* ---- a slot's timers ---- */

/* A way through them, from each list in turn. One that it has come to may go elsewhere. */
struct slot_walk {
	struct stint_timer *next[WHEEL_LISTS];
	uint32_t turn;
};

static struct slot_walk walk_begin(const struct timer_wheel *wheel, uint32_t place)
{
	struct slot_walk walk = {.turn = 0};

	for (uint32_t i = 0; i < WHEEL_LISTS; i++)
		walk.next[i] = wheel->slot[place][i];
	return walk;
}

/* NULL: that was the last. */
static struct stint_timer *walk_next(struct slot_walk *walk)
{
	for (uint32_t i = 0; i < WHEEL_LISTS; i++) {
		struct stint_timer **next = &walk->next[walk->turn++ % WHEEL_LISTS];
		struct stint_timer *timer = *next;

		if (!timer)
			continue;
		*next = timer->next;
		__builtin_prefetch(*next);
		return timer;
	}
	return NULL;
}

/* ---- sorting those of one tick ---- */

#define FEW        64u
#define DIGIT_BITS 6
#define DIGITS     (1u << DIGIT_BITS)

_Static_assert(WHEEL_TICK_BITS % DIGIT_BITS == 0, "a tick is whole digits");

static struct stint_timer *merge(struct stint_timer *a, struct stint_timer *b)
{
	struct stint_timer *first = NULL, **end = &first;

	while (a && b) {
		struct stint_timer **least = b->due_ns < a->due_ns ? &b : &a;

		*end = *least;
		end = &(*least)->next;
		*least = *end;
	}
	*end = a ? a : b;
	return first;
}

/* Merge sort from below, as lists have no middle: run i holds 2^i timers or none. */
static struct stint_timer *sort_few(struct stint_timer *list)
{
	struct stint_timer *run[64] = {NULL};
	struct stint_timer *sorted = NULL;
	uint32_t used = 0;

	while (list) {
		struct stint_timer *timer = list;
		uint32_t i = 0;

		list = list->next;
		timer->next = NULL;
		for (; run[i]; i++) {
			timer = merge(run[i], timer);
			run[i] = NULL;
		}
		run[i] = timer;
		if (i >= used)
			used = i + 1;
	}
	for (uint32_t i = 0; i < used; i++)
		sorted = run[i] ? merge(run[i], sorted) : sorted;
	return sorted;
}

/* By one digit of the deadline; those of the same digit stay in their order. */
static struct stint_timer *sort_by_digit(struct stint_timer *list, uint32_t shift)
{
	struct stint_timer *queue[DIGITS], **end[DIGITS];
	struct stint_timer *sorted, **link = &sorted;

	for (uint32_t i = 0; i < DIGITS; i++)
		end[i] = &queue[i];
	for (; list; list = list->next) {
		uint32_t digit = (uint32_t)(list->due_ns >> shift) % DIGITS;

		*end[digit] = list;
		end[digit] = &list->next;
	}
	for (uint32_t i = 0; i < DIGITS; i++) {
		if (end[i] == &queue[i])
			continue;
		*link = queue[i];
		link = end[i];
	}
	*link = NULL;
	return sorted;
}

/* Among many, comparing costs each timer many mispredicted branches. Digits cost it none, but each pass has its price. */
static struct stint_timer *sort(struct stint_timer *list, uint64_t count)
{
	if (count < FEW)
		return sort_few(list);
	for (uint32_t shift = 0; shift < WHEEL_TICK_BITS; shift += DIGIT_BITS)
		list = sort_by_digit(list, shift);
	return list;
}

/* ---- the front list ---- */

/* From the end, as what is armed last is mostly due last. Behind those of the same deadline. */
void wheel_add_to_front(struct timer_wheel *wheel, struct stint_timer *timer)
{
	struct stint_timer *previous = wheel->last;

	while (previous && previous->due_ns > timer->due_ns)
		previous = previous->link == &wheel->front ? NULL : wheel_before(previous);
	timer->link = previous ? &previous->next : &wheel->front;
	timer->next = *timer->link;
	*timer->link = timer;
	if (timer->next)
		timer->next->link = &timer->next;
	else
		wheel->last = timer;
}

/* A slot of level 0 that the wheel has come to: all in it are later than the front list's. */
static void append_to_front(struct timer_wheel *wheel, struct slot_walk *walk)
{
	struct stint_timer **link = wheel->last ? &wheel->last->next : &wheel->front;
	struct stint_timer *list = NULL, *timer;
	uint64_t count = 0, before_ns = WHEEL_NEVER;
	bool sorted = true;

	while ((timer = walk_next(walk))) {
		sorted &= timer->due_ns <= before_ns;
		before_ns = timer->due_ns;
		timer->next = list;
		list = timer;
		count++;
	}
	for (timer = sorted ? list : sort(list, count); timer; timer = timer->next) {
		timer->link = link;
		*link = timer;
		link = &timer->next;
		wheel->last = timer;
	}
}

/* ---- the wheel's turning ---- */

static bool slot_is_empty(const struct timer_wheel *wheel, uint32_t place)
{
	for (uint32_t i = 0; i < WHEEL_LISTS; i++)
		if (wheel->slot[place][i])
			return false;
	return true;
}

static void empty_slot(struct timer_wheel *wheel, uint32_t place)
{
	for (uint32_t i = 0; i < WHEEL_LISTS; i++)
		wheel->slot[place][i] = NULL;
	wheel->earliest_ns[place] = WHEEL_NEVER;
	wheel->occupied[place / WHEEL_SLOTS] &= ~(UINT64_C(1) << place % WHEEL_SLOTS);
}

/* The next slot that has timers; WHEEL_PLACES if there is none. */
static uint32_t next_place(struct timer_wheel *wheel)
{
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
		while (wheel->occupied[level]) {
			uint32_t place =
				level * WHEEL_SLOTS + (uint32_t)__builtin_ctzll(wheel->occupied[level]);

			if (!slot_is_empty(wheel, place))
				return place;
			empty_slot(wheel, place);
		}
	}
	return WHEEL_PLACES;
}

/* The first tick of a slot. */
static uint64_t start_of(const struct timer_wheel *wheel, uint32_t place)
{
	uint32_t shift = place / WHEEL_SLOTS * WHEEL_SLOT_BITS;

	return ((wheel->tick >> (shift + WHEEL_SLOT_BITS)) << WHEEL_SLOT_BITS | place % WHEEL_SLOTS) << shift;
}

/*
 * Comes to the next slot that has timers if that begins at or before `tick`, and empties it; else to `tick`, and
 * false. Nothing that is in the wheel changes its slot by the latter: what comes next begins later.
 */
static bool turn(struct timer_wheel *wheel, uint64_t tick)
{
	uint32_t place = next_place(wheel);
	struct stint_timer *timer;
	struct slot_walk walk;

	if (place == WHEEL_PLACES || start_of(wheel, place) > tick) {
		if (tick > wheel->tick)
			wheel->tick = tick;
		return false;
	}
	wheel->tick = start_of(wheel, place);
	walk = walk_begin(wheel, place);
	empty_slot(wheel, place);
	if (place < WHEEL_SLOTS) {
		append_to_front(wheel, &walk);
		return true;
	}
	while ((timer = walk_next(&walk)))
		wheel_add(wheel, timer);
	return true;
}

void wheel_init(struct timer_wheel *wheel)
{
	*wheel = (struct timer_wheel){0};
	for (uint32_t place = 0; place < WHEEL_PLACES; place++)
		wheel->earliest_ns[place] = WHEEL_NEVER;
}

void wheel_begin(struct timer_wheel *wheel, uint64_t now_ns)
{
	(void)next_place(wheel); /* there is none: no slot is taken to be occupied any more */
	if (wheel_tick(now_ns) > wheel->tick)
		wheel->tick = wheel_tick(now_ns);
}

uint64_t wheel_next_ns(struct timer_wheel *wheel)
{
	uint32_t place;

	if (wheel->front)
		return wheel->front->due_ns;
	place = next_place(wheel);
	return place == WHEEL_PLACES ? WHEEL_NEVER : wheel->earliest_ns[place];
}

struct stint_timer *wheel_first_due(struct timer_wheel *wheel, uint64_t now_ns)
{
	while (!wheel->front && turn(wheel, wheel_tick(now_ns)))
		;
	return wheel->front && wheel->front->due_ns <= now_ns ? wheel->front : NULL;
}

static void remove_of_list(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t kind,
			   uint64_t now_ns, struct wheel_removed *ret)
{
	while (timer) {
		struct stint_timer *next = timer->next;

		if (timer->is_timeout && timer->handler == kind) {
			ret->count++;
			ret->due += timer->due_ns <= now_ns;
			wheel_remove(wheel, timer);
		}
		timer = next;
	}
}

struct wheel_removed wheel_remove_timeouts(struct timer_wheel *wheel, uint32_t kind, uint64_t now_ns)
{
	struct wheel_removed removed = {0};

	remove_of_list(wheel, wheel->front, kind, now_ns, &removed);
	for (uint32_t place = 0; place < WHEEL_PLACES; place++)
		for (uint32_t i = 0; i < WHEEL_LISTS; i++)
			remove_of_list(wheel, wheel->slot[place][i], kind, now_ns, &removed);
	return removed;
}

static uint64_t count_slot(const struct timer_wheel *wheel, uint32_t place, uint64_t now_ns)
{
	struct slot_walk walk = walk_begin(wheel, place);
	const struct stint_timer *timer;
	uint64_t count = 0;

	while ((timer = walk_next(&walk)))
		count += timer->due_ns <= now_ns;
	return count;
}

/* By looking at each: to keep a count for each slot would make all that is armed and disarmed pay for what is due. */
uint64_t wheel_count_due(const struct timer_wheel *wheel, uint64_t now_ns)
{
	uint64_t tick = wheel_tick(now_ns), count = 0;

	for (const struct stint_timer *timer = wheel->front; timer && timer->due_ns <= now_ns;
	     timer = timer->next)
		count++;
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
		for (uint64_t bits = wheel->occupied[level]; bits; bits &= bits - 1) {
			uint32_t place = level * WHEEL_SLOTS + (uint32_t)__builtin_ctzll(bits);

			if (start_of(wheel, place) > tick)
				return count;
			count += count_slot(wheel, place, now_ns);
		}
	}
	return count;
}
