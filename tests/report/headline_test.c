/* SPDX-License-Identifier: MIT */

/* The first screen: what processes were late by in sum, what to look at, and tables that fit into it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/model/late.h"
#include "report/model/model.h"
#include "report/record/recording.h"
#include "report/show/escape.h"
#include "report/show/headline.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/table.h"
#include "report/show/text.h"
#include "report/show/verdict_words.h"

#define MS      UINT64_C(1000000)
#define START   UINT64_C(1000000000000)
#define HOSTILE "<b>\x1b[31m\"&"

static char path[] = "/tmp/stint-headline-XXXXXX";
static char why[256];
static struct recording *recording;
static struct model *model;
static uint64_t next_ns;

static int set_up(void **state)
{
	int fd;

	(void)state;
	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	if (fd < 0 || close(fd) != 0 || recording_new(&recording, path) != 0)
		return -1;
	recording_meta_number(recording, "start_ns", (int64_t)START);
	recording_meta_number(recording, "budget_ns", (int64_t)MS);
	next_ns = START;
	model = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	recording_free(recording);
	recording = NULL;
	model_free(model);
	return unlink(path);
}

static void load(void)
{
	recording_free(recording);
	recording = NULL;
	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static int64_t add_handler(int64_t process, const char *name)
{
	return recording_handler(recording, process, name, false, MS);
}

static void add_probed(int64_t process, int64_t handler, const struct stint_probes_overrun *probed)
{
	const struct stint_probes_parts *parts = &probed->parts;

	recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_PROBES,
								 .process = process,
								 .handler = handler,
								 .fd = -1,
								 .start_ns = next_ns += 100 * MS,
								 .duration_ns = probed->duration_ns,
								 .iteration_ns = probed->duration_ns,
								 .on_cpu_ns = parts->user_ns,
								 .runnable_ns = parts->runnable_ns,
								 .blocked_ns = parts->blocked_ns,
								 .cpu_min_ns = RECORDING_UNKNOWN,
								 .cpu_max_ns = RECORDING_UNKNOWN,
								 .ready_events = 1,
								 .syscall_count = probed->syscalls_len,
								 .syscalls = probed->syscalls,
								 .syscalls_len = probed->syscalls_len,
								 .probed = probed});
}

/* An iteration that took the sum of these. `rival` had the CPU while it was runnable, if it was. */
static void add_overrun(int64_t process, int64_t handler, uint64_t user_ns, uint64_t runnable_ns,
			uint64_t blocked_ns, const struct stint_probes_rival *rival)
{
	struct stint_probes_overrun probed = {
		.duration_ns = user_ns + runnable_ns + blocked_ns,
		.parts = {.user_ns = user_ns, .runnable_ns = runnable_ns, .blocked_ns = blocked_ns},
		.verdict = runnable_ns > user_ns && runnable_ns > blocked_ns ? STINT_PROBES_RUNNABLE
			   : blocked_ns > user_ns                            ? STINT_PROBES_BLOCKED
									     : STINT_PROBES_USER,
		.rivals_len = rival != NULL,
		.block = {.duration_ns = blocked_ns, .in_syscall = true, .in = "flock"},
	};

	if (rival) {
		probed.rivals[0] = *rival;
		probed.rivals[0].duration_ns = runnable_ns;
	}
	add_probed(process, handler, &probed);
}

static const struct stint_probes_rival first_cc1 = {.pid = 70, .comm = "cc1"};
static const struct stint_probes_rival other_cc1 = {.pid = 71, .comm = "cc1"};

/* Kept from a CPU for 80 of 100 ms by compilers, and late by itself once. */
static int64_t add_busy_server(void)
{
	int64_t process = recording_process(recording, 1, "server");
	int64_t read = add_handler(process, "on_read"), sweep = add_handler(process, "sweep");

	add_overrun(process, read, MS / 2, 59 * MS, MS / 2, &first_cc1);
	add_overrun(process, read, MS / 2, 21 * MS, MS / 2, &other_cc1);
	add_overrun(process, sweep, 2 * MS, 0, 16 * MS, NULL);
	return process;
}

