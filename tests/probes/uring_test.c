/* SPDX-License-Identifier: MIT */

/* Programs that do all by io_uring: what completed, how long it was served, and stalls of what they send. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf_ids.h"
#include "subject.h"
#include "subject_rings.h"
#include "watched_roles.h"
#include "watching.h"

#define REFUSED 77

static struct watching watching;
static struct subject subject;
static struct subject_rings account;
static size_t links_without_rings;

static int tear_down(void **state)
{
	(void)state;
	subject_stop(&subject, SIGKILL);
	if (watching.probes)
		watching_close(&watching);
	return 0;
}

static size_t links(void)
{
	uint32_t ids[BPF_IDS_MAX];

	return bpf_ids(getpid(), "link_id", ids);
}

/* From its first instruction to after its first wait for its ring. */
static void start(const char *manner, const char *socket, const struct stint_probes_options *options)
{
	const char *arguments[] = {manner, socket, NULL};
	char byte;

	watching_or_skip();
	watching_open(&watching, options);
	links_without_rings = links();
	subject_start(&subject, "tests/subjects/rings", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	if (read(subject.from, &byte, 1) != 1) {
		printf("skipped: this kernel lets no program have a ring\n");
		skip();
	}
	watching_take(&watching);
	assert_true(links() > links_without_rings);
	assert_int_equal(write(subject.to, "x", 1), 1);
}

/* And to its end. */
static void run(const char *manner, const char *socket, const struct stint_probes_options *options)
{
	struct stint_probes_losses losses;

	start(manner, socket, options);
	watching_until_exit(&watching, subject.pid);
	watching_take(&watching);
	assert_int_equal(read(subject.from, &account, sizeof(account)), sizeof(account));
	assert_int_equal(subject_stop(&subject, 0), 0);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.ring_full, 0);
	assert_int_equal(losses.table_full, 0);
}

static void assert_served(const char *name, uint64_t events, enum subject_rings_role which)
{
	const struct stint_probes_role *role = watched_role(name);

	assert_int_equal(role->metric[STINT_PROBES_ROLE_WAIT].count, events);
	assert_int_equal(role->metric[STINT_PROBES_ROLE_SERVICE].count, events);
	/* The kernel's measure has the program's within it. */
	assert_true(role->metric[STINT_PROBES_ROLE_SERVICE].sum_ns >= account.served_ns[which]);
	watched_role_adds_up(role);
}

static void a_completion_is_told_by_the_role_of_its_file(void **state)
{
	char listener[32], clients[32];

	(void)state;
	run("roles", NULL, NULL);
	watched_roles_read(&watching);
	snprintf(listener, sizeof(listener), "listener :%u", account.port);
	snprintf(clients, sizeof(clients), "clients of :%u", account.port);
	assert_served(listener, 1, SUBJECT_RINGS_LISTENER);
	assert_served(clients, SUBJECT_RINGS_ROUNDS, SUBJECT_RINGS_CLIENT);
	assert_served("pipes", SUBJECT_RINGS_ROUNDS, SUBJECT_RINGS_PIPE);
	assert_served("eventfd", SUBJECT_RINGS_ROUNDS, SUBJECT_RINGS_EVENT);
}

/* No ACK found nobody who waits for space, and no alarm was given for one that was not told. */
static void assert_owner_is_told(void)
{
	assert_int_equal(watching.alarms_len, 0);
	for (size_t i = 0; i < watching.acks_len; i++)
		assert_int_equal(watching.acks[i].no_event[STINT_PROBES_NO_EVENT_NOT_ARMED], 0);
}

/* One request with many completions, of which the kernel tells no request: its pipe is read by system calls. */
static void each_completion_of_a_repeating_poll_has_its_role(void **state)
{
	(void)state;
	run("repeating", NULL, NULL);
	watched_roles_read(&watching);
	assert_served("pipes", SUBJECT_RINGS_ROUNDS, SUBJECT_RINGS_PIPE);
}

