/* SPDX-License-Identifier: MIT */

/* The wheel by itself, where time is a number: whatever was armed, moved and removed comes due as in a plain list. */

#include "loop/timer_wheel.h"
#include "loop_fixture.h"

#include "chance.h"
#include "faults_fixture.h"

#define TIMERS 1500u
#define STEPS  3000u

static struct timer_wheel wheel;
static struct stint_timer timers[TIMERS];
static uint64_t now_ns;

/* From a nanosecond to centuries ahead, each magnitude as likely; in the past now and then, and often the same. */
static uint64_t random_deadline(void)
{
	static uint64_t last_ns;

	if (one_in(4))
		return last_ns;
	if (one_in(10))
		last_ns = now_ns - below(1000000);
	else
		last_ns = now_ns + (next_random() >> (3 + below(61)));
	return last_ns;
}

static void arm(struct stint_timer *timer, uint64_t due_ns)
{
	if (wheel_armed(timer) && wheel_tick(due_ns) > wheel.tick) {
		wheel_move(&wheel, timer, due_ns);
		return;
	}
	if (wheel_armed(timer))
		wheel_remove(&wheel, timer);
	timer->due_ns = due_ns;
	wheel_add(&wheel, timer);
}

static void change_some(uint32_t count)
{
	for (; count > 0; count--) {
		struct stint_timer *timer = &timers[below(TIMERS)];

		if (!one_in(3))
			arm(timer, random_deadline());
		else if (wheel_armed(timer))
			wheel_remove(&wheel, timer);
	}
}

static void check_what_is_due(void)
{
	uint64_t earliest_ns = WHEEL_NEVER, due = 0, last_ns = 0;
	const struct stint_timer *first;

	for (uint32_t i = 0; i < TIMERS; i++) {
		if (!wheel_armed(&timers[i]))
			continue;
		due += timers[i].due_ns <= now_ns;
		if (timers[i].due_ns < earliest_ns)
			earliest_ns = timers[i].due_ns;
	}
	assert_true(wheel_next_ns(&wheel) <= earliest_ns);
	assert_int_equal(wheel_take_due(&wheel, now_ns), due);
	while ((first = wheel_first_due(&wheel, now_ns))) {
		assert_true(due-- > 0 && first->due_ns >= last_ns && first->due_ns <= now_ns);
		last_ns = first->due_ns;
		/* In the middle of it, as callbacks do, but for nothing that is due. */
		wheel_remove(&wheel, &timers[first - timers]);
		if (one_in(8))
			arm(&timers[below(TIMERS)], now_ns + 1 + (next_random() >> (3 + below(61))));
		due = wheel_take_due(&wheel, now_ns);
	}
	assert_int_equal(due, 0);
}

static void start_wheel(void)
{
	wheel_clear(&wheel);
	memset(timers, 0, sizeof(timers));
	now_ns = UINT64_C(1) << 40;
	wheel_begin(&wheel, now_ns);
}

static void timers_come_due_as_in_a_plain_list(void **state)
{
	(void)state;
	start_wheel();
	for (uint32_t step = 0; step < STEPS; step++) {
		change_some(below(one_in(20) ? 2 * TIMERS : 20));
		/* Centuries ahead, but for the last, so that there is time for all steps. */
		now_ns += next_random() >> (12 + below(52));
		check_what_is_due();
	}
}

/* All in the slot that `ticks` is the size of, and it has passed. */
static void fill_one_slot(uint64_t ticks)
{
	start_wheel();
	for (uint32_t i = 0; i < TIMERS; i++)
		arm(&timers[i],
		    ((wheel_tick(now_ns) + 3 * ticks) << WHEEL_TICK_BITS) + below(ticks << WHEEL_TICK_BITS));
	now_ns += (4 * ticks) << WHEEL_TICK_BITS;
}

static void many_of_one_slot_come_out_sorted(void **state)
{
	(void)state;
	for (uint64_t ticks = 1; ticks <= WHEEL_SLOTS * WHEEL_SLOTS; ticks *= WHEEL_SLOTS) {
		fill_one_slot(ticks);
		check_what_is_due();
	}
}

static void without_memory_they_come_out_all_the_same(void **state)
{
	bool struck = true;

	(void)state;
	for (int64_t n = 1; struck; n++) {
		fill_one_slot(1);
		faults_arm(FAULT_MEMORY, ENOMEM, n);
		check_what_is_due();
		struck = faults_disarm();
		assert_true(struck || n > 2);
	}
	wheel_clear(&wheel);
	assert_int_equal(faults.live, 0);
}

