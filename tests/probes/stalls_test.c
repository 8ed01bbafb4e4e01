/* SPDX-License-Identifier: MIT */

/* Write stalls and the moments of a socket, held against what the sending program saw itself. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject_sends.h"
#include "watching_fixture.h"

#define SENDS_MAX 4096

static struct subject_send sends[SENDS_MAX];
static size_t sends_len;

static size_t read_all(void *buffer, size_t bytes)
{
	size_t len = 0;
	ssize_t got;

	while (len < bytes && (got = read(subject.from, (char *)buffer + len, bytes - len)) > 0)
		len += (size_t)got;
	return len;
}

static void start_watched(const char *program, const char *const *arguments, bool trace)
{
	struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = trace};

	watching_or_skip();
	watching_open(&watching, &options);
	subject_start(&subject, program, arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
}

/* The subject sent nothing. */
static void skip_what_cannot_be(const char *method)
{
	int status = subject_stop(&subject, 0);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 77)
		fail_msg("the subject failed");
	printf("skipped: this kernel has no %s on sockets for this user\n", method);
	skip();
}

/* Runs bulk_send under watch from its first instruction to its end. */
static void run_bulk_send(const char *method, const char *pattern, const char *family, bool trace)
{
	const char *arguments[] = {method, pattern, family, NULL};
	struct stint_probes_losses losses;

	start_watched("tests/subjects/bulk_send", arguments, trace);
	sends_len = read_all(sends, sizeof(sends)) / sizeof(sends[0]);
	if (sends_len == 0)
		skip_what_cannot_be(method);
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

static void assert_stages_add_up(const struct stint_probes_stall *stall)
{
	assert_int_equal(stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns +
				 stall->queue_ns,
			 stall->duration_ns);
	assert_int_equal(stall->threshold_bytes, stall->sndbuf_bytes * 2 / 3);
}

/* The stall lies between the two sends that the program saw, to the call. */
static void assert_stall_is(const struct stint_probes_stall *stall, const struct subject_send *first,
			    const struct subject_send *next)
{
	uint64_t end_ns = stall->start_ns + stall->duration_ns;

	assert_in_range(stall->start_ns, first->before_ns, first->after_ns);
	assert_in_range(end_ns, next->before_ns, next->after_ns);
	if (!next->waited_ns)
		return;
	/* The wait returned in the kernel before the program could read the clock. */
	assert_true(end_ns - stall->queue_ns <= next->waited_ns);
	assert_true(end_ns - stall->queue_ns >= first->after_ns);
}

/* One that was whole may have left so little room that the program waits for more all the same. */
static size_t pass_over_whole(size_t at, const struct subject_send *send, const struct subject_send *next)
{
	const struct stint_probes_stall *stall = &watching.stalls[at];

	if (at == watching.stalls_len || was_short(send) || !next->waited_ns ||
	    stall->start_ns < send->before_ns || stall->start_ns > send->after_ns)
		return 0;
	assert_stages_add_up(stall);
	assert_stall_is(stall, send, next);
	return 1;
}

static void assert_stalls_are_the_programs(void)
{
	size_t at = 0, whole = 0, passed;

	for (size_t i = 0, next; i + 1 < sends_len; i = next) {
		for (next = i + 1; next < sends_len && sends[next].result <= 0; next++)
			; /* one that is refused ends nothing */
		if (next == sends_len)
			continue;
		passed = pass_over_whole(at, &sends[i], &sends[next]);
		at += passed;
		whole += passed;
		if (!was_short(&sends[i]))
			continue;
		if (at == watching.stalls_len)
			fail_msg("the stall after send %zu was not told", i);
		assert_stages_add_up(&watching.stalls[at]);
		assert_stall_is(&watching.stalls[at], &sends[i], &sends[next]);
		at++;
	}
	assert_true(at > whole);
	assert_int_equal(watching.stalls_len, at);
}

static void check_method(const char *method, const char *pattern, const char *family)
{
	run_bulk_send(method, pattern, family, false);
	assert_stalls_are_the_programs();
	assert_int_equal(watching.events_len, 0);
}

static void stalls_of_write_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("write", "once", "4");
}

static void stalls_of_sendto_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("sendto", "once", "4");
}

static void stalls_of_sendmsg_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("sendmsg", "once", "4");
}

static void stalls_of_writev_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("writev", "once", "4");
}

static void stalls_of_sendmmsg_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("sendmmsg", "once", "4");
}