static void check_stalls(const char *manner, const char *socket)
{
	uint64_t sum_ns = 0, acks = 0;

	run(manner, socket, NULL);
	assert_true(watching.stalls_len > 3);
	for (size_t i = 0; i < watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];

		assert_int_equal(stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns +
					 stall->queue_ns,
				 stall->duration_ns);
		assert_true(stall->start_ns >= account.start_ns);
		assert_true(stall->start_ns + stall->duration_ns <= account.end_ns);
		acks += stall->acks;
		sum_ns += stall->duration_ns;
	}
	/* The ACK that opened one may have come before the completion told that it was full. */
	assert_true(acks + 1 >= watching.stalls_len);
	assert_true(sum_ns <= account.end_ns - account.start_ns);
	/* The peer reads 32 kB a millisecond: most of the time is spent waiting for it. */
	assert_true(sum_ns > (account.end_ns - account.start_ns) / 2);
}

static void a_send_that_the_kernel_goes_on_with_is_told_by_its_stalls(void **state)
{
	(void)state;
	check_stalls("whole", "tcp");
	assert_int_equal(account.short_sends, 0);
	assert_owner_is_told();
}

static void each_short_completion_of_a_send_begins_a_stall(void **state)
{
	(void)state;
	check_stalls("parts", "tcp");
	assert_int_equal(watching.stalls_len, account.short_sends);
}

static void a_program_that_polls_for_space_is_told_by_the_polls_completion(void **state)
{
	(void)state;
	check_stalls("polling", "tcp");
	assert_int_equal(watching.stalls_len, account.short_sends);
}

static void stalls_of_unix_sockets_are_told_too(void **state)
{
	(void)state;
	check_stalls("parts", "unix");
	assert_int_equal(watching.stalls_len, account.short_sends);
}

static void stalls_of_sequenced_packets_are_told_too(void **state)
{
	(void)state;
	check_stalls("whole", "seqpacket");
	assert_int_equal(account.short_sends, 0);
}

static void a_ring_is_forgotten_with_the_thread_that_waited_for_it(void **state)
{
	(void)state;
	run("repeating", NULL, NULL);
	assert_int_equal(links(), links_without_rings);
}

static void a_ring_is_forgotten_when_its_process_becomes_another_program(void **state)
{
	char byte;

	(void)state;
	start("exec", NULL, NULL);
	/* The program that it becomes answers. */
	assert_int_equal(write(subject.to, "y", 1), 1);
	assert_int_equal(read(subject.from, &byte, 1), 1);
	assert_int_equal(byte, 'y');
	watching_take(&watching);
	assert_int_equal(links(), links_without_rings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_completion_is_told_by_the_role_of_its_file, tear_down),
		cmocka_unit_test_teardown(each_completion_of_a_repeating_poll_has_its_role, tear_down),
		cmocka_unit_test_teardown(a_send_that_the_kernel_goes_on_with_is_told_by_its_stalls,
					  tear_down),
		cmocka_unit_test_teardown(each_short_completion_of_a_send_begins_a_stall, tear_down),
		cmocka_unit_test_teardown(a_program_that_polls_for_space_is_told_by_the_polls_completion,
					  tear_down),
		cmocka_unit_test_teardown(stalls_of_unix_sockets_are_told_too, tear_down),
		cmocka_unit_test_teardown(stalls_of_sequenced_packets_are_told_too, tear_down),
		cmocka_unit_test_teardown(a_ring_is_forgotten_with_the_thread_that_waited_for_it, tear_down),
		cmocka_unit_test_teardown(a_ring_is_forgotten_when_its_process_becomes_another_program,
					  tear_down),
	};

	/* An emulated CPU takes ten seconds to load the programs. */
	if (getenv("STINT_KERNELS"))
		cmocka_set_test_filter("*_is_told_by_*");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
