/* SPDX-License-Identifier: MIT */

/* An iteration that had begun before stint came: who is in one, and what is no loop. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "running_fixture.h"

static void rest(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 200 * (long)MS}, NULL);
}

static const struct watched_overrun *assert_ran_from_before(uint64_t watched_ns)
{
	const struct watched_overrun *overrun = assert_running();

	assert_ptr_equal(overrun, only_one(has_begun_before));
	assert_true(overrun->is.start_ns >= watched_ns);
	assert_true(overrun->is.duration_ns >= 150 * MS);
	return overrun;
}

static void one_that_computed_before_is_told_since_stint_came(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns, watched_ns;

	(void)state;
	start_unwatched();
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	wait_until(has_computed, before_ns);
	watched_ns = now_ns();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	overrun = assert_ran_from_before(watched_ns);
	assert_true(overrun->is.blocked_ns < overrun->is.duration_ns / 2);
	assert_true(watched_stack_has(overrun, "compute_in_user_space"));
}

static void pin(pid_t pid)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_int_equal(sched_setaffinity(pid, sizeof(first), &first), 0);
}

static pid_t start_rival(void)
{
	pid_t rival = fork();

	assert_true(rival >= 0);
	if (rival == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			;
	}
	pin(rival);
	return rival;
}

/* It has no CPU as stint comes, or for moments only: that it wants one is no computing. */
static void one_that_waited_for_a_cpu_before_is_told_to(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns, watched_ns, had_ns;
	pid_t rival;

	(void)state;
	start_unwatched();
	pin(subject.pid);
	assert_int_equal(sched_setscheduler(subject.pid, SCHED_IDLE, &(struct sched_param){0}), 0);
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	wait_until(has_computed, before_ns);
	rival = start_rival();
	rest();
	before_ns = cpu_ns();
	watched_ns = now_ns();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	had_ns = cpu_ns() - before_ns;
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
	overrun = assert_ran_from_before(watched_ns);
	printf("on a CPU for %.3f of %.3f ms, by its clock %.3f\n", (double)overrun->is.on_cpu_ns / 1e6,
	       (double)overrun->is.duration_ns / 1e6, (double)had_ns / 1e6);
	assert_true(overrun->is.on_cpu_ns <= had_ns + 10 * MS);
}

static void one_that_was_blocked_before_is_told_with_its_call(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t watched_ns;

	(void)state;
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	watched_ns = now_ns();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	overrun = assert_ran_from_before(watched_ns);
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_string_equal(overrun->is.block.in, "read");
	assert_string_equal(overrun->is.block.on, "pipe");
	assert_true(watched_stack_has(overrun, "wait_for_the_pipe"));
}

static void one_that_was_stopped_before_is_told_as_stopped(void **state)
{
	uint64_t watched_ns;
	int status;

	(void)state;
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(subject.pid, &status, WUNTRACED), subject.pid);
	watched_ns = now_ns();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_true(assert_ran_from_before(watched_ns)->is.stopped_ns >= 150 * MS);
}

static void one_that_comes_back_is_told_as_ended(void **state)
{
	const struct watched_overrun *overrun;
	int status;

	(void)state;
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(subject.pid, &status, WUNTRACED), subject.pid);
	watching_add(&watching, subject.pid);
	rest();
	subject_go(&subject);
	subject_answer(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	stop();
	overrun = only_one(has_begun_before);
	assert_non_null(overrun);
	assert_false(overrun->is.running);
	assert_true(overrun->is.stopped_ns >= 150 * MS);
}

static void one_that_is_killed_is_told_as_ended(void **state)
{
	const struct watched_overrun *overrun;
	pid_t pid;

	(void)state;
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	pid = subject.pid;
	watching_add(&watching, pid);
	rest();
	subject_stop(&subject, SIGKILL);
	watching_until_exit(&watching, pid);
	overrun = only_one(has_begun_before);
	assert_non_null(overrun);
	assert_false(overrun->is.running);
	assert_true(overrun->is.duration_ns >= 150 * MS);
}

