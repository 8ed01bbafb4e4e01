/* SPDX-License-Identifier: MIT */

/* Programs as they are built: with debug information, without any symbols, and linked into one file that lies anywhere. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "subject.h"
#include "watching.h"

#define TIMES 3

static char directory[64];
static char recording[96];
static struct subject subject;

/* Its lines are counted on. */
static const char source[] =
	"#include <sys/epoll.h>\n"
	"#include <time.h>\n"
	"#include <unistd.h>\n"
	"__attribute__((noinline)) static int nap_of_mine(void)\n"
	"{\n"
	"	struct timespec pause = {0, 30000000};\n"
	"	return nanosleep(&pause, NULL) + 1;\n" /* 7 */
	"}\n"
	"__attribute__((noinline)) static int handle_byte(void)\n"
	"{\n"
	"	char byte;\n"
	"	if (read(0, &byte, 1) != 1)\n"
	"		return 0;\n"
	"	return nap_of_mine() +\n" /* 14 */
	"	       (int)write(1, &byte, 1);\n"
	"}\n"
	"int main(void)\n"
	"{\n"
	"	struct epoll_event event = {.events = EPOLLIN};\n"
	"	int set = epoll_create1(0), again = epoll_ctl(set, EPOLL_CTL_ADD, 0, &event) == 0;\n"
	"	while (again && epoll_wait(set, &event, 1, -1) == 1)\n"
	"		again = handle_byte();\n" /* 22 */
	"	return 0;\n"
	"}\n";

static int set_up(void **state)
{
	char path[128];
	FILE *file;

	(void)state;
	memset(&subject, 0, sizeof(subject));
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	snprintf(path, sizeof(path), "%s/program.c", directory);
	file = fopen(path, "w");
	if (!file || fputs(source, file) < 0)
		return -1;
	return fclose(file);
}

static int tear_down(void **state)
{
	static const char *const names[] = {"program.c", "program", "r.stint", "r.stint-journal"};
	char path[128];

	(void)state;
	if (subject.pid > 0)
		subject_stop(&subject, SIGKILL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

static void build(const char *flags)
{
	char command[256];

	watching_or_skip();
	snprintf(command, sizeof(command), "cd %s && gcc -O2 %s -o program program.c", directory, flags);
	assert_int_equal(system(command), 0);
}

/* One byte more than is counted: once it is answered, the others are over. */
static void record(void)
{
	char pid[16], program[96], line[512], byte = 0;
	const char *const argv[] = {"stint", "record", "-o", recording, "-p", pid, NULL};
	struct command recorder;

	snprintf(program, sizeof(program), "%s/program", directory);
	subject_start(&subject, program, NULL);
	subject_go(&subject);
	for (int i = 0; i < 2; i++) { /* it is in its loop */
		assert_int_equal(write(subject.to, &byte, 1), 1);
		assert_int_equal(read(subject.from, &byte, 1), 1);
	}
	snprintf(pid, sizeof(pid), "%d", (int)subject.pid);
	command_start(&recorder, argv);
	command_line(&recorder, "recording into", line, sizeof(line));
	for (int i = 0; i < TIMES + 1; i++) {
		assert_int_equal(write(subject.to, &byte, 1), 1);
		assert_int_equal(read(subject.from, &byte, 1), 1);
	}
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
}

/* In how many overruns that frame is. */
static int64_t overruns_with(const char *condition)
{
	char sql[512];

	snprintf(
		sql, sizeof(sql),
		"SELECT count(DISTINCT o.id) FROM overrun o JOIN overrun_frame f ON f.overrun = o.id"
		" WHERE o.stack_kind = 'blocked' AND o.duration_ns >= 5000000 AND f.module = 'program' AND %s",
		condition);
	return query_number(recording, sql);
}

static void assert_names(void)
{
	assert_true(overruns_with("f.name = 'nap_of_mine'") >= TIMES);
	assert_true(overruns_with("f.name = 'handle_byte'") >= TIMES);
	assert_true(overruns_with("f.name = 'main'") >= TIMES);
	assert_int_equal(query_number(recording,
				      "SELECT count(*) FROM overrun o JOIN handler h ON h.id = o.handler"
				      " WHERE o.duration_ns >= 5000000 AND h.name <> 'handle_byte'"),
			 0);
}

static void assert_lines(void)
{
	assert_true(overruns_with("f.name = 'nap_of_mine' AND f.file LIKE '%program.c' AND f.line = 7") >=
		    TIMES);
	assert_true(overruns_with("f.name = 'handle_byte' AND f.file LIKE '%program.c' AND f.line = 14") >=
		    TIMES);
	assert_true(overruns_with("f.name = 'main' AND f.file LIKE '%program.c' AND f.line = 22") >= TIMES);
}

static void with_debug_information_frames_have_file_and_line(void **state)
{
	(void)state;
	build("-g");
	record();
	assert_names();
	assert_lines();
}

static void a_static_pie_has_them_too(void **state)
{
	(void)state;
	build("-g -static-pie");
	record();
	assert_names();
	assert_lines();
}

static void without_debug_information_frames_have_names(void **state)
{
	(void)state;
	build("");
	record();
	assert_names();
	assert_int_equal(overruns_with("f.line IS NOT NULL"), 0);
}

/* handle_byte and nap_of_mine, and main between them and the C library: by their places in the file. */
static void without_symbols_frames_have_module_and_offset(void **state)
{
	(void)state;
	build("-s");
	record();
	assert_true(overruns_with("(SELECT count(*) FROM overrun_frame g WHERE g.overrun = o.id AND"
				  " g.name LIKE 'program+0x%') >= 3") >= TIMES);
	assert_int_equal(overruns_with("f.name NOT LIKE 'program+0x%' AND f.name <> '_start'"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_debug_information_frames_have_file_and_line),
		TEST(a_static_pie_has_them_too),
		TEST(without_debug_information_frames_have_names),
		TEST(without_symbols_frames_have_module_and_offset),
	};

	return cmocka_run_group_tests_name("programs", tests, NULL, NULL);
}
