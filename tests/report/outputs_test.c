/* SPDX-License-Identifier: MIT */

/* The text, the page and the JSON of recordings: what is in them, and that they agree. */

#include <string.h>

#include "report/show/escape.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/shorten.h"
#include "report/show/text.h"
#include "report/show/words.h"
#include "report_fixture.h"

static void hostile_names_are_harmless_in_every_output(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_hostile();
	model = load();
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), "<script>\\x1b[31m\"',\\x0a\\xff"));
	assert_null(strchr(buffer_text(&out), '\x1b'));
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "&lt;script&gt;\\x1b[31m&quot;&#39;,\\x0a\\xff"));
	assert_null(strstr(buffer_text(&out), "<script"));
	assert_null(strchr(buffer_text(&out), '\x1b'));
	buffer_clear(&out);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"<script>\\u001b[31m\\\"',\\u000a\xef\xbf\xbd\""));
	assert_null(strchr(buffer_text(&out), '\x1b'));
	buffer_clear(&out);
	escape_gnuplot(&out, "a'b`id`@m\n");
	assert_string_equal(buffer_text(&out), "'a''b`id`@m\\x0a'");
	buffer_free(&out);
	model_free(model);
}

/* Two jobs, and 30 chunks of files of which 6 were not cached. */
static void offloaded_work_is_shown_where_there_is_some(void **state)
{
	static const char *const metrics[] = {"work_queue", "work_run", "work_return"};
	static struct stint_histogram histogram;
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "p");
	int64_t handler = recording_handler(recording, process, HOSTILE, true, 1000);
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recording_handler(recording, process, "without.work", true, 1000);
	for (uint64_t i = 0; i < 3; i++) {
		stint_histogram_init(&histogram);
		stint_histogram_record(&histogram, 1000 * (i + 1));
		stint_histogram_record(&histogram, 5000000 * (i + 1));
		put_histogram(recording, (struct recording_owner){.handler = handler}, metrics[i],
			      &histogram);
	}
	recording_handler_count(recording, handler, "jobs_refused", 3);
	recording_handler_count(recording, handler, "jobs_refused", 4);
	recording_handler_count(recording, handler, "file_reads_cached", 24);
	recording_handler_count(recording, handler, "file_reads_missed", 6);
	recording_free(recording);
	model = load();
	assert_int_equal(model->handlers[0].jobs_refused, 7);
	assert_int_equal(model->handlers[1].jobs_refused, 0);
	assert_in_range(model_percentile(&model->handlers[0].metrics[MODEL_WORK_RUN], 5000), 1984, 2016);
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), "Offloaded work"));
	assert_non_null(
		strstr(buffer_text(&out),
		       "  2    1.00 us    5.00 ms  2.01 us  10.0 ms     3.00 us     15.0 ms        7"));
	assert_non_null(strstr(buffer_text(&out), "read 30 chunks of files: 24 from the page cache"));
	assert_non_null(strstr(buffer_text(&out), "(20.0 %)"));
	assert_null(strstr(buffer_text(&out), "without.work (pid"));
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "<h2>Offloaded work</h2>"));
	assert_null(strstr(buffer_text(&out), "<script"));
	buffer_clear(&out);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out),
			       "\"jobs_refused\":7,\"file_reads_cached\":24,\"file_reads_missed\":6"));
	buffer_free(&out);
	model_free(model);
}

/* Twelve calls and three nested ones at 2 us each; two of the twelve returned. */
static void fill_functions(void)
{
	static struct stint_histogram histogram;
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "p"), id;
	struct stint_probes_function function = {.pid = 7,
						 .asked = HOSTILE,
						 .name = HOSTILE,
						 .module = HOSTILE,
						 .address = 0x1000,
						 .begun = 12,
						 .nested = 3,
						 .left = 4,
						 .cost_ns = 2000,
						 .within_ns = 900};
	struct stint_probes_overrun probed = {.functions = {{HOSTILE, 2, 1, 1500000}}};
	const struct recording_overrun overrun = {.process = process,
						  .fd = -1,
						  .start_ns = START + 1,
						  .duration_ns = 2000000,
						  .probed = &probed};

	stint_histogram_init(&histogram);
	stint_histogram_record(&histogram, 1000000);
	stint_histogram_record(&histogram, 3000000);
	id = recording_function(recording, process, &function);
	recording_function_counts(recording, id, &function);
	put_histogram(recording, (struct recording_owner){.function = id}, "duration", &histogram);
	function.asked = "unmeasured";
	function.cost_ns = 0;
	recording_function(recording, process, &function);
	recording_overrun(recording, &overrun);
	recording_meta_number(recording, "end_ns", (int64_t)START + 1000000);
	recording_free(recording);
}

