/* SPDX-License-Identifier: MIT */

/* Timers, as a program has them on its loop. Of the wheel that they are armed in, timer_wheel_test.c. */

#include "loop/timer_wheel.h"
#include "sources_fixture.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/epoll.h>

static char order[16];
static struct stint_timer *victim;

static void note(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	strncat(order, ctx, 1);
}

static void timers_come_in_the_order_of_their_deadlines(void **state)
{
	static char names[] = "dacb";
	const uint64_t delays_ns[] = {4 * MS, 1 * MS, 3 * MS, 2 * MS};
	uint64_t start_ns = stint_loop_now_ns(loop);

	(void)state;
	order[0] = '\0';
	for (int i = 0; i < 4; i++) {
		struct stint_timer *timer;

		assert_int_equal(stint_timer_new(&timer, loop, 0, note, &names[i]), 0);
		assert_int_equal(stint_timer_start_at(timer, start_ns + delays_ns[i], 0), 0);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "abcd");
	assert_true(stint_loop_now_ns(loop) - start_ns >= 4 * MS);
}

static uint64_t last_due_ns;

static void check_grid(struct stint_timer *timer, void *ctx)
{
	uint64_t due_ns = stint_timer_due_ns(timer), period_ns = *(uint64_t *)ctx;

	if (last_due_ns)
		assert_int_equal((due_ns - last_due_ns) % period_ns, 0);
	last_due_ns = due_ns;
	if (++calls == 3)
		fixture_spin(5 * period_ns / 2); /* ticks are missed, the grid is kept */
	if (calls == 6)
		stint_timer_stop(timer);
}

static void a_periodic_timer_keeps_its_grid(void **state)
{
	struct stint_timer *timer;
	uint64_t period_ns = 2 * MS;

	(void)state;
	last_due_ns = 0;
	assert_int_equal(stint_timer_new(&timer, loop, 0, check_grid, &period_ns), 0);
	assert_int_equal(stint_timer_start(timer, period_ns, period_ns), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 6);
}

/* Started in a callback for a time that has passed, with others that are due: it waits, and stopping it changes nothing. */
static void start_in_the_past(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	assert_int_equal(stint_timer_start_at(victim, last_due_ns, 10 * MS), 0);
	assert_int_equal(stint_timer_due_ns(victim), last_due_ns);
	if (calls++ == 1)
		assert_int_equal(stint_timer_stop(victim), 0);
}

static void count_on_grid(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	calls += 100;
	assert_int_equal((stint_timer_due_ns(timer) - last_due_ns) % (10 * MS), 0);
	assert_true(stint_timer_due_ns(timer) > stint_loop_now_ns(loop));
	stint_timer_stop(timer);
}

/* Ticks in a slot of the wheel's third level, which are 1.07 s. */
#define SLOT_NS (UINT64_C(1) << (WHEEL_TICK_BITS + 2 * WHEEL_SLOT_BITS))

struct rearming {
	struct stint_timer *rearmed, *soon;
	uint64_t wheel_ns; /* the wheel stands there, or before */
	bool done;
};

/*
 * While the wheel stands in another slot, all times of this one have their place in the same slot: that of the deadline
 * that has passed, which the timer has in its wait for the next iteration, and that of the one which it is given next.
 */
static void rearm_within_a_slot(struct stint_deferred *deferred, void *ctx)
{
	struct rearming *timers = ctx;
	uint64_t now_ns = stint_loop_now_ns(loop), slot_ns = now_ns / SLOT_NS * SLOT_NS;

	(void)deferred;
	if (timers->wheel_ns >= slot_ns || slot_ns + SLOT_NS - now_ns < SLOT_NS / 2)
		return;
	assert_int_equal(stint_timer_start_at(timers->rearmed, slot_ns, S), 0);
	assert_int_equal(stint_timer_start_at(timers->rearmed, slot_ns + SLOT_NS - 1, 0), 0);
	assert_int_equal(stint_timer_start(timers->soon, SLOT_NS / 4, 0), 0);
	timers->done = true;
}

static void note_turn_and_stop(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	*(int *)ctx = ++calls;
	stint_loop_stop(loop);
}

/*
 * The wheel stands still as long as the loop waits, and is behind by the time that something else than a timer ends that.
 */
