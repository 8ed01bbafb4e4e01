/* SPDX-License-Identifier: MIT */

/* Write stalls and traced sockets, as the report tells of them. */

#include <string.h>

#include "report/model/traces.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/text.h"
#include "report_fixture.h"

/* A send of 2 MB finds a buffer of 1 MiB full. */
static struct recording_socket_event short_send(int64_t process, uint64_t queued_bytes)
{
	return (struct recording_socket_event){.process = process,
					       .socket = 5,
					       .fd = 3,
					       .time_ns = START,
					       .kind = "send_short",
					       .requested_bytes = 2097152,
					       .done_bytes = 1047728,
					       .queued_before_bytes = RECORDING_UNKNOWN,
					       .queued_bytes = queued_bytes,
					       .sndbuf_bytes = 1048576,
					       .unacked_bytes = RECORDING_UNKNOWN,
					       .snd_wnd_bytes = RECORDING_UNKNOWN,
					       .snd_cwnd = RECORDING_UNKNOWN};
}

static void fill_traced_socket(void)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct recording_socket_event event = short_send(process, 1048000);

	recording_socket_event(recording, &event);
	event.kind = "ack";
	event.time_ns += 1000000;
	event.queued_bytes = 798625;
	recording_socket_event(recording, &event);
	event.time_ns += 1000000;
	event.queued_bytes = 666827;
	event.cause = true;
	recording_socket_event(recording, &event);
	event.cause = false;
	event.kind = "woken";
	event.time_ns += 4000;
	recording_socket_event(recording, &event);
	event.kind = "send";
	event.time_ns += 60000;
	recording_socket_event(recording, &event);
	recording_free(recording);
}

static void a_stall_is_told_by_its_own_figures(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_traced_socket();
	model = load();
	/* Lines are broken anywhere; HTML keeps the sentence whole. */
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "A send of 2,097,152 bytes took 1,047,728"));
	assert_non_null(strstr(buffer_text(&out), "1 ACK left 798,625 bytes in it: no write event."));
	assert_non_null(
		strstr(buffer_text(&out), "left 666,827 bytes, at or below the threshold of 699,050"));
	assert_non_null(strstr(buffer_text(&out), "thread on a CPU 4.00 us later"));
	if (*why)
		printf("skipped: %s\n", why);
	else
		assert_non_null(strstr(buffer_text(&out), "<svg"));
	buffer_free(&out);
	model_free(model);
}

/* The times at which the ACK opened the buffer and at which the event was raised are one: it was inferred from that. */
static void a_write_event_that_woke_nobody_has_no_time_of_its_own(void **state)
{
	struct recording_socket_event event;
	static const char *const kinds[] = {"ack", "write_event", "woken", "send"};
	struct recording *recording = begin();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	event = short_send(recording_process(recording, 7, "sender"), 666827);
	recording_socket_event(recording, &event);
	for (size_t i = 0; i < 4; i++) {
		event.kind = kinds[i];
		event.cause = i == 0;
		event.time_ns += i == 1 ? 0 : 1000000;
		recording_socket_event(recording, &event);
	}
	recording_free(recording);
	model = load();
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "the threshold of 699,050, ~write event with it, thread on "
						  "a CPU 1.00 ms later"));
	buffer_free(&out);
	model_free(model);
}

static void put_moment_of(struct recording *recording, int64_t process, int fd, const char *kind,
			  uint64_t at_ms, uint64_t done_bytes)
{
	const struct recording_socket_event event = {.process = process,
						     .socket = (uint64_t)fd,
						     .fd = fd,
						     .time_ns = START + at_ms * 1000000,
						     .kind = kind,
						     .requested_bytes = at_ms + 1,
						     .done_bytes = done_bytes,
						     .queued_before_bytes = RECORDING_UNKNOWN,
						     .queued_bytes = 1048000,
						     .sndbuf_bytes = 1048576,
						     .unacked_bytes = RECORDING_UNKNOWN,
						     .snd_wnd_bytes = RECORDING_UNKNOWN,
						     .snd_cwnd = RECORDING_UNKNOWN};

	recording_socket_event(recording, &event);
}

static void put_moment(struct recording *recording, int64_t process, int fd, const char *kind, uint64_t at_ms)
{
	put_moment_of(recording, process, fd, kind, at_ms, RECORDING_UNKNOWN);
}