/* One that blocks on as the recording ends. */
static void add_running(int64_t process, int64_t handler, uint64_t blocked_ns)
{
	recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_PROBES,
								 .process = process,
								 .handler = handler,
								 .tid = 1,
								 .running = true,
								 .fd = -1,
								 .start_ns = next_ns += 100 * MS,
								 .duration_ns = blocked_ns,
								 .iteration_ns = blocked_ns,
								 .on_cpu_ns = 0,
								 .runnable_ns = 0,
								 .blocked_ns = blocked_ns,
								 .cpu_min_ns = 0,
								 .cpu_max_ns = 0,
								 .ready_events = 1,
								 .syscall_count = 0});
}

/* What a headline says under a label, "" if it does not. */
static const char *line_of(const struct headline *headline, const char *label)
{
	for (size_t i = 1; i < headline->len; i++)
		if (strcmp(headline->lines[i].label, label) == 0)
			return headline->lines[i].text.data;
	return "";
}

/* ---- sums ---- */

static void the_parts_of_all_overruns_are_summed_up(void **state)
{
	struct late late;

	(void)state;
	add_busy_server();
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_int_equal(late.overruns, 3);
	assert_int_equal(late.sum_ns, 100 * MS);
	assert_int_equal(late.over_ns, 97 * MS);
	assert_int_equal(late.causes_len, 3);
	assert_int_equal(late.causes[0].kind, LATE_RUNNABLE);
	assert_int_equal(late.causes[0].sum_ns, 80 * MS);
	assert_int_equal(late.causes[0].parties_len, 1);
	assert_string_equal(late.causes[0].parties[0].name, "cc1");
	assert_int_equal(late.causes[0].parties[0].sum_ns, 80 * MS);
	assert_true(late.causes[0].parties[0].pid == MODEL_UNKNOWN); /* there were two */
	assert_int_equal(late.causes[1].kind, LATE_BLOCKED);
	assert_int_equal(late.causes[1].sum_ns, 17 * MS);
	assert_int_equal(late.causes[2].kind, LATE_USER);
	assert_int_equal(late.causes[2].sum_ns, 3 * MS);
}

static void an_overrun_is_its_own_doing_only_without_the_wait_for_a_cpu(void **state)
{
	struct late late;

	(void)state;
	add_busy_server();
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_int_equal(late.own.overruns, 1);
	assert_string_equal(late.own.handler->name, "sweep");
	assert_int_equal(late.own.handler_own_ns, 18 * MS);
	assert_int_equal(late.own.longest_ns, 18 * MS);
	assert_int_equal(late.own.longest_kind, LATE_BLOCKED);
	assert_string_equal(late.own.longest_call, "flock");
}

static void processes_are_in_the_order_of_their_lateness(void **state)
{
	const struct model_process *order[3];
	int64_t late;

	(void)state;
	recording_process(recording, 5, "idle");
	late = recording_process(recording, 6, "late");
	add_overrun(late, add_handler(late, "h"), 3 * MS, 0, 0, NULL);
	add_busy_server();
	load();
	assert_int_equal(late_order(order, model), 2);
	assert_int_equal(order[0]->pid, 1);
	assert_int_equal(order[1]->pid, 6);
	assert_int_equal(order[2]->pid, 5);
}

/* ---- words ---- */

static void a_headline_is_a_few_short_lines(void **state)
{
	struct headline headline;

	(void)state;
	add_busy_server();
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_true(headline.late);
	assert_int_equal(headline.len, 5);
	assert_string_equal(headline.lines[0].text.data, "3 iterations beyond 1.00 ms");
	assert_string_equal(
		line_of(&headline, "in sum"),
		"97.0 ms beyond budget. Of the 100 ms that they took: 80 % waiting for a CPU behind cc1; "
		"17 % blocked in flock; 3 % computing in user space");
	assert_string_equal(line_of(&headline, "longest"),
			    "60.0 ms at 0.100 s in ~on_read: waiting for a CPU 98.3 %, behind cc1 (pid 70)");
	assert_string_equal(line_of(&headline, "look at"), "the machine: others had the CPU that it wanted");
	assert_string_equal(
		line_of(&headline, "then at"),
		"~sweep: late once by its own doing, 18.0 ms in sum, at most 18.0 ms, blocked in flock");
	headline_free(&headline);
}