static void a_timer_rearmed_out_of_a_past_grid_holds_up_no_other(void **state)
{
	struct stint_deferred *deferred;
	struct rearming timers = {0};
	struct stint_timer *far;
	int rearmed = 0, soon = 0;

	(void)state;
	assert_int_equal(stint_timer_new(&far, loop, 0, tick_never, NULL), 0);
	assert_int_equal(stint_timer_new(&timers.rearmed, loop, 0, note_turn_and_stop, &rearmed), 0);
	assert_int_equal(stint_timer_new(&timers.soon, loop, 0, note_turn_and_stop, &soon), 0);
	assert_int_equal(stint_deferred_new(&deferred, loop, 0, rearm_within_a_slot, &timers), 0);
	assert_int_equal(stint_timer_start(far, 3600 * S, 0), 0);
	timers.wheel_ns = stint_loop_now_ns(loop);
	while (!timers.done) {
		assert_int_equal(stint_loop_iterate(loop, SLOT_NS - stint_loop_now_ns(loop) % SLOT_NS), 0);
		assert_int_equal(stint_deferred_schedule(deferred), 0);
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(soon, 1);
}

static void a_grid_that_began_in_the_past_is_kept_in_a_callback_too(void **state)
{
	struct stint_timer *timer;

	(void)state;
	last_due_ns = stint_loop_now_ns(loop) - 3 * MS;
	assert_int_equal(stint_timer_new(&victim, loop, 0, count_on_grid, NULL), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(stint_timer_new(&timer, loop, 0, start_in_the_past, NULL), 0);
		assert_int_equal(stint_timer_start_at(timer, i, 0), 0);
	}
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 3);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 103);
}

static void a_period_without_end_is_one_tick(void **state)
{
	struct stint_timer *endless, *other;
	int ticks = 0, others = 0;

	(void)state;
	assert_int_equal(stint_timer_new(&endless, loop, 0, count_tick, &ticks), 0);
	assert_int_equal(stint_timer_new(&other, loop, 0, count_tick, &others), 0);
	assert_int_equal(stint_timer_start(endless, 0, UINT64_MAX), 0);
	assert_int_equal(stint_timer_start(other, 1, 0), 0);
	while (!others)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(ticks, 1);
	assert_int_equal(stint_timer_due_ns(endless), UINT64_MAX - 1);
}

static void cancel_victim(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	victim = stint_timer_free(victim);
	stint_timer_free(timer);
	calls++;
}

/* Of all deadlines, 0 is the one that would say that it is not. */
static void a_timer_armed_for_the_beginning_of_time_is_armed(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, note, NULL), 0);
	assert_int_equal(stint_timer_start_at(timer, 0, 0), 0);
	assert_true(stint_timer_due_ns(timer) > 0);
	assert_int_equal(stint_timer_stop(timer), 0);
	assert_int_equal(stint_timer_due_ns(timer), 0);
}

