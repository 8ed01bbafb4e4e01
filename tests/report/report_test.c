/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <stint/histogram.h>

#include "report/model/model.h"
#include "report/model/traces.h"
#include "report/record/recording.h"
#include "report/show/escape.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/shorten.h"
#include "report/show/text.h"
#include "report/show/words.h"

#define HOSTILE "<script>\x1b[31m\"',\n\xff"
#define START   UINT64_C(1000000000000)

static char directory[64];
static char path[128];
static char why[512];

static int setup(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-report-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	why[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	char journal[160];

	(void)state;
	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(journal);
	unlink(path);
	return rmdir(directory);
}

static struct recording *begin(void)
{
	struct recording *recording;

	assert_int_equal(recording_new(&recording, path), 0);
	recording_meta_number(recording, "start_ns", (int64_t)START);
	recording_meta_text(recording, "probes", "needs root");
	return recording;
}

static struct model *load(void)
{
	struct model *model = NULL;

	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return model;
}

static void refuses_with(const char *part)
{
	struct model *model = NULL;

	assert_true(model_new(&model, path, why, sizeof(why)) < 0);
	assert_null(model);
	if (!strstr(why, part))
		fail_msg("\"%s\" does not say \"%s\"", why, part);
}

static void write_bytes(const void *bytes, size_t len)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
}

static void execute(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void put_histogram(struct recording *recording, struct recording_owner owner, const char *metric,
			  const struct stint_histogram *histogram)
{
	const struct recording_total total = {histogram->count, histogram->sum, histogram->min,
					      histogram->max, histogram->overflow};

	for (uint32_t bucket = 0; bucket < STINT_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t half = histogram->bucket[bucket] / 2;

		/* Spread over two seconds: a reader has to add them up. */
		if (half)
			recording_bucket(recording, owner, metric, 0, bucket, half);
		if (histogram->bucket[bucket] - half)
			recording_bucket(recording, owner, metric, 1, bucket,
					 histogram->bucket[bucket] - half);
	}
	recording_total(recording, owner, metric, "ns", &total);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* ---- the model ---- */

static void percentiles_are_the_order_statistics_within_a_bucket(void **state)
{
	static const unsigned shares[] = {1, 5000, 9000, 9900, 9990, 10000};
	static uint64_t values[10007];
	static struct stint_histogram histogram;
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 1, "p");
	int64_t handler = recording_handler(recording, process, "h", true, 1000000);
	struct model *model;
	uint64_t seed = 42;

	(void)state;
	stint_histogram_init(&histogram);
	for (size_t i = 0; i < 10007; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		values[i] = (seed >> 33) >> (seed % 23);
		stint_histogram_record(&histogram, values[i]);
	}
	qsort(values, 10007, sizeof(values[0]), compare);
	put_histogram(recording, (struct recording_owner){.handler = handler}, "service", &histogram);
	recording_free(recording);
	model = load();
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		size_t rank = (10007 * (size_t)shares[i] + 9999) / 10000;
		uint64_t exact = values[rank - 1];
		uint64_t told = model_percentile(&model->handlers[0].metrics[MODEL_SERVICE], shares[i]);

		assert_int_equal(stint_histogram_bucket(told), stint_histogram_bucket(exact));
		assert_in_range(told, values[0], values[10006]);
	}
	model_free(model);
}

static void a_rank_beyond_the_range_is_the_exact_maximum(void **state)
{
	static struct stint_histogram histogram;
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 1, "p");
	int64_t handler = recording_handler(recording, process, "h", true, 1000000);
	struct model *model;

	(void)state;
	stint_histogram_init(&histogram);
	stint_histogram_record(&histogram, 100);
	stint_histogram_record(&histogram, UINT64_C(1) << 45);
	put_histogram(recording, (struct recording_owner){.handler = handler}, "service", &histogram);
	recording_free(recording);
	model = load();
	assert_int_equal(model_percentile(&model->handlers[0].metrics[MODEL_SERVICE], 5000), 100);
	assert_int_equal(model_percentile(&model->handlers[0].metrics[MODEL_SERVICE], 9900), UINT64_C(1)
												     << 45);
	model_free(model);
}

