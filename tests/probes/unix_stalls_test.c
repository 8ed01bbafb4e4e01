/* SPDX-License-Identifier: MIT */

/*
 * Write stalls of unix sockets, held against the clocks of the sender and of its peer, and against what poll()
 * says of the sender's end after each of the peer's reads.
 */

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_unix.h"
#include "watching_fixture.h"

#define MS 1000000ull

static struct subject_unix account;

static void skip_what_cannot_be(void)
{
	int status = subject_stop(&subject, 0);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 77)
		fail_msg("the subject failed");
	printf("skipped: it takes two CPUs, and the right to real-time priorities\n");
	skip();
}

/* Meanwhile records are taken: threads that send until they have been refused so often may send any number of times. */
static void read_account(void)
{
	struct pollfd told = {.fd = subject.from, .events = POLLIN};
	size_t len = 0;
	ssize_t got;

	while (poll(&told, 1, 5) == 0)
		watching_take(&watching);
	while (len < sizeof(account) &&
	       (got = read(subject.from, (char *)&account + len, sizeof(account) - len)) > 0)
		len += (size_t)got;
	if (len == 0)
		skip_what_cannot_be();
	assert_int_equal(len, sizeof(account));
}

static void run(const char *kind, const char *path, const char *manner)
{
	struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	const char *arguments[] = {kind, path, manner, NULL};
	struct stint_probes_losses losses;

	watching_or_skip();
	watching_open(&watching, &options);
	subject_start(&subject, "tests/subjects/unix_send", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	read_account();
	watching_until_exit(&watching, subject.pid);
	watching_take(&watching);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.ring_full, 0);
	assert_int_equal(losses.table_full, 0);
}

static bool was_short(const struct subject_send *send)
{
	return send->result == -EAGAIN || (send->result > 0 && (uint64_t)send->result < send->requested);
}

/* The first of the peer's reads from `from_ns` on after which the sender's end was writable. */
static const struct subject_read *opening_read(uint64_t from_ns)
{
	for (size_t i = 0; i < account.reads_len; i++)
		if (account.reads[i].before_ns >= from_ns && account.reads[i].writable)
			return &account.reads[i];
	fail_msg("the sender's end was not made writable");
	return NULL;
}

static void assert_stages_add_up(const struct stint_probes_stall *stall)
{
	assert_int_equal(stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns +
				 stall->queue_ns,
			 stall->duration_ns);
	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++)
		assert_int_equal(stall->limit_ns[limit],
				 limit == STINT_PROBES_LIMIT_PEER_READS ? stall->ack_ns : 0);
}

/* It lies between the two sends that the sender saw, and was opened in the read that poll() tells of. */
static void assert_stall_is(const struct stint_probes_stall *stall, const struct subject_send *full,
			    const struct subject_send *next)
{
	const struct subject_read *read = opening_read(full->before_ns);
	uint64_t end_ns = stall->start_ns + stall->duration_ns;

	assert_stages_add_up(stall);
	assert_in_range(stall->start_ns, full->before_ns, full->after_ns);
	assert_in_range(end_ns, next->before_ns, next->after_ns);
	assert_in_range(stall->cause_time_ns, read->before_ns, read->after_ns);
	assert_int_equal(stall->sndbuf_bytes, account.sndbuf_bytes);
	assert_int_equal(stall->threshold_bytes, account.sndbuf_bytes / 4);
	assert_true(stall->queued_bytes <= stall->threshold_bytes);
	/* A queue is seen to be shorter before the message that was received is given back. */
	assert_true(stall->by_queue || (stall->acks > 0 && stall->acked_bytes > 0));
	assert_true(end_ns - stall->queue_ns <= next->waited_ns);
	assert_true(stall->alarm < 0);
}

/* All of them, each told once. Those of threads that sent before have no account. */
static void assert_stalls_are_the_senders(void)
{
	size_t at = 0;

	while (watching.stalls_len > 0 && watching.stalls[0].start_ns < account.sends[0].before_ns)
		memmove(&watching.stalls[0], &watching.stalls[1],
			--watching.stalls_len * sizeof(watching.stalls[0]));
	for (size_t i = 0; i + 1 < account.sends_len; i++) {
		if (!was_short(&account.sends[i]))
			continue;
		if (at == watching.stalls_len)
			fail_msg("the stall after send %zu was not told", i);
		assert_stall_is(&watching.stalls[at], &account.sends[i], &account.sends[i + 1]);
		at++;
	}
	assert_true(at >= 6);
	assert_int_equal(watching.stalls_len, at);
}

