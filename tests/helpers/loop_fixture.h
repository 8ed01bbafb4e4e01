/* SPDX-License-Identifier: MIT */
#ifndef LOOP_FIXTURE_H
#define LOOP_FIXTURE_H

/* What the tests of loop/ share: cmocka with its headers, a meter in a directory of its own, figures. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include <cmocka.h>
#include <stint/meter_file.h>
#include <stint/stint.h>

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static char fixture_directory[64];

/* One directory a test program, so that tests can run side by side. */
__attribute__((unused)) static int fixture_make_directory(void **state)
{
	(void)state;
	snprintf(fixture_directory, sizeof(fixture_directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(fixture_directory))
		return -1;
	return setenv("STINT_DIR", fixture_directory, 1);
}

/* The same in memory, for tests that make so many meters that they would wait for the disk. */
__attribute__((unused)) static int fixture_make_memory_directory(void **state)
{
	if (access("/dev/shm", W_OK) < 0)
		return fixture_make_directory(state);
	snprintf(fixture_directory, sizeof(fixture_directory), "/dev/shm/stint-test-XXXXXX");
	return mkdtemp(fixture_directory) ? setenv("STINT_DIR", fixture_directory, 1) : -1;
}

/* Fails if a test left a meter's file behind. */
__attribute__((unused)) static int fixture_remove_directory(void **state)
{
	(void)state;
	return rmdir(fixture_directory);
}

__attribute__((unused)) static uint64_t fixture_now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * S + (uint64_t)ts.tv_nsec;
}

/* Computes for `ns`, and returns how long that took by the wall clock. */
__attribute__((unused)) static uint64_t fixture_spin(uint64_t ns)
{
	uint64_t start_ns = fixture_now_ns(CLOCK_MONOTONIC), now_ns;

	do {
		now_ns = fixture_now_ns(CLOCK_MONOTONIC);
	} while (now_ns - start_ns < ns);
	return now_ns - start_ns;
}

__attribute__((unused)) static const struct stint_meter_file_header *fixture_header(struct stint_meter *meter)
{
	size_t bytes;

	return stint_meter_data(meter, &bytes);
}

__attribute__((unused)) static const struct stint_meter_file_loop *fixture_loop(struct stint_meter *meter,
										uint32_t i)
{
	const struct stint_meter_file_header *header = fixture_header(meter);

	return (const struct stint_meter_file_loop *)((const char *)header + header->loops_offset) + i;
}

/* What the first loop knows of a handler. */
__attribute__((unused)) static const struct stint_meter_file_block *fixture_block(struct stint_meter *meter,
										  uint32_t handler)
{
	const struct stint_meter_file_loop *loop = fixture_loop(meter, 0);
	const char *base = (const char *)fixture_header(meter);

	return (const struct stint_meter_file_block *)(base + loop->blocks_offset +
						       handler * loop->block_stride);
}

__attribute__((unused)) static const struct stint_meter_file_overrun *fixture_overrun(
	struct stint_meter *meter, uint64_t i)
{
	const struct stint_meter_file_loop *loop = fixture_loop(meter, 0);
	const char *base = (const char *)fixture_header(meter);

	return (const struct stint_meter_file_overrun *)(base + loop->overruns_offset) +
	       i % loop->overrun_slots;
}

/* The first overrun of `handler`: the machine may have made one of any other dispatch. */
__attribute__((unused)) static const struct stint_meter_file_overrun *fixture_overrun_of(
	struct stint_meter *meter, uint32_t handler)
{
	for (uint64_t i = 0; i < fixture_loop(meter, 0)->overruns_written; i++)
		if (fixture_overrun(meter, i)->handler == handler)
			return fixture_overrun(meter, i);
	fail_msg("no overrun of handler %u", (unsigned)handler);
	return NULL;
}

/* A sanitizer ends a program that runs out of memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FIXTURE_SANITIZED true
#else
#define FIXTURE_SANITIZED false
#endif

/* valgrind is slow, answers some system calls itself (limits, signal masks), and knows nothing of the newest. */
__attribute__((unused)) static bool fixture_on_valgrind(void)
{
	return RUNNING_ON_VALGRIND != 0;
}

__attribute__((unused)) static void fixture_skip_on_valgrind(const char *why)
{
	if (!fixture_on_valgrind())
		return;
	print_message("skipped: valgrind %s\n", why);
	skip();
}

/* That of Debian 12 does not know pidfd_open(2). */
__attribute__((unused)) static bool fixture_has_pidfds(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0)
		return errno != ENOSYS;
	close(fd);
	return true;
}

__attribute__((unused)) static void fixture_skip_without_pidfds(void)
{
	if (fixture_has_pidfds())
		return;
	print_message("skipped: there are no pidfds here\n");
	skip();
}

/* ThreadSanitizer ends a child that starts a thread, if its parent had some as it forked. */
__attribute__((unused)) static void fixture_skip_without_threads_after_fork(void)
{
#if defined(__SANITIZE_THREAD__)
	print_message("skipped: the thread sanitizer allows no threads after a fork\n");
	skip();
#endif
}

/*
 * Leaves no memory for as much as a thread's stack. Where that cannot be done, skips the test. `before` is what
 * setrlimit() is to restore.
 */
__attribute__((unused)) static void fixture_take_memory(struct rlimit *before)
{
	struct rlimit low;
	void *probe = MAP_FAILED;

	assert_int_equal(getrlimit(RLIMIT_DATA, before), 0);
	low = (struct rlimit){.rlim_cur = 4 << 20, .rlim_max = before->rlim_max};
	if (!FIXTURE_SANITIZED) {
		assert_int_equal(setrlimit(RLIMIT_DATA, &low), 0);
		probe = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (probe == MAP_FAILED)
			return;
		munmap(probe, 8 << 20);
		setrlimit(RLIMIT_DATA, before);
	}
	print_message("skipped: memory cannot be limited under a sanitizer or valgrind\n");
	skip();
}

/* What `ns` of CLOCK_MONOTONIC are at least by the clock of a loop, which is new: its rate is known to better than 1 %. */
__attribute__((unused)) static uint64_t fixture_at_least(uint64_t ns)
{
	return ns - ns / 100;
}

__attribute__((unused)) static void fixture_set_flag(struct stint_timer *timer, void *flag)
{
	(void)timer;
	*(volatile bool *)flag = true;
}

/* How often a loop goes round in 20 ms: thousands of times, if it spins. */
__attribute__((unused)) static int fixture_iterations_in_20_ms(struct stint_loop *loop)
{
	struct stint_timer *timer;
	volatile bool over = false;
	int iterations = 0;

	assert_int_equal(stint_timer_new(&timer, loop, 0, fixture_set_flag, (void *)(uintptr_t)&over), 0);
	assert_int_equal(stint_timer_start(timer, 20 * MS, 0), 0);
	for (; !over; iterations++)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	stint_timer_free(timer);
	return iterations;
}

__attribute__((unused)) static void assert_within_percent(uint64_t value, uint64_t expected, uint64_t percent)
{
	uint64_t off = value > expected ? value - expected : expected - value;

	if (off * 100 > expected * percent)
		fail_msg("%llu is not within %llu %% of %llu", (unsigned long long)value,
			 (unsigned long long)percent, (unsigned long long)expected);
}

#endif
