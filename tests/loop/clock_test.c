/* SPDX-License-Identifier: MIT */

/* The clock of a loop: it tells CLOCK_MONOTONIC, whatever becomes of the TSC. */

#include "loop/meter_account.h"
#include "loop_fixture.h"

#include <fcntl.h>
#include <sched.h>

static struct stint_meter *meter;
static struct stint_meter_loop *account;

static int open_meter(void **state)
{
	(void)state;
	if (stint_meter_new(&meter, NULL) < 0)
		return -1;
	return stint_meter_loop_new(&account, meter, NULL);
}

static int close_meter(void **state)
{
	(void)state;
	account = stint_meter_loop_free(account);
	meter = stint_meter_free(meter);
	return 0;
}

/* How far a reading is from lying between two of CLOCK_MONOTONIC around it; 0 if it does. */
static uint64_t off_monotonic(uint64_t last_ns, uint64_t *ret_now_ns)
{
	uint64_t before_ns = fixture_now_ns(CLOCK_MONOTONIC);
	uint64_t now_ns = stint_meter_now_ns(account);
	uint64_t after_ns = fixture_now_ns(CLOCK_MONOTONIC);

	assert_true(now_ns >= last_ns);
	*ret_now_ns = now_ns;
	if (now_ns < before_ns)
		return before_ns - now_ns;
	return now_ns > after_ns ? now_ns - after_ns : 0;
}

static void the_clock_follows_clock_monotonic_and_never_goes_back(void **state)
{
	uint64_t end_ns = fixture_now_ns(CLOCK_MONOTONIC) + 150 * MS, last_ns = 0, worst_ns = UINT64_MAX;

	(void)state;
	while (last_ns < end_ns) {
		uint64_t off_ns = off_monotonic(last_ns, &last_ns);

		if (off_ns < worst_ns)
			worst_ns = off_ns;
		assert_true(off_ns < MS / 10);
		stint_meter_poll_begin(account);
		stint_meter_poll_end(account, 0);
	}
	assert_true(worst_ns < 1000);
}

static void skip_without_tsc(const struct clock *clock)
{
	if (clock->tsc)
		return;
	print_message("skipped: the clock is not made of the TSC\n");
	skip();
}

/* As if the TSC had run for `ns` while CLOCK_MONOTONIC stood, or had been set back by as much. */
static void tear(struct clock *clock, int64_t ns)
{
	uint64_t ticks = (uint64_t)(((clock_wide)(uint64_t)(ns < 0 ? -ns : ns) << 64) / clock->mult);

	clock->base_ticks -= ns < 0 ? -ticks : ticks;
	clock->offset_ns += (uint64_t)ns;
}

static void assert_is_now(const struct clock *clock, uint64_t before_ns)
{
	assert_true(clock->now_ns + MS / 2 >= before_ns);
	assert_true(clock->now_ns <= fixture_now_ns(CLOCK_MONOTONIC) + MS / 2);
}

static void the_clock_survives_a_sleep_of_the_machine(void **state)
{
	/* The second comes before an anchor has found the rate again, and is not to pass for the same other rate. */
	const int64_t tears_ns[] = {3 * (int64_t)S, 1000 * (int64_t)S, -3 * (int64_t)S};
	struct clock *clock = &account->clock;
	uint64_t mult = clock->mult;

	(void)state;
	skip_without_tsc(clock);
	for (size_t i = 0; i < sizeof(tears_ns) / sizeof(tears_ns[0]); i++) {
		uint64_t before_ns;

		/* Long enough for a rate to be had from it. */
		assert_int_equal(stint_meter_poll_begin(account), 0);
		fixture_spin(2 * MS);
		tear(clock, tears_ns[i]);
		before_ns = fixture_now_ns(CLOCK_MONOTONIC);
		assert_int_equal(stint_meter_poll_end(account, 0), 0);
		assert_is_now(clock, before_ns);
		fixture_spin(2 * MS);
		before_ns = fixture_now_ns(CLOCK_MONOTONIC);
		stint_meter_now_ns(account);
		assert_is_now(clock, before_ns);
	}
	assert_within_percent(clock->mult, mult, 2);
}

