/* SPDX-License-Identifier: MIT */

/* A loop that hangs comes to no wait in which its iteration would be told: it is told when the recording ends. */

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
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "thread_call.h"
#include "watching_fixture.h"

#define MS      UINT64_C(1000000)
#define FOREVER (UINT64_C(3600) * 1000 * MS)
#define TRIES   6000 /* looks, 10 ms apart */

static uint64_t ended_ns;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void start_unwatched(void)
{
	watching_or_skip();
	subject_start(&subject, "tests/subjects/late", NULL);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
}

static void start(void)
{
	start_unwatched();
	watching_add(&watching, subject.pid);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
}

static void read_proc(const char *file, char *ret, size_t bytes)
{
	char path[64];
	FILE *from;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)subject.pid, file);
	from = fopen(path, "re");
	assert_non_null(from);
	len = fread(ret, 1, bytes - 1, from);
	ret[len] = '\0';
	fclose(from);
}

static uint64_t cpu_ns(void)
{
	char text[128];

	read_proc("schedstat", text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static bool has_computed(uint64_t before_ns)
{
	return cpu_ns() - before_ns >= 20 * MS;
}

static uint64_t since_ns; /* it has been seen in that call; 0: not yet */

static bool is_in_call(uint64_t number)
{
	if (thread_call(subject.pid) != (long)number)
		since_ns = 0;
	else if (!since_ns)
		since_ns = now_ns();
	return since_ns && now_ns() - since_ns >= 20 * MS;
}

/*
 * And for longer than all that came before, since what it does was asked for: its thread "holder" is waited for in another
 * read, which takes as long as that waits for a CPU.
 */
static bool is_in_read_for_most(uint64_t asked_ns)
{
	static char before[256];
	char text[256] = "";

	read_proc("syscall", text, sizeof(text));
	if (strcmp(text, before) != 0)
		since_ns = 0;
	memcpy(before, text, sizeof(before));
	return is_in_call(SYS_read) && now_ns() - since_ns > since_ns - asked_ns;
}

static void wait_until(bool (*is_so)(uint64_t arg), uint64_t arg)
{
	struct timespec moment = {.tv_nsec = 10 * (long)MS};

	since_ns = 0;
	for (int i = 0; i < TRIES && !is_so(arg); i++)
		nanosleep(&moment, NULL);
	assert_true(is_so(arg));
}

static void stop(void)
{
	assert_int_equal(stint_probes_stop(watching.probes, &ended_ns), 0);
	watching_take(&watching);
	assert_overruns_consistent(&watching);
}

static bool is_running(const struct watched_overrun *overrun)
{
	return overrun->is.running;
}

static bool has_begun_before(const struct watched_overrun *overrun)
{
	return overrun->is.began_before;
}

/* NULL: there is none; two fail the test. */
static const struct watched_overrun *only_one(bool (*is_it)(const struct watched_overrun *overrun))
{
	const struct watched_overrun *found = NULL;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		if (!is_it(&watching.overruns[i]))
			continue;
		assert_null(found);
		found = &watching.overruns[i];
	}
	return found;
}

static const struct watched_overrun *assert_running(void)
{
	const struct watched_overrun *overrun = only_one(is_running);

	assert_non_null(overrun);
	assert_int_equal(overrun->is.tid, subject.pid);
	assert_int_equal(overrun->is.start_ns + overrun->is.duration_ns, ended_ns);
	assert_true(overrun->is.duration_ns >= 20 * MS);
	return overrun;
}

static void one_that_computes_on_is_told_with_its_stack(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns;

	(void)state;
	start();
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	wait_until(has_computed, before_ns);
	stop();
	overrun = assert_running();
	assert_true(overrun->is.parts.user_ns + overrun->is.parts.stolen_ns > overrun->is.parts.kernel_ns);
	assert_true(overrun->is.blocked_ns < overrun->is.duration_ns / 2);
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_COMPUTED);
	assert_true(watched_stack_has(overrun, "compute_in_user_space"));
	assert_true(watched_stack_has(overrun, "main"));
}

