/* SPDX-License-Identifier: MIT */

/* A recording in memory: what is taken from the file, whatever is in it, and what can be asked of it. */

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "report_fixture.h"

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

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

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

static struct stint_probes_finding zero_timeouts(uint64_t loop, int32_t fd, uint64_t count)
{
	return (struct stint_probes_finding){.kind = STINT_PROBES_FINDING_ZERO_TIMEOUT,
					     .loop = loop,
					     .tid = 7,
					     .epfd = 4,
					     .fd = fd,
					     .count = count,
					     .of = 10 * count,
					     .cost_ns = 1000 * count,
					     .longest_ns = 100 - count};
}

/* A thread closed its set, and made another: both had the number 4, and so are one loop to who reads of it. */
static void what_two_loops_at_one_number_did_is_added_up(void **state)
{
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 1, "p");
	const struct stint_probes_finding first = zero_timeouts(1, -1, 30), grown = zero_timeouts(1, -1, 40),
					  second = zero_timeouts(2, -1, 2), other = zero_timeouts(2, 5, 1);
	struct model *model;

	(void)state;
	recording_finding(recording, process, &first);
	recording_finding(recording, process, &grown); /* in place of what was read before */
	recording_finding(recording, process, &second);
	recording_finding(recording, process, &other);
	recording_free(recording);
	model = load();
	assert_int_equal(model->findings_len, 2);
	assert_int_equal(model->findings_total, 2);
	assert_int_equal(model->findings[0].count, 42);
	assert_int_equal(model->findings[0].of, 420);
	assert_int_equal(model->findings[0].cost_ns, 42000);
	assert_int_equal(model->findings[0].longest_ns, 98);
	assert_int_equal(model->findings[1].count, 1);
	model_free(model);
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
	const struct CMUnitTest tests[] = {
		test(percentiles_are_the_order_statistics_within_a_bucket),
		test(a_rank_beyond_the_range_is_the_exact_maximum),
		test(a_file_that_is_not_there_is_named_so_and_not_made),
		test(foreign_files_are_refused),
		test(a_newer_format_is_refused),
		test(a_file_cut_short_is_refused),
		test(wrong_types_and_signs_are_unknown),
		test(what_a_killed_recorder_began_is_rolled_back),
		test(a_maximum_that_is_a_bucket_s_bound_is_that_of_the_longest_overrun),
		test(what_two_loops_at_one_number_did_is_added_up),
		test(a_reader_does_not_end_a_recording),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
