/* SPDX-License-Identifier: MIT */

/* A process may have one meter after another: each is recorded, and what they say of a handler is added up. */

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "thread_call.h"

#define TICKS                                                                                                  \
	"SELECT coalesce(sum(count), 0) FROM total t JOIN handler h ON t.handler = h.id WHERE h.name = 'tick'" \
	" AND metric = 'service'"

#define BRIEF 100 /* of again.c */

static struct command program;

static void start(void)
{
	char line[64];

	command_start(&program, (const char *const[]){"tests/subjects/again", NULL});
	command_line(&program, "ran", line, sizeof(line));
	command_record(&recorded.recorder, recorded.recording, program.pid,
		       (const char *const[]){"--no-probes", NULL});
}

/* Its next ten ticks, and waits until they are in the recording. */
static void run_again(int signal, int64_t expected)
{
	char line[64];

	assert_int_equal(kill(program.pid, signal), 0);
	command_line(&program, "ran", line, sizeof(line));
	query_until(recorded.recording, TICKS, expected);
}

static void end(void)
{
	char output[256];

	assert_int_equal(command_end(&program, SIGTERM, output, sizeof(output)), 0);
	command_record_end(&recorded.recorder);
}

static void a_loop_after_the_last_one_was_freed_is_recorded(void **state)
{
	(void)state;
	start();
	for (int i = 1; i <= 3; i++)
		run_again(SIGUSR1, 10 * i);
	end();
	assert_int_equal(query_number(recorded.recording, TICKS), 30);
	assert_int_equal(query_number(recorded.recording, "SELECT sum(iterations) FROM loop"), 30);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM loop WHERE iterations > 0"),
			 3);
	assert_int_equal(query_number(recorded.recording, "SELECT sum(h.count) FROM histogram h JOIN handler"
							  " ON h.handler = handler.id WHERE name = 'tick' AND"
							  " metric = 'service'"),
			 30);
}

static void so_is_a_program_that_executes_itself(void **state)
{
	(void)state;
	start();
	for (int i = 1; i <= 3; i++)
		run_again(SIGUSR2, 10 * i);
	run_again(SIGUSR1, 40);
	end();
	assert_int_equal(query_number(recorded.recording, TICKS), 40);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM loop WHERE iterations > 0"),
			 4);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM overrun WHERE running"), 0);
	assert_int_equal(query_number(recorded.recording, "SELECT sum(count) FROM loss"), 0);
}

/* While the recorder is stopped nothing is looked at, but the kernel keeps for it that they were made. */
static void meters_that_were_all_gone_before_a_look_are_told(void **state)
{
	char line[64], output[1024];

	(void)state;
	start();
	assert_int_equal(kill(recorded.recorder.pid, SIGSTOP), 0);
	subject_until_state(recorded.recorder.pid, 'T');
	assert_int_equal(kill(program.pid, SIGHUP), 0);
	command_line(&program, "ran", line, sizeof(line));
	assert_int_equal(kill(recorded.recorder.pid, SIGCONT), 0);
	assert_int_equal(command_end(&program, SIGTERM, output, sizeof(output)), 0);
	assert_int_equal(command_end(&recorded.recorder, 0, output, sizeof(output)), 1);
	recorded.recorder.pid = 0;
	assert_non_null(strstr(output, "no event loop was seen: 100 meters of libstint were gone"));
}

/* Each has counted a tick, and is a loop in the recording or was missed. The first had ended before it. */
static void those_before_one_that_stays_are_counted(void **state)
{
	char line[64], output[16384];
	int64_t missed;

	(void)state;
	start();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kill(program.pid, SIGHUP), 0);
		command_line(&program, "ran", line, sizeof(line));
	}
	assert_int_equal(kill(program.pid, SIGUSR1), 0);
	command_line(&program, "ran", line, sizeof(line));
	query_until(recorded.recording, "SELECT count(*) FROM loop WHERE iterations = 10", 1);
	end();
	missed = query_number(recorded.recording, "SELECT count FROM loss WHERE name = 'meters_missed'");
	assert_true(missed > 0);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM loop WHERE iterations > 0") +
				 missed,
			 2 * BRIEF + 1);
	assert_int_equal(command_run((const char *const[]){"stint", "report", recorded.recording, NULL},
				     output, sizeof(output)),
			 0);
	assert_non_null(strstr(output, " meters_missed: meters of programs on libstint that were gone"));
}

/* Until it sleeps as that, as the kernel closes the meter's file no earlier than as the new program begins. */
static void become_sleep(void)
{
	assert_int_equal(kill(program.pid, SIGQUIT), 0);
	while (thread_call(program.pid) != SYS_clock_nanosleep)
		sched_yield();
}

static void a_handler_that_executes_a_program_without_a_meter_does_not_go_on(void **state)
{
	(void)state;
	start();
	become_sleep();
	command_record_end(&recorded.recorder);
	command_end(&program, SIGKILL, NULL, 0);
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM overrun WHERE running"), 0);
}

static void what_a_program_has_left_that_became_another_is_no_meter(void **state)
{
	char line[64], pid[16], output[1024];
	const char *const argv[] = {"stint", "record",           "--no-probes", "-d", "1",
				    "-o",    recorded.recording, "-p",          pid,  NULL};

	(void)state;
	command_start(&program, (const char *const[]){"tests/subjects/again", NULL});
	command_line(&program, "ran", line, sizeof(line));
	become_sleep();
	snprintf(pid, sizeof(pid), "%d", (int)program.pid);
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	command_end(&program, SIGKILL, NULL, 0);
	assert_non_null(strstr(output, " has no meter of libstint"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_loop_after_the_last_one_was_freed_is_recorded, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(so_is_a_program_that_executes_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(meters_that_were_all_gone_before_a_look_are_told, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(those_before_one_that_stays_are_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_handler_that_executes_a_program_without_a_meter_does_not_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_program_has_left_that_became_another_is_no_meter,
						set_up, tear_down),
	};

	return cmocka_run_group_tests_name("meters", tests, NULL, NULL);
}