static void functions_are_shown_with_what_it_costs_to_time_them(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_functions();
	model = load();
	assert_int_equal(model->functions_len, 2);
	assert_int_equal(model->functions[0].duration.sum, 4000000);
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), "2.00 us a call"));
	assert_non_null(strstr(buffer_text(&out), "400.0 %"));
	assert_non_null(strstr(buffer_text(&out), "2 times and 1 that went on beyond it, 1.50 ms of it"));
	assert_null(strchr(buffer_text(&out), '\x1b'));
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "<h2>Functions</h2>"));
	assert_non_null(strstr(buffer_text(&out), " 15 calls took 30.0 us longer"));
	assert_non_null(strstr(buffer_text(&out), "could not be measured"));
	assert_null(strstr(buffer_text(&out), "<script"));
	buffer_clear(&out);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out),
			       "\"cost_per_call_ns\":2000,\"cost_within_ns\":900,\"cost_ns\":30000,"));
	assert_non_null(strstr(buffer_text(&out),
			       "\"cost_per_call_ns\":null,\"cost_within_ns\":null,\"cost_ns\":null,"));
	assert_non_null(strstr(buffer_text(&out), "\"calls\":2,\"running\":1,\"duration_ns\":1500000}"));
	buffer_free(&out);
	model_free(model);
	/* A hostile file may have more parts than there is room for. */
	execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)"
		" INSERT INTO overrun_function SELECT 1, 'x', -1, 9223372036854775807, 'text' FROM n;"
		"UPDATE function SET cost_ns = 9223372036854775807, begun = 9223372036854775807");
	model = load();
	assert_int_equal(model->overruns[0].functions_len, MODEL_FUNCTION_PARTS);
	text_report(&out, model, false, 140);
	json_report(&out, model);
	buffer_free(&out);
	model_free(model);
}

static void what_turns_the_direction_of_text_is_written_out(void **state)
{
	struct buffer out = {0};

	(void)state;
	escape_terminal(&out, "a\xe2\x80\xae"
			      "b\xc3\xa9\xc0\x80");
	assert_string_equal(buffer_text(&out), "a\\u202eb\xc3\xa9\\xc0\\x80");
	buffer_free(&out);
}

static void a_text_is_cut_between_characters(void **state)
{
	struct buffer out = {0};

	(void)state;
	shorten(&out,
		"abc\xc3\xa9"
		"defg",
		3, 3);
	assert_string_equal(buffer_text(&out), "abc\xc3\xa9"
					       "defg");
	buffer_clear(&out);
	shorten(&out,
		"abc\xc3\xa9"
		"defgh\xe2\x82\xac",
		4, 2);
	assert_string_equal(buffer_text(&out), "abc...");
	buffer_clear(&out);
	shorten(&out,
		"abc\xc3\xa9"
		"defgh\xe2\x82\xac",
		5, 3);
	assert_string_equal(buffer_text(&out), "abc\xc3\xa9...\xe2\x82\xac");
	buffer_free(&out);
}

static void of_a_long_command_the_directory_goes_first(void **state)
{
	struct model_process process = {.pid = 7, .inside_pid = MODEL_UNKNOWN, .inside_netns = MODEL_UNKNOWN};
	struct buffer out = {0};
	char command[128];

	(void)state;
	process.command = command;
	strcpy(command, "/srv/server --root /");
	words_process(&out, escape_terminal, &process);
	assert_string_equal(buffer_text(&out), "/srv/server --root / (pid 7)");
	buffer_clear(&out);
	strcpy(command, "/home/somebody/projects/a-service/build/examples/server --port 18914 --root /srv/");
	words_process(&out, escape_terminal, &process);
	assert_string_equal(buffer_text(&out), "server --port 18914 --root /srv/ (pid 7)");
	buffer_free(&out);
}