static void assert_peer_is_the_cause(void)
{
	for (size_t i = 0; i < watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];

		assert_true(stall->ack_ns >= 19 * MS); /* that the peer let pass before it read */
		/* Unless the sender was kept from a CPU for longer than that. */
		if (stall->ack_ns > stall->duration_ns - stall->ack_ns)
			assert_int_equal(stall->cause, STINT_PROBES_LIMIT_PEER_READS);
	}
}

/* By their paths; NULL: they have none. */
static void assert_named(const char *local, const char *peer)
{
	char remote[128];

	snprintf(remote, sizeof(remote), peer ? "%s (pid %d)" : "%spid %d", peer ? peer : "",
		 (int)account.peer_pid);
	for (size_t i = 0; i < watching.stalls_len; i++) {
		if (local)
			assert_string_equal(watching.stalls[i].local, local);
		else
			assert_memory_equal(watching.stalls[i].local, "unix:[", 6);
		assert_string_equal(watching.stalls[i].remote, remote);
		assert_int_equal(watching.stalls[i].socket, watching.stalls[0].socket);
	}
}

static void a_refused_send_on_a_pair_waits_for_the_peer_to_read(void **state)
{
	(void)state;
	run("pair", "", "chunks");
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
	assert_named(NULL, NULL);
}

static void a_short_send_is_a_stall_too(void **state)
{
	(void)state;
	run("pair", "", "large");
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
}

/* The descriptor is a blocking one: only the call says that it will not wait. */
static void a_send_that_asks_not_to_wait_is_a_stall_too(void **state)
{
	(void)state;
	run("pair", "", "dontwait");
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
}

static void a_sender_that_does_not_wait_is_its_own_cause(void **state)
{
	(void)state;
	run("pair", "", "busy");
	assert_stalls_are_the_senders();
	for (size_t i = 0; i < watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];

		/* It sleeps 60 ms, and the peer reads after 20: but a peer that gets no CPU may be later. */
		if (stall->ack_ns >= 60 * MS)
			continue;
		assert_true(stall->raise_inferred); /* nobody was woken by it */
		assert_int_equal(stall->kernel_ns, 0);
		if (stall->ack_ns < stall->duration_ns - stall->ack_ns)
			assert_int_equal(stall->cause, STINT_PROBES_STALL_OWN_LOOP);
	}
}

/* It was woken, and something else had its CPU: that is not its loop's fault. */
static void a_sender_that_gets_no_cpu_waits_for_one(void **state)
{
	size_t waited = 0;

	(void)state;
	run("pair", "", "starved");
	assert_stalls_are_the_senders();
	for (size_t i = 0; i < watching.stalls_len; i++) {
		const struct stint_probes_stall *stall = &watching.stalls[i];

		/* A peer that is late leaves less of the 60 ms. */
		if (stall->scheduler_ns <= stall->duration_ns - stall->scheduler_ns)
			continue;
		assert_int_equal(stall->cause, STINT_PROBES_STALL_RUNNABLE);
		waited++;
	}
	assert_true(waited > 0);
}

/* Whichever of the threads begins a stall, and whichever ends it: it is counted once. */
static void threads_that_stall_on_one_socket_count_each_stall_once(void **state)
{
	(void)state;
	run("pair", "", "threads");
	assert_true(watching.stalls_len > 6);
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
}

static void a_sequenced_packet_waits_for_the_peer_to_read(void **state)
{
	(void)state;
	run("packets", "", "chunks");
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
	assert_named(NULL, NULL);
}

static void a_datagram_waits_for_the_peer_to_read(void **state)
{
	(void)state;
	run("datagrams", "", "chunks");
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
}

