/* SPDX-License-Identifier: MIT */

/* `stint record` as its users run it: on real programs, with every kind of wrong input, and killed midway. */

#include <arpa/inet.h>
#include <errno.h>
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "watching.h"

static char directory[64];
static char recording[96];

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("STINT_DIR", directory, 1) != 0)
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

static int remove_recording(void **state)
{
	char journal[128];

	(void)state;
	snprintf(journal, sizeof(journal), "%s-journal", recording);
	unlink(journal);
	unlink(recording);
	return 0;
}

/* A server of the examples, and its pid as text. */
struct server {
	struct command command;
	char pid[16];
	char url[64];
};

static void start_server(struct server *server)
{
	const char *const argv[] = {"examples/http_server", "--port", "0", "--every", "1", NULL};
	char line[128];

	command_start(&server->command, argv);
	command_line(&server->command, "listening on ", line, sizeof(line));
	snprintf(server->url, sizeof(server->url), "%s", strrchr(line, ' ') + 1);
	snprintf(server->pid, sizeof(server->pid), "%d", (int)server->command.pid);
}

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

static void end_server(struct server *server)
{
	command_end(&server->command, SIGTERM, NULL, 0);
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

/* ---- wrong input: one line, and a status ---- */

static void refused(const char *const argv[], int status, const char *why)
{
	char output[2048];

	assert_int_equal(command_run(argv, output, sizeof(output)), status);
	if (!strstr(output, why))
		fail_msg("'%s' is not in: %s", why, output);
	assert_int_equal(strspn(output, "s"), 1);
	assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1);
	assert_int_not_equal(access(recording, F_OK), 0);
}

static void a_pid_that_is_not_there(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "-o", recording, "-p", "4194304", NULL}, 1,
		"there is no process 4194304");
}

static void a_process_that_waits_for_nothing(void **state)
{
	char pid[16], output[2048];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-d", "0.2", "-o", recording,
							   "-p", pid, NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "no event loop was seen"));
	assert_int_not_equal(access(recording, F_OK), 0);
}

/* As a server's master does, or the shell that it was started by. */
static void a_process_whose_children_do_the_work(void **state)
{
	char pid[16], output[2048], hint[64];
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "worker");
		for (;;)
			pause();
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(hint, sizeof(hint), "try -p %d (", (int)child);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-d", "0.2", "-o", recording,
							   "-p", pid, NULL},
				     output, sizeof(output)),
			 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, hint));
}

/* As masters do that have a loop too, by which they look after them: php-fpm, gunicorn. */
static void children_of_the_same_name_that_are_not_recorded_are_said(void **state)
{
	char pid[16], child_pid[16], output[4096], hint[64];
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(child_pid, sizeof(child_pid), "%d", (int)child);
	snprintf(hint, sizeof(hint), "is not recorded; try -p %d or --comm", (int)child);
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, hint));
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, "-p",
					  child_pid, NULL},
		    output, sizeof(output));
	assert_null(strstr(output, "is not recorded"));
	assert_null(strstr(output, "try -p"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void of_more_children_than_are_looked_at_no_number_is_made_up(void **state)
{
	enum { CHILDREN = 300 };
	char pid[16], output[4096];
	int ends[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1) != 0); /* until the test closes it, or ends */
		}
	}
	close(ends[0]);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	close(ends[1]);
	for (int i = 0; i < CHILDREN; i++)
		assert_true(wait(NULL) > 0);
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, "at least 256 children of process "));
}

/* It has its name until somebody waits for it. */
static void a_child_that_has_ended_is_not_said_not_to_be_recorded(void **state)
{
	char pid[16], output[4096];
	siginfo_t info;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	assert_null(strstr(output, "try -p"));
	waitpid(child, NULL, 0);
}

static void a_name_that_nobody_has(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "--no-probes", "-o", recording, "--comm",
				      "no-such-name", NULL},
		1, "there is no process named 'no-such-name'");
}

/* Of a name that is longer, the kernel keeps 15 characters. */
static void a_name_that_nobody_has_yet(void **state)
{
	static const char script[] =
		"cp " BUILD_DIRECTORY "/tests/subjects/crowded $STINT_DIR/a-server-of-that-name && "
		"$STINT_DIR/a-server-of-that-name 1; rm $STINT_DIR/a-server-of-that-name $STINT_DIR/*.meter";
	char output[4096];
	struct command recorder;

	(void)state;
	watching_or_skip();
	command_start(&recorder, (const char *const[]){"stint", "record", "-o", recording, "--comm",
						       "a-server-of-that-name", NULL});
	command_line(&recorder, "yet: one that is started will be recorded", output, sizeof(output));
	command_line(&recorder, "recording into", output, sizeof(output));
	assert_int_equal(command_run((const char *const[]){"sh", "-c", script, NULL}, output, sizeof(output)),
			 0);
	assert_int_equal(command_end(&recorder, SIGINT, output, sizeof(output)), 0);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM process"), 1);
}

