/* SPDX-License-Identifier: MIT */

/* What `stint record` refuses, or cannot do, and how it says so: with one line, and a status. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "query.h"
#include "record_fixture.h"
#include "watching.h"

static void refused(const char *const argv[], int status, const char *why)
{
	char output[2048];

	assert_int_equal(command_run(argv, output, sizeof(output)), status);
	if (!strstr(output, why))
		fail_msg("'%s' is not in: %s", why, output);
	assert_int_equal(strspn(output, "s"), 1);
	assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1);
	assert_int_not_equal(access(recording, F_OK), 0);
}

static void a_pid_that_is_not_there(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "-o", recording, "-p", "4194304", NULL}, 1,
		"there is no process 4194304");
}

static void a_process_that_waits_for_nothing(void **state)
{
	char pid[16], output[2048];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-d", "0.2", "-o", recording,
							   "-p", pid, NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "no event loop was seen"));
	assert_int_not_equal(access(recording, F_OK), 0);
}

/* As a server's master does, or the shell that it was started by. */
static void a_process_whose_children_do_the_work(void **state)
{
	char pid[16], output[2048], hint[64];
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "worker");
		for (;;)
			pause();
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(hint, sizeof(hint), "try -p %d (", (int)child);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-d", "0.2", "-o", recording,
							   "-p", pid, NULL},
				     output, sizeof(output)),
			 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, hint));
}

/* As masters do that have a loop too, by which they look after them: php-fpm, gunicorn. */
static void children_of_the_same_name_that_are_not_recorded_are_said(void **state)
{
	char pid[16], child_pid[16], output[4096], hint[64];
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(child_pid, sizeof(child_pid), "%d", (int)child);
	snprintf(hint, sizeof(hint), "is not recorded; try -p %d or --comm", (int)child);
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, hint));
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, "-p",
					  child_pid, NULL},
		    output, sizeof(output));
	assert_null(strstr(output, "is not recorded"));
	assert_null(strstr(output, "try -p"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void of_more_children_than_are_looked_at_no_number_is_made_up(void **state)
{
	enum { CHILDREN = 300 };
	char pid[16], output[4096];
	int ends[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1) != 0); /* until the test closes it, or ends */
		}
	}
	close(ends[0]);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	close(ends[1]);
	for (int i = 0; i < CHILDREN; i++)
		assert_true(wait(NULL) > 0);
	if (!strstr(output, "no probes"))
		assert_non_null(strstr(output, "at least 256 children of process "));
}

/* It has its name until somebody waits for it. */
static void a_child_that_has_ended_is_not_said_not_to_be_recorded(void **state)
{
	char pid[16], output[4096];
	siginfo_t info;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	command_run((const char *const[]){"stint", "record", "-d", "0.1", "-o", recording, "-p", pid, NULL},
		    output, sizeof(output));
	assert_null(strstr(output, "try -p"));
	waitpid(child, NULL, 0);
}

static void a_name_that_nobody_has(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "--no-probes", "-o", recording, "--comm",
				      "no-such-name", NULL},
		1, "there is no process named 'no-such-name'");
}

/* Of a name that is longer, the kernel keeps 15 characters. */
static void a_name_that_nobody_has_yet(void **state)
{
	static const char script[] =
		"cp " BUILD_DIRECTORY "/tests/subjects/crowded $STINT_DIR/a-server-of-that-name && "
		"$STINT_DIR/a-server-of-that-name 1; rm $STINT_DIR/a-server-of-that-name $STINT_DIR/*.meter";
	char output[4096];
	struct command recorder;

	(void)state;
	watching_or_skip();
	command_start(&recorder, (const char *const[]){"stint", "record", "-o", recording, "--comm",
						       "a-server-of-that-name", NULL});
	command_line(&recorder, "yet: one that is started will be recorded", output, sizeof(output));
	command_line(&recorder, "recording into", output, sizeof(output));
	assert_int_equal(command_run((const char *const[]){"sh", "-c", script, NULL}, output, sizeof(output)),
			 0);
	assert_int_equal(command_end(&recorder, SIGINT, output, sizeof(output)), 0);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM process"), 1);
}

static void wait_for_name(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	while (strcmp(comm, name) != 0) {
		file = fopen(path, "re");
		assert_non_null(file);
		assert_non_null(fgets(comm, sizeof(comm), file));
		fclose(file);
		comm[strcspn(comm, "\n")] = '\0';
	}
}