static void unknown_figures_are_null_in_json(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_hostile();
	model = load();
	json_report(&out, model);
	assert_non_null(
		strstr(buffer_text(&out), "\"on_cpu_ns\":null,\"runnable_ns\":null,\"blocked_ns\":null"));
	assert_non_null(strstr(buffer_text(&out), "\"fd\":null,\"duration_ns\":2000"));
	assert_non_null(strstr(buffer_text(&out), "\"wait\":null"));
	assert_non_null(strstr(buffer_text(&out), "\"start\":null"));
	buffer_free(&out);
	model_free(model);
}

static void fill_meter(uint64_t batches)
{
	const struct recording_total service = {3, 5000000, 1000, 4000000, 0}, batch = {batches, 0, 0, 0, 0};
	const struct recording_handler_counts counts = {.overruns = 1, .over_ns = 3000000};
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "server");
	int64_t handler = recording_handler(recording, process, "on_read", true, 1000000);
	int64_t loop = recording_loop(recording, process, 7, -1, "libuv", true);

	recording_loop_counts(recording, loop, 2, 5000000, 1000);
	recording_handler_counts(recording, handler, &counts);
	recording_total(recording, (struct recording_owner){.handler = handler}, "service", "ns", &service);
	recording_total(recording, (struct recording_owner){.loop = loop}, "batch", "count", &batch);
	if (batches)
		recording_bucket(recording, (struct recording_owner){.loop = loop}, "batch", 0, 0, batches);
	recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_METER,
								 .process = process,
								 .handler = handler,
								 .fd = -1,
								 .start_ns = START,
								 .duration_ns = 4000000});
	recording_free(recording);
}

static void without_batches_it_is_not_known_who_waited(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_meter(0);
	model = load();
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"batch\":null"));
	assert_non_null(strstr(buffer_text(&out), "\"blame_ns\":null,\"victims\":null,\"service\""));
	assert_non_null(strstr(buffer_text(&out), "\"victims\":null,\"blame_ns\":null,"));
	buffer_clear(&out);
	text_report(&out, model, false, 200);
	html_report(&out, model, why, sizeof(why));
	assert_null(strstr(buffer_text(&out), "batch p99"));
	assert_null(strstr(buffer_text(&out), "victims</th>"));
	buffer_free(&out);
	model_free(model);
}

static void a_batch_of_no_event_is_a_measurement(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_meter(2);
	model = load();
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"batch\":{\"count\":2,\"p50\":0,"));
	assert_non_null(strstr(buffer_text(&out), "\"blame_ns\":0,\"victims\":0,\"service\""));
	buffer_free(&out);
	model_free(model);
}

static void json_has_the_promised_keys_and_jq_reads_it(void **state)
{
	char command[512];
	struct buffer out = {0};
	struct model *model;
	FILE *jq;

	(void)state;
	if (system("command -v jq >/dev/null") != 0) {
		printf("skipped: jq is not installed\n");
		skip();
	}
	fill_hostile();
	model = load();
	json_report(&out, model);
	snprintf(command, sizeof(command),
		 "jq -e '.schema == 1 and .recording.lost_events == 0 and .processes[0].pid == 7"
		 " and .handlers[0].service.p99_ns == 2000 and .handlers[0].service.count == 1"
		 " and (.overruns[0].stack | length) == 2 and .overruns[0].syscalls == []"
		 " and (.overruns[0].role | type) == \"string\""
		 " and .write_stalls == [] and .loops == []' >/dev/null");
	jq = popen(command, "we");
	assert_non_null(jq);
	fwrite(out.data, 1, out.len, jq);
	assert_int_equal(pclose(jq), 0);
	buffer_free(&out);
	model_free(model);
}