static void a_file_that_is_not_there_is_named_so_and_not_made(void **state)
{
	(void)state;
	refuses_with("No such file");
	assert_int_equal(access(path, F_OK), -1);
}

static void foreign_files_are_refused(void **state)
{
	(void)state;
	write_bytes("", 0);
	refuses_with("empty");
	write_bytes("hello, world: this is text and nothing else", 43);
	refuses_with("no SQLite file");
	unlink(path);
	execute("CREATE TABLE t (x)");
	refuses_with("another program");
}

static void a_newer_format_is_refused(void **state)
{
	(void)state;
	recording_free(begin());
	execute("PRAGMA user_version = 1000");
	refuses_with("newer stint");
}

static void a_file_cut_short_is_refused(void **state)
{
	struct stat status;

	(void)state;
	recording_free(begin());
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(truncate(path, status.st_size / 2), 0);
	refuses_with("cut short");
	assert_int_equal(truncate(path, 50), 0);
	refuses_with("cut short");
}

static void wrong_types_and_signs_are_unknown(void **state)
{
	struct recording *recording = begin();
	struct model *model;

	(void)state;
	recording_process(recording, 1, "p");
	recording_free(recording);
	execute("INSERT INTO overrun (process, handler, source, tid, fd, start_ns, duration_ns, on_cpu_ns,"
		" runnable_ns, victims, blame_ns, stack_kind) VALUES"
		" (99, 77, 'meter', -5, 'x', 'soon', 9223372036854775807, -1, x'00ff', -3, 1e300, NULL);"
		"INSERT INTO overrun_syscall VALUES (1, -1, 'a', 1, 1, 1), (1, 99999999999, 'b', 1, 1, 1);"
		"INSERT INTO overrun_frame (overrun, depth, name) VALUES (1, -7, 'f'), (1, 5, 'g');"
		"INSERT INTO loop VALUES (1, 1, 1, -9, 'l', 'probes', -1, 'x', 9223372036854775807);"
		"INSERT INTO histogram VALUES (NULL, 1, 'busy', -4, 0, -9), (NULL, 1, 'busy', 9223372036854775807, 1, 5);"
		"INSERT INTO total VALUES (NULL, 1, 'busy', 'ns', -1, 'x', -5, NULL, 7)");
	model = load();
	assert_int_equal(model->overruns_len, 1);
	assert_string_equal(model->overruns[0].process->command, "?");
	assert_null(model->overruns[0].handler);
	assert_int_equal(model->overruns[0].fd, -1);
	assert_true(model->overruns[0].on_cpu_ns == MODEL_UNKNOWN);
	assert_true(model->overruns[0].runnable_ns == MODEL_UNKNOWN);
	assert_int_equal(model->overruns[0].frames_len, 1);
	assert_int_equal(model->overruns[0].syscalls_len, 0);
	model_free(model);
}

