/* SPDX-License-Identifier: MIT */

/* The probes' own life: who can be watched, how that ends, what is lost, and that nothing stays behind. */

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf_ids.h"
#include "watching_fixture.h"

#define MS 1000000u

static void open_probes(const struct stint_probes_options *options)
{
	watching_or_skip();
	watching_open(&watching, options);
}

static void the_exit_of_a_watched_process_is_told_once(void **state)
{
	int pid;

	(void)state;
	open_probes(NULL);
	subject_start_loops(&subject, "wait", "4");
	watching_add(&watching, subject.pid);
	pid = subject.pid;
	assert_int_equal(watching.exited_len, 0);
	subject_stop(&subject, SIGKILL);
	watching_until_exit(&watching, pid);
	watching_take(&watching);
	assert_int_equal(watching.exited_len, 1);
}

/* As a recorder does that starts a command: what the process was before has no say in its stacks. */
static void a_program_watched_from_before_its_exec_has_its_own_stacks(void **state)
{
	const char *arguments[] = {"wait", "1", NULL};
	const struct watched_overrun *overrun;

	(void)state;
	open_probes(NULL);
	subject_start(&subject, "tests/subjects/epoll_loop", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	for (int i = 0; i < 3; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 30 * MS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, 30 * MS), 3);
	for (size_t i = 0; (overrun = watching_overrun(&watching, 30 * MS, i)); i++) {
		if (overrun->is.runnable_ns >= overrun->is.blocked_ns) /* then the stack is of that */
			continue;
		assert_true(watched_stack_has(overrun, "main"));
		assert_true(watched_stack_has(overrun, "sleep_in_handler"));
		assert_string_equal(overrun->handler, "on_command");
	}
}

