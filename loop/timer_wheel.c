/* SPDX-License-Identifier: MIT */
#include "timer_wheel.h"

#include <stddef.h>

/* ---- slots ---- */

static void push(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t level, uint32_t index)
{
	uint32_t place = level * WHEEL_SLOTS + index;
	struct wheel_slot *slot = &wheel->slot[place];

	timer->place = (uint16_t)place;
	timer->next = slot->first;
	timer->link = &slot->first;
	if (timer->next)
		timer->next->link = &timer->next;
	slot->first = timer;
	if (!slot->count++ || timer->due_ns < slot->earliest_ns)
		slot->earliest_ns = timer->due_ns;
	wheel->occupied[level] |= UINT64_C(1) << index;
}

/* The slot of a tick that is later than the wheel's. */
static uint32_t level_of(const struct timer_wheel *wheel, uint64_t tick)
{
	return (63u ^ (uint32_t)__builtin_clzll(tick ^ wheel->tick)) / WHEEL_SLOT_BITS;
}

static uint32_t index_of(uint64_t tick, uint32_t level)
{
	return (uint32_t)(tick >> (level * WHEEL_SLOT_BITS)) % WHEEL_SLOTS;
}

/* ---- the front list ---- */

static struct stint_timer *before(const struct timer_wheel *wheel, const struct stint_timer *timer)
{
	if (timer->link == &wheel->front)
		return NULL;
	return (struct stint_timer *)((char *)timer->link - offsetof(struct stint_timer, next));
}

/* From the end, as what is armed last is mostly due last. Behind those of the same deadline. */
static void add_to_front(struct timer_wheel *wheel, struct stint_timer *timer)
{
	struct stint_timer *previous = wheel->last;

	while (previous && previous->due_ns > timer->due_ns)
		previous = before(wheel, previous);
	timer->place = WHEEL_FRONT;
	timer->link = previous ? &previous->next : &wheel->front;
	timer->next = *timer->link;
	*timer->link = timer;
	if (timer->next)
		timer->next->link = &timer->next;
	else
		wheel->last = timer;
}

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
static struct stint_timer *sort(struct stint_timer *list)
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

/* A slot of level 0 that the wheel has come to: all in it are later than the front list's. */
static void append_to_front(struct timer_wheel *wheel, struct stint_timer *list)
{
	struct stint_timer **link = wheel->last ? &wheel->last->next : &wheel->front;

	for (struct stint_timer *timer = sort(list); timer; timer = timer->next) {
		timer->place = WHEEL_FRONT;
		timer->link = link;
		*link = timer;
		link = &timer->next;
		wheel->last = timer;
	}
}

/* ---- adding and removing ---- */

void wheel_add(struct timer_wheel *wheel, struct stint_timer *timer)
{
	uint64_t tick = wheel_tick(timer->due_ns);
	uint32_t level;

	if (tick <= wheel->tick) {
		add_to_front(wheel, timer);
		return;
	}
	level = level_of(wheel, tick);
	push(wheel, timer, level, index_of(tick, level));
}

void wheel_remove(struct timer_wheel *wheel, struct stint_timer *timer)
{
	struct wheel_slot *slot;

	if (timer->place == WHEEL_FRONT && wheel->last == timer)
		wheel->last = before(wheel, timer);
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	if (timer->place != WHEEL_FRONT) {
		slot = &wheel->slot[timer->place];
		if (--slot->count == 0)
			wheel->occupied[timer->place / WHEEL_SLOTS] &=
				~(UINT64_C(1) << (timer->place % WHEEL_SLOTS));
	}
	timer->place = WHEEL_NO_PLACE;
}

void wheel_move(struct timer_wheel *wheel, struct stint_timer *timer, uint64_t due_ns)
{
	uint64_t tick = wheel_tick(due_ns);

	if (timer->place != WHEEL_FRONT && tick > wheel->tick) {
		uint32_t level = level_of(wheel, tick);
		struct wheel_slot *slot = &wheel->slot[timer->place];

		if (timer->place == level * WHEEL_SLOTS + index_of(tick, level)) {
			timer->due_ns = due_ns;
			if (due_ns < slot->earliest_ns)
				slot->earliest_ns = due_ns;
			return;
		}
	}
	wheel_remove(wheel, timer);
	timer->due_ns = due_ns;
	wheel_add(wheel, timer);
}

