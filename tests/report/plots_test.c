/* SPDX-License-Identifier: MIT */

/* A logarithmic axis has two marks at least, however little of it there is to show. */

#include "report_fixture.h"

#include <string.h>

#include "report/show/plots.h"

#define MS UINT64_C(1000000)

/* The labels of times in a plot of overruns that last from `least_ns` to `most_ns`. */
static size_t labels(uint64_t least_ns, uint64_t most_ns)
{
	static const char *const units[] = {" ns<", " us<", " ms<", " s<"};
	struct recording *recording = begin();
	int64_t process = recording_process(recording, 7, "server");
	struct buffer out = {0};
	struct model *model;
	struct plots *plots;
	size_t found = 0;

	for (int i = 0; i < 2; i++)
		recording_overrun(recording,
				  &(struct recording_overrun){.process = process,
							      .fd = -1,
							      .start_ns = START + 1,
							      .duration_ns = i ? most_ns : least_ns,
							      .on_cpu_ns = RECORDING_UNKNOWN,
							      .runnable_ns = RECORDING_UNKNOWN,
							      .blocked_ns = RECORDING_UNKNOWN});
	recording_free(recording);
	model = load();
	assert_int_equal(plots_new(&plots, true), 0);
	assert_int_equal(plots_overruns(plots, model), 0);
	if (plots_draw(plots, why, sizeof(why)) != 0) {
		printf("skipped: %s\n", why);
		skip();
	}
	plots_put_file(plots, 0, &out);
	for (size_t unit = 0; unit < sizeof(units) / sizeof(units[0]); unit++)
		for (const char *at = strstr(buffer_text(&out), units[unit]); at;
		     at = strstr(at + 1, units[unit]))
			found++;
	buffer_free(&out);
	plots_free(plots);
	model_free(model);
	return found;
}

static void decades_are_marked_where_there_are_several(void **state)
{
	(void)state;
	assert_in_range(labels(2 * MS, 700 * MS), 2, 3); /* 10 and 100 ms, or 1 ms too */
}

static void less_than_two_decades_have_marks_within(void **state)
{
	(void)state;
	assert_in_range(labels(2 * MS, 11 * MS), 2, 9);
}

static void a_single_length_has_two_marks(void **state)
{
	(void)state;
	assert_in_range(labels(2 * MS, 2 * MS), 2, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(decades_are_marked_where_there_are_several),
		test(less_than_two_decades_have_marks_within),
		test(a_single_length_has_two_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
