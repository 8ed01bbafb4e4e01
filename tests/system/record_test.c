/* SPDX-License-Identifier: MIT */

/* `stint record` as its users run it: on real programs, and killed midway. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "record_fixture.h"
#include "watching.h"

/* On a CPU since it started, by the scheduler's own account. */
static uint64_t server_cpu_ns(const struct server *server)
{
	char path[64];
	uint64_t cpu_ns = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/schedstat", server->pid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%" SCNu64, &cpu_ns), 1);
	fclose(file);
	return cpu_ns;
}

static int connect_to(const char *address)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void ask(int fd, const char *path)
{
	char text[256], answer[4096];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_true(read(fd, answer, sizeof(answer)) > 0);
}

/* The last dispatch is certain to be over, as it may not be when its answer comes: another was answered since. */
static void request(const struct server *server, const char *path, unsigned times)
{
	int fd = connect_to(server->url);

	for (unsigned i = 0; i < times; i++)
		ask(fd, path);
	ask(fd, "/not-there");
	close(fd);
}

/* ---- what it records ---- */

static void a_spin_of_5_ms_is_reported_with_5_ms(void **state)
{
	struct command recorder;
	struct server server;
	uint64_t cpu_ns;

	(void)state;
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){"--no-probes", NULL});
	cpu_ns = server_cpu_ns(&server);
	request(&server, "/compute", 7);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	cpu_ns = server_cpu_ns(&server) - cpu_ns;
	end_server(&server);
	assert_int_equal(query_number(recording, "SELECT overruns FROM handler WHERE name = 'http.compute'"),
			 7);
	/*
	 * By the CPU's clock, as a spin ends by it, and what a loaded machine adds to the wall clock is not the handler's.
	 * Each is 5 ms or more; and all that the server was on a CPU is all that they can have been.
	 */
	assert_int_equal(query_number(recording,
				      "SELECT count(*) FROM overrun JOIN handler h ON handler = h.id"
				      " WHERE h.name = 'http.compute' AND cpu_max_ns >= 5000000"),
			 7);
	assert_in_range(query_number(recording,
				     "SELECT sum(cpu_min_ns) FROM overrun JOIN handler h ON handler = h.id"
				     " WHERE h.name = 'http.compute'"),
			1, cpu_ns);
}

static void with_probes_an_overrun_of_the_meter_holds_where_its_time_went(void **state)
{
	struct command recorder;
	struct server server;

	(void)state;
	watching_or_skip();
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){NULL});
	request(&server, "/compute", 5);
	request(&server, "/blocking", 5);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	end_server(&server);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun JOIN handler h ON handler = h.id WHERE h.name ="
			     " 'http.compute' AND overrun.source = 'both' AND on_cpu_ns >= 4900000"),
		5);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun JOIN handler h ON handler = h.id WHERE h.name ="
			     " 'http.blocking' AND overrun.source = 'both' AND blocked_ns >= 2900000"),
		5);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun_syscall s JOIN overrun o ON s.overrun = o.id"
			     " JOIN handler h ON o.handler = h.id WHERE h.name = 'http.blocking'"
			     " AND s.rank = 0 AND s.name = 'clock_nanosleep'"),
		5);
}

/* ROUNDS iterations of three dispatches that compute and one that sleeps, and at last one whose handler exits. */
#define ROUNDS      10
#define ROUNDS_TEXT "10"

static void record_crowded(void)
{
	static const char *const argv[] = {"stint",     "record", "-o",
					   recording,   "--",     BUILD_DIRECTORY "/tests/subjects/crowded",
					   ROUNDS_TEXT, NULL};
	char output[4096];

	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	/* It exits without an end to its loop, so its meter's file stays. */
	assert_int_equal(command_run((const char *const[]){"sh", "-c", "rm \"$STINT_DIR\"/*.meter", NULL},
				     output, sizeof(output)),
			 0);
}