static void on_a_quiet_machine_the_handler_comes_first(void **state)
{
	int64_t process = recording_process(recording, 1, "server");
	struct headline headline;

	(void)state;
	add_overrun(process, add_handler(process, "render"), 30 * MS, MS, 0, &first_cc1);
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_string_equal(
		line_of(&headline, "look at"),
		"~render: late once by its own doing, 30.0 ms in sum, at most 30.0 ms, computing in user "
		"space");
	assert_string_equal(line_of(&headline, "then at"), "");
	headline_free(&headline);
}

static void json_has_the_sums_too(void **state)
{
	struct buffer out = {0};

	(void)state;
	add_busy_server();
	load();
	json_report(&out, model);
	assert_non_null(strstr(
		buffer_text(&out),
		"\"late\":{\"overruns\":3,\"sum_ns\":100000000,\"over_ns\":97000000,\"causes\":["
		"{\"cause\":\"runnable\",\"sum_ns\":80000000},{\"cause\":\"blocked\",\"sum_ns\":17000000},"
		"{\"cause\":\"user\",\"sum_ns\":3000000}],\"own_overruns\":1,\"own_handler\":\"sweep\"}"));
	buffer_free(&out);
}

/* Neither within words nor between a figure and its unit. */
static void lines_end_where_the_terminal_does(void **state)
{
	struct buffer out = {0};

	(void)state;
	add_busy_server();
	load();
	text_report(&out, model, false, 60);
	for (const char *line = buffer_text(&out); *line; line += strcspn(line, "\n") + 1) {
		const char *word = line + strspn(line, " ");

		assert_in_range(strcspn(line, "\n"), 0, 60);
		assert_false(strncmp(word, "ms", 2) == 0 || *word == '%');
	}
	buffer_free(&out);
}

static void own_threads_in_the_way_are_not_the_machine(void **state)
{
	static const struct stint_probes_rival worker = {.pid = 1, .comm = "V8Worker"};
	int64_t process = recording_process(recording, 1, "node");
	struct headline headline;

	(void)state;
	add_overrun(process, add_handler(process, "h"), MS / 2, 30 * MS, 0, &worker);
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_string_equal(line_of(&headline, "look at"),
			    "its own threads: they had the CPU that it wanted (V8Worker)");
	headline_free(&headline);
}

static void a_process_that_was_not_late_has_one_line(void **state)
{
	struct headline headline;

	(void)state;
	recording_loop(recording, recording_process(recording, 5, "idle"), 5, 3, "epoll fd 3", false);
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_false(headline.late);
	assert_int_equal(headline.len, 1);
	assert_string_equal(headline.lines[0].text.data, "no iteration took longer than 1.00 ms");
	headline_free(&headline);
}

static void assert_unseen(const char *first)
{
	struct headline headline;
	struct buffer page = {0};

	recording_process(recording, 5, "idle");
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_false(headline.late);
	assert_true(headline.unseen);
	assert_string_equal(headline.lines[0].text.data, first);
	headline_free(&headline);
	html_report(&page, model, why, sizeof(why));
	assert_non_null(strstr(buffer_text(&page), "class=\"headline unseen\""));
	buffer_free(&page);
}

static void a_process_without_a_loop_is_said_to_have_none(void **state)
{
	(void)state;
	recording_meta_text(recording, "probes", "yes");
	assert_unseen(
		"nothing of it was seen: no thread of it came to a wait for events while it was recorded, or returned from one");
}

static void of_a_process_that_nobody_looked_at_nothing_is_said_to_be_known(void **state)
{
	(void)state;
	recording_meta_text(recording, "probes", "left out as --no-probes asks");
	assert_unseen("nothing is known of it: it has no meter, and the kernel's side was not recorded");
}

static void what_had_not_ended_is_said_so(void **state)
{
	struct headline headline;
	struct buffer out = {0};
	int64_t process;

	(void)state;
	process = recording_process(recording, 1, "server");
	add_overrun(process, add_handler(process, "on_read"), 2 * MS, 0, 0, NULL);
	add_running(process, add_handler(process, "on_write"), 4200 * MS);
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_string_equal(headline.lines[0].text.data,
			    "2 iterations beyond 1.00 ms, of which 1 had not ended");
	assert_non_null(strstr(line_of(&headline, "longest"), "4.20 s at "));
	assert_non_null(strstr(line_of(&headline, "longest"), "~on_write: it had not ended yet, blocked"));
	headline_free(&headline);
	text_report(&out, model, false, 80);
	assert_non_null(strstr(buffer_text(&out), "it had not ended yet, blocked"));
	buffer_free(&out);
}

