/* SPDX-License-Identifier: MIT */

/* What is looked up of a process is found after its first thread has left, and others live. */

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "report/record/namespaces.h"
#include "report/target.h"

static pid_t subject;

/* In the subject: its first thread is in the state that one is in which has left. */
static bool first_has_left(void)
{
	char path[64], text[512] = "";
	const char *at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	file = fopen(path, "re");
	if (file) {
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
	}
	at = strrchr(text, ')');
	return at && strncmp(at, ") Z", 3) == 0;
}

static void *stay(void *told)
{
	while (!first_has_left())
		sched_yield();
	if (write(*(int *)told, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

static int start_subject(void **state)
{
	static int ends[2]; /* outlives the first thread */
	pthread_t thread;
	char byte;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	subject = fork();
	if (subject == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		if (pthread_create(&thread, NULL, stay, &ends[1]) != 0)
			_exit(1);
		pthread_exit(NULL);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return 0;
}

static int end_subject(void **state)
{
	(void)state;
	kill(subject, SIGKILL);
	return waitpid(subject, NULL, 0) == subject ? 0 : -1;
}

static void its_network_namespace_is_told(void **state)
{
	struct stat own;

	(void)state;
	assert_int_equal(stat("/proc/self/ns/net", &own), 0);
	assert_int_equal(namespaces_net((uint32_t)subject), own.st_ino);
}

static void its_number_is_told(void **state)
{
	(void)state;
	assert_int_equal(namespaces_pid((uint32_t)subject), subject);
}

static void its_command_line_is_told(void **state)
{
	char command[256], own[256];

	(void)state;
	target_command(own, sizeof(own), (uint32_t)getpid());
	target_command(command, sizeof(command), (uint32_t)subject);
	assert_non_null(strchr(own, '/')); /* as tests are run: else it could not be told from the name */
	assert_string_equal(command, own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(its_network_namespace_is_told, start_subject, end_subject),
		cmocka_unit_test_setup_teardown(its_number_is_told, start_subject, end_subject),
		cmocka_unit_test_setup_teardown(its_command_line_is_told, start_subject, end_subject),
	};

	return cmocka_run_group_tests_name("first thread", tests, NULL, NULL);
}
