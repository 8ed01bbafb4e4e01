/* SPDX-License-Identifier: MIT */

/* What descriptors are, how long they were served, and when what they were about had arrived: of a known program. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "redis.h"
#include "subject.h"
#include "subject_roles.h"
#include "watched_roles.h"
#include "watching.h"

static struct watching watching;
static struct subject subject;
static struct redis redis;
static struct subject_served served;
static uint16_t port;

static int set_up(void **state)
{
	struct stint_probes_support support;

	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&subject, 0, sizeof(subject));
	memset(&redis, 0, sizeof(redis));
	if (stint_probes_supported(&support) == 0)
		watching_open(&watching, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	subject_stop(&subject, 0);
	if (redis.pid)
		redis_stop(&redis);
	watching_close(&watching);
	return 0;
}

/* Of a server, which does not end with its input. */
static int tear_down_server(void **state)
{
	subject_stop(&subject, SIGKILL);
	return tear_down(state);
}

static void run(const char *what, const char *early)
{
	const char *const arguments[] = {what, early, NULL};

	watching_or_skip();
	subject_start(&subject, "tests/subjects/roles", arguments);
	if (!early)
		watching_add(&watching, subject.pid);
	subject_go(&subject);
	assert_int_equal(read(subject.from, &port, sizeof(port)), sizeof(port));
	if (early)
		watching_add(&watching, subject.pid);
	assert_int_equal(write(subject.to, "", 1), 1);
	assert_int_equal(read(subject.from, &served, sizeof(served)), sizeof(served));
	watched_roles_read(&watching);
}

/* A name that ends in a colon goes on with the subject's port. */
static const struct stint_probes_role *find_role(const char *begins)
{
	char name[64];

	if (begins[strlen(begins) - 1] == ':')
		snprintf(name, sizeof(name), "%s%u", begins, port);
	else
		snprintf(name, sizeof(name), "%s", begins);
	return watched_role(name);
}

static const struct stint_probes_histogram *metric(const struct stint_probes_role *role,
						   enum stint_probes_role_metric which)
{
	return &role->metric[which];
}

static const char *const role_names[SUBJECT_ROLES] = {"listener :",   "clients of :", "upstream 127.0.0.1:",
						      "timerfd",      "eventfd",      "pipes",
						      "unix sockets", "signalfd",     "inotify"};

static void assert_each_role_is_served_as_long_as_it_computes(void)
{
	for (int i = 0; i < SUBJECT_ROLES; i++) {
		const struct stint_probes_role *role = find_role(role_names[i]);
		const struct stint_probes_histogram *service = metric(role, STINT_PROBES_ROLE_SERVICE);

		assert_int_equal(service->count, SUBJECT_ROUNDS);
		assert_in_range(service->sum_ns, served.least_ns[i], served.most_ns[i]);
		assert_true(service->min_ns >= SUBJECT_SPIN_NS);
		assert_int_equal(metric(role, STINT_PROBES_ROLE_WAIT)->count, SUBJECT_ROUNDS);
		watched_role_adds_up(role);
	}
	assert_int_equal(watched_roles_len(), SUBJECT_ROLES);
}

static void each_role_is_told_and_its_service_known(void **state)
{
	struct stint_probes_attribution attribution;

	(void)state;
	run("each", NULL);
	assert_each_role_is_served_as_long_as_it_computes();
	stint_probes_attribution(watching.probes, &attribution);
	assert_int_equal(attribution.events, SUBJECT_ROUNDS * SUBJECT_ROLES);
	assert_int_equal(attribution.not_attributed, 0);
}

static void an_overrun_tells_the_role_of_what_was_handled_longest(void **state)
{
	size_t told[SUBJECT_ROLES] = {0};

	(void)state;
	run("each", NULL);
	for (size_t i = 0; i < watching.overruns_len; i++)
		for (int role = 0; role < SUBJECT_ROLES; role++)
			told[role] +=
				strcmp(watching.overruns[i].is.role, find_role(role_names[role])->name) == 0;
	for (int role = 0; role < SUBJECT_ROLES; role++)
		assert_int_equal(told[role], SUBJECT_ROUNDS);
}

static void loops_in_poll_and_select_have_roles_too(void **state)
{
	static const char *const waits[] = {"poll", "ppoll", "select", "pselect"};
	struct stint_probes_attribution attribution;

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		run(waits[i], NULL);
		assert_each_role_is_served_as_long_as_it_computes();
		stint_probes_attribution(watching.probes, &attribution);
		assert_int_equal(attribution.events, SUBJECT_ROUNDS * SUBJECT_ROLES);
		assert_int_equal(attribution.not_attributed, 0);
		tear_down(state);
		set_up(state);
	}
}