static void one_that_is_blocked_is_told_with_its_call_and_its_stack(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t asked_ns;

	(void)state;
	start();
	asked_ns = now_ns();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_read_for_most, asked_ns);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_string_equal(overrun->is.syscalls[0].name, "read");
	assert_string_equal(overrun->is.block.in, "read");
	assert_string_equal(overrun->is.block.on, "pipe");
	assert_string_equal(overrun->is.block.waker, "");
	assert_string_equal(overrun->is.block.waker_what, "");
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
	assert_true(watched_stack_has(overrun, "wait_for_the_pipe"));
	assert_true(watched_stack_has(overrun, "main"));
	assert_string_equal(overrun->handler, "on_command");
}

/* They are there still, but what a number stood for is for the kernel's side to say, which sees the file. */
static void its_victims_are_named_for_certain(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns;

	(void)state;
	watching_or_skip();
	subject_start(&subject, "tests/subjects/epoll_loop", NULL);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	before_ns = cpu_ns();
	subject_send(&subject, 0, SUBJECT_BURST, FOREVER);
	wait_until(has_computed, before_ns);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.victims_len, 2);
	for (uint32_t i = 0; i < overrun->is.victims_len; i++) {
		assert_string_equal(overrun->is.victims_list[i].name, "pipe");
		assert_false(overrun->is.victims_list[i].name_inferred);
	}
}

static void one_that_is_stopped_is_told_as_stopped(void **state)
{
	const struct watched_overrun *overrun;
	int status;

	(void)state;
	start();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(waitpid(subject.pid, &status, WUNTRACED), subject.pid);
	assert_true(WIFSTOPPED(status));
	nanosleep(&(struct timespec){.tv_nsec = 20 * (long)MS}, NULL);
	stop();
	overrun = assert_running();
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_true(overrun->is.stopped_ns > overrun->is.duration_ns / 2);
	assert_true(overrun->is.block.is_stopped);
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
	assert_true(watched_stack_has(overrun, "on_command"));
}

static void one_that_has_ended_is_told_once_as_ended(void **state)
{
	(void)state;
	start();
	subject_do(&subject, 0, SUBJECT_BLOCK, 20 * MS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	wait_until(is_in_call, SYS_epoll_wait);
	stop();
	assert_null(only_one(is_running));
	assert_true(watching_count(&watching, 20 * MS) >= 1); /* others too, where the CPU was stolen */
}

static void one_within_its_budget_is_not_told(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .budget_ns = FOREVER};

	(void)state;
	watching_or_skip();
	watching_open(&watching, &options);
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	stop();
	assert_int_equal(watching.overruns_len, 0);
}

static void its_time_is_in_no_histogram(void **state)
{
	struct watched_loop loop;
	int32_t epfd;

	(void)state;
	start();
	epfd = subject_do(&subject, 0, SUBJECT_SYNC, 0).epfd;
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	stop();
	assert_running();
	assert_true(watching_loop(&watching, subject.pid, epfd, &loop));
	assert_true(loop.is.busy_max_ns < 20 * MS || watching_count(&watching, 20 * MS) > 1);
}

/* ---- what had begun before stint came ---- */

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

/* ---- while it goes on ---- */

#define HANG_NS (500 * MS)

static void open_with_hangs(void)
{
	struct stint_probes_options options = {.size = sizeof(options), .hang_ns = HANG_NS};

	watching_or_skip();
	watching_open(&watching, &options);
}

static void take_until_hangs(size_t count)
{
	for (int i = 0; i < TRIES && watching.hangs_len < count; i++)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_true(watching.hangs_len >= count);
}

static const struct watched_hang *take_hang(void)
{
	const struct watched_hang *hang;

	take_until_hangs(1);
	hang = &watching.hangs[0];
	assert_int_equal(hang->is.pid, subject.pid);
	assert_int_equal(hang->is.tid, subject.pid);
	assert_true(hang->is.duration_ns >= HANG_NS);
	return hang;
}

static void one_that_computes_on_is_told_meanwhile(void **state)
{
	const struct watched_hang *hang;

	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_SPIN, FOREVER);
	hang = take_hang();
	if (hang->is.state == STINT_PROBES_HANG_RUNNABLE) /* others had its CPU */
		return;
	assert_int_equal(hang->is.state, STINT_PROBES_HANG_COMPUTING);
	assert_string_equal(hang->handler, "on_command");
}

static void one_that_is_blocked_is_told_meanwhile(void **state)
{
	const struct watched_hang *hang;

	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	hang = take_hang();
	assert_false(hang->is.began_before);
	assert_int_equal(hang->is.state, STINT_PROBES_HANG_BLOCKED);
	assert_string_equal(hang->is.in, "read");
	assert_string_equal(hang->is.on, "pipe");
	assert_true(hang->is.fd >= 0);
}