static void stalls_of_pwritev2_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("pwritev2", "once", "4");
}

static void stalls_of_splice_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("splice", "once", "4");
}

/* On blocking descriptors: only the call says that it will not wait. */
static void stalls_by_msg_dontwait_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("dontwait", "until-full", "4");
}

static void stalls_by_rwf_nowait_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("nowait", "until-full", "4");
}

static void stalls_of_sendfile_are_those_of_the_program(void **state)
{
	(void)state;
	check_method("sendfile", "once", "4");
}

static void a_send_that_is_refused_at_once_is_of_the_same_stall(void **state)
{
	(void)state;
	check_method("write", "until-full", "4");
}

static void sending_until_full_by_vectors_is_told_the_same(void **state)
{
	(void)state;
	check_method("sendmsg", "until-full", "6");
}

/* They are no system calls. The manual says so. */
static void sends_through_a_ring_are_not_told(void **state)
{
	(void)state;
	run_bulk_send("uring", "once", "4", true);
	assert_true(sends_len > 1);
	assert_int_equal(watching.stalls_len, 0);
	assert_int_equal(watching.events_len, 0);
}

static void a_file_that_ends_is_no_stall(void **state)
{
	(void)state;
	run_bulk_send("sendfile-eof", "once", "4", true);
	assert_int_equal(watching.stalls_len, 0);
	assert_int_equal(watching.events_len, 0);
}

static void check_names(const char *family, const char *start)
{
	run_bulk_send("write", "once", family, true);
	assert_true(watching.stalls_len > 0 && watching.events_len > 0);
	assert_memory_equal(watching.stalls[0].local, start, strlen(start));
	assert_memory_equal(watching.stalls[0].remote, start, strlen(start));
	assert_string_not_equal(watching.stalls[0].local, watching.stalls[0].remote);
	assert_string_equal(watching.events[0].local, watching.stalls[0].local);
	assert_string_equal(watching.events[0].remote, watching.stalls[0].remote);
}

static void ends_of_a_connection_are_named_in_ipv4(void **state)
{
	(void)state;
	check_names("4", "127.0.0.1:");
}

static void ends_of_a_connection_are_named_in_ipv6(void **state)
{
	(void)state;
	check_names("6", "[::1]:");
}

static void ends_of_a_mapped_connection_are_named_in_ipv4(void **state)
{
	(void)state;
	check_names("mapped", "127.0.0.1:");
}

static bool is_send(const struct stint_probes_socket_event *event)
{
	return event->kind == STINT_PROBES_SOCKET_SEND || event->kind == STINT_PROBES_SOCKET_SEND_SHORT;
}

/* From the first send that found the buffer full on, each send is there, with what it was given and took. */
static void check_traced_sends(const char *method, const char *pattern)
{
	size_t at = 0, i = 0;

	run_bulk_send(method, pattern, "4", true);
	assert_stalls_are_the_programs();
	while (!was_short(&sends[i]))
		i++;
	for (; i < sends_len; i++, at++) {
		const struct stint_probes_socket_event *event;

		/* A send that was whole may have made it known before. */
		while (at < watching.events_len &&
		       (!is_send(&watching.events[at]) || watching.events[at].time_ns < sends[i].before_ns))
			at++;
		assert_true(at < watching.events_len);
		event = &watching.events[at];
		assert_in_range(event->time_ns, sends[i].before_ns, sends[i].after_ns);
		assert_int_equal(event->done_bytes, sends[i].result > 0 ? sends[i].result : 0);
		assert_int_equal(event->requested_bytes, sends[i].requested);
		assert_int_equal(event->kind, was_short(&sends[i]) ? STINT_PROBES_SOCKET_SEND_SHORT
								   : STINT_PROBES_SOCKET_SEND);
	}
}

static void each_write_of_a_traced_socket_is_told(void **state)
{
	(void)state;
	check_traced_sends("write", "once");
}

static void each_sendmsg_of_a_traced_socket_is_told(void **state)
{
	(void)state;
	check_traced_sends("sendmsg", "until-full");
}

static void each_writev_of_a_traced_socket_is_told(void **state)
{
	(void)state;
	check_traced_sends("writev", "once");
}

static void each_sendmmsg_of_a_traced_socket_is_told(void **state)
{
	(void)state;
	check_traced_sends("sendmmsg", "until-full");
}

static void each_write_in_chunks_is_told(void **state)
{
	(void)state;
	check_traced_sends("write", "until-full");
}

