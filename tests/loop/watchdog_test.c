/* SPDX-License-Identifier: MIT */
#include "loop_fixture.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/*
 * Handlers here end when the watchdog has done what is waited for, and not after a time: how soon it comes on a busy
 * machine does not matter. The limit of tests/run ends a test whose watchdog does nothing.
 */

static struct stint_meter *meter;
static struct stint_meter_loop *account;
static struct stint_watchdog *watchdog;
static uint32_t handler;

static int open_meter(void **state)
{
	(void)state;
	if (stint_meter_new(&meter, NULL) < 0 || stint_meter_loop_new(&account, meter, "watched") < 0)
		return -1;
	handler = (uint32_t)stint_meter_handler(meter, "slow", 1 * MS);
	return 0;
}

static int close_meter(void **state)
{
	(void)state;
	watchdog = stint_watchdog_stop(watchdog);
	account = stint_meter_loop_free(account);
	meter = stint_meter_free(meter);
	return 0;
}

static uint64_t stacks(void)
{
	return __atomic_load_n(&fixture_loop(meter, 0)->stacks_written, __ATOMIC_ACQUIRE);
}

static uint64_t missed(void)
{
	return __atomic_load_n(&fixture_loop(meter, 0)->stacks_missed, __ATOMIC_RELAXED);
}

static const struct stint_meter_file_stack *stack(uint64_t i)
{
	const struct stint_meter_file_loop *loop = fixture_loop(meter, 0);

	return (const struct stint_meter_file_stack *)((const char *)fixture_header(meter) +
						       loop->stacks_offset) +
	       i % loop->stack_slots;
}

static void start(void)
{
	assert_int_equal(stint_watchdog_start(&watchdog, meter, NULL), 0);
}

/* Computes, with a value of its own on the stack, until a stack was taken. */
__attribute__((noinline)) static void compute_until_seen(volatile uint64_t *mark, uint64_t wanted)
{
	while (stacks() < wanted)
		(*mark)++;
}

static bool contains(const struct stint_meter_file_stack *taken, uint64_t word)
{
	for (uint32_t i = 0; i + sizeof(word) <= taken->stack_bytes; i += sizeof(word))
		if (memcmp(taken->stack + i, &word, sizeof(word)) == 0)
			return true;
	return false;
}

static void skip_without_registers(void)
{
#if !defined(__x86_64__)
	puts("skipped: stacks are taken on x86-64 only");
	skip();
#endif
}

static void a_handler_that_computes_past_its_budget_has_its_stack_taken_while_it_runs(void **state)
{
	volatile uint64_t frame[2] = {UINT64_C(0x5eed5eed12345678), 0};
	const struct stint_meter_file_stack *taken;

	(void)state;
	skip_without_registers();
	fixture_skip_on_valgrind("takes the signal itself, and keeps it for later");
	start();
	assert_int_equal(stint_meter_begin(account, handler, 7), 0);
	compute_until_seen(&frame[1], 1);
	assert_int_equal(stint_meter_end(account), 0);
	taken = stack(0);
	assert_int_equal(taken->handler, handler);
	assert_int_equal(taken->fd, 7);
	assert_int_equal(taken->machine, EM_X86_64);
	assert_int_equal(taken->blocked, 0);
	assert_int_equal(taken->begin_ns, fixture_overrun(meter, 0)->start_ns);
	assert_true(taken->time_ns > taken->begin_ns + 1 * MS);
	assert_true(taken->reg[7] <= (uintptr_t)frame);
	assert_true(contains(taken, frame[0]));
}

static void an_overrun_is_looked_at_again_each_time_it_has_doubled(void **state)
{
	volatile uint64_t mark = 0;

	(void)state;
	skip_without_registers();
	fixture_skip_on_valgrind("takes the signal itself, and keeps it for later");
	start();
	assert_int_equal(stint_meter_begin(account, handler, -1), 0);
	compute_until_seen(&mark, 4);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(fixture_loop(meter, 0)->watchdog_hits, 1);
	/* Doubled since the last look, that is: a stack is taken some time after its look. */
	for (uint64_t i = 0; i < 4; i++)
		assert_true(stack(i)->time_ns - stack(i)->begin_ns >= fixture_at_least(MS << i));
}

/* Another thread waits for the watchdog, and then lets the handler's system call end. */
static int gate[2];

static void *open_gate_when_seen(void *ctx)
{
	(void)ctx;
	while (stacks() == 0)
		sched_yield();
	assert_int_equal(write(gate[1], "x", 1), 1);
	return NULL;
}