static void a_process_whose_first_thread_has_left_is_watched_on(void **state)
{
	const char *arguments[] = {"wait", "1", "leave", NULL};
	int pid;

	(void)state;
	open_probes(NULL);
	subject_start(&subject, "tests/subjects/epoll_loop", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	pid = subject.pid;
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	subject_until_state(pid, 'Z');
	subject_do(&subject, 0, SUBJECT_BLOCK, 30 * MS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	assert_int_equal(watching.exited_len, 0);
	assert_int_equal(watching_count(&watching, 30 * MS), 1);
	subject_stop(&subject, 0);
	watching_until_exit(&watching, pid);
	assert_int_equal(watching.exited_len, 1);
}

/* Its memory and its files are found by another one of its threads. */
static void a_process_whose_first_thread_has_left_can_be_watched(void **state)
{
	const char *arguments[] = {"wait", "1", "leave", NULL};
	const struct watched_overrun *overrun;

	(void)state;
	open_probes(NULL);
	subject_start(&subject, "tests/subjects/epoll_loop", arguments);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	subject_until_state(subject.pid, 'Z');
	watching_add(&watching, subject.pid);
	subject_do(&subject, 0, SUBJECT_BLOCK, 30 * MS);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	overrun = watching_overrun(&watching, 30 * MS, 0);
	assert_non_null(overrun);
	assert_true(watched_stack_has(overrun, "sleep_in_handler"));
	assert_int_equal(watching.exited_len, 0);
}

static void a_process_that_is_gone_cannot_be_watched(void **state)
{
	pid_t pid;

	(void)state;
	open_probes(NULL);
	pid = fork();
	if (pid == 0)
		_exit(0);
	subject_until_state(pid, 'Z');
	assert_int_equal(stint_probes_watch(watching.probes, (uint32_t)pid), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(stint_probes_watch(watching.probes, (uint32_t)pid), -ESRCH);
	assert_non_null(strstr(stint_probes_error(watching.probes), "no process"));
	assert_int_equal(stint_probes_watch(watching.probes, 0), -EINVAL);
	assert_int_equal(stint_probes_watch(watching.probes, UINT32_MAX), -ESRCH);
}

static void a_process_is_watched_once_and_after_its_exit_not_at_all(void **state)
{
	int pid;

	(void)state;
	open_probes(NULL);
	subject_start_loops(&subject, "wait", "1");
	watching_add(&watching, subject.pid);
	pid = subject.pid;
	assert_int_equal(stint_probes_watch(watching.probes, (uint32_t)pid), -EEXIST);
	subject_stop(&subject, 0);
	watching_until_exit(&watching, pid);
	assert_int_equal(stint_probes_watch(watching.probes, (uint32_t)pid), -ESRCH);
}

/* One after the other: the second is seen by a look-up, then by comparison again. */
static void several_processes_are_watched_and_the_rest_is_not(void **state)
{
	struct subject others[3];

	(void)state;
	if (getenv("STINT_KERNELS")) {
		printf("skipped: it counts iterations by their milliseconds, which an emulated CPU does not keep to\n");
		skip();
	}
	open_probes(NULL);
	for (int i = 0; i < 3; i++)
		subject_start_loops(&others[i], "wait", "1");
	watching_add(&watching, others[0].pid);
	watching_add(&watching, others[1].pid);
	for (int i = 0; i < 3; i++) {
		subject_do(&others[i], 0, SUBJECT_BLOCK, 3 * MS);
		subject_do(&others[i], 0, SUBJECT_SYNC, 0);
	}
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, 3 * MS), 2);
	assert_int_equal(watching_overrun(&watching, 3 * MS, 0)->is.pid, others[0].pid);
	assert_int_equal(watching_overrun(&watching, 3 * MS, 1)->is.pid, others[1].pid);
	for (int i = 0; i < 2; i++) {
		int pid = others[i].pid;

		subject_stop(&others[i], 0);
		watching_until_exit(&watching, pid);
	}
	watching_add(&watching, others[2].pid);
	subject_do(&others[2], 0, SUBJECT_BLOCK, 3 * MS);
	subject_do(&others[2], 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	assert_int_equal(watching_count(&watching, 3 * MS), 3);
	assert_int_equal(watching_overrun(&watching, 3 * MS, 2)->is.pid, others[2].pid);
	subject_stop(&others[2], 0);
}

static void a_process_without_epoll_has_no_loops(void **state)
{
	char byte = 'x';
	int to[2], from[2];
	pid_t pid;

	(void)state;
	open_probes(NULL);
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	pid = fork();
	if (pid == 0) {
		close(to[1]);
		while (read(to[0], &byte, 1) == 1 && write(from[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	watching_add(&watching, pid);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(write(to[1], &byte, 1), 1);
		assert_int_equal(read(from[0], &byte, 1), 1);
	}
	watching_take(&watching);
	assert_int_equal(watching_loops(&watching), 0);
	assert_int_equal(watching.overruns_len, 0);
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
	watching_until_exit(&watching, pid);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_a_tiny_ring_cannot_hold_is_counted(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .ring_bytes = 4096};
	struct stint_probes_losses losses;
	struct subject_answer answer;
	struct watched_loop loop;

	(void)state;
	open_probes(&options);
	subject_start_loops(&subject, "wait", "1");
	watching_add(&watching, subject.pid);
	for (int i = 0; i < 17; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
	answer = subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
	stint_probes_losses(watching.probes, &losses);
	assert_true(watching.overruns_len >= 1);
	assert_true(watching.overruns_len < 17);
	/* The stacks, each of which is larger than that ring, and the overruns that were not told. */
	assert_true(losses.ring_full >= 17 + 17 - watching.overruns_len);
	assert_int_equal(watching.overruns[0].is.stack_kind, STINT_PROBES_STACK_NONE);
	assert_string_equal(watching.overruns[0].handler, "fd 0");
	/* The counters are not in the ring: they miss nothing. */
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &loop));
	assert_true(loop.is.overruns >= 17);
}

/* Each is an overrun and a stack, of 14 KB together, so that one lies across the end every few rounds. */
static void records_across_the_end_of_the_ring_are_whole(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .ring_bytes = 65536};
	struct stint_probes_losses losses;

	(void)state;
	open_probes(&options);
	subject_start_loops(&subject, "wait", "1");
	watching_add(&watching, subject.pid);
	for (int i = 0; i < 40; i++) {
		subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
		subject_do(&subject, 0, SUBJECT_SYNC,
			   0); /* once that is answered, the iteration before is over */
		watching_take(&watching);
	}
	assert_overruns_consistent(&watching);
	assert_int_equal(watching_count(&watching, 2 * MS), 40);
	for (size_t i = 0; i < 40; i++) {
		const struct watched_overrun *overrun = watching_overrun(&watching, 2 * MS, i);

		/* Where it was kept from a CPU for longer than it slept, the stack is of that. */
		assert_true(overrun->is.runnable_ns >= overrun->is.blocked_ns ||
			    watched_stack_has(overrun, "sleep_in_handler"));
	}
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.ring_full, 0);
}

/* The ring is full to the brim while the process exits: its record may be lost, its exit is told. */
static void an_exit_that_the_ring_cannot_hold_is_told_all_the_same(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options),
					       .ring_bytes = 4096,
					       .trace_sockets = true};
	const char *arguments[] = {"write", "until-full", "4", NULL};
	struct stint_probes_losses losses;
	static char sends[1 << 20];
	int pid;

	(void)state;
	open_probes(&options);
	subject_start(&subject, "tests/subjects/bulk_send", arguments);
	watching_add(&watching, subject.pid);
	subject_go(&subject);
	pid = subject.pid;
	while (read(subject.from, sends, sizeof(sends)) > 0)
		;
	subject_stop(&subject, 0);
	watching_until_exit(&watching, pid);
	assert_int_equal(watching.exited_len, 1);
	stint_probes_losses(watching.probes, &losses);
	assert_true(losses.ring_full > 0);
}