/* The first has most of them, the second the longest one. */
static void the_longest_stall_is_the_one_that_is_shown(void **state)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct traces *traces;
	struct buffer out = {0};
	struct model *model;

	(void)state;
	for (uint64_t at_ms = 0; at_ms < 30; at_ms += 2) {
		put_moment(recording, process, 3, "send_short", at_ms);
		put_moment(recording, process, 3, "send", at_ms + 1);
	}
	put_moment(recording, process, 4, "send_short", 40);
	put_moment(recording, process, 4, "send_short", 41);
	put_moment(recording, process, 4, "send_short", 56);
	put_moment(recording, process, 4, "send", 57);
	recording_free(recording);
	model = load();
	assert_int_equal(traces_new(&traces, model), 0);
	assert_int_equal(traces->len, 2);
	assert_int_equal(traces->items[0].fd, 4);
	assert_int_equal(traces->items[0].longest, 1);
	assert_int_equal(traces->items[0].cycles[1].duration_ns, 15000000);
	traces_free(traces);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "A send of 42 bytes"));
	buffer_free(&out);
	model_free(model);
}

/* Its lines are broken anywhere; HTML keeps the sentence whole. */
static void report_stalls(struct buffer *out)
{
	struct model *model = load();

	html_report(out, model, why, sizeof(why));
	model_free(model);
}

/* As in the table of stalls: one that is refused before anything has opened the buffer is no next send. */
static void a_send_that_is_refused_at_once_does_not_end_a_stall_that_is_shown(void **state)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct traces *traces;
	struct model *model;

	(void)state;
	put_moment_of(recording, process, 3, "send_short", 0, 100);
	put_moment_of(recording, process, 3, "send_short", 10, 0);
	put_moment_of(recording, process, 3, "send_short", 20, 0);
	put_moment(recording, process, 3, "write_event", 29);
	put_moment_of(recording, process, 3, "send_short", 30, 0);
	put_moment(recording, process, 3, "send", 37);
	recording_free(recording);
	model = load();
	assert_int_equal(traces_new(&traces, model), 0);
	assert_int_equal(traces->items[0].cycles_len, 2);
	assert_int_equal(traces->items[0].longest, 0);
	assert_int_equal(traces->items[0].cycles[0].duration_ns, 30000000);
	assert_int_equal(traces->items[0].cycles[1].duration_ns, 7000000);
	traces_free(traces);
	model_free(model);
}

static void report_unfinished(struct buffer *out, enum stint_probes_ending ending, bool with_stall)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct model *model;

	put_moment(recording, process, 3, "send_short", 1);
	put_moment(recording, process, 3, "send", 3);
	put_moment(recording, process, 5, "send_short", 0);
	if (with_stall)
		add_stall(recording, process, 5, 7, ending);
	recording_meta_number(recording, "end_ns", (int64_t)START + 7000000);
	recording_free(recording);
	model = load();
	html_report(out, model, why, sizeof(why));
	model_free(model);
}

static void of_a_stall_that_was_open_at_the_end_it_is_said_how_long(void **state)
{
	struct buffer out = {0};
	const char *first, *second;

	(void)state;
	report_unfinished(&out, STINT_PROBES_OPEN, true);
	first = strstr(buffer_text(&out), "The recording ended 7.00 ms later, and no write event had come.");
	second = strstr(buffer_text(&out), "A send of 2 bytes");
	assert_non_null(first);
	assert_non_null(second);
	assert_true(first < second);
	buffer_clear(&out);
	report_unfinished(&out, STINT_PROBES_OPEN, false);
	assert_non_null(strstr(buffer_text(&out), "The recording ended 7.00 ms later"));
	buffer_free(&out);
}

/* Its buffer was opened, and its owner sent nothing more. */
static void so_it_is_of_one_that_an_ack_had_opened(void **state)
{
	struct buffer out = {0};

	(void)state;
	fill_traced_socket();
	execute("DELETE FROM socket_event WHERE kind = 'send'");
	execute("INSERT INTO meta VALUES ('end_ns', 1000007000000)");
	report_stalls(&out);
	assert_non_null(strstr(buffer_text(&out),
			       " No send had followed when the recording ended, 7.00 ms after this one."));
	buffer_free(&out);
}

static void of_a_stall_that_a_close_ended_it_is_said_when(void **state)
{
	struct buffer out = {0};

	(void)state;
	report_unfinished(&out, STINT_PROBES_CLOSED, true);
	assert_non_null(strstr(buffer_text(&out),
			       "The socket was closed 7.00 ms later, and no write event had come."));
	buffer_free(&out);
}

