/* SPDX-License-Identifier: MIT */

/* The examples of loop/ as a person runs them. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"

static char output[16384];

/* ---- loops ---- */

static int connect_to(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends a line and returns the number of the loop that answered it with "loop N: LINE". */
static unsigned ask(int fd, const char *line)
{
	char answer[128];
	size_t got = 0;
	unsigned loop;

	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	do {
		ssize_t bytes = read(fd, answer + got, sizeof(answer) - 1 - got);

		assert_true(bytes > 0);
		got += (size_t)bytes;
		answer[got] = '\0';
	} while (answer[got - 1] != '\n');
	assert_int_equal(sscanf(answer, "loop %u: ", &loop), 1);
	assert_string_equal(strchr(answer, ':') + 2, line);
	return loop;
}

static void loops_hand_a_connection_round_and_end_at_a_signal(void **state)
{
	const char *const argv[] = {"examples/loops", "--threads", "3", NULL};
	struct command command;
	unsigned first;
	char line[128];
	int fd;

	(void)state;
	command_start(&command, argv);
	command_line(&command, "listening on", line, sizeof(line));
	fd = connect_to(atoi(strrchr(line, ':') + 1));
	first = ask(fd, "hello\n");
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(ask(fd, "move\n"), (first + i) % 3);
		assert_int_equal(ask(fd, "hello again\n"), (first + i + 1) % 3);
	}
	assert_int_equal(command_end(&command, SIGTERM, output, sizeof(output)), 0);
	close(fd);
	assert_non_null(strstr(output, "(Terminated)"));
	snprintf(line, sizeof(line), "loop %u: 1 accepted, 2 taken over, 6 lines", first);
	assert_non_null(strstr(output, line));
}

static void loops_say_what_is_wrong_with_their_arguments(void **state)
{
	const char *const help[] = {"examples/loops", "--help", NULL};
	const char *const none[] = {"examples/loops", "--threads", "0", NULL};

	(void)state;
	assert_int_equal(command_run(help, output, sizeof(output)), 0);
	assert_non_null(strstr(output, "usage: loops"));
	assert_int_equal(command_run(none, output, sizeof(output)), 2);
	assert_non_null(strstr(output, "--threads: not a number from 1 to 64: 0"));
}

/* ---- children ---- */

static void children_are_told_by_how_they_ended(void **state)
{
	const char *const argv[] = {"examples/children", "exit 3", "kill -9 $$", "true", NULL};

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_non_null(strstr(output, "exit 3 after "));
	assert_non_null(strstr(output, "signal 9 (Killed) after "));
	assert_non_null(strstr(output, "exit 0 after "));
}

static void children_that_take_too_long_are_ended(void **state)
{
	const char *const argv[] = {"examples/children",
				    "--timeout",
				    "0.2",
				    "exec sleep 1000",
				    "trap '' TERM; while :; do sleep 1; done",
				    NULL};

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_non_null(strstr(output, "signal 15 (Terminated), ours after "));
	assert_non_null(strstr(output, "signal 9 (Killed), ours after "));
}

static void what_children_print_is_told_by_lines(void **state)
{
	const char *const argv[] = {
		"examples/children",     "--lines", "echo one; echo two >&2; printf three",
		"seq 1 20000 | tail -1", "exit 3",  NULL};
	const char *one, *two;

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	one = strstr(output, "1: one\n");
	two = strstr(output, "1: two\n");
	assert_non_null(one);
	assert_non_null(two);
	assert_true(one < two); /* those of others may be between them */
	assert_non_null(strstr(output, "1: three\n"));
	assert_non_null(strstr(output, "2: 20000\n"));
	assert_non_null(strstr(output, "exit 3 after "));
	assert_non_null(strstr(output, ": seq 1 20000 | tail -1\n"));
}