static void loops_beyond_the_limit_are_counted_as_lost(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .loop_limit = 3};
	struct stint_probes_losses losses;

	(void)state;
	open_probes(&options);
	subject_start_loops(&subject, "wait", "5");
	watching_add(&watching, subject.pid);
	for (uint32_t i = 0; i < 5; i++)
		subject_do(&subject, i, SUBJECT_BLOCK, 2 * MS);
	for (uint32_t i = 0; i < 5; i++)
		subject_do(&subject, i, SUBJECT_SYNC, 0);
	watching_take(&watching);
	assert_int_equal(watching_loops(&watching), 3);
	stint_probes_losses(watching.probes, &losses);
	assert_true(losses.table_full >= 2);
}

static void as_many_loops_are_watched_as_are_asked_for(void **state)
{
	struct stint_probes_options options = {.size = sizeof(options), .loop_limit = 80};
	struct stint_probes_losses losses;
	struct subject_answer answer;
	struct watched_loop loop;

	(void)state;
	open_probes(&options);
	subject_start_loops(&subject, "wait", "70");
	watching_add(&watching, subject.pid);
	for (uint32_t i = 0; i < 70; i++)
		subject_do(&subject, i, SUBJECT_SYNC, 0);
	answer = subject_do(&subject, 69, SUBJECT_SYNC, 0);
	assert_int_equal(watching_loops(&watching), 70);
	assert_true(watching_loop(&watching, answer.tid, answer.epfd, &loop));
	assert_in_range(loop.is.events, 1, 2);
	stint_probes_losses(watching.probes, &losses);
	assert_int_equal(losses.table_full, 0);
}

static void refuse(const struct stint_probes_options *options)
{
	static const struct stint_probes_callbacks callbacks;
	struct stint_probes *probes = NULL;

	assert_true(stint_probes_new(&probes, options, &callbacks, NULL) < 0);
	assert_true(!probes || strlen(stint_probes_error(probes)) > 0);
	stint_probes_free(probes);
}

