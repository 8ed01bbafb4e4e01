/* SPDX-License-Identifier: MIT */

/* Reports where memory runs out: each allocation fails once, and the report must say so, not lack a part. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults_fixture.h"
#include "report/model/model.h"
#include "report/record/recording.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/text.h"

#define MS UINT64_C(1000000)

static char directory[64];
static char path[128];

static int setup(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-memory-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void add_overrun(struct recording *recording, int64_t process, int64_t handler,
			enum recording_source source, const struct stint_probes_overrun *probed)
{
	static const char *const frames[] = {"main", "on_request"};

	recording_overrun(recording, &(struct recording_overrun){.source = source,
								 .process = process,
								 .handler = handler,
								 .fd = 4,
								 .role = "clients of :80",
								 .start_ns = MS,
								 .duration_ns = 5 * MS,
								 .iteration_ns = 5 * MS,
								 .on_cpu_ns = 2 * MS,
								 .runnable_ns = 3 * MS,
								 .blocked_ns = 0,
								 .cpu_min_ns = RECORDING_UNKNOWN,
								 .cpu_max_ns = RECORDING_UNKNOWN,
								 .victims = 2,
								 .blame_ns = 6 * MS,
								 .ready_events = 3,
								 .syscall_count = 0,
								 .frames = frames,
								 .frames_len = 2,
								 .probed = probed});
}

static void add_handlers(struct recording *recording, int64_t process)
{
	const struct recording_handler_counts counts = {1, 4 * MS, 6 * MS, 2};
	const struct recording_total total = {2, 5 * MS, 1000, 5 * MS, 0};
	const struct stint_probes_overrun probed = {.duration_ns = 5 * MS,
						    .parts = {.user_ns = 2 * MS, .runnable_ns = 3 * MS},
						    .verdict = STINT_PROBES_RUNNABLE,
						    .rivals_len = 1,
						    .rivals = {{.pid = 9, .comm = "cc1", .duration_ns = MS}}};
	int64_t own = recording_handler(recording, process, "http.read", true, MS);
	int64_t inferred = recording_handler(recording, process, "on_request", false, MS);

	recording_handler_counts(recording, own, &counts);
	recording_handler_counts(recording, inferred, &counts);
	recording_total(recording, (struct recording_owner){.handler = own}, "service", "ns", &total);
	recording_total(recording, (struct recording_owner){.handler = own}, "write_stall", "ns", &total);
	recording_total(recording, (struct recording_owner){.handler = own}, "work_run", "ns", &total);
	add_overrun(recording, process, own, RECORDING_METER, NULL);
	add_overrun(recording, process, inferred, RECORDING_PROBES, &probed);
}

static void add_sockets(struct recording *recording, int64_t process)
{
	const struct stint_probes_stall stall = {.fd = 5,
						 .socket = 5,
						 .local = "127.0.0.1:80",
						 .remote = "127.0.0.1:4000",
						 .start_ns = MS,
						 .duration_ns = MS,
						 .ack_ns = MS,
						 .alarm = -1};
	const struct stint_probes_acks acks = {.fd = 5,
					       .socket = 5,
					       .local = "127.0.0.1:80",
					       .remote = "127.0.0.1:4000",
					       .acks = 1,
					       .told = 1};
	const struct recording_total total = {2, 5 * MS, 1000, 5 * MS, 0};
	int64_t role = recording_role(recording, process, "clients of :80", "clients");

	recording_stall(recording, process, &stall);
	recording_acks(recording, process, &acks);
	recording_total(recording, (struct recording_owner){.role = role}, "service", "ns", &total);
	recording_total(recording, (struct recording_owner){.role = role}, "wait", "ns", &total);
	recording_total(recording, (struct recording_owner){.role = role}, "age", "ns", &total);
}

static void record_everything(void)
{
	struct recording *recording;
	int64_t process, loop;

	assert_int_equal(recording_new(&recording, path), 0);
	recording_meta_number(recording, "start_ns", 0);
	recording_meta_text(recording, "probes", "yes");
	recording_loss(recording, "ring_full", 1, "overruns that found it full");
	process = recording_process(recording, 7, "server");
	loop = recording_loop(recording, process, 7, 3, "loop", true);
	recording_loop_counts(recording, loop, 10, 20 * MS, 30 * MS);
	add_handlers(recording, process);
	add_sockets(recording, process);
	recording_free(recording);
}

static struct model *model_of_everything(void)
{
	struct model *model;
	char why[256];

	record_everything();
	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return model;
}

/* Returns how many allocations the report makes. */
static int64_t fail_each_allocation(void (*report)(struct buffer *out, const struct model *model))
{
	struct model *model = model_of_everything();
	int64_t live = faults.live, n = 0;
	struct buffer out = {0};
	bool struck;

	do {
		faults_arm(FAULT_MEMORY, 0, ++n);
		report(&out, model);
		struck = faults_disarm();
		if (struck && buffer_text(&out))
			fail_msg("allocation %lld failed, and the report does not", (long long)n);
		assert_true(struck || buffer_text(&out));
		buffer_free(&out);
		assert_int_equal(faults.live, live);
	} while (struck);
	model_free(model);
	return n - 1;
}

/* SQLite has memory of its own. `lasts`: once it is used up, there is none any more. */
static void fail_to_load(bool lasts)
{
	int64_t live, n = 0;
	struct model *model = NULL;
	char why[256];
	int err;

	record_everything();
	live = faults.live;
	do {
		faults_arm(FAULT_MEMORY, 0, ++n);
		faults.lasts = lasts;
		err = model_new(&model, path, why, sizeof(why));
		assert_int_equal(err, faults_disarm() ? -ENOMEM : 0);
	} while (err && faults.live == live);
	assert_int_equal(err, 0);
	model_free(model);
	assert_int_equal(faults.live, live);
	assert_true(n > 40);
}

static void a_recording_is_not_loaded_without_memory(void **state)
{
	(void)state;
	fail_to_load(false);
}

static void nor_is_one_that_uses_it_up(void **state)
{
	(void)state;
	fail_to_load(true);
}

static void as_text(struct buffer *out, const struct model *model)
{
	text_report(out, model, false, 80);
}

static void as_html(struct buffer *out, const struct model *model)
{
	char why[256];

	html_report(out, model, why, sizeof(why));
}

static void a_text_report_without_memory_is_an_error(void **state)
{
	(void)state;
	assert_true(fail_each_allocation(as_text) > 40);
}

/* Without gnuplot, which would be run for each. */
static void an_html_report_without_memory_is_an_error(void **state)
{
	char *search = strdup(getenv("PATH"));

	(void)state;
	setenv("PATH", directory, 1);
	assert_true(fail_each_allocation(as_html) > 20);
	setenv("PATH", search, 1);
	free(search);
}

static void a_json_report_without_memory_is_an_error(void **state)
{
	(void)state;
	assert_true(fail_each_allocation(json_report) > 3);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_recording_is_not_loaded_without_memory),
		test(nor_is_one_that_uses_it_up),
		test(a_text_report_without_memory_is_an_error),
		test(an_html_report_without_memory_is_an_error),
		test(a_json_report_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
