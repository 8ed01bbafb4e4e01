/* SPDX-License-Identifier: MIT */

/* The verdict on an overrun, from the probes' callback by way of a recording to what is shown. */

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "report/model/model.h"
#include "report/record/recording.h"
#include "report/show/escape.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/text.h"
#include "report/show/verdict_words.h"
#include "report/show/words.h"

#define MS      UINT64_C(1000000)
#define START   UINT64_C(1000000000000)
#define HOSTILE "<b>\x1b[31m\"&"

static char path[] = "/tmp/stint-verdict-XXXXXX";
static char why[256];
static int64_t recorder_pid; /* 0: the recording does not say */

static int set_up(void **state)
{
	int fd;

	(void)state;
	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static const struct stint_probes_frame frames[] = {
	{.name = "main", .module = "server", .file = "src/main.c", .line = 12},
	{.name = "on_request", .module = "server"},
	{.name = "do_sys_poll", .module = "kernel", .kernel = true},
};
static const char *const names[] = {"main", "on_request", "[k] do_sys_poll"};

/* Blocked for most of 10 ms, on a file that another process had. */
static struct stint_probes_overrun blocked(void)
{
	return (struct stint_probes_overrun){
		.duration_ns = 10 * MS,
		.parts = {.user_ns = MS,
			  .kernel_ns = MS / 2,
			  .runnable_ns = 3 * MS / 2,
			  .blocked_ns = 7 * MS,
			  .throttled_known = true},
		.verdict = STINT_PROBES_BLOCKED,
		.iteration = STINT_PROBES_ONE_HANDLER,
		.major_faults = 3,
		.minor_faults = 4000,
		.fault_blocked_ns = MS,
		.stopped_ns = MS / 2,
		.rivals_len = 2,
		.rivals = {{.pid = 77, .comm = "cc1", .duration_ns = MS},
			   {.pid = 0, .comm = "swapper/0", .duration_ns = 9}},
		.block = {.duration_ns = 6 * MS,
			  .in_syscall = true,
			  .in = "flock",
			  .on = "/srv/data" HOSTILE,
			  .on_inferred = true,
			  .waker = "holder",
			  .waker_pid = 42,
			  .waker_what = "futex_wake"},
		.victims_len = 3,
		.victims_list = {{.fd = 8, .wait_ns = 9 * MS, .name = "tcp 10.0.0.1:80 > 10.0.0.2:99"},
				 {.fd = 5, .wait_ns = 8 * MS},
				 {.fd = 6, .wait_ns = 7 * MS, .name = "pipe", .name_inferred = true}},
	};
}

static void record(const struct stint_probes_overrun *probed)
{
	static const struct stint_probes_syscall calls[] = {
		{.name = "flock", .fd = 4, .start_ns = START + MS, .duration_ns = 6 * MS}};
	struct recording *recording;
	int64_t process;

	assert_int_equal(recording_new(&recording, path), 0);
	recording_meta_number(recording, "start_ns", (int64_t)START);
	if (recorder_pid)
		recording_meta_number(recording, "recorder_pid", recorder_pid);
	process = recording_process(recording, 1, "server");
	recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_PROBES,
								 .process = process,
								 .tid = 1,
								 .fd = 4,
								 .start_ns = START,
								 .duration_ns = 10 * MS,
								 .iteration_ns = 10 * MS,
								 .on_cpu_ns = 3 * MS / 2,
								 .runnable_ns = 3 * MS / 2,
								 .blocked_ns = 7 * MS,
								 .cpu_min_ns = RECORDING_UNKNOWN,
								 .cpu_max_ns = RECORDING_UNKNOWN,
								 .ready_events = 3,
								 .syscall_count = 1,
								 .stack_kind = STINT_PROBES_STACK_BLOCKED,
								 .syscalls = calls,
								 .syscalls_len = 1,
								 .frames = names,
								 .frames_len = 3,
								 .places = frames,
								 .probed = probed});
	assert_int_equal(recording_commit(recording), 0);
	recording_free(recording);
}

static struct model *load(void)
{
	struct model *model = NULL;

	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return model;
}