static void options_that_make_no_sense_are_refused_with_a_reason(void **state)
{
	struct stint_probes_options no_size = {0};
	struct stint_probes_options loops = {.size = sizeof(loops), .loop_limit = 100000};

	(void)state;
	watching_or_skip();
	refuse(&no_size);
	refuse(&loops);
	assert_int_equal(stint_probes_new(NULL, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(stint_probes_poll(NULL, 0), -EINVAL);
	assert_string_equal(stint_probes_error(NULL), "");
	assert_null(stint_probes_free(NULL));
}

/* ---- what is in the kernel ---- */

static bool is_there(uint32_t id, int (*open_by_id)(uint32_t id))
{
	int fd = open_by_id(id);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The kernel lets go of them a little later (RCU); the time limit of tests/run ends the wait if it does not. */
static void wait_until_gone(const uint32_t *ids, size_t len, int (*open_by_id)(uint32_t id))
{
	const struct timespec pause = {.tv_nsec = 10 * MS};

	for (size_t i = 0; i < len; i++)
		while (is_there(ids[i], open_by_id))
			nanosleep(&pause, NULL);
}

struct left {
	uint32_t programs[BPF_IDS_MAX], maps[BPF_IDS_MAX], links[BPF_IDS_MAX];
	size_t programs_len, maps_len, links_len;
};

static void note_what_is_loaded(struct left *left, int pid)
{
	left->programs_len = bpf_ids(pid, "prog_id", left->programs);
	left->maps_len = bpf_ids(pid, "map_id", left->maps);
	left->links_len = bpf_ids(pid, "link_id", left->links);
	assert_true(left->programs_len >= 10);
	assert_true(left->maps_len >= 5);
	assert_true(left->links_len >= 10);
	for (size_t i = 0; i < left->programs_len; i++)
		assert_true(is_there(left->programs[i], bpf_prog_get_fd_by_id));
}

static void assert_nothing_is_left(const struct left *left)
{
	wait_until_gone(left->links, left->links_len, bpf_link_get_fd_by_id);
	wait_until_gone(left->programs, left->programs_len, bpf_prog_get_fd_by_id);
	wait_until_gone(left->maps, left->maps_len, bpf_map_get_fd_by_id);
}

static void nothing_is_left_in_the_kernel_afterwards(void **state)
{
	static struct left left;
	uint32_t ids[BPF_IDS_MAX];

	(void)state;
	open_probes(NULL);
	note_what_is_loaded(&left, getpid());
	watching_close(&watching);
	assert_int_equal(bpf_ids(getpid(), "prog_id", ids), 0);
	assert_nothing_is_left(&left);
}

static void nothing_is_left_in_the_kernel_by_a_process_that_is_killed(void **state)
{
	static struct left left;
	int ready[2];
	char byte;
	pid_t pid;

	(void)state;
	watching_or_skip();
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct stint_probes_callbacks callbacks = {0};
		struct stint_probes *probes;

		if (stint_probes_new(&probes, NULL, &callbacks, NULL) != 0 ||
		    stint_probes_watch(probes, (uint32_t)getppid()) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	note_what_is_loaded(&left, pid);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_nothing_is_left(&left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_exit_of_a_watched_process_is_told_once, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_program_watched_from_before_its_exec_has_its_own_stacks,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_process_whose_first_thread_has_left_is_watched_on,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_process_whose_first_thread_has_left_can_be_watched,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_is_gone_cannot_be_watched, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_process_is_watched_once_and_after_its_exit_not_at_all,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(several_processes_are_watched_and_the_rest_is_not,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_process_without_epoll_has_no_loops, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(what_a_tiny_ring_cannot_hold_is_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(records_across_the_end_of_the_ring_are_whole, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(an_exit_that_the_ring_cannot_hold_is_told_all_the_same,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(loops_beyond_the_limit_are_counted_as_lost, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(as_many_loops_are_watched_as_are_asked_for, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(options_that_make_no_sense_are_refused_with_a_reason,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_left_in_the_kernel_afterwards, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_left_in_the_kernel_by_a_process_that_is_killed,
						watching_set_up, watching_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