static void each_dispatch_of_an_iteration_has_parts_of_its_own(void **state)
{
	(void)state;
	watching_or_skip();
	record_crowded();
	assert_int_equal(query_number(recording,
				      "SELECT count(*) FROM overrun JOIN handler h ON handler = h.id WHERE"
				      " h.name = 'sleeps' AND overrun.source = 'both'"),
			 ROUNDS);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun o JOIN handler h ON handler = h.id"
			     " JOIN overrun_verdict v ON v.overrun = o.id WHERE h.name = 'sleeps' AND"
			     " v.blocked_ns >= 12000000 AND v.user_ns < 3000000"),
		ROUNDS);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun o JOIN handler h ON handler = h.id LEFT JOIN"
			     " overrun_verdict v ON v.overrun = o.id WHERE h.name = 'computes' AND on_cpu_ns"
			     " >= 2500000 AND o.blocked_ns < 2500000 AND ifnull(verdict, '') <> 'blocked'"),
		3 * ROUNDS);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM overrun o JOIN overrun_verdict v ON v.overrun = o.id WHERE"
			     " duration_ns <> user_ns + kernel_ns + v.runnable_ns + ifnull(throttled_ns, 0) +"
			     " v.blocked_ns + ifnull(stolen_ns, 0)"),
		0);
}

static void the_iteration_in_which_a_program_exits_has_a_verdict(void **state)
{
	(void)state;
	watching_or_skip();
	record_crowded();
	assert_int_equal(query_number(recording,
				      "SELECT count(*) FROM overrun o JOIN handler h ON handler = h.id"
				      " JOIN overrun_verdict v ON v.overrun = o.id WHERE h.name = 'exits' AND"
				      " v.user_ns + v.kernel_ns >= 4900000"),
			 1);
}

static void handlers_that_the_meter_had_no_room_for_are_a_loss(void **state)
{
	const char *const argv[] = {"stint",
				    "record",
				    "--no-probes",
				    "-o",
				    recording,
				    "--",
				    BUILD_DIRECTORY "/tests/subjects/full_meter",
				    NULL};
	static char output[16384];

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_true(query_number(recording, "SELECT count FROM loss WHERE name = 'meter_handlers'") > 0);
	assert_int_equal(query_number(recording, "SELECT count FROM loss WHERE name = 'meter_loops'"), 0);
	assert_int_equal(command_run((const char *const[]){"stint", "report", recording, NULL}, output,
				     sizeof(output)),
			 0);
	assert_non_null(strstr(output, " meter_handlers: handlers that found no room"));
}

/*
 * crowded leaves its file; here that lies under the number of the process that becomes full_meter, until that makes
 * its own.
 */
static void a_meter_file_left_by_an_earlier_process_of_that_pid_is_passed_over(void **state)
{
	static const char script[] = BUILD_DIRECTORY "/tests/subjects/crowded 0; mv \"$STINT_DIR\"/*.meter "
						     "\"$STINT_DIR\"/$$.meter && sleep 0.3 && "
						     "exec " BUILD_DIRECTORY "/tests/subjects/full_meter";
	const char *const argv[] = {"stint", "record", "--no-probes", "-o",   recording,
				    "--",    "sh",     "-c",          script, NULL};
	char output[4096];

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_true(query_number(recording, "SELECT count FROM loss WHERE name = 'meter_handlers'") > 0);
}

static void inside_and_kernel_agree_on_iterations(void **state)
{
	struct command recorder;
	struct server server;
	char output[4096];

	(void)state;
	watching_or_skip();
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){NULL});
	request(&server, "/", 100);
	assert_int_equal(command_end(&recorder, SIGINT, output, sizeof(output)), 0);
	end_server(&server);
	/* It is one loop, however often it is seen. */
	assert_non_null(
		strstr(output, ": 1 loop (seen from both sides, by its own meter and by the kernel), "));
	/* The iteration under way when the recording begins, or ends, may be one side's only. */
	assert_in_range(query_number(recording,
				     "SELECT abs((SELECT iterations FROM loop WHERE source = 'meter') -"
				     " (SELECT iterations FROM loop WHERE source = 'probes'))"),
			0, 1);
	assert_true(query_number(recording, "SELECT iterations FROM loop WHERE source = 'meter'") >= 100);
}

