/* SPDX-License-Identifier: MIT */
#ifndef SIGNAL_STORM_H
#define SIGNAL_STORM_H

/* A signal every 50 us for the calling thread, without SA_RESTART: each system call that can be interrupted is. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loop_fixture.h"

#define STORM_SIGNAL SIGRTMIN
/* valgrind takes longer than 50 us for a signal, and gets to nothing else. */
#define STORM_INTERVAL_NS (fixture_on_valgrind() ? 5 * 1000 * 1000 : 50 * 1000)

#ifndef sigev_notify_thread_id /* glibc's header lacks it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile sig_atomic_t storm_signals;
static timer_t storm_timer;
static struct sigaction storm_before;

/* A handler that did not keep errno would be at fault itself. */
static void storm_on_signal(int number)
{
	int error = errno;

	(void)number;
	storm_signals++;
	errno = error;
}

static void storm_begin(void)
{
	const struct itimerspec often = {.it_value.tv_nsec = STORM_INTERVAL_NS,
					 .it_interval.tv_nsec = STORM_INTERVAL_NS};
	struct sigaction action = {.sa_handler = storm_on_signal};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = STORM_SIGNAL};

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	storm_signals = 0;
	assert_int_equal(sigaction(STORM_SIGNAL, &action, &storm_before), 0);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &storm_timer), 0);
	assert_int_equal(timer_settime(storm_timer, 0, &often, NULL), 0);
}

/* Returns how many signals there were. */
static long storm_end(void)
{
	timer_delete(storm_timer);
	sigaction(STORM_SIGNAL, &storm_before, NULL);
	return storm_signals;
}

#endif
