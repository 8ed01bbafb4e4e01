/* SPDX-License-Identifier: MIT */

/* The recorder's limits: what a redis-server at full speed takes of them, and what is said where they are hit. */

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "probes/probes.h"
#include "query.h"
#include "server.h"
#include "subject.h"

#define BENCHMARK "/usr/bin/redis-benchmark"

static struct server server;
static struct command recorder;
static char recording[128];
static struct subject subject;
static int client = -1;

static int set_up(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	recorder.pid = 0;
	subject.pid = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (recorder.pid > 0)
		command_end(&recorder, SIGKILL, NULL, 0);
	if (client >= 0)
		close(client);
	client = -1;
	if (subject.pid > 0)
		subject_stop(&subject, SIGKILL);
	server_stop(&server);
	return 0;
}

static void start_redis(void)
{
	const char *const argv[] = {
		"/usr/bin/redis-server",  "--port", "@PORT@", "--bind", "127.0.0.1", "--save", "",
		"--enable-debug-command", "yes",    NULL};
	struct stint_probes_support support;

	if (stint_probes_supported(&support) != 0 || access(BENCHMARK, X_OK) != 0) {
		printf("skipped: %s\n", *support.why ? support.why : "redis-benchmark is not installed");
		skip();
	}
	server_prepare(&server);
	server_start(&server, argv);
	server_go(&server);
	client = server_connect(&server);
}

static void start_recording(const char *budget_us)
{
	snprintf(recording, sizeof(recording), "%s/r.stint", server.directory);
	command_record(&recorder, recording, server.pid, (const char *const[]){"--budget", budget_us, NULL});
}

static int64_t lost(const char *name)
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SELECT coalesce(sum(count), 0) FROM loss WHERE name = '%s'", name);
	return query_number(recording, sql);
}

/* As fast as both can, many commands in each iteration. */
static void nothing_is_lost_at_full_speed(void **state)
{
	char port[16];
	const char *const argv[] = {BENCHMARK, "-p",     port, "-P",  "16", "-c", "50",
				    "-n",      "400000", "-t", "get", "-q", NULL};

	(void)state;
	start_redis();
	start_recording("10000000");
	snprintf(port, sizeof(port), "%d", server.port);
	assert_int_equal(command_run(argv, NULL, 0), 0);
	command_record_end(&recorder);
	assert_true(query_number(recording, "SELECT sum(count) FROM total WHERE metric = 'busy'") >=
		    400000 / 16 / 50);
	assert_int_equal(lost("ring_full"), 0);
	assert_int_equal(lost("ring_left"), 0);
	assert_int_equal(lost("table_full"), 0);
}

/* While the recorder is stopped, each command is an overrun by this budget, and blocks for long enough for a stack. */
static void overrun_unseen(int times)
{
	static const char request[] = "DEBUG SLEEP 0.0003\r\n";

	start_redis();
	start_recording("100");
	assert_int_equal(kill(recorder.pid, SIGSTOP), 0);
	for (int i = 0; i < times; i++)
		server_ask(client, request, sizeof(request) - 1, "+OK\r\n");
	server_ask(client, "PING\r\n", 6, "+PONG\r\n"); /* once that is answered, the others are over */
	assert_int_equal(kill(recorder.pid, SIGCONT), 0);
	command_record_end(&recorder);
}

/*
 * Records are as long as what there is to tell: here some kB, mostly the stack, of the 27 that there may be. An iteration
 * that waited for a CPU for longer than it slept has another stack, or none: all others have that of the sleep.
 */
static void the_ring_holds_a_thousand_overruns_with_their_stacks(void **state)
{
	const int times = 1000;
	int64_t asleep;

	(void)state;
	overrun_unseen(times);
	assert_int_equal(lost("ring_full"), 0);
	assert_true(query_number(recording, "SELECT count(*) FROM overrun") >= times);
	asleep = query_number(recording, "SELECT count(*) FROM overrun WHERE blocked_ns > runnable_ns");
	assert_true(asleep > 0);
	assert_true(query_number(recording, "SELECT count(DISTINCT overrun) FROM overrun_frame"
					    " WHERE name = 'debugCommand'") >= asleep);
}

/* What it had no room for is counted, and the counters themselves miss nothing. */
static void a_recorder_that_is_stopped_says_what_it_missed(void **state)
{
	const int times = 10000;
	int64_t overruns;
	char report[65536];
	const char *const argv[] = {"stint", "report", recording, NULL};

	(void)state;
	overrun_unseen(times);
	overruns = query_number(recording, "SELECT count(*) FROM overrun");
	assert_true(overruns > 0 && overruns < times);
	assert_true(lost("ring_full") >= times - overruns);
	assert_true(query_number(recording,
				 "SELECT sum(g.count) FROM histogram g JOIN bucket b USING (bucket)"
				 " WHERE g.metric = 'busy' AND b.low >= 200000") >= times);
	assert_int_equal(command_run(argv, report, sizeof(report)), 0);
	command_unwrap(report);
	assert_non_null(strstr(report, "found the ring buffer full"));
}

/* As many as are there at the start, and half as many again. */
static void more_loops_than_usual_have_room(void **state)
{
	const int loops = 96;
	struct stint_probes_support support;

	(void)state;
	if (stint_probes_supported(&support) != 0) {
		printf("skipped: %s\n", support.why);
		skip();
	}
	server_prepare(&server);
	subject_start_loops(&subject, "wait", "96");
	snprintf(recording, sizeof(recording), "%s/r.stint", server.directory);
	command_record(&recorder, recording, subject.pid, (const char *const[]){NULL});
	for (int i = 0; i < loops; i++) {
		subject_do(&subject, (uint32_t)i, SUBJECT_SYNC, 0);
		subject_do(&subject, (uint32_t)i, SUBJECT_SYNC, 0);
	}
	command_record_end(&recorder);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM loop WHERE iterations > 0"), loops);
	assert_int_equal(lost("table_full"), 0);
	assert_int_equal(lost("roles_full"), 0);
}

/* Of all programs that the process holds; 0 where the kernel does not tell (before 5.16). */
static uint64_t verified_insns(pid_t pid)
{
	char path[300], line[128];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		unsigned insns;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file))
			if (sscanf(line, "verified_insns: %u", &insns) == 1)
				sum += insns;
		if (file)
			fclose(file);
	}
	closedir(directory);
	return sum;
}

/* That is how long it takes to load them: 1.2 us each. What follows a loop may be gone through once for each way out. */
static void assert_verified_insns(const char *const *options, uint64_t most)
{
	uint64_t insns;

	start_redis();
	snprintf(recording, sizeof(recording), "%s/r.stint", server.directory);
	command_record(&recorder, recording, server.pid, options);
	insns = verified_insns(recorder.pid);
	server_ask(client, "PING\r\n", 6, "+PONG\r\n");
	command_record_end(&recorder);
	if (!insns) {
		printf("skipped: this kernel does not tell how many instructions its verifier went through\n");
		skip();
	}
	assert_in_range(insns, 1, most);
}

static void the_verifier_goes_through_800_000_instructions_at_most(void **state)
{
	(void)state;
	assert_verified_insns((const char *const[]){NULL}, 800000);
}

static void and_through_a_million_where_functions_are_timed(void **state)
{
	(void)state;
	assert_verified_insns((const char *const[]){"--function", "processCommand", NULL}, 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_lost_at_full_speed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_ring_holds_a_thousand_overruns_with_their_stacks, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_recorder_that_is_stopped_says_what_it_missed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(more_loops_than_usual_have_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_verifier_goes_through_800_000_instructions_at_most,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(and_through_a_million_where_functions_are_timed, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