static void events_of_roles_beyond_the_limit_are_counted_as_lost(void **state)
{
	const struct stint_probes_options options = {.size = sizeof(options), .role_limit = 3};
	struct stint_probes_losses losses;

	(void)state;
	watching_or_skip();
	watching_close(&watching);
	watching_open(&watching, &options);
	run("each", NULL);
	assert_int_equal(watched_roles_len(), 3);
	for (size_t i = 0; i < watched_roles_len(); i++)
		assert_int_equal(metric(watched_role_at(i), STINT_PROBES_ROLE_SERVICE)->count,
				 SUBJECT_ROUNDS);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.roles_full, SUBJECT_ROUNDS * (SUBJECT_ROLES - 3));
	assert_int_equal(losses.table_full, 0);
}

static void descriptors_registered_before_the_watch_are_known_too(void **state)
{
	(void)state;
	run("each", "early");
	assert_each_role_is_served_as_long_as_it_computes();
}

static void a_connection_has_the_age_since_its_handshake(void **state)
{
	const struct stint_probes_role *role;

	(void)state;
	run("each", NULL);
	role = find_role("listener :");
	assert_int_equal(metric(role, STINT_PROBES_ROLE_AGE)->count, SUBJECT_ROUNDS);
	/* It is made after the handler before it has computed, and just before the wait. */
	assert_true(metric(role, STINT_PROBES_ROLE_AGE)->min_ns < SUBJECT_SPIN_NS);
}

/* Among them connections that came before the program made its first system call under watch. */
static void the_first_connection_of_a_listener_that_was_there_before_has_its_age(void **state)
{
	(void)state;
	run("each", "early");
	assert_int_equal(metric(find_role("listener :"), STINT_PROBES_ROLE_AGE)->count, SUBJECT_ROUNDS);
}

static void all_parts_of_an_event_s_service_are_added_up(void **state)
{
	const struct stint_probes_histogram *service, *wait;
	const struct stint_probes_role *role;

	(void)state;
	run("batch", NULL);
	role = find_role("clients of :");
	service = metric(role, STINT_PROBES_ROLE_SERVICE);
	wait = metric(role, STINT_PROBES_ROLE_WAIT);
	assert_int_equal(service->count, 2 * SUBJECT_ROUNDS);
	assert_true(service->min_ns >= 3 * SUBJECT_SPIN_NS);
	assert_in_range(service->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
	assert_int_equal(wait->count, 2 * SUBJECT_ROUNDS);
	/* The first of the two need not wait, the second waits until the first was read from. */
	assert_true(wait->min_ns < SUBJECT_SPIN_NS);
	assert_true(wait->sum_ns >= SUBJECT_ROUNDS * (uint64_t)SUBJECT_SPIN_NS);
}

static void connect_once(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	close(fd);
}

/* When it was woken is not known, as nobody saw it begin to wait. */
static void what_ends_a_wait_from_before_the_recording_found_nobody_busy(void **state)
{
	const struct stint_probes_role *role;
	char line[128] = "";

	(void)state;
	watching_or_skip();
	subject_start(&subject, "examples/echo", (const char *const[]){"--port", "0", NULL});
	subject_go(&subject);
	assert_true(read(subject.from, line, sizeof(line) - 1) > 0);
	assert_int_equal(sscanf(line, "listening on 127.0.0.1:%hu", &port), 1);
	subject_until_state(subject.pid, 'S');
	watching_add(&watching, subject.pid);
	connect_once();
	watched_roles_read(&watching);
	role = find_role("listener :");
	assert_int_equal(metric(role, STINT_PROBES_ROLE_AGE)->count, 1);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_BUSY)->count, 0);
	watched_role_adds_up(role);
}

static void data_that_came_while_the_loop_was_busy_is_as_old_as_that(void **state)
{
	const struct stint_probes_histogram *age, *busy;
	const struct stint_probes_role *role;

	(void)state;
	run("busy", NULL);
	role = find_role("clients of :");
	age = metric(role, STINT_PROBES_ROLE_AGE);
	busy = metric(role, STINT_PROBES_ROLE_BUSY);
	assert_int_equal(age->count, SUBJECT_ROUNDS);
	assert_int_equal(busy->count, SUBJECT_ROUNDS);
	/* Loopback delivers within the send, so the data was there before it returned. */
	assert_true(busy->min_ns >= SUBJECT_BUSY_NS);
	assert_in_range(age->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_LEFT)->count, 0);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_KERNEL)->count, 0);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_SCHEDULER)->count, 0);
	watched_role_adds_up(role);
}