static void a_loop_is_busy_also_in_what_had_not_ended(void **state)
{
	struct buffer out = {0};
	int64_t process, loop;

	(void)state;
	process = recording_process(recording, 1, "server");
	loop = recording_loop(recording, process, 1, 5, "epoll fd 5", false);
	recording_loop_counts(recording, loop, 10, 100 * MS, 500 * MS);
	add_running(process, add_handler(process, "on_write"), 400 * MS);
	load();
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"utilization\":0.500000"));
	assert_non_null(strstr(buffer_text(&out), "\"running_ns\":400000000"));
	assert_non_null(strstr(buffer_text(&out), "\"running\":true"));
	buffer_free(&out);
}

static void of_many_processes_the_latest_have_all_their_lines(void **state)
{
	static struct headline_order order;
	struct buffer rest = {0};

	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		int64_t process = recording_process(recording, 100 + i, "worker");

		add_overrun(process, add_handler(process, "h"), (2 + i % 15) * MS, 0, 0, NULL);
	}
	load();
	headline_order(&order, model);
	assert_int_equal(order.whole, 4);
	assert_int_equal(order.shown, 12);
	assert_int_equal(order.processes[0]->pid, 114);
	headline_rest(&rest, &order, model);
	assert_string_equal(rest.data, "... and 8 processes more, of which 8 had overruns: --json has them.");
	buffer_free(&rest);
}

/* ---- tables ---- */

static struct table *wide_table(void)
{
	static const char *const heads[] = {"pid", "name", "some", "empty", "more", "last"};
	struct table *table = table_new(heads, "RLrrrr");

	for (uint64_t row = 0; row < 2; row++) {
		table_number(table, 10 + row);
		table_name(table, row ? "a" : "b" HOSTILE, row == 1);
		table_count(table, 1000);
		table_cell(table, row ? "-" : "0");
		table_ns(table, 2000);
		table_cell(table, "x");
	}
	return table;
}

static void columns_that_say_nothing_are_left_out(void **state)
{
	struct buffer out = {0};
	bool inferred = false;

	(void)state;
	table_text(wide_table(), &out, 80, &inferred);
	assert_true(inferred);
	assert_string_equal(out.data, "  pid  name             some     more  last\n"
				      "   10  b<b>\\x1b[31m\"&  1,000  2.00 us     x\n"
				      "   11  ~a              1,000  2.00 us     x\n");
	buffer_clear(&out);
	table_html(wide_table(), &out);
	assert_null(strstr(out.data, "empty"));
	assert_non_null(strstr(out.data, "b&lt;b&gt;\\x1b[31m&quot;&amp;"));
	buffer_free(&out);
}

static void the_port_of_an_address_is_not_cut_out(void **state)
{
	static const char *const heads[] = {"handler", "what"};
	struct table *table = table_new(heads, "Ll");
	struct buffer out = {0};
	bool inferred = false;

	(void)state;
	table_name(table, "clients of 127.0.0.1:18472 (no stack)", true);
	table_cell(table, "twenty columns of it");
	table_text(table, &out, 48, &inferred);
	assert_non_null(strstr(buffer_text(&out), "...:18472 (no stack)"));
	buffer_free(&out);
}

/* Two columns of figures, with which there is no room for both names in full. */
static void put_clients(struct buffer *out, const char *second)
{
	static const char *const heads[] = {"pid", "handler", "overruns", "mostly"};
	struct table *table = table_new(heads, "LLrl");
	bool inferred = false;

	for (int i = 0; i < 2; i++) {
		table_number(table, 31728);
		table_name(table, i ? second : "clients of :21080 (no stack)", true);
		table_number(table, 73);
		table_cell(table, "runnable 94 %");
	}
	table_text(table, out, 54, &inferred);
}

static void names_are_not_cut_where_only_what_is_cut_tells_rows_apart(void **state)
{
	struct buffer out = {0};

	(void)state;
	put_clients(&out, "clients of :21443 (no stack)");
	assert_non_null(strstr(buffer_text(&out), "~clients of :21080 (no stack)"));
	assert_non_null(strstr(buffer_text(&out), "~clients of :21443 (no stack)"));
	buffer_clear(&out);
	put_clients(&out, "listener :21443 (no stack)");
	assert_null(strstr(buffer_text(&out), "~clients of :21080 (no stack)"));
	buffer_free(&out);
}

