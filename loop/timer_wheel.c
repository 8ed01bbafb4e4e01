/* SPDX-License-Identifier: MIT */
#include "timer_wheel.h"

#include <stdlib.h>

/* The wheel's turning, and what it has come to; what each arming and disarming does is in the header. */

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

void wheel_change_slot(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t place)
{
	wheel_unlink(wheel, timer);
	wheel_push(wheel, timer, place);
}

/* ---- runs ---- */

#define RUN_FEW   64u   /* that many make a run */
#define RUN_SPARE 4096u /* memory for no more is kept: after a burst the loop is as small as before */

struct wheel_entry {
	uint64_t due_ns;
	struct stint_timer *timer; /* NULL: it has gone elsewhere. Its `link` points here */
};

struct wheel_run {
	struct wheel_run *next;
	size_t begin, end, size; /* entries before `begin` are done with */
	struct wheel_entry entry[];
};

static struct wheel_run *run_resize(struct wheel_run *run, size_t size)
{
	run = realloc(run, sizeof(*run) + size * sizeof(run->entry[0]));
	if (run)
		run->size = size;
	return run;
}

static struct wheel_run *run_new(struct timer_wheel *wheel, size_t size)
{
	struct wheel_run *run = wheel->spare;

	wheel->spare = NULL;
	if (!run || run->size < size) {
		free(run);
		run = run_resize(NULL, size);
		if (!run)
			return NULL;
	}
	run->next = NULL;
	run->begin = run->end = 0;
	return run;
}

/* Memory of the largest is kept for the next, within bounds. */
static void run_free(struct timer_wheel *wheel, struct wheel_run *run)
{
	struct wheel_run *spare = wheel->spare;

	if (run && run->size <= RUN_SPARE && (!spare || spare->size < run->size)) {
		wheel->spare = run;
		run = spare;
	}
	free(run);
}

/* False: no memory. */
static bool run_add(struct wheel_run **run, struct stint_timer *timer)
{
	struct wheel_run *larger;

	if ((*run)->end == (*run)->size) {
		larger = run_resize(*run, 2 * (*run)->size);
		if (!larger)
			return false;
		*run = larger;
	}
	(*run)->entry[(*run)->end++] = (struct wheel_entry){timer->due_ns, timer};
	return true;
}

/* The first entry that has a timer; NULL: there is none. */
static struct wheel_entry *first_entry(struct timer_wheel *wheel)
{
	struct wheel_run *run;

	while ((run = wheel->runs)) {
		for (; run->begin < run->end; run->begin++)
			if (run->entry[run->begin].timer)
				return &run->entry[run->begin];
		wheel->runs = run->next;
		run_free(wheel, run);
	}
	return NULL;
}

/* ---- sorting ---- */

#define DIGIT_BITS 9
#define DIGITS     (1u << DIGIT_BITS)

/* By one digit of the deadline; those of the same digit stay in their order. */
static void sort_by_digit(struct wheel_entry *to, const struct wheel_entry *from, size_t count,
			  uint32_t shift)
{
	size_t place[DIGITS] = {0}, before = 0;

	for (size_t i = 0; i < count; i++)
		place[(from[i].due_ns >> shift) % DIGITS]++;
	for (uint32_t digit = 0; digit < DIGITS; digit++) {
		size_t of_digit = place[digit];

		place[digit] = before;
		before += of_digit;
	}
	for (size_t i = 0; i < count; i++)
		to[place[(from[i].due_ns >> shift) % DIGITS]++] = from[i];
}

/* Turns it round, as what was armed last comes first out of a slot; whether it is in order then. */
static bool reverse(struct wheel_run *run)
{
	bool sorted = true;

	for (size_t i = 0, j = run->end - 1; i < j; i++, j--) {
		struct wheel_entry entry = run->entry[i];

		run->entry[i] = run->entry[j];
		run->entry[j] = entry;
	}
	for (size_t i = 1; i < run->end; i++)
		sorted &= run->entry[i - 1].due_ns <= run->entry[i].due_ns;
	return sorted;
}

/*
 * Deadlines that differ in no more than their last `bits` bits. False: no memory. Among many, comparing costs each timer
 * many mispredicted branches. Digits cost it none, but each pass has its price.
 */