/* The command prints the number of what it leaves behind, which is still there in the end, and has the pipe open. */
static void end_what_was_left_behind(const char *text)
{
	const char *line = strstr(text, "1: ");
	pid_t pid = line ? atoi(line + 3) : 0;

	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static void an_output_that_is_held_open_is_given_up(void **state)
{
	const char *const argv[] = {"examples/children",  "--lines", "--timeout", "0.2",
				    "sleep 60 & echo $!", NULL};

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	end_what_was_left_behind(output);
	assert_non_null(strstr(output, "given up: the output of sleep 60"));
	assert_non_null(strstr(output, "exit 0 after "));
}

/* Also where nothing but SIGKILL has ended the command, after which no signal of ours is left to be sent. */
static void an_output_is_given_up_after_a_sigkill(void **state)
{
	const char *const argv[] = {"examples/children",
				    "--lines",
				    "--timeout",
				    "0.2",
				    "trap '' TERM; sleep 60 & echo $!; while :; do sleep 1; done",
				    NULL};

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	end_what_was_left_behind(output);
	assert_non_null(strstr(output, "given up: the output of trap"));
	assert_non_null(strstr(output, "signal 9 (Killed), ours after "));
}

static void a_signal_gives_up_what_is_held_open(void **state)
{
	const char *const argv[] = {"examples/children",  "--lines", "--timeout", "1000",
				    "sleep 60 & echo $!", NULL};
	struct command command;
	char line[128];

	(void)state;
	command_start(&command, argv);
	command_line(&command, "1: ", line, sizeof(line));
	/* Its end may not have been told yet: it then gets the signal itself, and its output a second more. */
	assert_true(command_end(&command, SIGTERM, output, sizeof(output)) >= 0);
	end_what_was_left_behind(line);
	assert_non_null(strstr(output, "given up: the output of sleep 60"));
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static pid_t next_pid(struct command *command)
{
	char line[128];

	command_line(command, "1: ", line, sizeof(line));
	return atoi(strstr(line, "1: ") + 3);
}

/* The command is gone before its time was over; so it was over before we saw that, whenever its output ends. */
static void a_command_took_as_long_as_it_took_and_not_its_output(void **state)
{
	const char *const argv[] = {"examples/children",           "--lines", "--timeout", "1000",
				    "echo $$; sleep 60 & echo $!", NULL};
	double start_s = now_s(), took_s, told_s;
	struct command command;
	pid_t pid, left;

	(void)state;
	command_start(&command, argv);
	pid = next_pid(&command);
	left = next_pid(&command);
	while (kill(pid, 0) == 0)
		usleep(1000);
	took_s = now_s() - start_s;
	usleep(100000);
	assert_int_equal(kill(left, SIGKILL), 0);
	assert_int_equal(command_end(&command, 0, output, sizeof(output)), 0);
	assert_int_equal(sscanf(output, "exit 0 after %lf s", &told_s), 1);
	assert_true(told_s < took_s + 0.001); /* it is rounded */
}

static void children_that_all_succeed_are_a_success(void **state)
{
	const char *const argv[] = {"examples/children", "true", "exit 0", NULL};
	const char *const none[] = {"examples/children", NULL};

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_int_equal(command_run(none, output, sizeof(output)), 2);
	assert_non_null(strstr(output, "usage: children"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_hand_a_connection_round_and_end_at_a_signal),
		cmocka_unit_test(loops_say_what_is_wrong_with_their_arguments),
		cmocka_unit_test(children_are_told_by_how_they_ended),
		cmocka_unit_test(children_that_take_too_long_are_ended),
		cmocka_unit_test(what_children_print_is_told_by_lines),
		cmocka_unit_test(an_output_that_is_held_open_is_given_up),
		cmocka_unit_test(an_output_is_given_up_after_a_sigkill),
		cmocka_unit_test(a_signal_gives_up_what_is_held_open),
		cmocka_unit_test(a_command_took_as_long_as_it_took_and_not_its_output),
		cmocka_unit_test(children_that_all_succeed_are_a_success),
	};

	return cmocka_run_group_tests_name("sources' examples", tests, NULL, NULL);
}