/* ---- the wheel's turning ---- */

/* The next slot that is not empty, as a place; WHEEL_NO_PLACE if there is none. */
static uint32_t next_place(const struct timer_wheel *wheel)
{
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++)
		if (wheel->occupied[level])
			return level * WHEEL_SLOTS + (uint32_t)__builtin_ctzll(wheel->occupied[level]);
	return WHEEL_NO_PLACE;
}

/* The first tick of a slot. */
static uint64_t start_of(const struct timer_wheel *wheel, uint32_t place)
{
	uint32_t shift = place / WHEEL_SLOTS * WHEEL_SLOT_BITS;

	return ((wheel->tick >> (shift + WHEEL_SLOT_BITS)) << WHEEL_SLOT_BITS | place % WHEEL_SLOTS) << shift;
}

/*
 * Comes to the next slot that is not empty if that begins at or before `tick`, and empties it; else to `tick`, and
 * false. Nothing that is in the wheel changes its place by the latter: what comes next begins later.
 */
static bool turn(struct timer_wheel *wheel, uint64_t tick)
{
	uint32_t place = next_place(wheel);
	struct stint_timer *list;
	struct wheel_slot *slot;

	if (place == WHEEL_NO_PLACE || start_of(wheel, place) > tick) {
		if (tick > wheel->tick)
			wheel->tick = tick;
		return false;
	}
	wheel->tick = start_of(wheel, place);
	slot = &wheel->slot[place];
	list = slot->first;
	slot->first = NULL;
	slot->count = 0;
	wheel->occupied[place / WHEEL_SLOTS] &= ~(UINT64_C(1) << (place % WHEEL_SLOTS));
	if (place < WHEEL_SLOTS) {
		append_to_front(wheel, list);
		return true;
	}
	while (list) {
		struct stint_timer *timer = list;

		list = list->next;
		if (list)
			__builtin_prefetch(list->next);
		wheel_add(wheel, timer);
	}
	return true;
}

uint64_t wheel_next_ns(const struct timer_wheel *wheel)
{
	uint32_t place;

	if (wheel->front)
		return wheel->front->due_ns;
	place = next_place(wheel);
	return place == WHEEL_NO_PLACE ? WHEEL_NEVER : wheel->slot[place].earliest_ns;
}

struct stint_timer *wheel_first_due(struct timer_wheel *wheel, uint64_t now_ns)
{
	while (!wheel->front && turn(wheel, wheel_tick(now_ns)))
		;
	return wheel->front && wheel->front->due_ns <= now_ns ? wheel->front : NULL;
}

static uint64_t count_list(const struct stint_timer *list, uint64_t now_ns)
{
	uint64_t count = 0;

	for (; list; list = list->next)
		count += list->due_ns <= now_ns;
	return count;
}

/* A slot that is over by then counts as a whole; of the one that is not, each timer must be looked at. */
uint64_t wheel_count_due(const struct timer_wheel *wheel, uint64_t now_ns)
{
	uint64_t tick = wheel_tick(now_ns), count = 0;

	for (const struct stint_timer *timer = wheel->front; timer && timer->due_ns <= now_ns;
	     timer = timer->next)
		count++;
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
		for (uint64_t bits = wheel->occupied[level]; bits; bits &= bits - 1) {
			uint32_t place = level * WHEEL_SLOTS + (uint32_t)__builtin_ctzll(bits);
			uint64_t start = start_of(wheel, place);

			if (start > tick)
				return count;
			if (tick - start >= UINT64_C(1) << (level * WHEEL_SLOT_BITS))
				count += wheel->slot[place].count;
			else
				count += count_list(wheel->slot[place].first, now_ns);
		}
	}
	return count;
}