/* The loop slept meanwhile, and was told of something else. */
static void data_that_was_not_asked_for_found_nobody_busy(void **state)
{
	const struct stint_probes_histogram *age, *left;
	const struct stint_probes_role *role;

	(void)state;
	run("left", NULL);
	role = find_role("clients of :");
	age = metric(role, STINT_PROBES_ROLE_AGE);
	left = metric(role, STINT_PROBES_ROLE_LEFT);
	assert_int_equal(age->count, SUBJECT_ROUNDS);
	assert_int_equal(left->count, SUBJECT_ROUNDS);
	assert_true(left->min_ns >= SUBJECT_BUSY_NS);
	assert_in_range(age->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
	watched_role_adds_up(role);
}

static void a_wait_without_room_has_left_nothing(void **state)
{
	const struct stint_probes_role *role;

	(void)state;
	run("single", NULL);
	role = find_role("clients of :");
	assert_int_equal(metric(role, STINT_PROBES_ROLE_AGE)->count, SUBJECT_ROUNDS);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_LEFT)->count, 0);
	assert_true(metric(role, STINT_PROBES_ROLE_BUSY)->min_ns >= SUBJECT_BUSY_NS);
	watched_role_adds_up(role);
}

static void each_of_many_connections_has_the_age_of_what_it_was_sent(void **state)
{
	(void)state;
	run("many", NULL);
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE)->count, SUBJECT_MANY);
}

/* As tokio does. Nobody has the time to read what is registered, as each is closed at once. */
static void those_added_to_a_set_by_another_number_than_it_is_waited_in_by_are_known(void **state)
{
	(void)state;
	run("duplicate", NULL);
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE)->count, SUBJECT_ROUNDS);
}

/* Some of them had to make way for others. */
static void of_a_crowd_those_without_an_age_are_counted(void **state)
{
	struct stint_probes_losses losses;
	struct rlimit limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < 2 * SUBJECT_CROWD + 100) {
		printf("skipped: a process may have no more than %ju descriptors\n",
		       (uintmax_t)limit.rlim_max);
		skip();
	}
	run("crowd", NULL);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE)->count +
				 losses.arrivals_unseen,
			 SUBJECT_CROWD);
}

static void a_client_is_known_as_that_however_many_ports_are_listened_on(void **state)
{
	(void)state;
	run("ports", NULL);
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE)->count, 1);
}

static void a_client_that_has_reset_its_connection_is_known_as_that(void **state)
{
	(void)state;
	run("reset", NULL);
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_SERVICE)->count, SUBJECT_ROUNDS);
	assert_int_equal(watched_roles_len(), 1);
}

static void what_another_thread_has_read_makes_nothing_older(void **state)
{
	const struct stint_probes_histogram *age;

	(void)state;
	run("helped", NULL);
	age = metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE);
	assert_int_equal(age->count, SUBJECT_ROUNDS);
	assert_true(age->sum_ns <= served.most_ns[SUBJECT_ROLE_CLIENT]);
}

static void a_read_is_as_old_as_what_was_there_when_it_began(void **state)
{
	const struct stint_probes_histogram *age;

	(void)state;
	run("parts", NULL);
	age = metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE);
	assert_int_equal(age->count, SUBJECT_ROUNDS);
	assert_in_range(age->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
}

static void what_is_sent_again_makes_nothing_younger_or_unknown(void **state)
{
	const struct stint_probes_histogram *age;
	struct stint_probes_losses losses;

	(void)state;
	run("again", NULL);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.arrivals_unseen, 0);
	age = metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE);
	assert_int_equal(age->count, 3);
	assert_in_range(age->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
}

/* As many servers ask for: the kernel tells of no segment that comes with the handshake. */
static void data_that_ends_the_handshake_is_as_old_as_that(void **state)
{
	const struct stint_probes_histogram *age;
	struct stint_probes_losses losses;

	(void)state;
	run("deferred", NULL);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.arrivals_unseen, 0);
	assert_int_equal(metric(find_role("listener :"), STINT_PROBES_ROLE_AGE)->count, SUBJECT_ROUNDS);
	age = metric(find_role("clients of :"), STINT_PROBES_ROLE_AGE);
	assert_int_equal(age->count, 2 * SUBJECT_ROUNDS);
	/* Of each, the other half; not as long as it was not accepted. */
	assert_int_equal(metric(find_role("clients of :"), STINT_PROBES_ROLE_LEFT)->count, SUBJECT_ROUNDS);
	assert_in_range(age->sum_ns, served.least_ns[SUBJECT_ROLE_CLIENT],
			served.most_ns[SUBJECT_ROLE_CLIENT]);
}

