/* SPDX-License-Identifier: MIT */

/* The meter on the loops of others: their handlers are recorded under their names, like those of our own. */

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "directory_fixture.h"
#include "query.h"

#define FAST 23
#define SLOW 7

#define BATCHES(what, source)                                                               \
	"SELECT " what " FROM total t JOIN loop l ON l.id = t.loop AND l.source = '" source \
	"' WHERE t.metric = 'batch'"

static int connect_to(const char *line)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons((uint16_t)atoi(strrchr(line, ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	char echo[16];

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(recv(fd, echo, strlen(text), MSG_WAITALL), (ssize_t)strlen(text));
	assert_memory_equal(echo, text, strlen(text));
}

static int64_t figure(const char *what)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
		 "SELECT %s FROM handler h LEFT JOIN total t ON t.handler = h.id AND t.metric = 'service' "
		 "WHERE h.name = 'echo.read'",
		 what);
	return query_number(recording, sql);
}

/* Serves a known number of fast and slow lines, under the recorder. */
static void record(const char *example)
{
	char program[64], line[256], pid[16];
	struct command server, recorder;
	int fd;

	snprintf(program, sizeof(program), "examples/%s", example);
	command_start(&server, (const char *const[]){program, "--port", "0", NULL});
	command_line(&server, "listening on ", line, sizeof(line));
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	fd = connect_to(line);
	say(fd, "hello"); /* before the recording: not in it */
	command_start(&recorder, (const char *const[]){"stint", "record", "--no-probes", "-o", recording,
						       "-p", pid, NULL});
	command_line(&recorder, "recording into", line, sizeof(line));
	for (int i = 0; i < FAST; i++)
		say(fd, "fast");
	for (int i = 0; i < SLOW; i++)
		say(fd, "slow");
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
	assert_int_equal(command_end(&recorder, 0, NULL, 0), 0); /* ends with the last process */
}

static void handlers_are_recorded_under_their_names(const char *example, const char *loop, bool tells_events)
{
	char name[64];

	record(example);
	/* One more for the end of the connection. The reply can be seen before "hello" was counted. */
	assert_in_range(figure("t.count"), FAST + SLOW + 1, FAST + SLOW + 2);
	assert_true(figure("h.overruns") >= SLOW);
	assert_true(figure("t.max") >= 2000000);
	query_text(recording, "SELECT name FROM loop WHERE source = 'meter'", name, sizeof(name));
	assert_string_equal(name, loop);
	assert_true(query_number(recording, "SELECT iterations FROM loop") >= FAST + SLOW);
	assert_true(query_number(recording, "SELECT poll_ns FROM loop") > 0);
	assert_int_equal(query_number(recording,
				      "SELECT total(count) > 0 FROM histogram WHERE metric = 'batch'"),
			 tells_events);
	unlink(recording);
}

static void handlers_on_libuv_are_recorded_under_their_names(void **state)
{
	(void)state;
	handlers_are_recorded_under_their_names("meter_libuv", "libuv", false);
}

static void handlers_on_libev_are_recorded_under_their_names(void **state)
{
	(void)state;
	handlers_are_recorded_under_their_names("meter_libev", "libev", true);
}

static void handlers_on_libevent_are_recorded_under_their_names(void **state)
{
	(void)state;
	handlers_are_recorded_under_their_names("meter_libevent", "libevent", true);
}

/* A program that does nothing but tick: the wait ends with no event, and the library counts the timer that is due. */
static void a_timer_is_of_a_batch_where_the_library_counts_it(const char *example)
{
	char program[64], line[256], pid[16];
	struct command server, recorder;
	static char report[16384];

	snprintf(program, sizeof(program), "examples/%s", example);
	command_start(&server, (const char *const[]){program, "--port", "0", NULL});
	command_line(&server, "listening on ", line, sizeof(line));
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	command_start(&recorder, (const char *const[]){"stint", "record", "-o", recording, "-p", pid, NULL});
	command_line(&recorder, "recording into", line, sizeof(line));
	query_until(recording,
		    "SELECT total(count) FROM total t JOIN handler h ON h.id = t.handler AND h.name = 'tick' "
		    "WHERE t.metric = 'service'",
		    5);
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
	if (query_number(recording, "SELECT value <> 'yes' FROM meta WHERE key = 'probes'")) {
		unlink(recording);
		printf("skipped: it needs the probes\n");
		skip();
	}
	assert_int_equal(query_number(recording, BATCHES("max(t.max)", "meter")), 1);
	assert_int_equal(query_number(recording, BATCHES("max(t.max)", "probes")), 0);
	assert_true(query_number(recording, BATCHES("sum(t.count)", "probes")) > 0);
	assert_int_equal(command_run((const char *const[]){"stint", "report", recording, NULL}, report,
				     sizeof(report)),
			 0);
	assert_non_null(strstr(report, "timers"));
	unlink(recording);
}

static void a_timer_is_of_a_batch_of_libev_and_of_none_of_the_kernel(void **state)
{
	(void)state;
	a_timer_is_of_a_batch_where_the_library_counts_it("meter_libev");
}

static void a_timer_is_of_a_batch_of_libevent_and_of_none_of_the_kernel(void **state)
{
	(void)state;
	a_timer_is_of_a_batch_where_the_library_counts_it("meter_libevent");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handlers_on_libuv_are_recorded_under_their_names),
		cmocka_unit_test(handlers_on_libev_are_recorded_under_their_names),
		cmocka_unit_test(handlers_on_libevent_are_recorded_under_their_names),
		cmocka_unit_test(a_timer_is_of_a_batch_of_libev_and_of_none_of_the_kernel),
		cmocka_unit_test(a_timer_is_of_a_batch_of_libevent_and_of_none_of_the_kernel),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