static bool sort_run(struct timer_wheel *wheel, struct wheel_run **run, uint32_t bits)
{
	struct wheel_run *from = *run, *to;

	if (reverse(from))
		return true;
	to = run_new(wheel, from->end);
	if (!to)
		return false;
	to->end = from->end;
	for (uint32_t shift = 0; shift < bits; shift += DIGIT_BITS) {
		struct wheel_run *sorted = to;

		sort_by_digit(to->entry, from->entry, from->end, shift);
		to = from;
		from = sorted;
	}
	run_free(wheel, to);
	*run = from;
	return true;
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

/* Merge sort from below, as lists have no middle: part i holds 2^i timers or none. */
static struct stint_timer *sort_list(struct stint_timer *list)
{
	struct stint_timer *part[64] = {NULL};
	struct stint_timer *sorted = NULL;
	uint32_t used = 0;

	while (list) {
		struct stint_timer *timer = list;
		uint32_t i = 0;

		list = list->next;
		timer->next = NULL;
		for (; part[i]; i++) {
			timer = merge(part[i], timer);
			part[i] = NULL;
		}
		part[i] = timer;
		if (i >= used)
			used = i + 1;
	}
	for (uint32_t i = 0; i < used; i++)
		sorted = part[i] ? merge(part[i], sorted) : sorted;
	return sorted;
}

/* ---- what the wheel has come to ---- */

#define FRONT_STEPS 16u /* back from its end, and no more, a timer is worth searching its place */

/* Behind it are those of the `link` that the timer is to hang on. */
static void insert(struct timer_wheel *wheel, struct stint_timer *timer, struct stint_timer **link)
{
	timer->link = link;
	timer->next = *link;
	*link = timer;
	if (timer->next)
		timer->next->link = &timer->next;
	else
		wheel->last = timer;
}

void wheel_add_to_inbox(struct timer_wheel *wheel, struct stint_timer *timer)
{
	if (!wheel->inbox || timer->due_ns < wheel->inbox_earliest_ns)
		wheel->inbox_earliest_ns = timer->due_ns;
	timer->link = &wheel->inbox;
	timer->next = wheel->inbox;
	wheel->inbox = timer;
	if (timer->next)
		timer->next->link = &timer->next;
}

/* The one before it in the front list; NULL: it is the first. */
static struct stint_timer *before_in_front(const struct timer_wheel *wheel, const struct stint_timer *timer)
{
	return timer->link == &wheel->front ? NULL : wheel_before(timer);
}

/* From the end, as what is armed last is mostly due last. Behind those of the same deadline. */
void wheel_add_to_front(struct timer_wheel *wheel, struct stint_timer *timer)
{
	struct stint_timer *previous = wheel->last;

	for (uint32_t step = 0; previous && previous->due_ns > timer->due_ns; step++) {
		if (step == FRONT_STEPS) {
			wheel_add_to_inbox(wheel, timer);
			return;
		}
		previous = before_in_front(wheel, previous);
	}
	insert(wheel, timer, previous ? &previous->next : &wheel->front);
}

/*
 * From the end as well: it looks at those of the front list that are later than the earliest, each once. Of those that are
 * not due the front list has one tick's at most, so looking at them again in each iteration ends with the tick.
 */
static void merge_inbox(struct timer_wheel *wheel)
{
	struct stint_timer *previous = wheel->last, *latest = NULL;

	for (struct stint_timer *timer = sort_list(wheel->inbox), *next; timer; timer = next) {
		next = timer->next;
		timer->next = latest;
		timer->periodic &= WHEEL_PERIODIC;
		latest = timer;
	}
	wheel->inbox = NULL;
	for (struct stint_timer *timer = latest; timer; timer = latest) {
		latest = timer->next;
		while (previous && previous->due_ns > timer->due_ns)
			previous = before_in_front(wheel, previous);
		insert(wheel, timer, previous ? &previous->next : &wheel->front);
	}
}

/* A list of timers that are later than the front list's. */
static void append_list(struct timer_wheel *wheel, struct stint_timer *list)
{
	struct stint_timer **link = wheel->last ? &wheel->last->next : &wheel->front;

	for (struct stint_timer *timer = sort_list(list); timer; timer = timer->next) {
		timer->link = link;
		*link = timer;
		link = &timer->next;
		wheel->last = timer;
	}
}

/* A run of timers that are later than those of the runs before. */
static void append_run(struct timer_wheel *wheel, struct wheel_run *run)
{
	struct wheel_run **end = &wheel->runs;

	while (*end)
		end = &(*end)->next;
	*end = run;
	for (size_t i = 0; i < run->end; i++) {
		struct stint_timer *timer = run->entry[i].timer;

		__builtin_prefetch(run->entry[i + WHEEL_AHEAD < run->end ? i + WHEEL_AHEAD : i].timer, 1);
		timer->next = NULL;
		timer->link = &run->entry[i].timer;
	}
}

/*
 * The timers of a slot, which are later than all that the wheel has come to before: many into a run, if there is memory
 * for it. Their deadlines differ in no more than their last `bits` bits.
 */
static void append(struct timer_wheel *wheel, struct slot_walk *walk, uint32_t bits)
{
	struct wheel_run *run = run_new(wheel, RUN_FEW);
	struct stint_timer *list = NULL, *timer;

	while (run && (timer = walk_next(walk))) {
		if (run_add(&run, timer))
			continue;
		timer->next = list;
		list = timer;
		break;
	}
	if (run && !list && run->end >= RUN_FEW && sort_run(wheel, &run, bits)) {
		append_run(wheel, run);
		return;
	}
	while ((timer = walk_next(walk))) {
		timer->next = list;
		list = timer;
	}
	for (size_t i = 0; run && i < run->end; i++) {
		run->entry[i].timer->next = list;
		list = run->entry[i].timer;
	}
	append_list(wheel, list);
	run_free(wheel, run);
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
	uint32_t place = next_place(wheel), shift = place / WHEEL_SLOTS * WHEEL_SLOT_BITS;
	struct stint_timer *timer;
	struct slot_walk walk;
	uint64_t last;

	if (place == WHEEL_PLACES || start_of(wheel, place) > tick) {
		if (tick > wheel->tick)
			wheel->tick = tick;
		return false;
	}
	wheel->tick = start_of(wheel, place);
	walk = walk_begin(wheel, place);
	empty_slot(wheel, place);
	last = wheel->tick + (UINT64_C(1) << shift) - 1;
	if (last <= tick) {
		wheel->tick = last;
		append(wheel, &walk, WHEEL_TICK_BITS + shift);
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

void wheel_clear(struct timer_wheel *wheel)
{
	while (wheel->runs) {
		struct wheel_run *run = wheel->runs;

		wheel->runs = run->next;
		free(run);
	}
	free(wheel->spare);
	wheel_init(wheel);
}

void wheel_begin(struct timer_wheel *wheel, uint64_t now_ns)
{
	(void)next_place(wheel); /* there is none: no slot is taken to be occupied any more */
	if (wheel_tick(now_ns) > wheel->tick)
		wheel->tick = wheel_tick(now_ns);
}

uint64_t wheel_next_ns(struct timer_wheel *wheel)
{
	const struct wheel_entry *entry = first_entry(wheel);
	const struct stint_timer *front = wheel->front;
	uint64_t next_ns = wheel->inbox ? wheel->inbox_earliest_ns : WHEEL_NEVER;
	uint32_t place;

	if (entry && entry->due_ns < next_ns)
		next_ns = entry->due_ns;
	if (front && front->due_ns < next_ns)
		next_ns = front->due_ns;
	if (next_ns != WHEEL_NEVER)
		return next_ns;
	place = next_place(wheel);
	return place == WHEEL_PLACES ? WHEEL_NEVER : wheel->earliest_ns[place];
}

struct stint_timer *wheel_first_due(struct timer_wheel *wheel, uint64_t now_ns)
{
	const struct wheel_entry *entry = first_entry(wheel);
	struct stint_timer *front = wheel->front;

	if (entry && (!front || entry->due_ns <= front->due_ns))
		return entry->due_ns <= now_ns ? entry->timer : NULL;
	return front && front->due_ns <= now_ns ? front : NULL;
}

const struct stint_timer *wheel_ahead(const struct timer_wheel *wheel, size_t count)
{
	const struct wheel_run *run = wheel->runs;

	return run && count < run->end - run->begin ? run->entry[run->begin + count].timer : NULL;
}

static void remove_of_list(struct timer_wheel *wheel, struct stint_timer *timer, uint32_t kind,
			   uint64_t now_ns, struct wheel_removed *ret)
{
	while (timer) {
		struct stint_timer *next = timer->next;

		if (timer->is_timeout && timer->handler == kind) {
			ret->count++;
			ret->background += timer->background;
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
	remove_of_list(wheel, wheel->inbox, kind, now_ns, &removed);
	for (struct wheel_run *run = wheel->runs; run; run = run->next)
		for (size_t i = run->begin; i < run->end; i++)
			remove_of_list(wheel, run->entry[i].timer, kind, now_ns, &removed);
	for (uint32_t place = 0; place < WHEEL_PLACES; place++)
		for (uint32_t i = 0; i < WHEEL_LISTS; i++)
			remove_of_list(wheel, wheel->slot[place][i], kind, now_ns, &removed);
	return removed;
}

uint64_t wheel_take_due(struct timer_wheel *wheel, uint64_t now_ns)
{
	uint64_t count = 0;

	while (turn(wheel, wheel_tick(now_ns)))
		;
	if (wheel->inbox && wheel->inbox_earliest_ns <= now_ns)
		merge_inbox(wheel);
	for (const struct stint_timer *timer = wheel->front; timer && timer->due_ns <= now_ns;
	     timer = timer->next)
		count++;
	for (const struct wheel_run *run = wheel->runs; run; run = run->next)
		for (size_t i = run->begin; i < run->end && run->entry[i].due_ns <= now_ns; i++)
			count += run->entry[i].timer != NULL;
	return count;
}
