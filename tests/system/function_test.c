/* SPDX-License-Identifier: MIT */

/* `stint record --function` as its users run it, and what it leaves in the program: nothing. */

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "subject.h"
#include "subject_functions.h"
#include "watching.h"

#define MS         1000000u
#define BREAKPOINT 0xcc

static char directory[64];
static char recording[96];
static struct subject subject;

static int set_up(void **state)
{
	(void)state;
	subject = (struct subject){.to = -1, .from = -1};
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("STINT_DIR", directory, 1) != 0)
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	return 0;
}

static int tear_down(void **state)
{
	char journal[128];

	(void)state;
	if (subject.pid > 0)
		subject_stop(&subject, SIGKILL);
	snprintf(journal, sizeof(journal), "%s-journal", recording);
	unlink(journal);
	unlink(recording);
	return rmdir(directory);
}

static void send_call(enum subject_calls what, uint32_t count, uint64_t ns)
{
	const struct subject_call call = {.what = what, .count = count, .ns = ns};

	assert_int_equal(write(subject.to, &call, sizeof(call)), sizeof(call));
}

static struct subject_called take_called(void)
{
	struct subject_called called;

	assert_int_equal(read(subject.from, &called, sizeof(called)), sizeof(called));
	return called;
}

static struct subject_called call(enum subject_calls what, uint32_t count, uint64_t ns)
{
	send_call(what, count, ns);
	return take_called();
}

static void start_subject(void)
{
	subject_start(&subject, "tests/subjects/functions", NULL);
	subject_go(&subject);
	call(SUBJECT_CALL_NOTHING, 0, 0);
}

static void what_was_asked_for_is_in_the_recording_and_in_the_report(void **state)
{
	const char *const report[] = {"stint", "report", recording, NULL};
	const char *const json[] = {"stint", "report", "--json", recording, NULL};
	static char output[1 << 20];
	struct command recorder;
	struct subject_called called;
	uint64_t sum_ns;

	(void)state;
	watching_or_skip();
	start_subject();
	command_record(&recorder, recording, subject.pid,
		       (const char *const[]){"--function", "known_spin", NULL});
	called = call(SUBJECT_CALL_SPIN, 30, 2 * MS);
	call(SUBJECT_CALL_NOTHING, 0, 0);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);

	assert_int_equal(query_number(recording, "SELECT count(*) FROM function"), 1);
	assert_int_equal(query_number(recording, "SELECT begun FROM function WHERE asked = 'known_spin'"),
			 30);
	assert_int_equal(query_number(recording, "SELECT count FROM function_total"), 30);
	assert_int_equal(query_number(recording, "SELECT sum(count) FROM function_histogram"), 30);
	sum_ns = (uint64_t)query_number(recording, "SELECT sum FROM function_total");
	assert_true(sum_ns >= called.least_ns);
	assert_true(sum_ns <= called.most_ns);
	/* A p99 by plain SQL. */
	assert_true(
		query_number(
			recording,
			"SELECT min(high) FROM (SELECT b.high,"
			" sum(sum(g.count)) OVER (ORDER BY b.bucket) AS upto, sum(sum(g.count)) OVER () AS total"
			" FROM function_histogram g JOIN bucket b USING (bucket) GROUP BY b.bucket)"
			" WHERE upto >= 0.99 * total") > 2 * MS);
	assert_true(query_number(recording, "SELECT cost_ns FROM function") > 0);
	assert_int_equal(query_number(recording,
				      "SELECT calls FROM overrun_function WHERE asked = 'known_spin'"),
			 30);

	assert_int_equal(command_run(report, output, sizeof(output)), 0);
	command_unwrap(output);
	assert_non_null(strstr(output, "functions: known_spin 30 times, "));
	assert_non_null(strstr(output, "known_spin of functions (pid "));
	assert_non_null(strstr(output, "to time it cost about "));
	assert_int_equal(command_run(json, output, sizeof(output)), 0);
	assert_non_null(strstr(output, "\"asked\":\"known_spin\",\"calls\":30,\"running\":0,"));
	assert_non_null(strstr(output, "\"cost_per_call_ns\":"));
}

