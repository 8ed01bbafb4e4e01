/* SPDX-License-Identifier: MIT */

/* Meters that came and went unseen are counted by the renamings of their files, and by nothing else. */

#include <fcntl.h>

#include "loop_fixture.h"
#include "report/record/meter_births.h"

static struct meter_births *births;
static uint64_t watched_ns;

static int watch(void **state)
{
	(void)state;
	assert_int_equal(meter_births_new(&births), 0);
	watched_ns = meter_births_watch(births, fixture_directory);
	return watched_ns == UINT64_MAX ? -1 : 0;
}

static int leave(void **state)
{
	(void)state;
	births = meter_births_free(births);
	return 0;
}

static void move(const char *from, const char *to)
{
	char paths[2][128];
	int fd;

	snprintf(paths[0], sizeof(paths[0]), "%s/%s", fixture_directory, from);
	snprintf(paths[1], sizeof(paths[1]), "%s/%s", fixture_directory, to);
	fd = open(paths[0], O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rename(paths[0], paths[1]), 0);
	unlink(paths[1]);
}

static uint64_t missed_of(uint32_t pid)
{
	meter_births_read(births, pid);
	meter_births_none(births, pid);
	return meter_births_missed(births);
}

static void a_directory_is_watched_since_the_first_time_that_it_was_asked_for(void **state)
{
	(void)state;
	assert_int_equal(meter_births_watch(births, fixture_directory), watched_ns);
	assert_true(meter_births_watch(births, "/nowhere") == UINT64_MAX);
}

static void meters_that_are_not_found_are_missed(void **state)
{
	(void)state;
	for (int i = 0; i < 7; i++)
		move(".17.new", "17.meter");
	move(".170.new", "170.meter");
	assert_int_equal(missed_of(17), 7);
	assert_int_equal(missed_of(17), 7);
	assert_int_equal(missed_of(170), 8);
}

static void one_that_comes_after_the_look_began_is_not_missed_yet(void **state)
{
	(void)state;
	meter_births_read(births, 17);
	move(".17.new", "17.meter");
	meter_births_none(births, 17);
	assert_int_equal(meter_births_missed(births), 0);
	assert_int_equal(missed_of(17), 1);
}

static void one_that_is_found_is_not_missed_but_those_before_it_are(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		move(".17.new", "17.meter");
	meter_births_read(births, 17);
	meter_births_taken(births, 17, true, true);
	assert_int_equal(meter_births_missed(births), 2);
	assert_int_equal(missed_of(17), 2);
}

static void what_came_after_one_that_is_gone_waits_for_the_next_look(void **state)
{
	(void)state;
	move(".17.new", "17.meter");
	move(".17.new", "17.meter");
	meter_births_read(births, 17);
	meter_births_taken(births, 17, true, false);
	assert_int_equal(meter_births_missed(births), 0);
	assert_int_equal(missed_of(17), 1);
}

static void one_that_was_there_before_the_watch_is_no_birth(void **state)
{
	(void)state;
	meter_births_read(births, 17);
	meter_births_taken(births, 17, false, true);
	assert_int_equal(missed_of(17), 0);
	/* It had begun, and came into its place only then. */
	move(".17.new", "17.meter");
	meter_births_read(births, 17);
	meter_births_taken(births, 17, false, true);
	assert_int_equal(missed_of(17), 0);
}

static void other_renamings_are_no_births(void **state)
{
	(void)state;
	move("17.meter.1.dead", "17.meter"); /* swept away, and put back */
	move("18.meter", "17.meter");
	move(".18.new", "17.meter");
	move(".17.new", "17.meters");
	move(".017.new", "017.meter");
	move(".+17.new", "17.meter");
	move(".4294967313.new", "4294967313.meter"); /* 17 in 32 bits */
	assert_int_equal(missed_of(17), 0);
}

static void more_processes_than_there_is_room_for_are_survived(void **state)
{
	char from[32], to[32];

	(void)state;
	for (int pid = 1; pid <= 3000; pid++) {
		snprintf(from, sizeof(from), ".%d.new", pid);
		snprintf(to, sizeof(to), "%d.meter", pid);
		move(from, to);
		meter_births_read(births, 1);
	}
	assert_int_equal(missed_of(3000), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, watch, leave)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_directory_is_watched_since_the_first_time_that_it_was_asked_for),
		TEST(meters_that_are_not_found_are_missed),
		TEST(one_that_comes_after_the_look_began_is_not_missed_yet),
		TEST(one_that_is_found_is_not_missed_but_those_before_it_are),
		TEST(what_came_after_one_that_is_gone_waits_for_the_next_look),
		TEST(one_that_was_there_before_the_watch_is_no_birth),
		TEST(other_renamings_are_no_births),
		TEST(more_processes_than_there_is_room_for_are_survived),
	};

	return cmocka_run_group_tests_name("meter_births", tests, fixture_make_directory,
					   fixture_remove_directory);
}