/* A process of the name that the recorder is to find; a loop that does nothing. */
static pid_t start_named_loop(const char *name)
{
	struct epoll_event event;
	pid_t child = fork();
	int epfd;

	assert_true(child >= 0);
	if (child > 0) {
		wait_for_name(child, name);
		return child;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, name);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	for (;;)
		epoll_wait(epfd, &event, 1, 10);
}

static bool has_ended(pid_t child)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

static void end_named_loop(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/*
 * It takes a while to load the probes, and workers come and go: the file is there by then, and the names were looked for.
 */
static void one_of_a_name_may_end_before_it_is_recorded(void **state)
{
	pid_t stays = start_named_loop("one-of-two"), ends = start_named_loop("one-of-two");
	struct command recorder;
	char output[4096];

	(void)state;
	watching_or_skip();
	command_start(&recorder, (const char *const[]){"stint", "record", "-o", recording, "--comm",
						       "one-of-two", NULL});
	while (access(recording, F_OK) != 0 && !has_ended(recorder.pid))
		usleep(1000);
	end_named_loop(ends);
	command_line(&recorder, "recording into", output, sizeof(output));
	query_until(recording, "SELECT count(*) FROM loop", 1);
	assert_int_equal(command_end(&recorder, SIGINT, output, sizeof(output)), 0);
	end_named_loop(stays);
}

/* What it prints may be read by a program. */
static void a_command_has_standard_output_for_itself(void **state)
{
	char script[512], output[4096];

	(void)state;
	snprintf(script, sizeof(script),
		 "%s/stint record --no-probes -o %s -- %s/tests/subjects/crowded 1 2>/dev/null; "
		 "rm \"$STINT_DIR\"/*.meter",
		 BUILD_DIRECTORY, recording, BUILD_DIRECTORY);
	assert_int_equal(command_run((const char *const[]){"sh", "-c", script, NULL}, output, sizeof(output)),
			 0);
	assert_string_equal(output, "");
	assert_int_equal(query_number(recording, "SELECT count(*) FROM process"), 1);
}

static void how_a_command_failed_is_told(void **state)
{
	char output[2048];

	(void)state;
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "sh", "-c", "exit 7", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "the command ended with exit status 7"));
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "sh", "-c", "kill -SEGV $$", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "the command was ended by signal 11"));
}

static void a_command_that_is_not_there(void **state)
{
	char output[2048];

	(void)state;
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", "/no/such/program", NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "/no/such/program: No such file or directory"));
	assert_int_not_equal(access(recording, F_OK), 0);
}

static void an_output_that_cannot_be_written(void **state)
{
	struct server server;

	(void)state;
	start_server(&server);
	refused((const char *const[]){"stint", "record", "-o", "/no/such/directory/r.stint", "-p", server.pid,
				      NULL},
		1, "/no/such/directory/r.stint");
	end_server(&server);
}

/* SQLite would keep it nowhere. */
static void an_output_in_memory_only(void **state)
{
	struct server server;

	(void)state;
	start_server(&server);
	refused((const char *const[]){"stint", "record", "-o", ":memory:", "-p", server.pid, NULL}, 1,
		"try ./:memory:");
	end_server(&server);
}

static void an_output_that_is_somebody_elses_file(void **state)
{
	struct server server;
	FILE *file = fopen(recording, "w");
	char output[2048];
	struct stat status;

	(void)state;
	fputs("not ours\n", file);
	fclose(file);
	start_server(&server);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "-o", recording, "-p",
							   server.pid, NULL},
				     output, sizeof(output)),
			 1);
	end_server(&server);
	assert_non_null(strstr(output, "is not a stint recording"));
	assert_int_equal(stat(recording, &status), 0);
	assert_int_equal(status.st_size, strlen("not ours\n"));
}

static void an_output_that_another_recorder_writes(void **state)
{
	struct server server;
	struct command first;
	char output[2048];
	const char *const options[] = {"--no-probes", NULL};

	(void)state;
	start_server(&server);
	command_record(&first, recording, server.command.pid, options);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "-p", server.pid, NULL},
				     output, sizeof(output)),
			 1);
	assert_non_null(strstr(output, "another recorder records into it"));
	command_record_end(&first);
	assert_int_equal(query_number(recording, "SELECT count(*) FROM meta WHERE key = 'end_ns'"), 1);
	command_record(&first, recording, server.command.pid,
		       options); /* once it has ended, it is replaced */
	command_record_end(&first);
	end_server(&server);
}

