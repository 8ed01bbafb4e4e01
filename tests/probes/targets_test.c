/* SPDX-License-Identifier: MIT */

/* Who is watched beside those that were named: children, those of a name, those of a cgroup, threads that come later. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject.h"
#include "watching.h"

#define MS    1000000u
#define TIMES 5

static struct watching watching;
static struct subject subject;
static char cgroup[256], procs[320];

static int set_up(void **state)
{
	(void)state;
	memset(&watching, 0, sizeof(watching));
	memset(&subject, 0, sizeof(subject));
	*cgroup = '\0';
	return 0;
}

/* The kernel lets a cgroup go once the last of its processes has been waited for; a child's child may take longer. */
static int tear_down(void **state)
{
	const struct timespec pause = {.tv_nsec = 10 * MS};

	(void)state;
	subject_stop(&subject, SIGKILL);
	watching_close(&watching);
	for (int i = 0; *cgroup && rmdir(cgroup) != 0 && errno == EBUSY && i < 500; i++)
		nanosleep(&pause, NULL);
	return 0;
}

static void open_probes(struct stint_probes_options *options)
{
	watching_or_skip();
	options->size = sizeof(*options);
	watching_open(&watching, options);
}

/* Commands of which it is known that each is an iteration beyond the budget; all of them are over and told. */
static struct subject_answer block_some_times(void)
{
	struct subject_answer answer;

	for (int i = 0; i < TIMES; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 3 * MS);
	answer = subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	return answer;
}

static void assert_followed(const struct subject_answer *answer, size_t overruns)
{
	assert_int_equal(watching.appeared_len, 1);
	assert_int_equal(watching.appeared[0], answer->tid);
	assert_int_equal(watching.refused_len, 0);
	assert_int_equal(watching_count(&watching, 3 * MS), overruns);
	for (size_t i = 0; i < overruns; i++)
		assert_int_equal(watching_overrun(&watching, 3 * MS, i)->is.pid, answer->tid);
}

static void follow_a_child(const char *how, const char *function)
{
	struct stint_probes_options options = {.follow_children = true};
	const char *arguments[] = {how, NULL};
	struct subject_answer answer;
	int pid;

	open_probes(&options);
	subject_start(&subject, "tests/subjects/spawn", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	answer = block_some_times();
	assert_int_not_equal(answer.tid, subject.pid);
	assert_followed(&answer, TIMES);
	for (size_t i = 0; i < TIMES; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 3 * MS, i);

		/* Where it was kept from a CPU for longer than it slept, the stack is of that. */
		assert_true(overrun->is.runnable_ns >= overrun->is.blocked_ns ||
			    watched_stack_has(overrun, function));
	}
	pid = subject.pid;
	close(subject.to); /* the child ends, and so does its parent */
	subject.to = open("/dev/null", O_WRONLY | O_CLOEXEC);
	watching_until_exit(&watching, answer.tid);
	watching_until_exit(&watching, pid);
	assert_false(stint_probes_is_watching(watching.probes));
}

static void a_child_is_followed_from_its_first_wait(void **state)
{
	(void)state;
	follow_a_child("fork", "main");
}

static void a_child_that_becomes_another_program_is_followed(void **state)
{
	(void)state;
	follow_a_child("exec", "sleep_in_handler");
}

static void children_are_left_alone_where_that_is_asked_for(void **state)
{
	struct stint_probes_options options = {.follow_children = false};
	const char *arguments[] = {"fork", NULL};

	(void)state;
	open_probes(&options);
	subject_start(&subject, "tests/subjects/spawn", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	block_some_times();
	assert_int_equal(watching.appeared_len, 0);
	assert_int_equal(watching.overruns_len, 0);
	assert_int_equal(watching_loops(&watching), 0);
}

static void a_program_of_a_name_is_followed_when_it_is_started(void **state)
{
	struct stint_probes_options options = {.follow_name = "epoll_loop"};
	const char *arguments[] = {"exec", NULL};
	struct subject_answer answer;

	(void)state;
	open_probes(&options);
	subject_start(&subject, "tests/subjects/spawn", arguments); /* has another name */
	subject_go(&subject);
	answer = block_some_times();
	assert_followed(&answer, TIMES);
}

static void a_program_of_another_name_is_not(void **state)
{
	struct stint_probes_options options = {.follow_name = "epoll_loo"};
	const char *arguments[] = {"exec", NULL};

	(void)state;
	open_probes(&options);
	subject_start(&subject, "tests/subjects/spawn", arguments);
	subject_go(&subject);
	block_some_times();
	assert_int_equal(watching.appeared_len, 0);
	assert_int_equal(watching.overruns_len, 0);
}

/* A cgroup of the test's own; skips where there is no unified hierarchy, or none may be made. */
static uint64_t make_cgroup(void)
{
	char line[4096], mount[200] = "";
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct stat status;

	assert_non_null(file);
	while (!*mount && fgets(line, sizeof(line), file))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %199s", mount) != 1)
			*mount = '\0';
	fclose(file);
	if (*mount)
		snprintf(cgroup, sizeof(cgroup), "%s/stint-test-%d", mount, (int)getpid());
	if (!*mount || mkdir(cgroup, 0755) != 0) {
		printf("skipped: no cgroup can be made: %s\n",
		       *mount ? strerror(errno) : "no cgroup2 is mounted");
		*cgroup = '\0';
		skip();
	}
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	assert_int_equal(stat(cgroup, &status), 0);
	return status.st_ino;
}

static void move(int pid)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(dprintf(fd, "%d", pid) > 0);
	close(fd);
}