static void a_rate_that_is_found_twice_is_taken(void **state)
{
	struct clock *clock = &account->clock;
	uint64_t mult = clock->mult;

	(void)state;
	skip_without_tsc(clock);
	clock->mult = mult / 2;
	for (int i = 0; i < 2; i++) {
		fixture_spin(2 * MS);
		clock->next_anchor_ns = 0;
		assert_int_equal(stint_meter_poll_end(account, 0), 0);
	}
	assert_within_percent(clock->mult, mult, 2);
}

static void the_clock_is_the_same_on_every_processor(void **state)
{
	uint64_t last_ns = 0;
	cpu_set_t allowed;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	for (int round = 0; round < 50; round++) {
		/* What is off because the rate is not known well yet does not add up, however long this takes. */
		stint_meter_poll_begin(account);
		stint_meter_poll_end(account, 0);
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			cpu_set_t one;

			if (!CPU_ISSET(cpu, &allowed))
				continue;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
			assert_true(off_monotonic(last_ns, &last_ns) < MS / 10);
		}
	}
	assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}

static void read_clock_source(char *ret, size_t bytes)
{
	FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

	*ret = '\0';
	if (!file)
		return;
	if (!fgets(ret, (int)bytes, file))
		*ret = '\0';
	fclose(file);
}

/* The shortest of many times that the time was asked for, of the library or of the kernel. */
static uint64_t shortest_ns(bool of_kernel)
{
	uint64_t shortest_ns = UINT64_MAX;
	struct timespec ignored;

	for (int i = 0; i < 1000; i++) {
		uint64_t begin_ns = fixture_now_ns(CLOCK_MONOTONIC), took_ns;

		if (of_kernel)
			syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ignored);
		else
			fixture_now_ns(CLOCK_MONOTONIC);
		took_ns = fixture_now_ns(CLOCK_MONOTONIC) - begin_ns;
		if (took_ns < shortest_ns)
			shortest_ns = took_ns;
	}
	return shortest_ns;
}

/* As valgrind has it, no time is to be had without a call, so it is not of the TSC there. */
static void a_kvm_clock_that_needs_no_call_is_read_as_what_it_is_made_of(void **state)
{
	char source[32];

	(void)state;
	read_clock_source(source, sizeof(source));
	if (strcmp(source, "kvm-clock\n") != 0) {
		printf("skipped: the kernel's clock is not kvm-clock\n");
		skip();
	}
	assert_int_equal(fixture_header(meter)->clock, shortest_ns(false) < shortest_ns(true) / 2
							       ? STINT_METER_CLOCK_TSC
							       : STINT_METER_CLOCK_GETTIME);
}

/* ---- a sleep amid a callback ---- */

static struct {
	struct stint_loop *loop;
	uint32_t handler;
	int64_t ns; /* of the next; those after it are longer, as two alike would pass for another rate */
	bool read;  /* the clock is read once more before the callback ends */
	int fds[2];
} sleeping;

static void sleep_amid(void)
{
	struct stint_meter_loop *of_loop = stint_loop_account(sleeping.loop);

	fixture_spin(2 * MS);
	tear(&of_loop->clock, sleeping.ns);
	sleeping.ns *= 300;
	if (sleeping.read)
		(void)stint_meter_now_ns(of_loop);
}

static void sleep_on_fd(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	stint_fd_free(source);
	sleep_amid();
}

static void sleep_on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	sleep_amid();
}

static void sleep_on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	if (error == 0)
		sleep_amid();
}

static void sleep_in_scope(struct stint_deferred *deferred, void *ctx)
{
	struct stint_meter_loop *of_loop = stint_loop_account(sleeping.loop);

	(void)deferred;
	(void)ctx;
	assert_int_equal(stint_meter_begin(of_loop, sleeping.handler, -1), 0);
	sleep_amid();
	assert_int_equal(stint_meter_end(of_loop), 0);
}