/* A loop each of whose waits returns an event; it ends with the pipe. */
static pid_t start_reader(int *to)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ends[2], epfd;
	pid_t child;
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child > 0) {
		close(ends[0]);
		*to = ends[1];
		return child;
	}
	close(ends[1]);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event);
	while (epoll_wait(epfd, &event, 1, -1) == 1 && read(ends[0], &byte, 1) == 1)
		;
	_exit(0);
}

static void the_smallest_batch_is_one_that_there_was(void **state)
{
	struct command recorder;
	pid_t reader;
	int to;

	(void)state;
	watching_or_skip();
	reader = start_reader(&to);
	command_record(&recorder, recording, reader, (const char *const[]){NULL});
	for (int i = 0; i < 50; i++)
		assert_int_equal(write(to, "x", 1), 1);
	close(to);
	assert_int_equal(waitpid(reader, NULL, 0), reader);
	assert_int_equal(command_end(&recorder, 0, NULL, 0), 0);
	assert_int_equal(query_number(recording, "SELECT min FROM total WHERE metric = 'batch'"), 1);
	assert_int_equal(query_number(recording, "SELECT max FROM total WHERE metric = 'batch'"), 1);
}

static void a_p99_by_plain_sql_is_within_a_bucket_of_the_overruns_own(void **state)
{
	struct command recorder;
	struct server server;
	int64_t p99_ns;

	(void)state;
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){"--no-probes", NULL});
	request(&server, "/blocking", 20);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	end_server(&server);
	/* The README's query. With 20 values, the 99th percentile is the largest. */
	p99_ns = query_number(
		recording,
		"SELECT mid FROM (SELECT h.name, b.mid, sum(g.count) OVER (PARTITION BY h.id ORDER BY b.bucket) AS upto,"
		" sum(g.count) OVER (PARTITION BY h.id) AS total FROM histogram g JOIN handler h ON h.id = g.handler"
		" JOIN bucket b USING (bucket) WHERE g.metric = 'service') WHERE name = 'http.blocking'"
		" AND upto >= 0.99 * total ORDER BY mid LIMIT 1");
	assert_in_range(p99_ns * 1000 /
				query_number(recording,
					     "SELECT max(duration_ns) FROM overrun JOIN handler h ON"
					     " h.id = handler WHERE h.name = 'http.blocking'"),
			992, 1008);
}

static void a_command_is_recorded_from_its_beginning(void **state)
{
	const char *const argv[] = {"stint",
				    "record",
				    "--no-probes",
				    "-o",
				    recording,
				    "--",
				    BUILD_DIRECTORY "/examples/write_buffer",
				    "--quiet",
				    NULL};
	char output[4096];

	(void)state;
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM socket_event WHERE kind = 'open'"), 1);
	assert_true(query_number(recording, "SELECT count(*) FROM socket_event WHERE kind = 'send_short'") >=
		    1);
	assert_true(query_number(recording, "SELECT count(*) FROM socket_event WHERE kind = 'ack'") >= 1);
	assert_int_equal(query_number(recording, "SELECT exited_ns IS NOT NULL FROM process"), 1);
}

static void stages_of_a_stall_add_up_and_its_cause_is_below_the_threshold(void **state)
{
	const char *const argv[] = {"stint",
				    "record",
				    "--trace-socket",
				    "-o",
				    recording,
				    "--",
				    BUILD_DIRECTORY "/examples/write_buffer",
				    "--quiet",
				    NULL};
	char output[4096];

	(void)state;
	watching_or_skip();
	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	assert_true(query_number(recording, "SELECT count(*) FROM write_stall") >= 1);
	assert_int_equal(
		query_number(recording,
			     "SELECT max(abs(ack_ns + kernel_ns + scheduler_ns + loop_ns + queue_ns -"
			     " duration_ns)) FROM write_stall"),
		0);
	assert_int_equal(
		query_number(
			recording,
			"SELECT count(*) FROM write_stall s WHERE NOT EXISTS (SELECT 1 FROM socket_event e"
			" WHERE e.kind = 'ack' AND e.cause AND e.time_ns = s.cause_ns"
			" AND e.queued_bytes <= s.threshold_bytes)"),
		0);
	assert_int_equal(
		query_number(recording,
			     "SELECT count(*) FROM write_stall s JOIN socket_event e ON e.kind = 'ack'"
			     " AND e.time_ns > s.start_ns AND e.time_ns < s.cause_ns"
			     " AND e.queued_bytes <= s.threshold_bytes"),
		0);
}