static void a_function_that_is_not_there_is_one_line_and_an_error(void **state)
{
	char pid[16], output[2048];
	const char *const argv[] = {"stint", "record",     "-o",         recording, "-p",
				    pid,     "--function", "known_spun", NULL};

	(void)state;
	watching_or_skip();
	start_subject();
	snprintf(pid, sizeof(pid), "%d", (int)subject.pid);
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_string_equal(
		output,
		"stint record: function known_spun: 'known_spun' was not found in functions (inlined, or "
		"another name?)\n");
	assert_int_equal(access(recording, F_OK), -1);
}

/* The program is looked into after its exec; its own child when that comes to its loop. */
static void functions_of_a_command_and_of_its_children_are_timed(void **state)
{
	char path[256], script[512], output[4096];
	const char *const argv[] = {"stint", "record", "-o", recording, "--function", "known_spin",
				    "--",    "sh",     "-c", script,    NULL};
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	const char *build;
	int64_t calls;

	(void)state;
	watching_or_skip();
	assert_true(len > 0);
	path[len] = '\0';
	build = strstr(path, "tests/system/");
	assert_non_null(build);
	snprintf(script, sizeof(script),
		 "%.*stests/subjects/functions alone 500 & exec %.*stests/subjects/functions alone 500",
		 (int)(build - path), path, (int)(build - path), path);
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_int_equal(query_number(recording, "SELECT count(DISTINCT process) FROM function"), 2);
	calls = query_number(recording, "SELECT min(count) FROM function_total");
	assert_true(calls >= 1 && calls <= 500);
	assert_true(query_number(recording, "SELECT min(min) FROM function_total") >= MS);
}

static void until_number(const char *sql, int64_t number)
{
	query_until(recording, sql, number);
	assert_int_equal(query_number(recording, sql), number);
}

/* Its room is given to others once it is over, and what it had counted stays. */
static void a_process_that_is_over_keeps_its_figures_and_others_go_on(void **state)
{
	struct command recorder;
	struct subject other;
	char pid[16];

	(void)state;
	watching_or_skip();
	start_subject();
	other = subject;
	start_subject();
	snprintf(pid, sizeof(pid), "%d", (int)other.pid);
	command_record(&recorder, recording, subject.pid,
		       (const char *const[]){"--function", "known_spin", "-p", pid, NULL});
	call(SUBJECT_CALL_SPIN, 7, MS);
	subject_stop(&subject, SIGKILL);
	subject = other;
	call(SUBJECT_CALL_SPIN, 2, MS);
	until_number("SELECT count(*) FROM process WHERE exited_ns IS NOT NULL", 1);
	until_number("SELECT sum(begun) FROM function", 7 + 2);
	call(SUBJECT_CALL_SPIN, 3, MS);
	until_number("SELECT sum(begun) FROM function", 7 + 5);
	call(SUBJECT_CALL_SPIN, 4, MS);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM function"), 2);
	assert_int_equal(
		query_number(recording,
			     "SELECT begun FROM function f JOIN process p ON p.id = f.process WHERE exited_ns"
			     " IS NOT NULL"),
		7);
	assert_int_equal(query_number(recording, "SELECT min(count) FROM function_total"), 7);
	assert_int_equal(query_number(recording, "SELECT max(count) FROM function_total"), 9);
	assert_int_equal(query_number(recording, "SELECT sum(count) FROM function_histogram"), 7 + 9);
	assert_int_equal(query_number(recording, "SELECT sum(count) FROM loss WHERE name = 'functions'"), 0);
}

static uint64_t find_base(void)
{
	char path[64], line[512];
	uint64_t start = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)subject.pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (!start && fgets(line, sizeof(line), maps))
		if (strstr(line, "/tests/subjects/functions"))
			start = strtoull(line, NULL, 16);
	fclose(maps);
	assert_true(start > 0);
	return start;
}