static void a_handler_blocked_in_a_system_call_is_copied_without_a_signal(void **state)
{
	/* So long that the call is under way when the budget ends, however busy the machine. */
	uint32_t patient = (uint32_t)stint_meter_handler(meter, "patient", 100 * MS);
	const struct stint_meter_file_stack *taken;
	pthread_t opener;
	char byte;

	(void)state;
	skip_without_registers();
	fixture_skip_on_valgrind("makes system calls on a stack of its own");
	assert_int_equal(pipe(gate), 0);
	start();
	assert_int_equal(stint_meter_begin(account, patient, -1), 0);
	assert_int_equal(pthread_create(&opener, NULL, open_gate_when_seen, NULL), 0);
	/* poll() is never restarted: a signal would end it with EINTR. */
	assert_int_equal(poll(&(struct pollfd){.fd = gate[0], .events = POLLIN}, 1, -1), 1);
	assert_int_equal(stint_meter_end(account), 0);
	pthread_join(opener, NULL);
	assert_int_equal(read(gate[0], &byte, 1), 1);
	close(gate[0]);
	close(gate[1]);
	taken = stack(0);
	assert_int_equal(taken->blocked, 1);
	assert_true(taken->reg[16] != 0);
	assert_true(taken->stack_bytes > 0);
	assert_true(taken->reg[7] <= (uintptr_t)&byte &&
		    (uintptr_t)&byte < taken->reg[7] + taken->stack_bytes);
}

static void a_thread_that_blocks_the_signal_is_counted_as_missed(void **state)
{
	sigset_t set, before;

	(void)state;
	skip_without_registers();
	fixture_skip_on_valgrind("takes the signal itself, and keeps it for later");
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 8);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	start();
	assert_int_equal(stint_meter_begin(account, handler, -1), 0);
	while (missed() == 0)
		;
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(stacks(), 0);
	watchdog = stint_watchdog_stop(watchdog);
	sigtimedwait(&set, NULL, &(struct timespec){0});
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static unsigned alarms;
static struct stint_watchdog_late first;
static char first_handler[STINT_METER_NAME_BYTES];

static void on_alarm(void *ctx, const struct stint_watchdog_late *late)
{
	assert_ptr_equal(ctx, &alarms);
	if (alarms == 0) {
		first = *late;
		snprintf(first_handler, sizeof(first_handler), "%s", late->handler);
	}
	__atomic_fetch_add(&alarms, 1, __ATOMIC_RELEASE);
}

static void a_handler_that_does_not_return_raises_the_alarm_again_and_again(void **state)
{
	struct stint_watchdog_options options = {.size = sizeof(options),
						 .alarm_ns = 2 * MS,
						 .alarm = on_alarm,
						 .ctx = &alarms};

	(void)state;
	alarms = 0;
	assert_int_equal(stint_watchdog_start(&watchdog, meter, &options), 0);
	assert_int_equal(stint_meter_begin(account, handler, 9), 0);
	while (__atomic_load_n(&alarms, __ATOMIC_ACQUIRE) < 3)
		;
	assert_int_equal(stint_meter_end(account), 0);
	assert_string_equal(first_handler, "slow");
	assert_int_equal(first.fd, 9);
	assert_int_equal(first.tid, getpid());
	assert_int_equal(first.budget_ns, 1 * MS);
	assert_true(first.running_ns > 2 * MS);
}

static void a_dispatch_within_its_budget_is_left_alone(void **state)
{
	uint32_t patient = (uint32_t)stint_meter_handler(meter, "patient", 3600 * S);
	volatile uint64_t mark = 0;

	(void)state;
	skip_without_registers();
	start();
	assert_int_equal(stint_meter_begin(account, patient, -1), 0);
	fixture_spin(10 * MS);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(stint_meter_begin(account, handler, -1), 0);
	compute_until_seen(&mark, 1);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(stack(0)->handler, handler);
	assert_int_equal(fixture_loop(meter, 0)->watchdog_hits, 1);
}

static void there_is_one_watchdog_in_a_process(void **state)
{
	struct stint_watchdog *second = NULL;

	(void)state;
	start();
	assert_int_equal(stint_watchdog_start(&second, meter, NULL), -EALREADY);
	assert_null(second);
}

static void on_usr(int signal)
{
	(void)signal;
}