static void what_does_not_fit_goes_on_below_with_the_names_again(void **state)
{
	struct buffer out = {0};
	bool inferred = false;

	(void)state;
	table_text(wide_table(), &out, 34, &inferred);
	assert_string_equal(out.data, "  pid  name             some\n"
				      "   10  b<b>\\x1b[31m\"&  1,000\n"
				      "   11  ~a              1,000\n"
				      "\n"
				      "  pid  name               more\n"
				      "   10  b<b>\\x1b[31m\"&  2.00 us\n"
				      "   11  ~a              2.00 us\n"
				      "\n"
				      "  pid  name            last\n"
				      "   10  b<b>\\x1b[31m\"&     x\n"
				      "   11  ~a                 x\n");
	buffer_free(&out);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Many short ones, none of which is half of it; and mostly it waited for a CPU. */
static void time_blocked_in_page_faults_is_said_to_be(void **state)
{
	struct stint_probes_overrun probed = {
		.duration_ns = 100 * MS,
		.parts = {.user_ns = 10 * MS, .runnable_ns = 60 * MS, .blocked_ns = 30 * MS},
		.verdict = STINT_PROBES_RUNNABLE,
		.fault_blocked_ns = 30 * MS,
		.block = {.duration_ns = MS},
	};
	int64_t process = recording_process(recording, 1, "server");
	struct late late;

	(void)state;
	add_probed(process, add_handler(process, "on_read"), &probed);
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_int_equal(late.causes[1].kind, LATE_BLOCKED);
	assert_int_equal(late.causes[1].parties_len, 1);
	assert_string_equal(late.causes[1].parties[0].name, "page faults");
	assert_string_equal(late.own.longest_call, "page faults");
}

/* A thread of python that waits for the interpreter's lock: 5 ms at a time, each time anew. */
static void many_short_calls_of_a_kind_are_what_it_is_blocked_in(void **state)
{
	struct stint_probes_overrun probed = {
		.duration_ns = 60 * MS,
		.parts = {.user_ns = 5 * MS, .blocked_ns = 55 * MS},
		.verdict = STINT_PROBES_BLOCKED,
		.block = {.duration_ns = 20 * MS, .in_syscall = true, .in = "read"},
		.syscalls = {{.name = "read", .fd = 3, .duration_ns = 20 * MS},
			     {.name = "futex", .fd = -1, .duration_ns = 18 * MS},
			     {.name = "futex", .fd = -1, .duration_ns = 17 * MS}},
		.syscalls_len = 3,
	};
	int64_t process = recording_process(recording, 1, "server");
	struct buffer out = {0};

	(void)state;
	add_probed(process, add_handler(process, "on_read"), &probed);
	load();
	assert_string_equal(late_call(&model->overruns[0]), "futex");
	verdict_words_cause(&out, escape_terminal, &model->overruns[0]);
	assert_string_equal(buffer_text(&out), "blocked in futex 91.7 %");
	buffer_free(&out);
}

/* None of them is half of it, and all of them are. */
static void several_calls_that_it_was_blocked_in_are_named(void **state)
{
	static const char *const names[] = {"wait4", "futex", "clock_nanosleep", "fsync"};
	int64_t process = recording_process(recording, 1, "server");
	int64_t handler = add_handler(process, "on_read");
	struct headline headline;

	(void)state;
	for (uint64_t i = 0; i < 4; i++) {
		struct stint_probes_overrun probed = {
			.duration_ns = (40 - i) * MS,
			.parts = {.blocked_ns = (40 - i) * MS},
			.verdict = STINT_PROBES_BLOCKED,
			.syscalls = {{.fd = -1, .duration_ns = (40 - i) * MS}},
			.syscalls_len = 1,
		};

		snprintf(probed.syscalls[0].name, sizeof(probed.syscalls[0].name), "%s", names[i]);
		add_probed(process, handler, &probed);
	}
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_non_null(strstr(line_of(&headline, "in sum"),
			       "100 % blocked in wait4, futex, clock_nanosleep and others"));
	headline_free(&headline);
}

static void time_computing_in_page_faults_is_said_to_be(void **state)
{
	struct stint_probes_overrun probed = {
		.duration_ns = 100 * MS,
		.parts = {.user_ns = 30 * MS, .kernel_ns = 70 * MS, .faulted_ns = 65 * MS},
		.verdict = STINT_PROBES_KERNEL,
		.minor_faults = 20000,
	};
	int64_t process = recording_process(recording, 1, "server");
	struct headline headline;
	struct late late;

	(void)state;
	add_probed(process, add_handler(process, "on_read"), &probed);
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_string_equal(late.own.longest_call, "page faults");
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_non_null(strstr(line_of(&headline, "in sum"), "70 % computing in the kernel, in page faults"));
	assert_non_null(
		strstr(line_of(&headline, "longest"), "computing in the kernel 70.0 %, in page faults"));
	headline_free(&headline);
}

/* Stops, each of which is short: nobody finds out why by looking at the handler that they hit. */
static void time_stopped_is_no_doing_of_the_handlers(void **state)
{
	struct stint_probes_overrun probed = {
		.duration_ns = 100 * MS,
		.parts = {.user_ns = 8 * MS, .blocked_ns = 92 * MS},
		.verdict = STINT_PROBES_BLOCKED,
		.fault_blocked_ns = 12 * MS,
		.stopped_ns = 80 * MS,
		.block = {.duration_ns = MS, .is_stopped = true, .in = "a stop by a tracer"},
	};
	int64_t process = recording_process(recording, 1, "server");
	struct headline headline;
	struct buffer out = {0};
	struct late late;

	(void)state;
	add_probed(process, add_handler(process, "on_read"), &probed);
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_int_equal(late.causes[0].kind, LATE_STOPPED);
	assert_int_equal(late.causes[0].sum_ns, 80 * MS);
	assert_int_equal(late.causes[1].kind, LATE_BLOCKED);
	assert_int_equal(late.causes[1].sum_ns, 12 * MS);
	assert_int_equal(late.own.handler_own_ns, 20 * MS);
	assert_string_equal(late.own.longest_call, "page faults");
	verdict_words_mostly(&out, &late);
	assert_string_equal(buffer_text(&out), "stopped 80 %");
	buffer_free(&out);
	out = (struct buffer){0};
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_non_null(strstr(line_of(&headline, "in sum"), "80 % stopped by a signal or a tracer"));
	assert_non_null(strstr(line_of(&headline, "look at"), "who stopped it"));
	assert_non_null(strstr(line_of(&headline, "then at"), "on_read"));
	headline_free(&headline);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "{\"cause\":\"stopped\",\"sum_ns\":80000000}"));
	buffer_free(&out);
}