/* What the processor finds there, in the program's own memory. */
static unsigned char first_byte_of_function(uint64_t address)
{
	unsigned char byte = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)subject.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)address), 1);
	close(fd);
	return byte;
}

static uint64_t find_recorded_address(void)
{
	time_t limit = time(NULL) + 30;

	while (time(NULL) < limit) {
		if (query_number(recording, "SELECT count(*) FROM function") == 1)
			return (uint64_t)query_number(recording, "SELECT address FROM function");
		usleep(20000);
	}
	fail_msg("no function was recorded");
	return 0;
}

/* Killed while the program is in the function, with another return address than its own on its stack. */
static void nothing_is_left_in_the_program_when_stint_is_killed(void **state)
{
	struct command recorder;
	time_t limit = time(NULL) + 30;
	unsigned char before, after;
	uint64_t address;

	(void)state;
	watching_or_skip();
	start_subject();
	command_record(&recorder, recording, subject.pid,
		       (const char *const[]){"--function", "known_sleep", NULL});
	call(SUBJECT_CALL_SLEEP, 3, MS);
	address = find_base() + find_recorded_address();
	before = first_byte_of_function(address);
	send_call(SUBJECT_CALL_SLEEP, 1, 1000u * MS);
	usleep(50000);
	assert_int_equal(command_end(&recorder, SIGKILL, NULL, 0), -SIGKILL);
	assert_int_equal(before, BREAKPOINT);
	while ((after = first_byte_of_function(address)) == BREAKPOINT && time(NULL) < limit)
		usleep(10000);
	assert_int_not_equal(after, BREAKPOINT);
	assert_true(take_called().least_ns >= 1000u * MS);
	/* It runs on, and so does that function. */
	assert_true(call(SUBJECT_CALL_SLEEP, 2, MS).least_ns >= 2 * MS);
	assert_int_equal(kill(subject.pid, 0), 0);
}

#define LONG_S 3

/* Linux 6.18 takes 0.1 s for each, of which there are two for each function of each process. */
static void a_recorder_that_waits_for_the_kernel_at_its_end_says_so(void **state)
{
	static const char waits[] = "stint record: waiting for the kernel to take away ";
	struct timespec begin, end;
	struct command recorder;
	struct subject other;
	char pid[16], line[256], rest[1024];
	const char *told;

	(void)state;
	watching_or_skip();
	start_subject();
	other = subject;
	snprintf(pid, sizeof(pid), "%d", (int)other.pid);
	start_subject();
	command_record(&recorder, recording, subject.pid,
		       (const char *const[]){"-p", pid, "--function", "known_spin", "--function",
					     "known_sleep", "--function", "known_recursion", "--function",
					     "known_jump", "--function", "known_tail", "--function",
					     "known_fork", "--function", "known_forever", "--function",
					     "libc:epoll_wait", NULL});
	call(SUBJECT_CALL_NOTHING, 0, 0);
	kill(recorder.pid, SIGINT);
	command_line(&recorder, "stint report ", line, sizeof(line)); /* all else has been said then */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(command_end(&recorder, 0, rest, sizeof(rest)), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	subject_stop(&other, SIGKILL);
	told = strstr(rest, waits);
	if (!told) {
		assert_true(end.tv_sec - begin.tv_sec <= LONG_S);
		printf("skipped: 32 uprobes do not take long to be taken away here\n");
		skip();
	}
	printf("%s", told);
	assert_in_range(strtoul(told + strlen(waits), NULL, 10), 1, 32);
	assert_null(strstr(told + strlen(waits), waits));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_asked_for_is_in_the_recording_and_in_the_report,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_function_that_is_not_there_is_one_line_and_an_error, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(functions_of_a_command_and_of_its_children_are_timed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_is_over_keeps_its_figures_and_others_go_on,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_recorder_that_waits_for_the_kernel_at_its_end_says_so,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_left_in_the_program_when_stint_is_killed, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("function by command", tests, NULL, NULL);
}
