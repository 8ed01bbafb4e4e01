/* SPDX-License-Identifier: MIT */

/* What `stint report` does with the file that it is told to write. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "report/record/recording.h"

#define FULL makedev(1, 7) /* the number of /dev/full */

#define START 1000000000u

static char directory[] = "/tmp/stint-files-XXXXXX";
static char recorded[64], page[64], link_path[64];

/* One overrun: so there is a plot. */
static void fill(struct recording *recording)
{
	int64_t process = recording_process(recording, 7, "server");

	recording_meta_number(recording, "start_ns", START);
	recording_overrun(recording,
			  &(struct recording_overrun){
				  .process = process,
				  .handler = recording_handler(recording, process, "read", true, 1000000),
				  .fd = -1,
				  .start_ns = START + 1000,
				  .duration_ns = 2000000,
				  .iteration_ns = RECORDING_UNKNOWN,
				  .on_cpu_ns = RECORDING_UNKNOWN,
				  .runnable_ns = RECORDING_UNKNOWN,
				  .blocked_ns = RECORDING_UNKNOWN,
				  .cpu_min_ns = RECORDING_UNKNOWN,
				  .cpu_max_ns = RECORDING_UNKNOWN,
				  .ready_events = RECORDING_UNKNOWN,
				  .syscall_count = RECORDING_UNKNOWN,
			  });
	recording_meta_number(recording, "end_ns", START + 1000000000);
}

static int set_up(void **state)
{
	struct recording *recording;

	(void)state;
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(recorded, sizeof(recorded), "%s/a.stint", directory);
	snprintf(page, sizeof(page), "%s/page", directory);
	snprintf(link_path, sizeof(link_path), "%s/link", directory);
	if (recording_new(&recording, recorded) != 0)
		return -1;
	fill(recording);
	recording_free(recording);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(recorded);
	unlink(page);
	unlink(link_path);
	return rmdir(directory);
}

static int write_page(const char *path)
{
	char output[4096];

	return command_run((const char *const[]){"stint", "report", recorded, "--html", path, NULL}, output,
			   sizeof(output));
}

static mode_t kind_of(const char *path)
{
	struct stat status;

	assert_int_equal(lstat(path, &status), 0);
	return status.st_mode & S_IFMT;
}

/* Root that says --html /dev/null is to have its /dev/null afterwards. */
static void a_device_is_written_to_and_not_replaced(void **state)
{
	(void)state;
	if (mknod(page, S_IFCHR | 0600, FULL) != 0) {
		printf("skipped: no device can be made: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(write_page(page), 1);
	assert_int_equal(kind_of(page), S_IFCHR);
}

static void a_link_stays_one_and_its_file_has_the_page(void **state)
{
	struct stat status;

	(void)state;
	assert_int_equal(symlink("page", link_path), 0);
	assert_int_equal(write_page(page), 0);
	assert_int_equal(truncate(page, 1), 0);
	assert_int_equal(write_page(link_path), 0);
	assert_int_equal(kind_of(link_path), S_IFLNK);
	assert_int_equal(stat(page, &status), 0);
	assert_true(status.st_size > 1);
}

/* The names of plots are not the user's: a link there is none that was meant. */
static void a_link_in_the_place_of_a_plot_is_replaced(void **state)
{
	char output[4096], plots[64], plot[96];
	struct stat status;

	(void)state;
	snprintf(plots, sizeof(plots), "%s/plots", directory);
	snprintf(plot, sizeof(plot), "%s/overruns-1.svg", plots);
	assert_int_equal(write_page(page), 0);
	assert_int_equal(truncate(page, 1), 0);
	assert_int_equal(mkdir(plots, 0700), 0);
	assert_int_equal(symlink("../page", plot), 0);
	assert_int_equal(command_run((const char *const[]){"stint", "report", recorded, "--plots", plots,
							   NULL},
				     output, sizeof(output)),
			 0);
	assert_int_equal(kind_of(plot), S_IFREG);
	assert_int_equal(stat(page, &status), 0);
	assert_int_equal(status.st_size, 1);
	assert_int_equal(command_run((const char *const[]){"/bin/rm", "-r", plots, NULL}, output,
				     sizeof(output)),
			 0);
}

/* As one does who has the two names the wrong way round. */
static void a_recording_is_not_replaced_by_its_page(void **state)
{
	struct stat before, after;

	(void)state;
	assert_int_equal(stat(recorded, &before), 0);
	assert_int_equal(symlink("a.stint", link_path), 0);
	assert_int_equal(write_page(recorded), 1);
	assert_int_equal(write_page(link_path), 1);
	assert_int_equal(stat(recorded, &after), 0);
	assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size);
}

static void a_file_is_replaced_by_the_whole_page(void **state)
{
	struct stat before, after;

	(void)state;
	assert_int_equal(write_page(page), 0);
	assert_int_equal(stat(page, &before), 0);
	assert_int_equal(link(page, link_path), 0); /* so that its number is not given away */
	assert_int_equal(write_page(page), 0);
	assert_int_equal(stat(page, &after), 0);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(before.st_size, after.st_size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_device_is_written_to_and_not_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_link_stays_one_and_its_file_has_the_page, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_link_in_the_place_of_a_plot_is_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_recording_is_not_replaced_by_its_page, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_is_replaced_by_the_whole_page, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