static void what_the_probes_said_is_in_the_model(void **state)
{
	struct stint_probes_overrun probed = blocked();
	const struct model_verdict *verdict;
	struct model *model;

	(void)state;
	record(&probed);
	model = load();
	verdict = model->overruns[0].verdict;
	assert_non_null(verdict);
	assert_int_equal(verdict->verdict, MODEL_BLOCKED);
	assert_int_equal(verdict->iteration, MODEL_ONE_HANDLER);
	assert_int_equal(verdict->whole_ns, 10 * MS);
	assert_int_equal(verdict->parts_ns[MODEL_BLOCKED], 7 * MS);
	assert_int_equal(verdict->parts_ns[MODEL_THROTTLED], 0);
	assert_true(verdict->parts_ns[MODEL_STOLEN] == MODEL_UNKNOWN);
	assert_int_equal(verdict->rivals_len, 2);
	assert_int_equal(verdict->rivals[0].pid, 77);
	assert_int_equal(verdict->victims_len, 3);
	assert_int_equal(verdict->victims[1].fd, 5);
	assert_null(verdict->victims[1].name);
	assert_false(verdict->victims[0].name_inferred);
	assert_true(verdict->victims[2].name_inferred);
	assert_string_equal(verdict->waker, "holder");
	assert_int_equal(model->overruns[0].frames_len, 3);
	assert_string_equal(model->overruns[0].frames[2], "[k] do_sys_poll");
	assert_string_equal(model->overruns[0].places[0].file, "src/main.c");
	assert_int_equal(model->overruns[0].places[0].line, 12);
	assert_true(model->overruns[0].places[2].kernel);
	model_free(model);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in: %s", part, text);
}

/* A lock is told by the call's own argument; what a number stands for may be another by the time it is looked up. */
static void what_was_noted_is_not_marked_as_inferred(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	snprintf(probed.block.on, sizeof(probed.block.on), "lock 0x1 (known_lock)");
	probed.block.on_inferred = false;
	record(&probed);
	model = load();
	text_report(&out, model, false, 100);
	command_unwrap(out.data);
	assert_has(out.data, "% on lock 0x1 (known_lock)");
	buffer_free(&out);
	model_free(model);
}

static void the_text_says_why_and_who(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	snprintf(probed.victims_list[1].name, sizeof(probed.victims_list[1].name), "pipe");
	probed.victims_list[1].name_inferred = true;
	record(&probed);
	model = load();
	text_report(&out, model, false, 100);
	assert_int_equal(out.err, 0);
	assert_null(strchr(out.data, '\x1b'));
	command_unwrap(out.data);
	assert_has(out.data, "blocked in flock 70.0 % on ~/srv/data<b>");
	assert_has(out.data, "woken by holder (pid 42)");
	assert_has(
		out.data,
		"user 1.00 ms, kernel 500 us, runnable 1.50 ms, blocked 7.00 ms (500 us of it stopped, by a "
		"tracer or a signal), stolen not known");
	assert_has(out.data, "~one slow handler");
	assert_has(out.data, "behind: cc1 (pid 77) 1.00 ms, nobody, it was asleep 9 ns");
	assert_has(out.data, "page faults: 3 read from disk, 4,000 others; blocked in them 1.00 ms");
	assert_has(
		out.data,
		"~in all waited: fd 8 (tcp 10.0.0.1:80 > 10.0.0.2:99) 9.00 ms, fd 5 (~pipe) 8.00 ms; 1 more");
	assert_has(out.data, "main (src/main.c:12) > on_request > [k] do_sys_poll");
	buffer_free(&out);
	model_free(model);
}

static void where_the_recorder_was_in_the_way_is_said(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	recorder_pid = 77;
	record(&probed);
	recorder_pid = 0;
	model = load();
	assert_true(model->overruns[0].verdict->rivals[0].is_recorder);
	assert_false(model->overruns[0].verdict->rivals[1].is_recorder);
	verdict_words_rivals(&out, escape_terminal, model->overruns[0].verdict);
	assert_has(out.data,
		   "waited for a CPU behind: this recorder, cc1 (pid 77) 1.00 ms, nobody, it was asleep");
	buffer_free(&out);
	words_cost(&out, model);
	assert_has(out.data, " 1 overrun waited for a CPU behind it, 1.00 ms in sum.");
	buffer_free(&out);
	json_report(&out, model);
	assert_has(out.data, "\"comm\":\"cc1\",\"duration_ns\":1000000,\"is_recorder\":true,");
	buffer_free(&out);
	model_free(model);
}

static void a_thread_of_its_own_is_not_called_by_the_process(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	probed.rivals[0] = (struct stint_probes_rival){.pid = 1, .comm = "V8Worker", .duration_ns = MS};
	record(&probed);
	model = load();
	verdict_words_rivals(&out, escape_terminal, model->overruns[0].verdict);
	assert_has(out.data, "waited for a CPU behind: another thread of its own, V8Worker 1.00 ms, nobody");
	buffer_free(&out);
	json_report(&out, model);
	assert_has(out.data,
		   "\"comm\":\"V8Worker\",\"duration_ns\":1000000,\"is_recorder\":false,\"is_own\":true}");
	buffer_free(&out);
	model_free(model);
}