static void arguments_that_make_no_sense(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", NULL}, 2, "what to record");
	refused((const char *const[]){"stint", "record", "-p", "1", "--comm", "init", NULL}, 2,
		"said in more than one way");
	refused((const char *const[]){"stint", "record", "-p", "12x", NULL}, 2, "'12x' is not a process id");
	refused((const char *const[]){"stint", "record", "-d", "soon", "-p", "1", NULL}, 2,
		"'soon' is not a number of seconds");
	refused((const char *const[]){"stint", "record", "--budget", "-4", "-p", "1", NULL}, 2, "'-4'");
	refused((const char *const[]){"stint", "record", "--trace-socket=fd:-1", "-p", "1", NULL}, 2,
		"'fd:-1' is not a descriptor");
	refused((const char *const[]){"stint", "record", "--trace-socket=fd:", "-p", "1", NULL}, 2,
		"'fd:' is not a descriptor");
	refused((const char *const[]){"stint", "dance", NULL}, 2, "there is no command 'dance'");
}

/* It would be started, by root as a rule, with the options that follow. */
static void a_word_too_many_is_no_command(void **state)
{
	(void)state;
	refused((const char *const[]){"stint", "record", "sh", "-o", recording, NULL}, 2,
		"'sh' was not expected");
	refused((const char *const[]){"stint", "record", "-p", "1", "2", NULL}, 2, "'2' was not expected");
}

static void an_unprivileged_user_is_told_what_is_missing(void **state)
{
	const char *const argv[] = {"setpriv",
				    "--reuid=65534",
				    "--regid=65534",
				    "--clear-groups",
				    BUILD_DIRECTORY "/stint",
				    "doctor",
				    NULL};
	char output[4096];

	(void)state;
	if (geteuid() != 0) {
		printf("skipped: only root can become another user\n");
		skip();
	}
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_non_null(strstr(output, "MISSING  CAP_BPF "));
	assert_non_null(strstr(output, "MISSING  CAP_PERFMON "));
	assert_non_null(strstr(output, "less     CAP_SYS_PTRACE "));
	assert_non_null(strstr(output, "setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog=ep "));
}

static void assert_runtime_directory(const char *path, const char *state)
{
	char setting[256], line[256], output[8192];

	snprintf(setting, sizeof(setting), "STINT_DIR=%s", path);
	snprintf(line, sizeof(line), "%-8s runtime directory    %s\n", state, path);
	command_run((const char *const[]){"env", setting, BUILD_DIRECTORY "/stint", "doctor", NULL}, output,
		    sizeof(output));
	if (!strstr(output, line))
		fail_msg("no '%s' in: %s", line, output);
}

/* Programs make the last part of its path, and no more. */
static void a_runtime_directory_that_nobody_could_make_is_told(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/new", directory);
	assert_runtime_directory(path, "ok");
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/no/such", directory);
	assert_runtime_directory(path, "less");
	assert_runtime_directory("/dev/null", "less");
	assert_runtime_directory("/tmp", "less"); /* everybody's */
	snprintf(path, sizeof(path), "%s/link", directory);
	assert_int_equal(symlink(directory, path), 0);
	assert_runtime_directory(path, "less");
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_pid_that_is_not_there),
		TEST(a_process_that_waits_for_nothing),
		TEST(a_process_whose_children_do_the_work),
		TEST(children_of_the_same_name_that_are_not_recorded_are_said),
		TEST(of_more_children_than_are_looked_at_no_number_is_made_up),
		TEST(a_child_that_has_ended_is_not_said_not_to_be_recorded),
		TEST(a_name_that_nobody_has),
		TEST(a_name_that_nobody_has_yet),
		TEST(one_of_a_name_may_end_before_it_is_recorded),
		TEST(a_command_has_standard_output_for_itself),
		TEST(how_a_command_failed_is_told),
		TEST(a_command_that_is_not_there),
		TEST(an_output_that_cannot_be_written),
		TEST(an_output_in_memory_only),
		TEST(an_output_that_is_somebody_elses_file),
		TEST(an_output_that_another_recorder_writes),
		TEST(arguments_that_make_no_sense),
		TEST(a_word_too_many_is_no_command),
		TEST(an_unprivileged_user_is_told_what_is_missing),
		TEST(a_runtime_directory_that_nobody_could_make_is_told),
	};

	return cmocka_run_group_tests_name("record_refusals", tests, make_directory, remove_directory);
}
