/* SPDX-License-Identifier: MIT */

/* What the report tells apart, and what it says to look at, by the stacks of overruns. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/model/late.h"
#include "report/model/model.h"
#include "report/model/pick.h"
#include "report/record/recording.h"

#define MS     UINT64_C(1000000)
#define START  UINT64_C(1000000000000)
#define FRAMES 12

static char path[] = "/tmp/stint-where-XXXXXX";
static char why[256];
static struct recording *recording;
static struct model *model;
static int64_t process, handler;
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
	process = recording_process(recording, 1, "server");
	handler = recording_handler(recording, process, "on_read", false, MS);
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

/* It computed for so long in what on_read() had called: "call>run", outermost first; of libc: "call>libc:read". */
static void add(uint64_t ms, const char *called)
{
	const struct stint_probes_overrun probed = {.duration_ns = ms * MS,
						    .parts = {.user_ns = ms * MS},
						    .verdict = STINT_PROBES_USER};
	struct stint_probes_frame places[FRAMES] = {{.line = 0}};
	const char *frames[FRAMES] = {"main", "loop", "on_read"};
	size_t len = 3;
	char text[128];

	snprintf(text, sizeof(text), "%s", called);
	for (char *name = strtok(text, ">"); name; name = strtok(NULL, ">")) {
		bool is_libc = strncmp(name, "libc:", 5) == 0;

		snprintf(places[len].module, sizeof(places[len].module), is_libc ? "libc.so.6" : "server");
		frames[len++] = is_libc ? name + 5 : name;
	}
	for (size_t i = 0; i < len; i++)
		snprintf(places[i].name, sizeof(places[i].name), "%s", frames[i]);
	recording_overrun(recording, &(struct recording_overrun){.source = RECORDING_PROBES,
								 .process = process,
								 .handler = handler,
								 .fd = -1,
								 .start_ns = next_ns += 100 * MS,
								 .duration_ns = ms * MS,
								 .iteration_ns = ms * MS,
								 .on_cpu_ns = ms * MS,
								 .cpu_min_ns = RECORDING_UNKNOWN,
								 .cpu_max_ns = RECORDING_UNKNOWN,
								 .ready_events = 1,
								 .frames = frames,
								 .frames_len = len,
								 .places = places,
								 .probed = &probed});
}

static void load(void)
{
	recording_free(recording);
	recording = NULL;
	if (model_new(&model, path, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

/* What the longest overruns that are shown were, in ms, "9 8 3". */
static const char *picked(size_t alike_max)
{
	const struct model_overrun *overruns[16];
	static char text[128];
	size_t len = pick_overruns(overruns, 16, alike_max, model), at = 0;

	*text = '\0';
	for (size_t i = 0; i < len; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u", i ? " " : "",
				       (unsigned)(overruns[i]->duration_ns / MS));
	return text;
}

static const char *where(void)
{
	struct late late;

	late_of(&late, model, &model->processes[0], NULL);
	return late.own.where ? late.own.where : "";
}

/* As redis has them: the command is some calls below the handler. */
static void a_slow_command_is_not_hidden_by_a_slower_one_of_the_same_handler(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		add(20 + i, "input>process>call>keys>match");
	add(5, "input>process>call>eval>lua");
	add(4, "input>process>call>eval>lua");
	add(3, "input>process>call>eval>lua");
	load();
	assert_string_equal(picked(2), "23 22 5 4");
}

static void further_down_samples_fall_anywhere_and_tell_nothing_apart(void **state)
{
	(void)state;
	add(9, "input>process>call>eval>lua>a");
	add(8, "input>process>call>eval>lua>b");
	add(7, "input>process>call>eval>lua>c");
	add(6, "input>process>call");
	load();
	assert_string_equal(picked(2), "9 8");
}

static void most_of_the_time_was_in_the_innermost_function_that_most_went_through(void **state)
{
	(void)state;
	add(9, "input>process>call>eval>lua>a");
	add(8, "input>process>call>eval>lua>b");
	add(7, "input>process>call>eval>lua");
	add(11, "input>process>call>keys");
	load();
	assert_string_equal(where(), "lua");
}

static void it_is_by_time_and_not_by_number(void **state)
{
	(void)state;
	add(90, "keys");
	for (unsigned i = 0; i < 5; i++)
		add(5, "eval");
	load();
	assert_string_equal(where(), "keys");
}

static void a_function_without_a_name_and_the_kernel_are_no_answer(void **state)
{
	(void)state;
	add(9, "input>server+0x1234>[k] do_syscall_64");
	load();
	assert_string_equal(where(), "input");
}

static void who_called_libc_is_the_answer(void **state)
{
	(void)state;
	add(9, "input>debug>libc:nanosleep>libc:clock_nanosleep>[k] do_syscall_64");
	load();
	assert_string_equal(where(), "debug");
}

static void where_nothing_had_most_nothing_is_named(void **state)
{
	(void)state;
	add(9, "eval");
	add(9, "keys");
	add(9, "");
	load();
	assert_string_equal(where(), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_slow_command_is_not_hidden_by_a_slower_one_of_the_same_handler),
		TEST(further_down_samples_fall_anywhere_and_tell_nothing_apart),
		TEST(most_of_the_time_was_in_the_innermost_function_that_most_went_through),
		TEST(it_is_by_time_and_not_by_number),
		TEST(a_function_without_a_name_and_the_kernel_are_no_answer),
		TEST(who_called_libc_is_the_answer),
		TEST(where_nothing_had_most_nothing_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