static void one_that_is_stopped_is_told_meanwhile(void **state)
{
	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_STOP, 1);
	assert_int_equal(take_hang()->is.state, STINT_PROBES_HANG_STOPPED);
}

static void one_that_was_blocked_before_is_told_meanwhile(void **state)
{
	(void)state;
	open_with_hangs();
	start_unwatched();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	wait_until(is_in_call, SYS_read);
	watching_add(&watching, subject.pid);
	assert_true(take_hang()->is.began_before);
}

static void it_is_told_again_when_it_has_taken_twice_as_long(void **state)
{
	(void)state;
	open_with_hangs();
	start();
	subject_send(&subject, 0, SUBJECT_PIPE, FOREVER);
	take_until_hangs(3);
	for (int i = 1; i < 3; i++)
		assert_true(watching.hangs[i].is.duration_ns >= 2 * watching.hangs[i - 1].is.duration_ns);
}

static void a_loop_that_waits_does_not_hang(void **state)
{
	uint64_t start_ns;

	(void)state;
	open_with_hangs();
	start();
	for (start_ns = now_ns(); now_ns() - start_ns < 3 * HANG_NS;)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_int_equal(watching.hangs_len, 0);
}

/* ---- what is no loop ---- */

/* A child of this process that does what `first` says once it is told to go on, and then reads for ever. */
static void fork_idle(void (*first)(void))
{
	int to[2], from[2];
	char byte;

	assert_return_code(pipe(to), errno);
	assert_return_code(pipe(from), errno);
	subject = (struct subject){.pid = fork(), .to = to[1], .from = from[0]};
	assert_return_code(subject.pid, errno);
	if (subject.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		if (dup2(to[0], STDIN_FILENO) == STDIN_FILENO && read(STDIN_FILENO, &byte, 1) == 1) {
			first();
			while (read(STDIN_FILENO, &byte, 1) == 1)
				;
		}
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
}

static void go_on(void)
{
	assert_int_equal(write(subject.to, "x", 1), 1);
}

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

static void *wait_on(void *epfd)
{
	struct epoll_event ready;

	for (;;)
		epoll_wait(*(const int *)epfd, &ready, 1, -1);
	return NULL;
}

/* As runtimes do that serve one set by several threads. */
static void leave_the_wait_to_another(void)
{
	static int epfd;
	struct epoll_event ready;
	pthread_t other;

	epfd = epoll_create1(0);
	for (int i = 0; i < 3; i++)
		epoll_wait(epfd, &ready, 1, 1);
	if (pthread_create(&other, NULL, wait_on, &epfd) != 0)
		_exit(1);
}

static void one_that_leaves_the_wait_to_another_does_not_hang(void **state)
{
	uint64_t start_ns;

	(void)state;
	open_with_hangs();
	fork_idle(leave_the_wait_to_another);
	watching_add(&watching, subject.pid);
	go_on();
	for (start_ns = now_ns(); now_ns() - start_ns < 3 * HANG_NS;)
		assert_true(stint_probes_poll(watching.probes, 10) >= 0);
	assert_int_equal(watching.hangs_len, 0);
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

#define CLOSED(name) cmocka_unit_test_setup_teardown(name, watching_set_up, watching_tear_down)
#define OPENED(name) cmocka_unit_test_setup_teardown(name, watching_set_up_opened, watching_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OPENED(one_that_computes_on_is_told_with_its_stack),
		OPENED(one_that_is_blocked_is_told_with_its_call_and_its_stack),
		OPENED(its_victims_are_named_for_certain),
		OPENED(one_that_is_stopped_is_told_as_stopped),
		OPENED(one_that_has_ended_is_told_once_as_ended),
		OPENED(its_time_is_in_no_histogram),
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
		CLOSED(one_within_its_budget_is_not_told),
		CLOSED(one_that_computes_on_is_told_meanwhile),
		CLOSED(one_that_is_blocked_is_told_meanwhile),
		CLOSED(one_that_is_stopped_is_told_meanwhile),
		CLOSED(one_that_was_blocked_before_is_told_meanwhile),
		CLOSED(it_is_told_again_when_it_has_taken_twice_as_long),
		CLOSED(a_loop_that_waits_does_not_hang),
		CLOSED(one_that_leaves_the_wait_to_another_does_not_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
