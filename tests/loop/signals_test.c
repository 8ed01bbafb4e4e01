/* SPDX-License-Identifier: MIT */

/* Signals as a loop's callbacks, in one thread. */

#include "metered_fixture.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static struct stint_signal_info last;
static int calls;

static int open_loop(void **state)
{
	(void)state;
	calls = 0;
	memset(&last, 0, sizeof(last));
	return fixture_open_loop();
}

static void note_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)ctx;
	last = *info;
	calls++;
}

static struct stint_signal *watch(int number)
{
	struct stint_signal *signal;

	assert_int_equal(stint_signal_new(&signal, loop, number, 0, note_signal, NULL), 0);
	return signal;
}

static void a_signal_is_a_callback_that_says_who_sent_it(void **state)
{
	(void)state;
	watch(SIGUSR1);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.number, SIGUSR1);
	assert_int_equal(last.count, 1);
	assert_int_equal(last.pid, getpid());
	assert_int_equal(last.uid, getuid());
}

static void several_before_the_callback_are_one_call_with_their_count(void **state)
{
	(void)state;
	watch(SIGUSR1);
	for (int i = 0; i < 5; i++)
		raise(SIGUSR1);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.count, 5);
	raise(SIGUSR1);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(last.count, 1);
}

static void a_signal_of_the_kernel_has_no_sender_and_ends_a_poll_that_waits(void **state)
{
	const struct itimerval soon = {.it_value.tv_usec = 10000};

	(void)state;
	watch(SIGALRM);
	assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
	/* Interrupted, the poll is one without events, and the wake-up is in the next. */
	while (calls == 0)
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(last.number, SIGALRM);
	assert_int_equal(last.pid, 0);
}

static void ignore_signal(int number)
{
	(void)number;
}

static void every_source_of_a_signal_is_called(void **state)
{
	struct stint_loop *second;
	struct stint_signal *signal;

	(void)state;
	assert_int_equal(stint_loop_new(&second, NULL), 0);
	watch(SIGUSR1);
	watch(SIGUSR1);
	watch(SIGUSR2);
	assert_int_equal(stint_signal_new(&signal, second, SIGUSR1, 0, note_signal, NULL), 0);
	raise(SIGUSR1);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(stint_loop_iterate(second, UINT64_MAX), 0);
	assert_int_equal(calls, 3);
	stint_loop_free(second);
}

static void what_was_set_before_comes_back_with_the_last_source(void **state)
{
	struct sigaction mine = {.sa_handler = ignore_signal}, before, now;
	struct stint_signal *first, *second;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &mine, &before), 0);
	first = watch(SIGUSR1);
	second = watch(SIGUSR1);
	stint_signal_free(first);
	raise(SIGUSR1);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 1);
	stint_signal_free(second);
	assert_int_equal(sigaction(SIGUSR1, &before, &now), 0);
	assert_ptr_equal(now.sa_handler, ignore_signal);
}

static void what_the_program_has_set_meanwhile_stays(void **state)
{
	struct sigaction mine = {.sa_handler = ignore_signal}, before, now;
	struct stint_signal *signal = watch(SIGUSR1);

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &mine, &before), 0);
	stint_signal_free(signal);
	assert_int_equal(sigaction(SIGUSR1, NULL, &now), 0);
	assert_ptr_equal(now.sa_handler, ignore_signal);
	now.sa_handler = SIG_DFL;
	assert_int_equal(sigaction(SIGUSR1, &now, NULL), 0);
}

static void no_signal_is_blocked(void **state)
{
	sigset_t before, after;

	(void)state;
	assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &before), 0);
	watch(SIGTERM);
	assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &after), 0);
	for (int number = 1; number < NSIG; number++)
		assert_int_equal(sigismember(&before, number), sigismember(&after, number));
}

static void a_forked_child_has_the_programs_own_settings(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	watch(SIGTERM);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		raise(SIGTERM);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	/* The parent's loop has not heard of it. */
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 0);
}

static void free_self(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)info;
	(void)ctx;
	calls++;
	stint_signal_free(signal);
}

static void the_loop_returns_when_no_signal_is_watched_any_more(void **state)
{
	struct stint_signal *signal;

	(void)state;
	assert_int_equal(stint_signal_new(&signal, loop, SIGUSR1, 0, free_self, NULL), 0);
	raise(SIGUSR1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void a_source_freed_before_its_signal_came_through_is_not_called(void **state)
{
	struct stint_signal *first = watch(SIGUSR1), *second = watch(SIGUSR1);

	(void)state;
	raise(SIGUSR1);
	stint_signal_free(first);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
	raise(SIGUSR1);
	stint_signal_free(second);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
}

static void misuse_is_an_error_code(void **state)
{
	static const int numbers[] = {-1, 0, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	struct stint_signal *signal = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_int_equal(stint_signal_new(&signal, loop, numbers[i], 0, note_signal, NULL), -EINVAL);
	assert_int_equal(stint_signal_new(NULL, loop, SIGUSR1, 0, note_signal, NULL), -EINVAL);
	assert_int_equal(stint_signal_new(&signal, NULL, SIGUSR1, 0, note_signal, NULL), -EINVAL);
	assert_int_equal(stint_signal_new(&signal, loop, SIGUSR1, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_signal_new(&signal, loop, SIGUSR1, 77, note_signal, NULL), -EINVAL);
	assert_null(signal);
	assert_null(stint_signal_free(NULL));
	/* A loop that watches nothing has nothing to wait for. */
	assert_int_equal(stint_loop_run(loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_signal_is_a_callback_that_says_who_sent_it),
		TEST(several_before_the_callback_are_one_call_with_their_count),
		TEST(a_signal_of_the_kernel_has_no_sender_and_ends_a_poll_that_waits),
		TEST(every_source_of_a_signal_is_called),
		TEST(what_was_set_before_comes_back_with_the_last_source),
		TEST(what_the_program_has_set_meanwhile_stays),
		TEST(no_signal_is_blocked),
		TEST(a_forked_child_has_the_programs_own_settings),
		TEST(the_loop_returns_when_no_signal_is_watched_any_more),
		TEST(a_source_freed_before_its_signal_came_through_is_not_called),
		TEST(misuse_is_an_error_code),
	};

	return cmocka_run_group_tests_name("signals", tests, fixture_make_directory,
					   fixture_remove_directory);
}