static void a_process_is_followed_when_it_is_moved_into_the_cgroup(void **state)
{
	struct stint_probes_options options = {0};
	const char *arguments[] = {"fork", procs, NULL};
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	options.follow_cgroup = make_cgroup();
	open_probes(&options);
	subject_start(&subject, "tests/subjects/spawn", arguments);
	subject_go(&subject);
	answer =
		block_some_times(); /* in the first of them it is moved, amid an iteration that had begun before */
	assert_followed(&answer, TIMES - 1);
}

static void a_process_is_followed_that_is_forked_in_the_cgroup(void **state)
{
	struct stint_probes_options options = {0};
	const char *arguments[] = {"fork", NULL};
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	options.follow_cgroup = make_cgroup();
	subject_start(&subject, "tests/subjects/spawn", arguments);
	move(subject.pid);
	open_probes(&options);
	subject_go(&subject);
	answer = block_some_times();
	assert_followed(&answer, TIMES);
}

static void all_threads_of_a_process_that_is_moved_are_watched(void **state)
{
	struct stint_probes_options options = {0};

	(void)state;
	watching_or_skip();
	options.follow_cgroup = make_cgroup();
	open_probes(&options);
	subject_start_loops(&subject, "wait", "4");
	for (uint32_t loop = 0; loop < 4; loop++)
		subject_do(&subject, loop, SUBJECT_SYNC, 0);
	assert_int_equal(watching_loops(&watching), 0);
	move(subject.pid);
	watching_take(&watching);
	for (int i = 0; i < 3; i++)
		for (uint32_t loop = 0; loop < 4; loop++)
			subject_do(&subject, loop, SUBJECT_SYNC, 0);
	watching_take(&watching);
	assert_int_equal(watching.appeared_len, 1);
	assert_int_equal(watching.appeared[0], subject.pid);
	assert_int_equal(watching_loops(&watching), 4);
}

static void one_that_was_in_the_cgroup_before_is_followed_when_told(void **state)
{
	struct stint_probes_options options = {0};
	struct subject_answer answer;

	(void)state;
	watching_or_skip();
	options.follow_cgroup = make_cgroup();
	subject_start_loops(&subject, "wait", "1");
	move(subject.pid);
	open_probes(&options);
	assert_int_equal(stint_probes_follow(watching.probes, (uint32_t)subject.pid), 0);
	assert_int_equal(watching.appeared_len, 0);
	answer = block_some_times();
	assert_followed(&answer, TIMES);
}

/* It comes to no wait by which it would be known, and its stacks come before what is told of it at the end. */
static void assert_hung_before(enum subject_verb verb, const char *function)
{
	struct stint_probes_options options = {0};
	uint64_t ended_ns;

	watching_or_skip();
	options.follow_cgroup = make_cgroup();
	subject_start_loops(&subject, "wait", "1");
	move(subject.pid);
	subject_send(&subject, 0, verb, 3600u * 1000ull * MS);
	open_probes(&options);
	assert_int_equal(stint_probes_follow(watching.probes, (uint32_t)subject.pid), 0);
	nanosleep(&(struct timespec){.tv_nsec = 200 * MS}, NULL);
	assert_int_equal(stint_probes_stop(watching.probes, &ended_ns), 0);
	watching_take(&watching);
	assert_int_equal(watching.appeared_len, 1);
	assert_int_equal(watching.overruns_len, 1);
	assert_true(watching.overruns[0].is.began_before);
	assert_true(watched_stack_has(&watching.overruns[0], function));
}

static void one_that_computed_before_in_the_cgroup_is_told_with_its_stack(void **state)
{
	(void)state;
	assert_hung_before(SUBJECT_SPIN, "spin_on_cpu");
}

static void one_that_was_blocked_before_in_the_cgroup_is_told_with_its_stack(void **state)
{
	(void)state;
	assert_hung_before(SUBJECT_BLOCK, "sleep_in_handler");
}

static void a_process_of_another_user_is_not_watched(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options)};
	int status;
	pid_t pid;

	(void)state;
	open_probes(&options);
	if (geteuid() != 0) {
		printf("skipped: only root can become another user\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(2);
		_exit((stint_probes_may_inspect((uint32_t)getppid()) != -EACCES) |
		      (stint_probes_may_inspect((uint32_t)getpid()) != 0) << 1 |
		      (stint_probes_may_inspect(4194304) != -ESRCH) << 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_child_is_followed_from_its_first_wait, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_child_that_becomes_another_program_is_followed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(children_are_left_alone_where_that_is_asked_for, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_program_of_a_name_is_followed_when_it_is_started, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_program_of_another_name_is_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_process_is_followed_when_it_is_moved_into_the_cgroup,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_process_is_followed_that_is_forked_in_the_cgroup, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(all_threads_of_a_process_that_is_moved_are_watched, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_was_in_the_cgroup_before_is_followed_when_told,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_computed_before_in_the_cgroup_is_told_with_its_stack,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_that_was_blocked_before_in_the_cgroup_is_told_with_its_stack, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_process_of_another_user_is_not_watched, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
