/* SPDX-License-Identifier: MIT */
#ifndef REPORT_FIXTURE_H
#define REPORT_FIXTURE_H

/* What the tests of the report share: a recording in a directory of its own, made by hand and loaded. */

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <stint/histogram.h>

#include "report/model/model.h"
#include "report/record/recording.h"

#define HOSTILE "<script>\x1b[31m\"',\n\xff"
#define START   UINT64_C(1000000000000)

static char directory[64];
static char path[128];
static char why[512];

__attribute__((unused)) static int setup(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-report-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	why[0] = '\0';
	return 0;
}

__attribute__((unused)) static int teardown(void **state)
{
	char journal[160];

	(void)state;
	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(journal);
	unlink(path);
	return rmdir(directory);
}

__attribute__((unused)) static struct recording *begin(void)
{
	struct recording *recording;

	assert_int_equal(recording_new(&recording, path), 0);
	recording_meta_number(recording, "start_ns", (int64_t)START);
	recording_meta_text(recording, "probes", "needs root");
	return recording;
}

__attribute__((unused)) static struct model *load(void)
{
	struct model *model = NULL;

	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return model;
}

__attribute__((unused)) static void execute(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

__attribute__((unused)) static void put_histogram(struct recording *recording, struct recording_owner owner,
						  const char *metric, const struct stint_histogram *histogram)
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

__attribute__((unused)) static void fill_hostile(void)
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

__attribute__((unused)) static void add_stall(struct recording *recording, int64_t process, uint64_t socket,
					      uint64_t ms, enum stint_probes_ending ending)
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

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