static void wait_for_name(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	while (strcmp(comm, name) != 0) {
		file = fopen(path, "re");
		assert_non_null(file);
		assert_non_null(fgets(comm, sizeof(comm), file));
		fclose(file);
		comm[strcspn(comm, "\n")] = '\0';
	}
}

/* A process of the name that the recorder is to find; a loop that does nothing. */
static pid_t start_named_loop(const char *name)
{
	struct epoll_event event;
	pid_t child = fork();
	int epfd;

	assert_true(child >= 0);
	if (child > 0) {
		wait_for_name(child, name);
		return child;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, name);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	for (;;)
		epoll_wait(epfd, &event, 1, 10);
}

static bool has_ended(pid_t child)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

static void end_named_loop(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/*
 * It takes a while to load the probes, and workers come and go: the file is there by then, and the names were looked for.
 */
static void one_of_a_name_may_end_before_it_is_recorded(void **state)
{
	pid_t stays = start_named_loop("one-of-two"), ends = start_named_loop("one-of-two");
	struct command recorder;
	char output[4096];

	(void)state;
	watching_or_skip();
	command_start(&recorder, (const char *const[]){"stint", "record", "-o", recording, "--comm",
						       "one-of-two", NULL});
	while (access(recording, F_OK) != 0 && !has_ended(recorder.pid))
		usleep(1000);
	end_named_loop(ends);
	command_line(&recorder, "recording into", output, sizeof(output));
	query_until(recording, "SELECT count(*) FROM loop", 1);
	assert_int_equal(command_end(&recorder, SIGINT, output, sizeof(output)), 0);
	end_named_loop(stays);
}

/* What it prints may be read by a program. */
static void a_command_has_standard_output_for_itself(void **state)
{
	char script[512], output[4096];

	(void)state;
	snprintf(script, sizeof(script),
		 "%s/stint record --no-probes -o %s -- %s/tests/subjects/crowded 1 2>/dev/null; "
		 "rm \"$STINT_DIR\"/*.meter",
		 BUILD_DIRECTORY, recording, BUILD_DIRECTORY);
	assert_int_equal(command_run((const char *const[]){"sh", "-c", script, NULL}, output, sizeof(output)),
			 0);
	assert_string_equal(output, "");
	assert_int_equal(query_number(recording, "SELECT count(*) FROM process"), 1);
}

static void how_a_command_failed_is_told(void **state)
{
	char output[2048];

	(void)state;
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "sh", "-c", "exit 7", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "the command ended with exit status 7"));
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "sh", "-c", "kill -SEGV $$", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "the command was ended by signal 11"));
}

static void a_command_that_is_not_there(void **state)
{
	char output[2048];

	(void)state;
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "/no/such/program", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "/no/such/program: No such file or directory"));
	assert_int_not_equal(access(recording, F_OK), 0);
}

static void an_output_that_cannot_be_written(void **state)
{
	struct server server;

	(void)state;
	start_server(&server);
	refused((const char *const[]){"stint", "record", "-o", "/no/such/directory/r.stint", "-p", server.pid,
				      NULL},
		1, "/no/such/directory/r.stint");
	end_server(&server);
}

/* SQLite would keep it nowhere. */
static void an_output_in_memory_only(void **state)
{
	struct server server;

	(void)state;
	start_server(&server);
	refused((const char *const[]){"stint", "record", "-o", ":memory:", "-p", server.pid, NULL}, 1,
		"try ./:memory:");
	end_server(&server);
}

static void an_output_that_is_somebody_elses_file(void **state)
{
	struct server server;
	FILE *file = fopen(recording, "w");
	char output[2048];
	struct stat status;

	(void)state;
	fputs("not ours\n", file);
	fclose(file);
	start_server(&server);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-o", recording, "-p",
							   server.pid, NULL},
				     output, sizeof(output)),
			 1);
	end_server(&server);
	assert_non_null(strstr(output, "is not a stint recording"));
	assert_int_equal(stat(recording, &status), 0);
	assert_int_equal(status.st_size, strlen("not ours\n"));
}

static void an_output_that_another_recorder_writes(void **state)
{
	struct server server;
	struct command first;
	char output[2048];
	const char *const options[] = {"--no-probes", NULL};

	(void)state;
	start_server(&server);
	command_record(&first, recording, server.command.pid, options);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "-p", server.pid, NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "another recorder records into it"));
	command_record_end(&first);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM meta WHERE key = 'end_ns'"), 1);
	command_record(&first, recording, server.command.pid,
		       options); /* once it has ended, it is replaced */
	command_record_end(&first);
	end_server(&server);
}