static void the_call_that_blocked_besides_a_stop_is_told(void **state)
{
	struct stint_probes_overrun probed = {
		.duration_ns = 120 * MS,
		.parts = {.user_ns = 10 * MS, .blocked_ns = 110 * MS},
		.verdict = STINT_PROBES_BLOCKED,
		.stopped_ns = 60 * MS,
		.block = {.duration_ns = 60 * MS, .is_stopped = true, .in = "a stop by a signal"},
		.syscalls_len = 1,
		.syscalls = {{.name = "read", .fd = -1, .duration_ns = 50 * MS}},
	};
	int64_t process = recording_process(recording, 1, "server");
	struct late late;

	(void)state;
	add_probed(process, add_handler(process, "on_read"), &probed);
	load();
	late_of(&late, model, &model->processes[0], NULL);
	assert_int_equal(late.causes[1].kind, LATE_BLOCKED);
	assert_string_equal(late.own.longest_call, "read");
}

/* ---- sets that threads share ---- */

/* Two threads of ten seconds' recording, each `whole_ns` in its loop in descriptor 4, and one late by a sleep. */
static void add_two_threads(uint64_t whole_ns)
{
	int64_t process = recording_process(recording, 1, "server");

	recording_meta_number(recording, "end_ns", (int64_t)(START + 10000 * MS));
	for (uint32_t tid = 1; tid <= 2; tid++) {
		int64_t loop = recording_loop(recording, process, tid, 4, "epoll fd 4", false);

		recording_loop_counts(recording, loop, 10, whole_ns - 10 * MS, 10 * MS);
		recording_finding(recording, process,
				  &(struct stint_probes_finding){.kind = STINT_PROBES_FINDING_NOT_DRAINED,
								 .tid = tid,
								 .epfd = 4,
								 .fd = 7,
								 .count = 1,
								 .cost_ns = 200 * MS});
	}
	add_overrun(process, add_handler(process, "park"), 0, 0, 900 * MS, NULL);
	load();
}