static void fill_stalls(bool sent)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");

	for (int i = 0; sent && i < 3; i++)
		add_stall(recording, process, 5, 20, STINT_PROBES_SENT);
	add_stall(recording, process, 6, 7000, STINT_PROBES_CLOSED);
	add_stall(recording, process, 7, 8310, STINT_PROBES_OPEN);
	add_stall(recording, process, 8, 310, STINT_PROBES_OPEN);
	recording_free(recording);
}

static void stalls_that_ended_with_no_send_are_told_beside_the_others(void **state)
{
	struct buffer out = {0};

	(void)state;
	fill_stalls(true);
	report_stalls(&out);
	assert_non_null(strstr(buffer_text(&out),
			       "6 write stalls on 4 sockets. 3 ended with a send, 60.0 ms in "
			       "sum: half of them 20.0 ms or shorter, the longest 20.0 ms."));
	assert_non_null(
		strstr(buffer_text(&out),
		       "Ended as the socket was closed, with no send: 1, the longest after 7.00 s (fd 6,"));
	assert_non_null(strstr(buffer_text(&out),
			       "Still open at the end: 2, the longest for 8.31 s (fd 7, "
			       "127.0.0.1:80 to 127.0.0.1:4007), most of which went by the "
			       "peer's receive window (it did not read)."));
	buffer_free(&out);
}

/* A thousand others had stalled in between. */
static void a_socket_that_stalls_again_is_one_socket(void **state)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct buffer out = {0};

	(void)state;
	for (int round = 0; round < 2; round++)
		for (int fd = 0; fd < 1500; fd++)
			add_stall(recording, process, fd, 20, STINT_PROBES_SENT);
	recording_free(recording);
	report_stalls(&out);
	assert_non_null(strstr(buffer_text(&out), "had 3,000 write stalls on 1,500 sockets"));
	buffer_free(&out);
}

static void without_a_stall_that_ended_with_a_send_there_are_no_percentiles(void **state)
{
	struct buffer out = {0};

	(void)state;
	fill_stalls(false);
	report_stalls(&out);
	assert_non_null(strstr(buffer_text(&out),
			       "3 write stalls on 3 sockets, of which none ended with a send. Ended"));
	assert_null(strstr(buffer_text(&out), "from the short send to the next send"));
	buffer_free(&out);
}

static void what_stalls_went_by_is_on_the_first_screen(void **state)
{
	struct stint_probes_stall stall = {.fd = 5,
					   .socket = 5,
					   .local = "127.0.0.1:80",
					   .remote = "127.0.0.1:4005",
					   .start_ns = START,
					   .duration_ns = 20000000,
					   .scheduler_ns = 20000000,
					   .cause = STINT_PROBES_STALL_RUNNABLE,
					   .alarm = -1,
					   .ending = STINT_PROBES_SENT};
	struct recording *recording = begin();
	struct buffer out = {0};

	(void)state;
	recording_stall(recording, recording_process(recording, 7, "sender"), &stall);
	recording_free(recording);
	report_stalls(&out);
	assert_non_null(strstr(buffer_text(&out), "most of it by waiting for a CPU"));
	buffer_free(&out);
}

static void json_says_how_a_stall_ended(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_stalls(true);
	model = load();
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"by_queue\":false,\"ending\":\"sent\""));
	assert_non_null(strstr(buffer_text(&out), "\"ending\":\"closed\""));
	assert_non_null(strstr(buffer_text(&out), "\"ending\":\"open\""));
	buffer_clear(&out);
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), "Still open at the end: 2"));
	buffer_free(&out);
	model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_stall_is_told_by_its_own_figures),
		test(a_write_event_that_woke_nobody_has_no_time_of_its_own),
		test(the_longest_stall_is_the_one_that_is_shown),
		test(a_send_that_is_refused_at_once_does_not_end_a_stall_that_is_shown),
		test(of_a_stall_that_was_open_at_the_end_it_is_said_how_long),
		test(so_it_is_of_one_that_an_ack_had_opened),
		test(of_a_stall_that_a_close_ended_it_is_said_when),
		test(stalls_that_ended_with_no_send_are_told_beside_the_others),
		test(a_socket_that_stalls_again_is_one_socket),
		test(without_a_stall_that_ended_with_a_send_there_are_no_percentiles),
		test(what_stalls_went_by_is_on_the_first_screen),
		test(json_says_how_a_stall_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
