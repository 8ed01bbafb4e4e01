/* SPDX-License-Identifier: MIT */

/* The end of child processes, as a loop's callbacks. */

#include "metered_fixture.h"
#include "refused_call.h"

#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>

static struct stint_child_exit last;
static int calls;

static int open_loop(void **state)
{
	(void)state;
	calls = 0;
	memset(&last, 0, sizeof(last));
	return fixture_open_loop();
}

static void note_end(const struct stint_child_exit *end, void *ctx)
{
	(void)ctx;
	last = *end;
	calls++;
}

/* A child that does `work`, and exits with `status` when it returns. */
static pid_t start(void (*work)(void), int status)
{
	pid_t pid;

	fixture_skip_without_pidfds();
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
	if (work)
		work();
	_exit(status);
}

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

static void compute_50_ms(void)
{
	while (fixture_now_ns(CLOCK_PROCESS_CPUTIME_ID) < 50 * MS)
		;
}

static struct stint_child *watch(pid_t pid)
{
	struct stint_child *child;

	assert_int_equal(stint_child_new(&child, loop, pid, 0, note_end, NULL), 0);
	return child;
}

/* Until it is a zombie, which it stays. */
static void await_end(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void assert_no_children(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void an_exit_status_is_told_and_the_loop_returns(void **state)
{
	pid_t pid = start(NULL, 42);

	(void)state;
	watch(pid);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.pid, pid);
	assert_int_equal(last.error, 0);
	assert_false(last.signalled);
	assert_int_equal(last.status, 42);
	assert_no_children();
}

static void a_child_that_has_ended_already_is_told_from_the_loop(void **state)
{
	pid_t pid = start(NULL, 3);

	(void)state;
	await_end(pid);
	watch(pid);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.status, 3);
}

static void a_signal_that_ends_a_child_is_told(void **state)
{
	struct stint_child *child = watch(start(wait_for_ever, 0));

	(void)state;
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_child_kill(child, SIGTERM), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_true(last.signalled);
	assert_int_equal(last.status, SIGTERM);
	assert_no_children();
}

static void what_a_child_used_is_told(void **state)
{
	(void)state;
	watch(start(compute_50_ms, 0));
	assert_int_equal(stint_loop_run(loop), 0);
	/* Its clock began at 0, and the kernel splits the time by ticks, but the sum is exact. */
	assert_true(last.user_ns + last.system_ns >= 49 * MS);
	assert_true(last.max_rss_bytes >= 65536);
}

static void other_children_are_left_to_those_who_wait_for_them(void **state)
{
	pid_t other = start(NULL, 7), watched;
	int status;

	(void)state;
	await_end(other);
	watched = start(NULL, 1);
	watch(watched);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(last.pid, watched);
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void a_child_that_somebody_else_has_waited_for_is_an_error(void **state)
{
	pid_t pid = start(NULL, 0);

	(void)state;
	watch(pid);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.error, -ECHILD);
	assert_int_equal(last.pid, pid);
}

/* Somebody closes what is not his, and the next child that is watched gets the number. */
static void a_child_whose_number_another_takes_is_an_error(void **state)
{
	pid_t lost = start(wait_for_ever, 0), other = start(wait_for_ever, 0);
	int number = dup(0);

	(void)state;
	close(number);
	watch(lost);
	close(number);
	watch(other);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.pid, lost);
	assert_int_equal(last.error, -EBADF);
	assert_int_equal(kill(other, SIGTERM), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(last.pid, other);
	assert_int_equal(last.error, 0);
	assert_int_equal(last.status, SIGTERM);
	assert_int_equal(kill(lost, SIGTERM), 0);
	assert_int_equal(waitpid(lost, NULL, 0), lost);
}

static void a_freed_child_goes_on_and_is_the_callers_to_wait_for(void **state)
{
	pid_t pid = start(wait_for_ever, 0);
	int status;

	(void)state;
	stint_child_free(watch(pid));
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static int pipe_to_child[2], pipe_from_tracer[2], pipe_to_tracer[2];

/* Reads until somebody writes, or has closed the other end. */
static void await_byte(const int fds[2])
{
	char byte;

	close(fds[1]);
	if (read(fds[0], &byte, 1) < 0)
		_exit(EXIT_FAILURE);
}

static void end_when_told(void)
{
	await_byte(pipe_to_child);
}

/* Traces the child until it is told to end, which lets go of it. */
static pid_t start_tracer(pid_t child)
{
	pid_t pid = fork();
	char ok;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pipe_to_child[1]);
	ok = ptrace(PTRACE_SEIZE, child, NULL, NULL) == 0;
	if (write(pipe_from_tracer[1], &ok, 1) == 1)
		await_byte(pipe_to_tracer);
	_exit(0);
}