static void after_a_burst_its_memory_is_given_back(void **state)
{
	static struct stint_timer burst[10000];
	const size_t count = sizeof(burst) / sizeof(burst[0]);
	const struct stint_timer *first;

	(void)state;
	start_wheel();
	for (size_t i = 0; i < count; i++)
		arm(&burst[i], now_ns + (UINT64_C(3) << WHEEL_TICK_BITS) + below(1 << WHEEL_TICK_BITS));
	now_ns += UINT64_C(4) << WHEEL_TICK_BITS;
	assert_int_equal(wheel_take_due(&wheel, now_ns), count);
	assert_true(faults.live > 0);
	while ((first = wheel_first_due(&wheel, now_ns)))
		wheel_remove(&wheel, &burst[first - burst]);
	assert_int_equal(faults.live, 0);
}

/* ---- many within one tick ---- */

#define MANY 20000u

static struct stint_timer many[MANY];

enum deadlines { ASCENDING, AT_RANDOM };

/* All of it in `span_ns` from `begin_ns` on, and due at its end: how much CPU arming them and finding that takes. */
static uint64_t cpu_of_many(uint64_t begin_ns, uint64_t span_ns, enum deadlines deadlines)
{
	uint64_t cpu_ns, last_ns = 0;
	const struct stint_timer *first;

	for (uint32_t i = 0; i < MANY; i++)
		many[i].due_ns = begin_ns + (deadlines == ASCENDING ? i * span_ns / MANY : below(span_ns));
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint32_t i = 0; i < MANY; i++)
		wheel_add(&wheel, &many[i]);
	assert_int_equal(wheel_take_due(&wheel, begin_ns + span_ns - 1), MANY);
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	while ((first = wheel_first_due(&wheel, begin_ns + span_ns - 1))) {
		assert_true(first->due_ns >= last_ns);
		last_ns = first->due_ns;
		wheel_remove(&wheel, &many[first - many]);
	}
	return cpu_ns;
}

static uint64_t least_cpu_of_past(enum deadlines deadlines)
{
	uint64_t least_ns = UINT64_MAX;

	for (int i = 0; i < 3; i++) {
		uint64_t cpu_ns;

		start_wheel();
		cpu_ns = cpu_of_many(now_ns - 1000 * S, 1000 * S, deadlines);
		least_ns = cpu_ns < least_ns ? cpu_ns : least_ns;
	}
	return least_ns;
}

/* 10,000 steps for each would be hundreds of times as many. */
static void many_that_have_passed_need_not_be_armed_in_order(void **state)
{
	(void)state;
	assert_true(least_cpu_of_past(AT_RANDOM) < 60 * least_cpu_of_past(ASCENDING));
}

/* In a tick of a slot of 64 of them, of which the last has not passed. */
static uint64_t least_cpu_of_tick(uint64_t tick)
{
	uint64_t least_ns = UINT64_MAX;

	for (int i = 0; i < 3; i++) {
		uint64_t slot_ns, cpu_ns;

		start_wheel();
		slot_ns = (wheel.tick / WHEEL_SLOTS + 2) * WHEEL_SLOTS << WHEEL_TICK_BITS;
		cpu_ns = cpu_of_many(slot_ns + (tick << WHEEL_TICK_BITS), UINT64_C(1) << WHEEL_TICK_BITS,
				     AT_RANDOM);
		least_ns = cpu_ns < least_ns ? cpu_ns : least_ns;
	}
	return least_ns;
}

static void the_first_tick_of_a_slot_takes_no_longer_than_others(void **state)
{
	(void)state;
	assert_true(least_cpu_of_tick(0) < 60 * least_cpu_of_tick(1));
}

static void a_slot_whose_timers_are_gone_wakes_nobody(void **state)
{
	uint64_t later_ns;

	(void)state;
	start_wheel();
	later_ns = now_ns + (UINT64_C(70) << WHEEL_TICK_BITS);
	arm(&timers[0], now_ns + (UINT64_C(2) << WHEEL_TICK_BITS));
	arm(&timers[1], later_ns);
	wheel_remove(&wheel, &timers[0]);
	assert_int_equal(wheel_next_ns(&wheel), later_ns);
	wheel_remove(&wheel, &timers[1]);
	assert_int_equal(wheel_next_ns(&wheel), WHEEL_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_come_due_as_in_a_plain_list),
		cmocka_unit_test(many_of_one_slot_come_out_sorted),
		cmocka_unit_test(without_memory_they_come_out_all_the_same),
		cmocka_unit_test(after_a_burst_its_memory_is_given_back),
		cmocka_unit_test(many_that_have_passed_need_not_be_armed_in_order),
		cmocka_unit_test(the_first_tick_of_a_slot_takes_no_longer_than_others),
		cmocka_unit_test(a_slot_whose_timers_are_gone_wakes_nobody),
	};

	begin_chance((uint64_t)getpid());
	wheel_init(&wheel);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