static void assert_asked_for(const char *option, const char *condition)
{
	const char *const argv[] = {"stint",       "record",
				    "--no-probes", option,
				    "-o",          recording,
				    "--",          BUILD_DIRECTORY "/tests/subjects/full_meter",
				    NULL};
	static char output[16384];
	char query[256];

	assert_int_equal(command_run(argv, output, sizeof(output)), 0);
	snprintf(query, sizeof(query),
		 "SELECT count(*) FROM meta WHERE key = 'trace_socket' AND value = '%s'", condition);
	assert_int_equal(query_number(recording, query), 1);
}

/* So that a report can tell that there was nothing from that nobody asked. */
static void which_sockets_were_asked_for_is_recorded(void **state)
{
	(void)state;
	assert_asked_for("--trace-socket", "stalled");
	assert_asked_for("--trace-socket=0.0.0.0:80", "80");
	assert_asked_for("--trace-socket=[::1]:80", "[::1]:80");
	assert_asked_for("--trace-socket=fd:7", "fd:7");
}

/* ---- how it ends ---- */

static void a_recorder_killed_midway_leaves_what_it_had(void **state)
{
	struct command recorder;
	struct server server;

	(void)state;
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){"--no-probes", NULL});
	request(&server, "/", 50);
	/* Until it is there: the first commit after the requests. */
	while (query_number(recording,
			    "SELECT count(*) FROM total WHERE metric = 'service' AND count >= 50") == 0)
		usleep(50000);
	assert_int_equal(command_end(&recorder, SIGKILL, NULL, 0), -SIGKILL);
	end_server(&server);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM meta WHERE key = 'end_ns'"), 0);
	assert_int_equal(query_number(recording,
				      "SELECT count FROM total JOIN handler h ON handler = h.id WHERE"
				      " h.name = 'http.fast' AND metric = 'service'"),
			 50);
}

static void the_end_of_the_process_ends_the_recording(void **state)
{
	struct command recorder;
	struct server server;
	char output[1024];

	(void)state;
	start_server(&server);
	command_record(&recorder, recording, server.command.pid, (const char *const[]){"--no-probes", NULL});
	request(&server, "/", 30);
	command_end(&server.command, SIGKILL, NULL, 0);
	assert_int_equal(command_end(&recorder, 0, output, sizeof(output)), 0);
	assert_non_null(strstr(output, "stint report "));
	assert_int_equal(query_number(recording,
				      "SELECT count FROM total JOIN handler h ON handler = h.id WHERE"
				      " h.name = 'http.fast' AND metric = 'service'"),
			 30);
	/* Killed, it could not remove its file. */
	snprintf(output, sizeof(output), "%s/%s.meter", directory, server.pid);
	unlink(output);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_spin_of_5_ms_is_reported_with_5_ms),
		TEST(with_probes_an_overrun_of_the_meter_holds_where_its_time_went),
		TEST(each_dispatch_of_an_iteration_has_parts_of_its_own),
		TEST(the_iteration_in_which_a_program_exits_has_a_verdict),
		TEST(handlers_that_the_meter_had_no_room_for_are_a_loss),
		TEST(a_meter_file_left_by_an_earlier_process_of_that_pid_is_passed_over),
		TEST(inside_and_kernel_agree_on_iterations),
		TEST(the_smallest_batch_is_one_that_there_was),
		TEST(a_p99_by_plain_sql_is_within_a_bucket_of_the_overruns_own),
		TEST(a_command_is_recorded_from_its_beginning),
		TEST(stages_of_a_stall_add_up_and_its_cause_is_below_the_threshold),
		TEST(which_sockets_were_asked_for_is_recorded),
		TEST(a_recorder_killed_midway_leaves_what_it_had),
		TEST(the_end_of_the_process_ends_the_recording),
	};

	return cmocka_run_group_tests_name("record", tests, make_directory, remove_directory);
}