/* The ACK named as cause is the one after which the queue is at or below 2/3; above it until then. */
static void assert_cause_is_the_opening_ack(const struct stint_probes_stall *stall)
{
	uint64_t acked_bytes = 0;
	uint32_t acks = 0, causes = 0;

	for (size_t i = 0; i < watching.events_len; i++) {
		const struct stint_probes_socket_event *event = &watching.events[i];

		if (event->kind != STINT_PROBES_SOCKET_ACK || event->socket != stall->socket ||
		    event->time_ns < stall->start_ns || event->time_ns > stall->start_ns + stall->duration_ns)
			continue;
		acks++;
		acked_bytes += event->done_bytes;
		if (event->cause) {
			causes++;
			assert_int_equal(event->time_ns, stall->cause_time_ns);
			assert_true(event->queued_bytes <= stall->threshold_bytes);
		} else if (event->time_ns < stall->cause_time_ns) {
			assert_true(event->queued_bytes > stall->threshold_bytes);
		}
		assert_true(event->queued_bytes <= event->queued_before_bytes);
	}
	assert_int_equal(acks, stall->acks);
	assert_int_equal(acked_bytes, stall->acked_bytes);
	assert_int_equal(causes, stall->cause_time_ns ? 1 : 0);
	if (!stall->raise_inferred)
		assert_int_equal(causes, 1);
	if (causes)
		assert_true(stall->queued_bytes <= stall->threshold_bytes);
}

/* Moments of the socket come in the order of time, but for the ACK, told when its effect is known. */
static void assert_order(const struct stint_probes_stall *stall)
{
	uint64_t raised_ns = stall->start_ns + stall->ack_ns + stall->kernel_ns;
	size_t raised = 0;

	for (size_t i = 0; i < watching.events_len; i++)
		raised += watching.events[i].kind == STINT_PROBES_SOCKET_WRITE_EVENT &&
			  watching.events[i].time_ns == raised_ns;
	assert_int_equal(raised, 1);
}

static void the_cause_is_the_ack_that_opened_the_buffer(void **state)
{
	(void)state;
	run_bulk_send("write", "once", "4", true);
	assert_stalls_are_the_programs();
	for (size_t i = 0; i < watching.stalls_len; i++) {
		assert_cause_is_the_opening_ack(&watching.stalls[i]);
		assert_order(&watching.stalls[i]);
	}
}

static size_t count_lines_with(const char *text, const char *what)
{
	size_t count = 0;

	while ((text = strstr(text, what))) {
		count++;
		text += strlen(what);
	}
	return count;
}

static void the_example_has_as_many_stalls_as_it_shows_short_sends(void **state)
{
	const char *arguments[] = {"--repeat", "5", NULL};
	static char text[1 << 20];
	size_t len;

	(void)state;
	start_watched("examples/write_buffer", arguments, true);
	len = read_all(text, sizeof(text) - 1);
	text[len] = '\0';
	watching_until_exit(&watching, subject.pid);
	watching_take(&watching);
	assert_true(count_lines_with(text, "WRITE EVENT") >= 5);
	assert_int_equal(watching.stalls_len, count_lines_with(text, "send, SHORT"));
	for (size_t i = 0; i < watching.stalls_len; i++) {
		assert_stages_add_up(&watching.stalls[i]);
		assert_cause_is_the_opening_ack(&watching.stalls[i]);
		assert_true(watching.stalls[i].cause_time_ns > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(stalls_of_write_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_sendto_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_sendmsg_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_writev_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_sendmmsg_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_pwritev2_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_splice_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_by_msg_dontwait_are_those_of_the_program,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_by_rwf_nowait_are_those_of_the_program,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(stalls_of_sendfile_are_those_of_the_program, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_send_that_is_refused_at_once_is_of_the_same_stall,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(sending_until_full_by_vectors_is_told_the_same,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(sends_through_a_ring_are_not_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_ends_is_no_stall, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(ends_of_a_connection_are_named_in_ipv4, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(ends_of_a_connection_are_named_in_ipv6, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(ends_of_a_mapped_connection_are_named_in_ipv4,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(each_write_of_a_traced_socket_is_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(each_sendmsg_of_a_traced_socket_is_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(each_writev_of_a_traced_socket_is_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(each_sendmmsg_of_a_traced_socket_is_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(each_write_in_chunks_is_told, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(the_cause_is_the_ack_that_opened_the_buffer, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(the_example_has_as_many_stalls_as_it_shows_short_sends,
						watching_set_up, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