static void a_set_that_threads_share_is_said_to_be(void **state)
{
	struct headline headline;
	struct buffer out = {0};

	(void)state;
	add_two_threads(6000 * MS);
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_non_null(strstr(line_of(&headline, "but"), "wait in one epoll set (fd 4)"));
	assert_string_equal(line_of(&headline, "look at"), "");
	assert_string_equal(line_of(&headline, "habits"), ""); /* what one left, another read */
	headline_free(&headline);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"shared_epfd\":4"));
	assert_non_null(strstr(buffer_text(&out), "\"utilization\":null"));
	buffer_free(&out);
}

static void each_shared_set_of_a_process_is_one(void **state)
{
	struct buffer out = {0};
	int64_t process;

	(void)state;
	process = recording_process(recording, 1, "server");
	recording_meta_number(recording, "end_ns", (int64_t)(START + 10000 * MS));
	for (uint32_t tid = 1; tid <= 4; tid++) {
		int64_t loop = recording_loop(recording, process, tid, tid % 2 ? 4 : 5, "epoll fd 4", false);

		recording_loop_counts(recording, loop, 10, 5990 * MS, 10 * MS);
	}
	load();
	json_report(&out, model);
	for (const char *at = buffer_text(&out); (at = strstr(at, "\"utilization\":")) != NULL; at++)
		assert_memory_equal(at, "\"utilization\":null", strlen("\"utilization\":null"));
	assert_non_null(strstr(buffer_text(&out), "\"utilization\":"));
	buffer_free(&out);
}

/* Each of them has it while the other is not there, so it may be two sets under one number. */
static void sets_under_one_number_one_after_the_other_are_not_shared(void **state)
{
	struct headline headline;
	struct buffer out = {0};

	(void)state;
	add_two_threads(5000 * MS);
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	assert_string_equal(line_of(&headline, "but"), "");
	assert_non_null(strstr(line_of(&headline, "look at"), "park"));
	assert_non_null(strstr(line_of(&headline, "habits"), "see Findings"));
	headline_free(&headline);
	json_report(&out, model);
	assert_non_null(strstr(buffer_text(&out), "\"shared_epfd\":null"));
	assert_null(strstr(buffer_text(&out), "\"utilization\":null"));
	buffer_free(&out);
}

/* ---- habits ---- */

/* Of ten seconds' recording with a budget of 1 ms. */
static bool has_habits(const struct stint_probes_finding *finding)
{
	struct headline headline;
	bool has;
	int64_t process = recording_process(recording, 1, "server");

	recording_meta_number(recording, "end_ns", (int64_t)(START + 10000 * MS));
	recording_meta_number(recording, "budget_ns", 1000000);
	recording_finding(recording, process, finding);
	load();
	headline_of(&headline, escape_terminal, model, &model->processes[0], false);
	has = *line_of(&headline, "habits");
	headline_free(&headline);
	assert_int_equal(model->findings_len, 1); /* it is among the findings in any case */
	return has;
}

static void a_habit_that_costs_next_to_nothing_is_no_headline(void **state)
{
	(void)state;
	assert_false(has_habits(&(struct stint_probes_finding){
		.kind = STINT_PROBES_FINDING_ZERO_TIMEOUT, .fd = -1, .count = 900, .cost_ns = 2 * MS}));
}

static void a_habit_that_costs_a_hundredth_of_the_time_is_one(void **state)
{
	(void)state;
	assert_true(has_habits(&(struct stint_probes_finding){
		.kind = STINT_PROBES_FINDING_ZERO_TIMEOUT, .fd = -1, .count = 900, .cost_ns = 100 * MS}));
}

static void a_habit_that_held_something_up_beyond_the_budget_is_one(void **state)
{
	(void)state;
	assert_true(has_habits(&(struct stint_probes_finding){.kind = STINT_PROBES_FINDING_BLOCKING,
							      .fd = 7,
							      .count = 1,
							      .cost_ns = 2 * MS,
							      .longest_ns = 2 * MS}));
}