/* The child dies amid a transaction that has already been written to the file. */
static void what_a_killed_recorder_began_is_rolled_back(void **state)
{
	struct recording *recording = begin();
	char journal[160];
	struct model *model;
	int status;
	pid_t child;

	(void)state;
	recording_process(recording, 1, "committed");
	recording_free(recording);
	child = fork();
	if (child == 0) {
		sqlite3 *db;

		if (sqlite3_open(path, &db) != SQLITE_OK ||
		    sqlite3_exec(
			    db,
			    "PRAGMA cache_size = 1; BEGIN; INSERT INTO process (pid, command) WITH RECURSIVE"
			    " n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
			    " SELECT i, hex(randomblob(200)) FROM n",
			    NULL, NULL, NULL) != SQLITE_OK)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	snprintf(journal, sizeof(journal), "%s-journal", path);
	assert_int_equal(access(journal, F_OK), 0);
	model = load();
	assert_int_equal(model->processes_total, 1);
	assert_string_equal(model->processes[0].command, "committed");
	model_free(model);
	assert_int_equal(access(journal, F_OK), -1);
}

/* ---- outputs ---- */

static void fill_hostile(void)
{
	static const char *const frames[] = {"main", HOSTILE};
	static struct stint_histogram histogram;
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, HOSTILE);
	int64_t handler = recording_handler(recording, process, HOSTILE, true, 1000);
	const struct recording_overrun overrun = {.process = process,
						  .handler = handler,
						  .fd = -1,
						  .role = HOSTILE,
						  .start_ns = START + 1,
						  .duration_ns = 2000,
						  .iteration_ns = RECORDING_UNKNOWN,
						  .on_cpu_ns = RECORDING_UNKNOWN,
						  .runnable_ns = RECORDING_UNKNOWN,
						  .blocked_ns = RECORDING_UNKNOWN,
						  .cpu_min_ns = RECORDING_UNKNOWN,
						  .cpu_max_ns = RECORDING_UNKNOWN,
						  .ready_events = RECORDING_UNKNOWN,
						  .syscall_count = RECORDING_UNKNOWN,
						  .frames = frames,
						  .frames_len = 2};

	stint_histogram_init(&histogram);
	stint_histogram_record(&histogram, 2000);
	put_histogram(recording, (struct recording_owner){.handler = handler}, "service", &histogram);
	recording_loss(recording, "ring_full", 0, HOSTILE);
	recording_overrun(recording, &overrun);
	recording_free(recording);
}

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

static void a_maximum_that_is_a_bucket_s_bound_is_that_of_the_longest_overrun(void **state)
{
	uint64_t bound = stint_histogram_bucket_low(stint_histogram_bucket(2000) + 1) - 1;
	struct model *model;
	char sql[64];

	(void)state;
	fill_hostile();
	assert_int_not_equal(bound, 2000);
	snprintf(sql, sizeof(sql), "UPDATE total SET max = %d", (int)bound);
	execute(sql);
	model = load();
	assert_int_equal(model_maximum(&model->handlers[0].metrics[MODEL_SERVICE]), 2000);
	model_free(model);
	snprintf(sql, sizeof(sql), "UPDATE total SET max = %d", (int)bound + 100);
	execute(sql);
	model = load();
	assert_int_equal(model_maximum(&model->handlers[0].metrics[MODEL_SERVICE]), bound + 100);
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

static void add_stall(struct recording *recording, int64_t process, uint64_t socket, uint64_t ms,
		      enum stint_probes_ending ending)
{
	struct stint_probes_stall stall = {.fd = (int32_t)socket,
					   .socket = socket,
					   .local = "127.0.0.1:80",
					   .start_ns = START,
					   .duration_ns = ms * 1000000,
					   .ack_ns = ms * 1000000,
					   .cause = STINT_PROBES_LIMIT_RECEIVE_WINDOW,
					   .alarm = -1,
					   .ending = ending};

	snprintf(stall.remote, sizeof(stall.remote), "127.0.0.1:%u", 4000 + (unsigned)socket);
	recording_stall(recording, process, &stall);
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
	assert_non_null(strstr(buffer_text(&out), "No process is in this recording"));
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

static void fill_traced_socket(void)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "sender");
	struct recording_socket_event event = {.process = process,
					       .socket = 5,
					       .fd = 3,
					       .time_ns = START,
					       .kind = "send_short",
					       .requested_bytes = 2097152,
					       .done_bytes = 1047728,
					       .queued_before_bytes = RECORDING_UNKNOWN,
					       .queued_bytes = 1048000,
					       .sndbuf_bytes = 1048576,
					       .unacked_bytes = RECORDING_UNKNOWN,
					       .snd_wnd_bytes = RECORDING_UNKNOWN,
					       .snd_cwnd = RECORDING_UNKNOWN};

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

static void put_moment(struct recording *recording, int64_t process, int fd, const char *kind, uint64_t at_ms)
{
	const struct recording_socket_event event = {.process = process,
						     .socket = (uint64_t)fd,
						     .fd = fd,
						     .time_ns = START + at_ms * 1000000,
						     .kind = kind,
						     .requested_bytes = at_ms + 1,
						     .done_bytes = RECORDING_UNKNOWN,
						     .queued_before_bytes = RECORDING_UNKNOWN,
						     .queued_bytes = 1048000,
						     .sndbuf_bytes = 1048576,
						     .unacked_bytes = RECORDING_UNKNOWN,
						     .snd_wnd_bytes = RECORDING_UNKNOWN,
						     .snd_cwnd = RECORDING_UNKNOWN};

	recording_socket_event(recording, &event);
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
	assert_int_equal(trace_cycle_ns(&traces->items[0], &traces->items[0].cycles[1]), 15000000);
	traces_free(traces);
	html_report(&out, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&out), "A send of 42 bytes"));
	buffer_free(&out);
	model_free(model);
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

