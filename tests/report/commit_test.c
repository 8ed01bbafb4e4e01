/* SPDX-License-Identifier: MIT */

/* What a commit of a recording holds up, and what is left of one without a commit. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "report/record/recording.h"

static char directory[64];
static char path[128];
static unsigned flushes;

/* In the place of libc's, for SQLite too. */
__attribute__((visibility("default"))) int fsync(int fd)
{
	(void)fd;
	flushes++;
	return 0;
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
	return fsync(fd);
}

static int set_up(void **state)
{
	(void)state;
	flushes = 0;
	snprintf(directory, sizeof(directory), "/tmp/stint-commit-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	return 0;
}

static int tear_down(void **state)
{
	char journal[160];

	(void)state;
	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(journal);
	unlink(path);
	return rmdir(directory);
}

static void a_commit_does_not_wait_for_the_disk(void **state)
{
	struct recording *recording;

	(void)state;
	assert_int_equal(recording_new(&recording, path), 0);
	recording_process(recording, 1, "one");
	assert_int_equal(recording_commit(recording), 0);
	recording_process(recording, 2, "two");
	assert_int_equal(recording_finish(recording), 0);
	recording_free(recording);
	assert_int_equal(query_number(path, "SELECT count(*) FROM process"), 2);
	assert_int_equal(flushes, 0);
}

/* More rows than SQLite keeps in memory, so that the file has pages of the transaction that did not end. */
#define ROWS_MANY 100000

static void record_until_killed(void)
{
	struct recording *recording;

	if (recording_new(&recording, path) != 0)
		_exit(1);
	recording_process(recording, 1, "committed");
	if (recording_commit(recording) != 0)
		_exit(1);
	for (uint32_t pid = 2; pid < ROWS_MANY; pid++)
		recording_process(recording, pid, "a command that is lost with its transaction");
	raise(SIGKILL);
}

static void killed_amid_a_transaction_it_leaves_those_before(void **state)
{
	pid_t child;
	int status;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		record_until_killed();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(query_number(path, "SELECT count(*) FROM process"), 1);
}

static void the_last_commit_says_that_somebody_reads(void **state)
{
	struct recording *recording;
	sqlite3 *reader;

	(void)state;
	assert_int_equal(recording_new(&recording, path), 0);
	assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM process", NULL, NULL, NULL),
			 SQLITE_OK);
	recording_process(recording, 1, "one");
	assert_int_equal(recording_finish(recording), -EBUSY);
	sqlite3_close(reader);
	recording_free(recording);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_commit_does_not_wait_for_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(killed_amid_a_transaction_it_leaves_those_before, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_last_commit_says_that_somebody_reads, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