static void one_that_waits_is_not_told(void **state)
{
	(void)state;
	start_unwatched();
	wait_until(is_in_call, SYS_epoll_wait);
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

/* Its main thread has no loop: it reads commands from a pipe, for ever. */
static void a_thread_that_is_no_loops_is_not_told(void **state)
{
	(void)state;
	watching_or_skip();
	subject_start_loops(&subject, "wait", "3");
	subject_do(&subject, 1, SUBJECT_SYNC, 0);
	subject_do(&subject, 2, SUBJECT_SYNC, 0);
	wait_until(is_in_call, SYS_read);
	rest();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_null(only_one(has_begun_before));
}

/* Of two loops one waits, the other hangs; but so does the main thread, of which nobody knows that it has none. */
static void where_it_may_be_either_none_is_told(void **state)
{
	(void)state;
	watching_or_skip();
	subject_start_loops(&subject, "wait", "2");
	subject_do(&subject, 1, SUBJECT_SYNC, 0);
	subject_send(&subject, 1, SUBJECT_BLOCK, FOREVER);
	wait_until(is_in_call, SYS_read);
	rest();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_null(only_one(has_begun_before));
}

/* ---- what is no loop ---- */

static void do_nothing(void)
{
}

static void poll_once(void)
{
	poll(NULL, 0, 1);
}

static bool has_more(void)
{
	int bytes = 0;

	return ioctl(STDIN_FILENO, FIONREAD, &bytes) == 0 && bytes > 0;
}

/* Until it is told to go on once more. */
static __attribute__((noinline)) void compute_on(void)
{
	while (!has_more())
		for (volatile unsigned i = 0; i < 50000; i++)
			;
}

static void compute_and_poll(void)
{
	compute_on();
	for (;;)
		poll(NULL, 0, -1);
}

static void start_computing(void)
{
	uint64_t before_ns = cpu_ns();

	go_on();
	wait_until(has_computed, before_ns);
}

static void one_without_a_set_that_computed_before_is_told(void **state)
{
	uint64_t watched_ns;

	(void)state;
	watching_or_skip();
	fork_idle(compute_on);
	start_computing();
	watched_ns = now_ns();
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_true(watched_stack_has(assert_ran_from_before(watched_ns), "compute_on"));
}

static void one_without_a_set_that_comes_to_a_poll_is_told_as_ended(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	watching_or_skip();
	fork_idle(compute_and_poll);
	start_computing();
	watching_add(&watching, subject.pid);
	rest();
	go_on();
	wait_until(is_in_call, SYS_poll);
	stop();
	overrun = only_one(has_begun_before);
	assert_non_null(overrun);
	assert_false(overrun->is.running);
	assert_int_equal(overrun->is.wait, STINT_PROBES_WAIT_POLL);
}

static bool is_in_epoll_wait(pid_t tid)
{
	char path[64], call[32] = "";
	FILE *from;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	from = fopen(path, "re");
	if (!from || !fgets(call, sizeof(call), from))
		_exit(1);
	fclose(from);
	return strtol(call, NULL, 10) == SYS_epoll_wait;
}

static pid_t waiter;

static void *say_who_and_wait_on(void *epfd)
{
	__atomic_store_n(&waiter, gettid(), __ATOMIC_RELEASE);
	return wait_on(epfd);
}

/* Registers by another number of the set than it is waited in by, as tokio does. */
static void have_another_thread_wait_in_a_duplicate(void)
{
	static int epfd, duplicate, ends[2];
	struct epoll_event event = {.events = EPOLLHUP};
	pthread_t other;

	epfd = epoll_create1(0);
	duplicate = dup(epfd);
	if (pipe(ends) < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event) < 0 ||
	    epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event) < 0 ||
	    pthread_create(&other, NULL, say_who_and_wait_on, &duplicate) != 0)
		_exit(1);
	while (!__atomic_load_n(&waiter, __ATOMIC_ACQUIRE) || !is_in_epoll_wait(waiter))
		sched_yield();
}

/* The set is in another one, by one of its numbers, and it is that other one that is waited in. */
static void have_another_thread_wait_in_a_set_around_it(void)
{
	static int outer, inner, ends[2];
	struct epoll_event event = {.events = EPOLLHUP};
	pthread_t other;

	outer = epoll_create1(0);
	inner = epoll_create1(0);
	if (dup(inner) < 0 || pipe(ends) < 0 || epoll_ctl(inner, EPOLL_CTL_ADD, ends[0], &event) < 0 ||
	    epoll_ctl(inner, EPOLL_CTL_ADD, ends[1], &event) < 0 ||
	    epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event) < 0 ||
	    pthread_create(&other, NULL, say_who_and_wait_on, &outer) != 0)
		_exit(1);
	while (!__atomic_load_n(&waiter, __ATOMIC_ACQUIRE) || !is_in_epoll_wait(waiter))
		sched_yield();
}