static void how_often_a_habit_was_seen_is_told(void **state)
{
	static const struct {
		enum stint_probes_finding_kind kind;
		const char *words;
	} of[] = {
		{STINT_PROBES_FINDING_MAXEVENTS_FULL, "after 9,001 of 10,002 waits that were full"},
		{STINT_PROBES_FINDING_CTL_STORM, "9,001 changes of registrations for 10,002 events"},
		{STINT_PROBES_FINDING_ZERO_TIMEOUT, "9,001 of 10,002 waits returned nothing at once"},
		{STINT_PROBES_FINDING_BLOCKING, "9,001 calls on it could have blocked"},
		{STINT_PROBES_FINDING_LEFT_READY, "9,001 of 10,002 waits returned it"},
		{STINT_PROBES_FINDING_NO_DESCRIPTOR, "accept() failed 9,001 times with EMFILE or ENFILE"},
	};
	int64_t process = recording_process(recording, 1, "server");
	struct buffer out = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		recording_finding(recording, process,
				  &(struct stint_probes_finding){
					  .kind = of[i].kind, .fd = -1, .count = 9001, .of = 10002});
	load();
	text_report(&out, model, false, 1000);
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		assert_non_null(strstr(buffer_text(&out), of[i].words));
	buffer_free(&out);
}

static void assert_blocking_is_told(const struct stint_probes_finding *finding, const char *words)
{
	int64_t process = recording_process(recording, 1, "server");
	struct buffer out = {0};

	recording_finding(recording, process, finding);
	load();
	text_report(&out, model, false, 1000);
	if (!strstr(buffer_text(&out), words))
		fail_msg("'%s' is not in: %s", words, buffer_text(&out));
	buffer_free(&out);
}

static void one_call_that_could_have_blocked_is_one(void **state)
{
	(void)state;
	assert_blocking_is_told(
		&(struct stint_probes_finding){.kind = STINT_PROBES_FINDING_BLOCKING,
					       .fd = 7,
					       .count = 1,
					       .cost_ns = 2 * MS,
					       .longest_ns = 2 * MS},
		"1 call on it could have blocked, and did for 2.00 ms in sum, at most 2.00 ms.");
}

static void calls_that_could_have_blocked_and_did_not_are_said_not_to(void **state)
{
	(void)state;
	assert_blocking_is_told(&(struct stint_probes_finding){.kind = STINT_PROBES_FINDING_BLOCKING,
							       .fd = 7,
							       .count = 485},
				"485 calls on it could have blocked, and none did.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(one_call_that_could_have_blocked_is_one),
		test(calls_that_could_have_blocked_and_did_not_are_said_not_to),
		test(a_habit_that_costs_next_to_nothing_is_no_headline),
		test(a_habit_that_costs_a_hundredth_of_the_time_is_one),
		test(a_habit_that_held_something_up_beyond_the_budget_is_one),
		test(how_often_a_habit_was_seen_is_told),
		test(time_stopped_is_no_doing_of_the_handlers),
		test(the_call_that_blocked_besides_a_stop_is_told),
		test(time_blocked_in_page_faults_is_said_to_be),
		test(many_short_calls_of_a_kind_are_what_it_is_blocked_in),
		test(several_calls_that_it_was_blocked_in_are_named),
		test(time_computing_in_page_faults_is_said_to_be),
		test(the_parts_of_all_overruns_are_summed_up),
		test(an_overrun_is_its_own_doing_only_without_the_wait_for_a_cpu),
		test(processes_are_in_the_order_of_their_lateness),
		test(a_headline_is_a_few_short_lines),
		test(on_a_quiet_machine_the_handler_comes_first),
		test(json_has_the_sums_too),
		test(lines_end_where_the_terminal_does),
		test(own_threads_in_the_way_are_not_the_machine),
		test(a_process_that_was_not_late_has_one_line),
		test(a_process_without_a_loop_is_said_to_have_none),
		test(of_a_process_that_nobody_looked_at_nothing_is_said_to_be_known),
		test(what_had_not_ended_is_said_so),
		test(a_loop_is_busy_also_in_what_had_not_ended),
		test(of_many_processes_the_latest_have_all_their_lines),
		test(columns_that_say_nothing_are_left_out),
		test(the_port_of_an_address_is_not_cut_out),
		test(names_are_not_cut_where_only_what_is_cut_tells_rows_apart),
		test(what_does_not_fit_goes_on_below_with_the_names_again),
		test(a_set_that_threads_share_is_said_to_be),
		test(each_shared_set_of_a_process_is_one),
		test(sets_under_one_number_one_after_the_other_are_not_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
