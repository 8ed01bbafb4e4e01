/* SPDX-License-Identifier: MIT */

/* How long a loop waited and how long it was busy make up the recording, also where a wait began before it or went on. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "recorded_fixture.h"
#include "thread_call.h"
#include "watching.h"

#define IDLE_NS 300000000

static const char *const no_options[] = {NULL};
static const char *const without_probes[] = {"--no-probes", NULL};

static void idle(void)
{
	nanosleep(&(struct timespec){.tv_nsec = IDLE_NS}, NULL);
}

/* Until it sleeps in a wait for events of an epoll set. */
static void await_wait(pid_t pid)
{
	long call;

	do {
		sched_yield();
		call = thread_call(pid);
	} while (call != SYS_epoll_wait && call != SYS_epoll_pwait && call != SYS_epoll_pwait2);
}

static void start_echo(struct sockaddr_in *ret)
{
	char line[64] = "";

	subject_start(&recorded.subject, "examples/echo", (const char *const[]){"--port", "0", NULL});
	subject_go(&recorded.subject);
	for (size_t i = 0; i + 1 < sizeof(line) && !strchr(line, '\n'); i++)
		assert_int_equal(read(recorded.subject.from, &line[i], 1), 1);
	assert_non_null(strrchr(line, ':'));
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	ret->sin_port = htons((uint16_t)atoi(strrchr(line, ':') + 1));
	await_wait(recorded.subject.pid);
}

/* Its answer is the echo of what was sent. */
static void ask(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char echo;

	assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
	assert_int_equal(write(fd, "\n", 1), 1);
	assert_int_equal(read(fd, &echo, 1), 1);
	close(fd);
}

static int64_t whole_ns(void)
{
	return query_number(recorded.recording, "SELECT (SELECT value FROM meta WHERE key = 'end_ns') -"
						" (SELECT value FROM meta WHERE key = 'start_ns')");
}

/* Up to a part of an iteration at either end, in which the CPU may have been somebody else's. */
static void loop_is_accounted_for(const char *source)
{
	char sql[128];
	int64_t sum_ns;

	snprintf(sql, sizeof(sql), "SELECT sum(busy_ns + poll_ns) FROM loop WHERE source = '%s'", source);
	sum_ns = query_number(recorded.recording, sql);
	assert_in_range(sum_ns, whole_ns() * 8 / 10, whole_ns() + 1000000);
}

static void start_recorder(const char *const *options)
{
	command_record(&recorded.recorder, recorded.recording, recorded.subject.pid, options);
	idle();
}

static void end_recorder(void)
{
	idle();
	command_record_end(&recorded.recorder);
}

static void record_one_request(const char *const *options)
{
	struct sockaddr_in address;

	start_echo(&address);
	start_recorder(options);
	ask(&address);
	end_recorder();
}

static void a_meter_of_a_loop_that_waits_all_the_time(void **state)
{
	struct sockaddr_in address;

	(void)state;
	start_echo(&address);
	start_recorder(without_probes);
	end_recorder();
	assert_int_equal(query_number(recorded.recording, "SELECT poll_ns FROM loop"), whole_ns());
}

static void a_meter_of_a_loop_that_waits_before_and_after(void **state)
{
	(void)state;
	record_one_request(without_probes);
	loop_is_accounted_for("meter");
}

static void a_loop_in_epoll_that_waits_before_and_after(void **state)
{
	(void)state;
	watching_or_skip();
	record_one_request(no_options);
	loop_is_accounted_for("probes");
}

static void a_loop_in_poll_that_waits_before_and_after(void **state)
{
	(void)state;
	watching_or_skip();
	subject_start(&recorded.subject, "tests/subjects/waits", (const char *const[]){"poll", NULL});
	subject_go(&recorded.subject);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	start_recorder(no_options);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	end_recorder();
	loop_is_accounted_for("probes");
}

/* ---- a recorder that was killed: up to its last transaction ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#define LONG_NS 1500000000

/* Kills the recorder once a loop has so much in that column, in which it does not come to an end of what it is at. */
static void kill_once_in(const char *column, const char *other)
{
	char sql[128];
	int64_t in_ns;

	snprintf(sql, sizeof(sql), "SELECT coalesce(sum(%s), 0) FROM loop", column);
	query_until(recorded.recording, sql, LONG_NS);
	assert_int_equal(command_end(&recorded.recorder, SIGKILL, NULL, 0), -SIGKILL);
	recorded.recorder.pid = 0;
	assert_int_equal(query_number(recorded.recording, "SELECT count(*) FROM meta WHERE key = 'end_ns'"),
			 0);
	in_ns = query_number(recorded.recording, sql);
	assert_in_range(in_ns, LONG_NS,
			now_ns() - (uint64_t)query_number(recorded.recording,
							  "SELECT value FROM meta WHERE key = 'start_ns'"));
	snprintf(sql, sizeof(sql), "SELECT coalesce(sum(%s), 0) FROM loop", other);
	assert_in_range(query_number(recorded.recording, sql), 0, in_ns);
}

static void record_loop_in_epoll(void)
{
	subject_start_loops(&recorded.subject, "wait", "1");
	start_recorder(no_options);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
}

static void a_meter_of_a_loop_that_still_waits_as_the_recorder_is_killed(void **state)
{
	struct sockaddr_in address;

	(void)state;
	start_echo(&address);
	start_recorder(without_probes);
	kill_once_in("poll_ns", "busy_ns");
}

static void a_loop_in_epoll_that_still_waits_as_the_recorder_is_killed(void **state)
{
	(void)state;
	watching_or_skip();
	record_loop_in_epoll();
	await_wait(recorded.subject.pid);
	kill_once_in("poll_ns", "busy_ns");
}

static void a_meter_of_a_loop_that_is_still_busy_as_the_recorder_is_killed(void **state)
{
	(void)state;
	subject_start(&recorded.subject, "tests/subjects/reactor", NULL);
	subject_go(&recorded.subject);
	subject_do(&recorded.subject, 0, SUBJECT_SYNC, 0);
	start_recorder(without_probes);
	subject_send(&recorded.subject, 0, SUBJECT_BLOCK, UINT64_C(100000000000));
	kill_once_in("busy_ns", "poll_ns");
}

static void a_loop_in_epoll_that_is_still_busy_as_the_recorder_is_killed(void **state)
{
	(void)state;
	watching_or_skip();
	record_loop_in_epoll();
	subject_send(&recorded.subject, 0, SUBJECT_BLOCK, UINT64_C(100000000000));
	kill_once_in("busy_ns", "poll_ns");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_meter_of_a_loop_that_waits_all_the_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_meter_of_a_loop_that_waits_before_and_after, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_loop_in_epoll_that_waits_before_and_after, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_loop_in_poll_that_waits_before_and_after, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_meter_of_a_loop_that_still_waits_as_the_recorder_is_killed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_loop_in_epoll_that_still_waits_as_the_recorder_is_killed,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_meter_of_a_loop_that_is_still_busy_as_the_recorder_is_killed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_loop_in_epoll_that_is_still_busy_as_the_recorder_is_killed,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