static void json_has_the_six_parts_and_the_others(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	record(&probed);
	model = load();
	json_report(&out, model);
	assert_has(
		out.data,
		"\"verdict\":{\"cause\":\"blocked\",\"iteration\":\"one slow handler\",\"user_ns\":1000000,"
		"\"kernel_ns\":500000,\"runnable_ns\":1500000,\"throttled_ns\":0,\"blocked_ns\":7000000,"
		"\"stolen_ns\":null");
	assert_has(out.data,
		   "\"rivals\":[{\"pid\":77,\"comm\":\"cc1\",\"duration_ns\":1000000,\"is_recorder\":false,");
	assert_has(
		out.data,
		"\"victims\":[{\"fd\":8,\"name\":\"tcp 10.0.0.1:80 > 10.0.0.2:99\",\"name_inferred\":false,\"wait_ns\":9000000}");
	assert_has(
		out.data,
		"{\"name\":\"do_sys_poll\",\"module\":\"kernel\",\"file\":null,\"line\":null,\"kernel\":true}");
	assert_has(out.data, "{\"fd\":6,\"name\":\"pipe\",\"name_inferred\":true,\"wait_ns\":7000000}");
	assert_has(out.data, "\"on_inferred\":true,\"waker\":\"holder\",\"waker_pid\":42");
	buffer_free(&out);
	model_free(model);
}

static void html_has_them_escaped(void **state)
{
	struct stint_probes_overrun probed = blocked();
	struct buffer out = {0};
	struct model *model;

	(void)state;
	record(&probed);
	model = load();
	html_report(&out, model, why, sizeof(why));
	assert_has(out.data, "blocked in flock 70.0 % on ~/srv/data&lt;b&gt;");
	assert_has(out.data, "class=\"blocked\" style=\"width:70.00%\"");
	assert_has(out.data, "in all waited: fd 8");
	assert_null(strstr(out.data, "/srv/data<b>"));
	buffer_free(&out);
	model_free(model);
}

static void without_a_verdict_there_is_no_row(void **state)
{
	struct stint_probes_overrun probed = {0};
	struct model *model;

	(void)state;
	record(&probed);
	model = load();
	assert_null(model->overruns[0].verdict);
	model_free(model);
}

static void broken_rows_are_held_within_bounds(void **state)
{
	struct buffer out = {0};
	struct model *model;
	sqlite3 *db;

	(void)state;
	record(NULL);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(
			db,
			"PRAGMA ignore_check_constraints = ON;"
			"INSERT INTO overrun_verdict VALUES (1, 'guilty', x'00', 9223372036854775807,"
			" 9223372036854775807, -1, 'x', 1e300, -5, 9223372036854775807, 9223372036854775807, -1, 1, 1, 1, 1, 1, 1, -1, x'ff',"
			" 5, -7, 'x', NULL, 'yes', 3);"
			"INSERT INTO overrun_rival VALUES (1, -1, 1, 'a', 1), (1, 7, -1, x'00', -1), (1, 99, 1, 'b', 1);"
			"INSERT INTO overrun_victim VALUES (1, 8, 1, 'a', 'x', 1), (1, 3, -9, NULL, -1, 'x'), (77, 0, 1, 'c', 0, 1);",
			NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	model = load();
	assert_int_equal(model->overruns[0].verdict->verdict, MODEL_VERDICTS);
	assert_int_equal(model->overruns[0].verdict->rivals_len, 1);
	assert_int_equal(model->overruns[0].verdict->victims_len, 1);
	text_report(&out, model, true, 100);
	html_report(&out, model, why, sizeof(why));
	json_report(&out, model);
	assert_int_equal(out.err, 0);
	buffer_free(&out);
	model_free(model);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_the_probes_said_is_in_the_model),
		test(what_was_noted_is_not_marked_as_inferred),
		test(the_text_says_why_and_who),
		test(json_has_the_six_parts_and_the_others),
		test(where_the_recorder_was_in_the_way_is_said),
		test(a_thread_of_its_own_is_not_called_by_the_process),
		test(html_has_them_escaped),
		test(without_a_verdict_there_is_no_row),
		test(broken_rows_are_held_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