/* Its pidfd is readable, and waiting for it says nothing. */
static void the_end_of_one_that_a_debugger_holds_is_told_when_it_lets_go(void **state)
{
	struct pollfd ended = {.events = POLLIN};
	pid_t pid, tracer;
	char ok = 0;

	(void)state;
	assert_int_equal(pipe(pipe_to_child), 0);
	assert_int_equal(pipe(pipe_from_tracer), 0);
	assert_int_equal(pipe(pipe_to_tracer), 0);
	pid = start(end_when_told, 7);
	tracer = start_tracer(pid);
	assert_int_equal(read(pipe_from_tracer[0], &ok, 1), 1);
	watch(pid);
	ended.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_int_equal(write(pipe_to_child[1], "x", 1), 1);
	assert_int_equal(poll(&ended, 1, -1), 1);
	if (ok) {
		assert_in_range(fixture_iterations_in_20_ms(loop), 1, 4);
		assert_int_equal(calls, 0);
	} else {
		print_message("skipped: this process may not trace its children\n");
	}
	close(pipe_to_tracer[1]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(last.error, 0);
	assert_int_equal(last.status, 7);
	assert_int_equal(waitpid(tracer, NULL, 0), tracer);
	close(ended.fd);
	close(pipe_to_tracer[0]);
	for (int i = 0; i < 2; i++) {
		close(pipe_to_child[i]);
		close(pipe_from_tracer[i]);
	}
}

static void many_children_are_told_apart(void **state)
{
	enum { COUNT = 20 };
	uint32_t handler = (uint32_t)stint_loop_handler(loop, "child", 0);
	struct stint_child *child;

	(void)state;
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(stint_child_new(&child, loop, start(NULL, i), handler, note_end, NULL), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, COUNT);
	assert_int_equal(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_SERVICE].count, COUNT);
	assert_no_children();
}

/* In a child: 0 if a child of its own was refused with that error, and stays its own to wait for. */
static int refused_with(int error)
{
	struct stint_child *child = NULL;
	struct stint_loop *own;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(5);
	if (pid < 0 || stint_loop_new(&own, NULL) < 0)
		return 1;
	if (stint_child_new(&child, own, pid, 0, note_end, NULL) != -error || child)
		return 2;
	if (stint_loop_run(own) < 0 || calls != 0)
		return 3;
	stint_loop_free(own);
	return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5 ? 0 : 4;
}

static int refused_as_unknown(void)
{
	return refused_with(ENOSYS);
}

static int refused_as_forbidden(void)
{
	return refused_with(EPERM);
}

static void without_pidfds_a_child_is_refused_and_stays_the_callers(void **state)
{
	(void)state;
	check_with_refused_call(SYS_pidfd_open, ENOSYS, refused_as_unknown);
	check_with_refused_call(SYS_pidfd_open, EPERM, refused_as_forbidden);
}

static void misuse_is_an_error_code(void **state)
{
	struct stint_child *child = NULL;
	pid_t gone = start(NULL, 0);

	(void)state;
	assert_int_equal(waitpid(gone, NULL, 0), gone);
	assert_int_equal(stint_child_new(&child, loop, gone, 0, note_end, NULL), -ESRCH);
	assert_int_equal(stint_child_new(&child, loop, getppid(), 0, note_end, NULL), -ECHILD);
	assert_int_equal(stint_child_new(&child, loop, 0, 0, note_end, NULL), -EINVAL);
	assert_int_equal(stint_child_new(&child, loop, -1, 0, note_end, NULL), -EINVAL);
	assert_int_equal(stint_child_new(NULL, loop, 1, 0, note_end, NULL), -EINVAL);
	assert_int_equal(stint_child_new(&child, NULL, 1, 0, note_end, NULL), -EINVAL);
	assert_int_equal(stint_child_new(&child, loop, 1, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_child_new(&child, loop, 1, 77, note_end, NULL), -EINVAL);
	assert_null(child);
	assert_int_equal(stint_child_kill(NULL, SIGTERM), -EINVAL);
	assert_int_equal(stint_child_pid(NULL), -EINVAL);
	assert_null(stint_child_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, fixture_close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_exit_status_is_told_and_the_loop_returns),
		TEST(a_child_that_has_ended_already_is_told_from_the_loop),
		TEST(a_signal_that_ends_a_child_is_told),
		TEST(what_a_child_used_is_told),
		TEST(other_children_are_left_to_those_who_wait_for_them),
		TEST(a_child_that_somebody_else_has_waited_for_is_an_error),
		TEST(a_child_whose_number_another_takes_is_an_error),
		TEST(a_freed_child_goes_on_and_is_the_callers_to_wait_for),
		TEST(the_end_of_one_that_a_debugger_holds_is_told_when_it_lets_go),
		TEST(many_children_are_told_apart),
		TEST(without_pidfds_a_child_is_refused_and_stays_the_callers),
		TEST(misuse_is_an_error_code),
	};

	return cmocka_run_group_tests_name("children", tests, fixture_make_directory,
					   fixture_remove_directory);
}