static void taking_a_descriptor_out_of_the_set_is_a_turn_of_its_event(void **state)
{
	const struct stint_probes_histogram *service;
	struct stint_probes_attribution attribution;

	(void)state;
	run("ctl", NULL);
	service = metric(find_role("eventfd"), STINT_PROBES_ROLE_SERVICE);
	assert_int_equal(service->count, SUBJECT_ROUNDS);
	assert_in_range(service->sum_ns, served.least_ns[SUBJECT_ROLE_EVENT],
			served.most_ns[SUBJECT_ROLE_EVENT]);
	stint_probes_attribution(watching.probes, &attribution);
	assert_int_equal(attribution.events, SUBJECT_ROUNDS);
	assert_int_equal(attribution.not_attributed, 0);
}

static void a_number_that_is_used_again_has_nothing_of_the_one_that_was_closed(void **state)
{
	const struct stint_probes_histogram *pipes, *sockets;

	(void)state;
	run("reused", NULL);
	pipes = metric(find_role("pipes"), STINT_PROBES_ROLE_SERVICE);
	sockets = metric(find_role("unix sockets"), STINT_PROBES_ROLE_SERVICE);
	assert_int_equal(pipes->count, SUBJECT_ROUNDS);
	assert_true(pipes->sum_ns <= served.most_ns[SUBJECT_ROLE_PIPE]);
	assert_int_equal(sockets->count, SUBJECT_ROUNDS);
	assert_in_range(sockets->sum_ns, served.least_ns[SUBJECT_ROLE_UNIX],
			served.most_ns[SUBJECT_ROLE_UNIX]);
}

/* By redis's own count. The connection is a unix socket; its last command is in an iteration that is not over. */
static void redis_serves_as_many_events_as_it_processes_commands(void **state)
{
	const struct stint_probes_role *role;

	(void)state;
	watching_or_skip();
	if (!redis_start(&redis)) {
		printf("skipped: no redis-server is installed\n");
		skip();
	}
	watching_add(&watching, redis.pid);
	REDIS_DO(&redis, "CONFIG", "RESETSTAT");
	for (int i = 0; i < 500; i++)
		REDIS_DO(&redis, "PING");
	assert_non_null(strstr(REDIS_DO(&redis, "INFO", "stats"), "total_commands_processed:501"));
	REDIS_DO(&redis, "PING");
	watched_roles_read(&watching);
	role = find_role("unix sockets");
	assert_in_range(metric(role, STINT_PROBES_ROLE_SERVICE)->count, 502, 503);
	assert_int_equal(metric(role, STINT_PROBES_ROLE_WAIT)->count, 503);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_role_is_told_and_its_service_known, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_overrun_tells_the_role_of_what_was_handled_longest, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(loops_in_poll_and_select_have_roles_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(events_of_roles_beyond_the_limit_are_counted_as_lost, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(descriptors_registered_before_the_watch_are_known_too, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(data_that_was_not_asked_for_found_nobody_busy, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_wait_without_room_has_left_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(data_that_ends_the_handshake_is_as_old_as_that, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_connection_has_the_age_since_its_handshake, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			the_first_connection_of_a_listener_that_was_there_before_has_its_age, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			those_added_to_a_set_by_another_number_than_it_is_waited_in_by_are_known, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(each_of_many_connections_has_the_age_of_what_it_was_sent,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_a_crowd_those_without_an_age_are_counted, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_client_is_known_as_that_however_many_ports_are_listened_on,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_client_that_has_reset_its_connection_is_known_as_that,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_another_thread_has_read_makes_nothing_older, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_read_is_as_old_as_what_was_there_when_it_began, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_sent_again_makes_nothing_younger_or_unknown, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(taking_a_descriptor_out_of_the_set_is_a_turn_of_its_event,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_number_that_is_used_again_has_nothing_of_the_one_that_was_closed, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(all_parts_of_an_event_s_service_are_added_up, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_ends_a_wait_from_before_the_recording_found_nobody_busy,
						set_up, tear_down_server),
		cmocka_unit_test_setup_teardown(data_that_came_while_the_loop_was_busy_is_as_old_as_that,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(redis_serves_as_many_events_as_it_processes_commands, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