/* That it has read the second of two says that it has done what it does upon the first. */
static bool has_read_all(uint64_t unused)
{
	int bytes = 1;

	(void)unused;
	return ioctl(subject.to, FIONREAD, &bytes) == 0 && bytes == 0 && thread_call(subject.pid) == SYS_read;
}

static void expect_that_who_reads_is_not_told(void (*first)(void))
{
	watching_or_skip();
	fork_idle(first);
	go_on();
	go_on();
	wait_until(has_read_all, 0);
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_null(only_one(has_begun_before));
}

static void a_thread_beside_a_set_of_two_numbers_that_is_waited_in_is_not_told(void **state)
{
	(void)state;
	expect_that_who_reads_is_not_told(have_another_thread_wait_in_a_duplicate);
}

static void nor_one_beside_a_set_of_two_numbers_that_is_in_another(void **state)
{
	(void)state;
	expect_that_who_reads_is_not_told(have_another_thread_wait_in_a_set_around_it);
}

/* Nobody has said that it has a loop. */
static void one_without_a_set_that_is_followed_is_no_loop(void **state)
{
	(void)state;
	watching_or_skip();
	fork_idle(compute_on);
	start_computing();
	assert_int_equal(stint_probes_follow(watching.probes, (uint32_t)subject.pid), 0);
	rest();
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

static void one_without_a_set_that_is_blocked_soon_is_no_loop(void **state)
{
	(void)state;
	watching_or_skip();
	fork_idle(compute_on);
	start_computing();
	watching_add(&watching, subject.pid);
	go_on();
	wait_until(is_in_call, SYS_read);
	for (int i = 0; i < 5; i++)
		rest();
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

static void a_child_that_has_its_parents_set_is_no_loop(void **state)
{
	struct epoll_event registration = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC), never[2];

	(void)state;
	watching_or_skip();
	assert_return_code(epfd, errno);
	assert_return_code(pipe(never), errno);
	assert_return_code(epoll_ctl(epfd, EPOLL_CTL_ADD, never[0], &registration), errno);
	fork_idle(do_nothing);
	go_on();
	wait_until(is_in_call, SYS_read);
	watching_add(&watching, subject.pid);
	rest();
	stop();
	assert_int_equal(watching.overruns_len, 0);
	close(epfd);
	close(never[0]);
	close(never[1]);
}

static void one_that_has_polled_once_is_no_loop(void **state)
{
	(void)state;
	watching_or_skip();
	fork_idle(poll_once);
	watching_add(&watching, subject.pid);
	go_on();
	rest();
	wait_until(is_in_call, SYS_read);
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		OPENED(one_that_computed_before_is_told_since_stint_came),
		OPENED(one_that_waited_for_a_cpu_before_is_told_to),
		OPENED(one_that_was_blocked_before_is_told_with_its_call),
		OPENED(one_that_was_stopped_before_is_told_as_stopped),
		OPENED(one_that_comes_back_is_told_as_ended),
		OPENED(one_that_is_killed_is_told_as_ended),
		OPENED(one_that_waits_is_not_told),
		OPENED(a_thread_that_is_no_loops_is_not_told),
		OPENED(where_it_may_be_either_none_is_told),
		OPENED(one_without_a_set_that_computed_before_is_told),
		OPENED(one_without_a_set_that_comes_to_a_poll_is_told_as_ended),
		OPENED(one_without_a_set_that_is_followed_is_no_loop),
		OPENED(one_without_a_set_that_is_blocked_soon_is_no_loop),
		OPENED(a_child_that_has_its_parents_set_is_no_loop),
		OPENED(one_that_has_polled_once_is_no_loop),
		OPENED(a_thread_beside_a_set_of_two_numbers_that_is_waited_in_is_not_told),
		OPENED(nor_one_beside_a_set_of_two_numbers_that_is_in_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