static void a_signal_that_is_in_use_is_refused_and_left_alone(void **state)
{
	struct stint_watchdog_options options = {.size = sizeof(options), .signal = SIGUSR1};
	struct sigaction action = {.sa_handler = on_usr}, after;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(stint_watchdog_start(&watchdog, meter, &options), -EBUSY);
	assert_int_equal(sigaction(SIGUSR1, NULL, &after), 0);
	assert_ptr_equal(after.sa_handler, on_usr);
	signal(SIGUSR1, SIG_DFL);
}

static void the_signal_is_as_before_when_it_has_ended(void **state)
{
	struct sigaction after;

	(void)state;
	start();
	watchdog = stint_watchdog_stop(watchdog);
	assert_int_equal(sigaction(SIGRTMIN + 8, NULL, &after), 0);
	assert_ptr_equal(after.sa_handler, SIG_DFL);
}

/* Rests that the watchdog has taken; none takes any time while they are counted, and none may end in the past. */
static uint32_t rests_left, rests_in_the_past;

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
	static int (*of_libc)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

	if (!of_libc)
		*(void **)&of_libc = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	if (__atomic_load_n(&rests_left, __ATOMIC_ACQUIRE) == 0)
		return of_libc(condition, mutex, until);
	if ((uint64_t)until->tv_sec * S + (uint64_t)until->tv_nsec < fixture_now_ns(CLOCK_MONOTONIC))
		rests_in_the_past++;
	__atomic_sub_fetch(&rests_left, 1, __ATOMIC_RELEASE);
	return ETIMEDOUT;
}

/* The later ones are longer, as no loop moves. */
static void the_longest_interval_is_no_end_of_looking(void **state)
{
	const uint64_t intervals_ns[] = {UINT64_MAX, UINT64_MAX / 32 + 1, INT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(intervals_ns) / sizeof(intervals_ns[0]); i++) {
		struct stint_watchdog_options options = {.size = sizeof(options),
							 .interval_ns = intervals_ns[i]};

		rests_in_the_past = 0;
		__atomic_store_n(&rests_left, 200, __ATOMIC_RELEASE);
		assert_int_equal(stint_watchdog_start(&watchdog, meter, &options), 0);
		while (__atomic_load_n(&rests_left, __ATOMIC_ACQUIRE) > 0)
			usleep(1000);
		watchdog = stint_watchdog_stop(watchdog);
		assert_int_equal(rests_in_the_past, 0);
	}
}

static void bad_options_are_refused(void **state)
{
	static const int signals[] = {-1,     65,     SIGKILL, SIGSTOP, SIGSEGV,
				      SIGBUS, SIGFPE, SIGILL,  SIGTRAP, SIGSYS};
	struct stint_watchdog_options options = {.size = sizeof(options), .interval_ns = 1};

	(void)state;
	assert_int_equal(stint_watchdog_start(&watchdog, meter, &options), -EINVAL);
	assert_int_equal(stint_watchdog_start(NULL, meter, NULL), -EINVAL);
	assert_int_equal(stint_watchdog_start(&watchdog, NULL, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		options = (struct stint_watchdog_options){.size = sizeof(options), .signal = signals[i]};
		assert_int_equal(stint_watchdog_start(&watchdog, meter, &options), -EINVAL);
	}
	assert_null(stint_watchdog_stop(NULL));
}

static void a_forked_child_has_none_and_may_have_its_own(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fixture_skip_without_threads_after_fork();
	start();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct stint_watchdog *own = NULL;
		struct stint_meter *own_meter = NULL;
		bool good = stint_meter_new(&own_meter, NULL) == 0 &&
			    stint_watchdog_start(&own, own_meter, NULL) == 0;

		stint_watchdog_stop(own);
		stint_meter_free(own_meter);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_handler_that_computes_past_its_budget_has_its_stack_taken_while_it_runs, open_meter,
			close_meter),
		cmocka_unit_test_setup_teardown(an_overrun_is_looked_at_again_each_time_it_has_doubled,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_handler_blocked_in_a_system_call_is_copied_without_a_signal,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_thread_that_blocks_the_signal_is_counted_as_missed,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(
			a_handler_that_does_not_return_raises_the_alarm_again_and_again, open_meter,
			close_meter),
		cmocka_unit_test_setup_teardown(a_dispatch_within_its_budget_is_left_alone, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(there_is_one_watchdog_in_a_process, open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_signal_that_is_in_use_is_refused_and_left_alone, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(the_signal_is_as_before_when_it_has_ended, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(the_longest_interval_is_no_end_of_looking, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(bad_options_are_refused, open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_forked_child_has_none_and_may_have_its_own, open_meter,
						close_meter),
	};

	return cmocka_run_group_tests(tests, fixture_make_directory, fixture_remove_directory);
}