static void the_outputs_and_the_recorder_count_alike(void **state)
{
	struct recording_sums sums;
	struct recording *recording;
	struct buffer text = {0}, html = {0}, json = {0};
	struct model *model;
	int64_t process;

	(void)state;
	recording = begin();
	process = recording_process(recording, 7, "server");
	recording_loss(recording, "ring_full", 2, "r");
	recording_loss(recording, "table_full", 3, "t");
	recording_loss(recording, "stacks_cut", 11, "s");
	recording_loss(recording, "watchdog_stacks", 2, "w");
	for (int i = 0; i < 5; i++)
		recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_PROBES,
									 .process = process,
									 .fd = -1,
									 .start_ns = START,
									 .duration_ns = 2000000});
	for (int i = 0; i < 3; i++)
		add_stall(recording, process, 5, 20, STINT_PROBES_SENT);
	add_stall(recording, process, 6, 7000, STINT_PROBES_CLOSED);
	recording_sums(recording, &sums);
	recording_free(recording);
	assert_int_equal(sums.lost, 5);
	assert_int_equal(sums.stacks_cut, 13);
	assert_int_equal(sums.overruns, 5);
	assert_int_equal(sums.stalls, 4);
	model = load();
	text_report(&text, model, false, 200);
	html_report(&html, model, why, sizeof(why));
	json_report(&json, model);
	assert_non_null(strstr(buffer_text(&json), "\"lost_events\":5,\"stacks_incomplete\":13,"));
	assert_non_null(strstr(buffer_text(&json), "\"overruns\":5,\"write_stalls\":4,"));
	for (int i = 0; i < 2; i++) {
		const char *page = buffer_text(i ? &html : &text);

		assert_non_null(strstr(page, "2 ring_full: r"));
		assert_non_null(strstr(page, "3 table_full: t"));
		assert_non_null(strstr(page, "Not lost, but incomplete: 11 stacks_cut: s"));
		assert_non_null(strstr(page, "Not lost, but incomplete: 2 watchdog_stacks: w"));
		assert_non_null(strstr(page, "5 iterations beyond"));
		assert_non_null(strstr(page, "had 4 write stalls on 2 sockets"));
	}
	buffer_free(&text);
	buffer_free(&html);
	buffer_free(&json);
	model_free(model);
}

static void an_empty_recording_gives_sentences_and_no_plot(void **state)
{
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recording_free(begin());
	model = load();
	text_report(&out, model, false, 140);
	assert_non_null(
		strstr(buffer_text(&out), "No process is in this recording: none had been found when this"));
	assert_non_null(strstr(buffer_text(&out), "needs root"));
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	assert_string_equal(why, "");
	assert_null(strstr(buffer_text(&out), "<svg"));
	assert_non_null(strstr(buffer_text(&out), "No socket was traced"));
	assert_non_null(strstr(buffer_text(&out), "There is no distribution to draw"));
	buffer_free(&out);
	model_free(model);
}

static void a_recording_that_ended_without_a_process_is_said_to_have(void **state)
{
	struct recording *recording = begin();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recording_meta_number(recording, "end_ns", (int64_t)START + 1000);
	recording_free(recording);
	model = load();
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), "it ended before one was found"));
	buffer_free(&out);
	model_free(model);
}

/* The text, then the page: a sentence in either may be broken where a line ends. */
static void report_asked_for(struct buffer *out, const char *probes, const char *asked)
{
	struct recording *recording = begin();
	struct model *model;

	recording_meta_text(recording, "probes", probes);
	if (asked)
		recording_meta_text(recording, "trace_socket", asked);
	recording_free(recording);
	model = load();
	buffer_clear(out);
	text_report(out, model, false, 200);
	html_report(out, model, why, sizeof(why));
	model_free(model);
	unlink(path);
}

static size_t times(const struct buffer *out, const char *sentence)
{
	size_t count = 0;

	for (const char *at = buffer_text(out); (at = strstr(at, sentence)) != NULL; at++)
		count++;
	return count;
}