/* Its lines are broken anywhere; HTML keeps the sentence whole. */
static void report_stalls(struct buffer *out)
{
	struct model *model = load();

	html_report(out, model, why, sizeof(why));
	model_free(model);
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

static int64_t count_processes(sqlite3 *db)
{
	sqlite3_stmt *statement;
	int64_t count;

	assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM process", -1, &statement, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	count = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return count;
}

/* A recording may be asked while it is made: what comes meanwhile is written when the question is answered. */
static void a_reader_does_not_end_a_recording(void **state)
{
	struct recording *recording = begin();
	sqlite3 *reader;

	(void)state;
	assert_int_equal(recording_commit(recording), 0);
	assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(count_processes(reader), 0);
	recording_process(recording, 1, "first");
	assert_int_equal(recording_commit(recording), 0);
	recording_process(recording, 2, "second");
	assert_int_equal(recording_commit(recording), 0);
	assert_int_equal(count_processes(reader), 0);
	assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(recording_finish(recording), 0);
	assert_int_equal(count_processes(reader), 2);
	sqlite3_close(reader);
	recording_free(recording);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(percentiles_are_the_order_statistics_within_a_bucket),
		test(a_rank_beyond_the_range_is_the_exact_maximum),
		test(a_file_that_is_not_there_is_named_so_and_not_made),
		test(foreign_files_are_refused),
		test(a_newer_format_is_refused),
		test(a_file_cut_short_is_refused),
		test(wrong_types_and_signs_are_unknown),
		test(what_a_killed_recorder_began_is_rolled_back),
		test(offloaded_work_is_shown_where_there_is_some),
		test(functions_are_shown_with_what_it_costs_to_time_them),
		test(hostile_names_are_harmless_in_every_output),
		test(what_turns_the_direction_of_text_is_written_out),
		test(a_text_is_cut_between_characters),
		test(of_a_long_command_the_directory_goes_first),
		test(unknown_figures_are_null_in_json),
		test(a_maximum_that_is_a_bucket_s_bound_is_that_of_the_longest_overrun),
		test(without_batches_it_is_not_known_who_waited),
		test(a_batch_of_no_event_is_a_measurement),
		test(json_has_the_promised_keys_and_jq_reads_it),
		test(the_outputs_and_the_recorder_count_alike),
		test(an_empty_recording_gives_sentences_and_no_plot),
		test(handlers_that_did_nothing_are_said_to_have_done_nothing),
		test(of_loops_in_io_uring_it_is_said_that_no_roles_are_told),
		test(of_loops_in_io_uring_with_roles_nothing_is_said),
		test(without_gnuplot_the_page_says_what_to_install),
		test(a_stall_is_told_by_its_own_figures),
		test(the_longest_stall_is_the_one_that_is_shown),
		test(stalls_that_ended_with_no_send_are_told_beside_the_others),
		test(without_a_stall_that_ended_with_a_send_there_are_no_percentiles),
		test(what_stalls_went_by_is_on_the_first_screen),
		test(json_says_how_a_stall_ended),
		test(a_reader_does_not_end_a_recording),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