static void arguments_that_make_no_sense(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", NULL}, 2, "what to record");
	refused((const char *const[]){"stint", "record", "-p", "1", "--comm", "init", NULL}, 2,
		"said in more than one way");
	refused((const char *const[]){"stint", "record", "-p", "12x", NULL}, 2, "'12x' is not a process id");
	refused((const char *const[]){"stint", "record", "-d", "soon", "-p", "1", NULL}, 2,
		"'soon' is not a number of seconds");
	refused((const char *const[]){"stint", "record", "--budget", "-4", "-p", "1", NULL}, 2, "'-4'");
	refused((const char *const[]){"stint", "record", "--trace-socket=fd:-1", "-p", "1", NULL}, 2,
		"'fd:-1' is not a descriptor");
	refused((const char *const[]){"stint", "record", "--trace-socket=fd:", "-p", "1", NULL}, 2,
		"'fd:' is not a descriptor");
	refused((const char *const[]){"stint", "dance", NULL}, 2, "there is no command 'dance'");
}

/* It would be started, by root as a rule, with the options that follow. */
static void a_word_too_many_is_no_command(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "sh", "-o", recording, NULL}, 2,
		"'sh' was not expected");
	refused((const char *const[]){"stint", "record", "-p", "1", "2", NULL}, 2, "'2' was not expected");
}

static void an_unprivileged_user_is_told_what_is_missing(void **state)
{
	const char *const argv[] = {"setpriv",
				    "--reuid=65534",
				    "--regid=65534",
				    "--clear-groups",
				    BUILD_DIRECTORY "/stint",
				    "doctor",
				    NULL};
	char output[4096];

	(void)state;
	if (geteuid() != 0) {
		printf("skipped: only root can become another user\n");
		skip();
	}
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_non_null(strstr(output, "MISSING  CAP_BPF "));
	assert_non_null(strstr(output, "MISSING  CAP_PERFMON "));
	assert_non_null(strstr(output, "less     CAP_SYS_PTRACE "));
	assert_non_null(strstr(output, "setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog=ep "));
}

static void assert_runtime_directory(const char *path, const char *state)
{
	char setting[256], line[256], output[8192];

	snprintf(setting, sizeof(setting), "STINT_DIR=%s", path);
	snprintf(line, sizeof(line), "%-8s runtime directory    %s\n", state, path);
	command_run((const char *const[]){"env", setting, BUILD_DIRECTORY "/stint", "doctor", NULL}, output,
		    sizeof(output));
	if (!strstr(output, line))
		fail_msg("no '%s' in: %s", line, output);
}

/* Programs make the last part of its path, and no more. */
static void a_runtime_directory_that_nobody_could_make_is_told(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/new", directory);
	assert_runtime_directory(path, "ok");
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/no/such", directory);
	assert_runtime_directory(path, "less");
	assert_runtime_directory("/dev/null", "less");
	assert_runtime_directory("/tmp", "less"); /* everybody's */
	snprintf(path, sizeof(path), "%s/link", directory);
	assert_int_equal(symlink(directory, path), 0);
	assert_runtime_directory(path, "less");
	assert_int_equal(unlink(path), 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, remove_recording)

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
		TEST(a_pid_that_is_not_there),
		TEST(a_process_that_waits_for_nothing),
		TEST(a_process_whose_children_do_the_work),
		TEST(children_of_the_same_name_that_are_not_recorded_are_said),
		TEST(of_more_children_than_are_looked_at_no_number_is_made_up),
		TEST(a_child_that_has_ended_is_not_said_not_to_be_recorded),
		TEST(a_name_that_nobody_has),
		TEST(a_name_that_nobody_has_yet),
		TEST(one_of_a_name_may_end_before_it_is_recorded),
		TEST(a_command_has_standard_output_for_itself),
		TEST(how_a_command_failed_is_told),
		TEST(a_command_that_is_not_there),
		TEST(an_output_that_cannot_be_written),
		TEST(an_output_in_memory_only),
		TEST(an_output_that_is_somebody_elses_file),
		TEST(an_output_that_another_recorder_writes),
		TEST(arguments_that_make_no_sense),
		TEST(a_word_too_many_is_no_command),
		TEST(an_unprivileged_user_is_told_what_is_missing),
		TEST(a_runtime_directory_that_nobody_could_make_is_told),
	};

	return cmocka_run_group_tests_name("record", tests, make_directory, remove_directory);
}