/* By PATH that is not there yet. */
static void run_by_path_so(const char *kind, char *path, size_t size, const char *manner)
{
	static char directory[64];

	snprintf(directory, sizeof(directory), "/tmp/stint-unix-XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, size, "%s/s", directory);
	run(kind, path, manner);
	unlink(path);
	rmdir(directory);
}

static void run_by_path(const char *kind, char *path, size_t size)
{
	run_by_path_so(kind, path, size, "chunks");
}

/* Eleven messages fill the queue, and not the buffer. */
static void a_datagram_waits_for_room_in_the_peers_queue(void **state)
{
	char path[80];

	(void)state;
	run_by_path("logger", path, sizeof(path));
	assert_stalls_are_the_senders();
	assert_peer_is_the_cause();
	assert_named(NULL, path);
	for (size_t i = 0; i < watching.stalls_len; i++) {
		assert_true(watching.stalls[i].by_queue);
		assert_false(watching.stalls[i].raise_inferred);
	}
}

static void room_in_a_queue_is_seen_also_while_the_sender_is_elsewhere(void **state)
{
	char path[80];

	(void)state;
	run_by_path_so("logger", path, sizeof(path), "busy");
	assert_stalls_are_the_senders();
	for (size_t i = 0; i < watching.stalls_len; i++)
		assert_true(watching.stalls[i].by_queue && watching.stalls[i].raise_inferred);
}

static void an_accepted_socket_has_its_listeners_path(void **state)
{
	char path[80];

	(void)state;
	run_by_path("server", path, sizeof(path));
	assert_stalls_are_the_senders();
	assert_named(path, NULL);
}

static void a_client_is_connected_to_its_peers_path(void **state)
{
	char path[80];

	(void)state;
	run_by_path("client", path, sizeof(path));
	assert_stalls_are_the_senders();
	assert_named(NULL, path);
}

static void an_abstract_name_is_shown_with_at_signs(void **state)
{
	char name[80];

	(void)state;
	snprintf(name, sizeof(name), "@stint-unix-%d", getpid());
	run("server", name, "chunks");
	assert_stalls_are_the_senders();
	assert_named(name, NULL);
}

/* Reads that ended a message, and the event they made, in the order of time. */
static void reads_and_write_events_of_a_traced_socket_are_told(void **state)
{
	size_t causes = 0, events = 0, returned = 0;
	uint64_t raised_ns = 0;

	(void)state;
	run("pair", "", "chunks");
	for (size_t i = 0; i < watching.events_len; i++) {
		const struct stint_probes_socket_event *event = &watching.events[i];

		causes += event->kind == STINT_PROBES_SOCKET_ACK && event->cause;
		events += event->kind == STINT_PROBES_SOCKET_WRITE_EVENT;
		if (event->kind == STINT_PROBES_SOCKET_WRITE_EVENT)
			raised_ns = event->time_ns;
		if (event->kind == STINT_PROBES_SOCKET_RETURNED) {
			returned++;
			assert_true(event->time_ns >= raised_ns);
			assert_true(event->queued_bytes <= account.sndbuf_bytes / 4);
		}
	}
	assert_int_equal(causes, watching.stalls_len);
	assert_int_equal(events, watching.stalls_len);
	assert_int_equal(returned, watching.stalls_len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_refused_send_on_a_pair_waits_for_the_peer_to_read,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_short_send_is_a_stall_too, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_send_that_asks_not_to_wait_is_a_stall_too, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_sender_that_does_not_wait_is_its_own_cause, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_sender_that_gets_no_cpu_waits_for_one, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(threads_that_stall_on_one_socket_count_each_stall_once,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_sequenced_packet_waits_for_the_peer_to_read,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_datagram_waits_for_the_peer_to_read, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_datagram_waits_for_room_in_the_peers_queue, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(room_in_a_queue_is_seen_also_while_the_sender_is_elsewhere,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(an_accepted_socket_has_its_listeners_path, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_client_is_connected_to_its_peers_path, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(an_abstract_name_is_shown_with_at_signs, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(reads_and_write_events_of_a_traced_socket_are_told,
						watching_set_up, watching_tear_down),
	};

	/* An emulated CPU takes ten seconds to load the programs: there, one of them tells that they load and work. */
	if (getenv("STINT_KERNELS"))
		cmocka_set_test_filter("a_refused_send_on_a_pair_waits_for_the_peer_to_read");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