static void a_timer_that_is_due_can_be_cancelled_by_another(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, cancel_victim, NULL), 0);
	assert_int_equal(stint_timer_new(&victim, loop, 0, tick_never, NULL), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	assert_int_equal(stint_timer_start_at(victim, 2, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void a_timer_started_in_an_iteration_waits_for_the_next(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, start_again, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	for (int i = 1; i <= 5; i++) {
		stint_loop_iterate(loop, UINT64_MAX);
		assert_int_equal(calls, i);
	}
}

static uint64_t seed = 2463534242u;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void check_order(struct stint_timer *timer, void *ctx)
{
	uint64_t due_ns = *(uint64_t *)ctx;

	(void)timer;
	assert_true(due_ns >= last_due_ns);
	last_due_ns = due_ns;
	calls++;
}

/* 10,007 timers set, set again and cancelled at random come out sorted, and only those that are left. */
static void many_timers_come_out_sorted(void **state)
{
	enum { COUNT = 10007 };
	static struct stint_timer *timers[COUNT];
	static uint64_t due[COUNT];
	int left = COUNT;

	(void)state;
	last_due_ns = 0;
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(stint_timer_new(&timers[i], loop, 0, check_order, &due[i]), 0);
		due[i] = 1 + next_random() % MS;
		assert_int_equal(stint_timer_start_at(timers[i], due[i], 0), 0);
	}
	for (int i = 0; i < 2 * COUNT; i++) {
		int one = (int)(next_random() % COUNT);

		if (!timers[one])
			continue;
		if (next_random() % 4) {
			due[one] = 1 + next_random() % MS;
			assert_int_equal(stint_timer_start_at(timers[one], due[one], 0), 0);
		} else {
			timers[one] = stint_timer_free(timers[one]);
			left--;
		}
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, left);
	assert_int_equal(fixture_loop(meter, 0)->events, left);
}

/* The last limit of a poll. Instead of libc's, for the library too. */
static uint64_t poll_limit_ns;

int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
		 const sigset_t *signals)
{
	static int (*of_libc)(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

	if (!of_libc)
		*(void **)&of_libc = dlsym(RTLD_NEXT, "epoll_pwait2");
	poll_limit_ns = timeout ? (uint64_t)timeout->tv_sec * S + (uint64_t)timeout->tv_nsec : 0;
	return of_libc(epoll, events, most, timeout, signals);
}

static uint64_t poll_returned_ns;

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	static int (*of_libc)(int, struct epoll_event *, int, int);
	int count;

	if (!of_libc)
		*(void **)&of_libc = dlsym(RTLD_NEXT, "epoll_wait");
	count = of_libc(epoll, events, most, timeout_ms);
	poll_returned_ns = fixture_now_ns(CLOCK_MONOTONIC);
	return count;
}

static void tell_when_it_began(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	*(uint64_t *)ctx = stint_loop_now_ns(loop);
	stint_fd_free(source);
}

static void sorting_many_timers_is_no_handlers_time(void **state)
{
	enum { COUNT = 50000 };
	struct stint_timer *timer;
	struct stint_fd *source;
	uint64_t began_ns = 0;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, tell_when_it_began, &began_ns),
			 0);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(stint_timer_new(&timer, loop, 0, count_tick, &calls), 0);
		assert_int_equal(stint_timer_start_at(timer, 1 + next_random() % MS, 0), 0);
	}
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, COUNT);
	/* At least 1 ns each. */
	assert_true(began_ns >= poll_returned_ns + COUNT);
	close_pipe(fds);
}

static void spin_and_tell_when_it_ended(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	fixture_spin(20 * MS);
	*(uint64_t *)ctx = fixture_now_ns(CLOCK_MONOTONIC);
}

static void without_a_meter_a_timer_waits_no_longer_for_what_callbacks_took(void **state)
{
	struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	struct stint_deferred *deferred;
	struct stint_timer *timer;
	uint64_t ended_ns = 0, due_ns;

	(void)state;
	fixture_close_loop(NULL);
	poll_limit_ns = 0;
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, count_tick, &calls), 0);
	assert_int_equal(stint_deferred_new(&deferred, loop, 0, spin_and_tell_when_it_ended, &ended_ns), 0);
	assert_int_equal(stint_timer_start(timer, 100 * MS, 0), 0);
	due_ns = stint_timer_due_ns(timer);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	/* A poll that comes late has a shorter limit, or none if the timer is due. */
	assert_true(ended_ns + fixture_at_least(poll_limit_ns) <= due_ns + MS || poll_limit_ns == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(timers_come_in_the_order_of_their_deadlines),
		TEST(a_periodic_timer_keeps_its_grid),
		TEST(a_timer_rearmed_out_of_a_past_grid_holds_up_no_other),
		TEST(a_grid_that_began_in_the_past_is_kept_in_a_callback_too),
		TEST(a_period_without_end_is_one_tick),
		TEST(a_timer_armed_for_the_beginning_of_time_is_armed),
		TEST(a_timer_that_is_due_can_be_cancelled_by_another),
		TEST(a_timer_started_in_an_iteration_waits_for_the_next),
		TEST(many_timers_come_out_sorted),
		TEST(sorting_many_timers_is_no_handlers_time),
		TEST(without_a_meter_a_timer_waits_no_longer_for_what_callbacks_took),
	};

	return cmocka_run_group_tests_name("timers", tests, fixture_make_directory, fixture_remove_directory);
}