static void of_sockets_that_were_asked_for_in_vain_it_is_said_so(void **state)
{
	struct buffer out = {0};

	(void)state;
	report_asked_for(&out, "yes", "127.0.0.1:6379");
	assert_int_equal(times(&out,
			       "Asked for was --trace-socket=127.0.0.1:6379: no TCP socket that matches sent "
			       "anything while it was recorded."),
			 2);
	assert_int_equal(times(&out, "No socket was traced"), 0);
	report_asked_for(&out, "yes", "stalled");
	assert_int_equal(times(&out, "Asked for was --trace-socket: no send found its buffer full."), 2);
	report_asked_for(&out, "needs root", "fd:8");
	assert_int_equal(
		times(&out,
		      "Asked for was --trace-socket=fd:8, which needs the probes: they were not there."),
		2);
	report_asked_for(&out, "yes", NULL);
	assert_int_equal(times(&out, "Asked for"), 0);
	assert_int_equal(times(&out, "No socket was traced"), 1);
	buffer_free(&out);
	recording_free(begin());
}

static void handlers_that_did_nothing_are_said_to_have_done_nothing(void **state)
{
	struct recording *recording = begin();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recording_handler(recording, recording_process(recording, 7, "p"), "asleep", true, 1000);
	recording_free(recording);
	model = load();
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "Nothing was dispatched that has a name"));
	assert_null(strstr(buffer_text(&out), "asleep"));
	buffer_free(&out);
	model_free(model);
}

static void of_loops_in_io_uring_it_is_said_that_no_roles_are_told(void **state)
{
	static const char sentence[] = "Of 1 loop in io_uring no roles are told";
	struct recording *recording = begin();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recording_loop(recording, recording_process(recording, 7, "ring"), 7, 3, "io_uring fd 3", false);
	recording_free(recording);
	model = load();
	text_report(&out, model, false, 140);
	assert_non_null(strstr(buffer_text(&out), sentence));
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), sentence));
	buffer_free(&out);
	model_free(model);
}

static void of_loops_in_io_uring_with_roles_nothing_is_said(void **state)
{
	struct recording *recording = begin();
	struct buffer out = {0};
	struct model *model;
	int64_t process;

	(void)state;
	process = recording_process(recording, 7, "ring");
	recording_loop(recording, process, 7, 3, "io_uring fd 3", false);
	recording_role(recording, process, "pipes", "other");
	recording_free(recording);
	model = load();
	text_report(&out, model, false, 140);
	assert_null(strstr(buffer_text(&out), "in io_uring no roles are told"));
	assert_null(strstr(buffer_text(&out), "Sends through a ring"));
	buffer_free(&out);
	model_free(model);
}

static void without_gnuplot_the_page_says_what_to_install(void **state)
{
	char *search = strdup(getenv("PATH"));
	struct buffer out = {0};
	struct model *model;

	(void)state;
	fill_hostile();
	model = load();
	setenv("PATH", directory, 1);
	html_report(&out, model, why, sizeof(why));
	setenv("PATH", search, 1);
	free(search);
	assert_non_null(strstr(why, "gnuplot-nox"));
	assert_null(strstr(buffer_text(&out), "<svg"));
	assert_non_null(strstr(buffer_text(&out), "gnuplot-nox"));
	assert_non_null(strstr(buffer_text(&out), "</html>"));
	buffer_free(&out);
	model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(offloaded_work_is_shown_where_there_is_some),
		test(functions_are_shown_with_what_it_costs_to_time_them),
		test(hostile_names_are_harmless_in_every_output),
		test(what_turns_the_direction_of_text_is_written_out),
		test(a_text_is_cut_between_characters),
		test(of_a_long_command_the_directory_goes_first),
		test(unknown_figures_are_null_in_json),
		test(without_batches_it_is_not_known_who_waited),
		test(a_batch_of_no_event_is_a_measurement),
		test(json_has_the_promised_keys_and_jq_reads_it),
		test(the_outputs_and_the_recorder_count_alike),
		test(an_empty_recording_gives_sentences_and_no_plot),
		test(a_recording_that_ended_without_a_process_is_said_to_have),
		test(of_sockets_that_were_asked_for_in_vain_it_is_said_so),
		test(handlers_that_did_nothing_are_said_to_have_done_nothing),
		test(of_loops_in_io_uring_it_is_said_that_no_roles_are_told),
		test(of_loops_in_io_uring_with_roles_nothing_is_said),
		test(without_gnuplot_the_page_says_what_to_install),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
