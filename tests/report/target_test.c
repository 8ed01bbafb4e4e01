/* SPDX-License-Identifier: MIT */

/* A command that is started to be recorded. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/target.h"

static struct target_child held(const char *const *argv)
{
	struct target_child child;

	assert_int_equal(target_child_new(&child, (char *const *)(uintptr_t)argv), 0);
	return child;
}

static void it_runs_once_it_is_let(void **state)
{
	struct target_child child = held((const char *const[]){"sh", "-c", "exit 7", NULL});
	siginfo_t info;
	int status;

	(void)state;
	assert_false(target_child_has_ended(&child, &status));
	assert_int_equal(target_child_start(&child), 0);
	assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(target_child_has_ended(&child, &status));
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	target_child_free(&child);
}

static void one_that_cannot_be_executed_says_why(void **state)
{
	struct target_child child = held((const char *const[]){"/no/such/program", NULL});

	(void)state;
	assert_int_equal(target_child_start(&child), -ENOENT);
	target_child_free(&child);
}

/* And not the end of whoever was to start it, by SIGPIPE. */
static void one_that_was_killed_before_is_an_error(void **state)
{
	struct target_child child = held((const char *const[]){"true", NULL});
	siginfo_t info;

	(void)state;
	kill(child.pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(target_child_start(&child), -EPIPE);
	target_child_free(&child);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_runs_once_it_is_let),
		cmocka_unit_test(one_that_cannot_be_executed_says_why),
		cmocka_unit_test(one_that_was_killed_before_is_an_error),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