static void prepare_fds(void)
{
	struct stint_fd *source;

	for (int i = 0; i < 2; i++) /* one is for writing */
		assert_int_equal(stint_fd_new(&source, sleeping.loop, sleeping.fds[i],
					      i ? STINT_WRITE : STINT_READ, sleeping.handler, sleep_on_fd,
					      NULL),
				 0);
	assert_int_equal(write(sleeping.fds[1], "x", 1), 1);
}

static void prepare_fd(void)
{
	struct stint_fd *source;

	assert_int_equal(stint_fd_new(&source, sleeping.loop, sleeping.fds[1], STINT_WRITE, sleeping.handler,
				      sleep_on_fd, NULL),
			 0);
}

static void prepare_timer(void)
{
	struct stint_timer *timer;

	assert_int_equal(stint_timer_new(&timer, sleeping.loop, sleeping.handler, sleep_on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
}

static void prepare_post(void)
{
	static struct stint_post post;
	struct stint_mailbox *mailbox;

	post = (struct stint_post){.callback = sleep_on_post, .handler = sleeping.handler};
	assert_int_equal(stint_mailbox_new(&mailbox, sleeping.loop), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
}

static void prepare_scope(void)
{
	struct stint_deferred *deferred;

	assert_int_equal(stint_deferred_new(&deferred, sleeping.loop, 0, sleep_in_scope, NULL), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
}

static void iterate_with_a_sleep(void (*prepare)(void))
{
	const struct stint_histogram *service;
	uint64_t begin_ns, took_ns;
	struct clock *clock;

	assert_int_equal(stint_loop_new(&sleeping.loop, NULL), 0);
	assert_int_equal(pipe2(sleeping.fds, O_NONBLOCK | O_CLOEXEC), 0);
	clock = &stint_loop_account(sleeping.loop)->clock;
	skip_without_tsc(clock);
	sleeping.handler = (uint32_t)stint_loop_handler(sleeping.loop, "sleeps", 0);
	begin_ns = fixture_now_ns(CLOCK_MONOTONIC);
	prepare();
	assert_int_equal(stint_loop_iterate(sleeping.loop, 0), 0);
	took_ns = fixture_now_ns(CLOCK_MONOTONIC) - begin_ns;
	assert_is_now(clock, begin_ns);
	service = &stint_loop_account(sleeping.loop)
			   ->hot[sleeping.handler]
			   .block->histogram[STINT_METER_HANDLER_SERVICE];
	assert_true(service->count > 0);
	assert_true(service->min >= fixture_at_least(2 * MS));
	assert_true(fixture_at_least(service->max) <= took_ns);
	/* And it goes on. */
	begin_ns = begin_ns + took_ns;
	fixture_spin(2 * MS);
	assert_int_equal(stint_loop_iterate(sleeping.loop, 0), 0);
	assert_is_now(clock, begin_ns + 2 * MS);
	sleeping.loop = stint_loop_free(sleeping.loop);
	close(sleeping.fds[0]);
	close(sleeping.fds[1]);
}

/* Neither is it the callback's time, nor does the clock stand for as long. */
static void a_sleep_of_the_machine_amid_a_callback_is_nobodys_time(void **state)
{
	static void (*const ways[])(void) = {prepare_fd, prepare_fds, prepare_timer, prepare_post,
					     prepare_scope};

	(void)state;
	for (size_t i = 0; i < 4 * sizeof(ways) / sizeof(ways[0]); i++) {
		sleeping.ns = (i % 2 ? -3 : 3) * (int64_t)S;
		sleeping.read = i / 2 % 2;
		iterate_with_a_sleep(ways[i / 4]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_meter, close_meter)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_clock_follows_clock_monotonic_and_never_goes_back),
		TEST(the_clock_survives_a_sleep_of_the_machine),
		TEST(a_rate_that_is_found_twice_is_taken),
		TEST(the_clock_is_the_same_on_every_processor),
		TEST(a_kvm_clock_that_needs_no_call_is_read_as_what_it_is_made_of),
		cmocka_unit_test(a_sleep_of_the_machine_amid_a_callback_is_nobodys_time),
	};

	return cmocka_run_group_tests_name("clock", tests, fixture_make_directory, fixture_remove_directory);
}
