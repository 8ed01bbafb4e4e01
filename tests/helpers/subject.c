/* SPDX-License-Identifier: MIT */
#include "subject.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 8

/* Commands of all subjects, the last of them. */
#define DONE_MAX 4096

static struct done {
	int32_t tid;
	enum subject_verb verb;
	uint64_t sent_ns, answered_ns;
} done[DONE_MAX];
static size_t done_len;

/* The build's folder is the one with this test in tests/MODULE/. */
static void find_program(char *ret, size_t bytes, const char *program)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(len > 0);
	self[len] = '\0';
	if (*program == '/')
		*self = '\0';
	for (int up = 0; up < 3 && *self; up++) {
		char *slash = strrchr(self, '/');

		assert_non_null(slash);
		*slash = '\0';
	}
	assert_true((size_t)snprintf(ret, bytes, "%s%s%s", self, *self ? "/" : "", program) < bytes);
}

static _Noreturn void become(const char *path, const char *const *arguments, int in, int out)
{
	char *argv[ARGUMENTS_MAX + 2] = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	argv[0] = strdup(path);
	for (int i = 0; arguments && arguments[i] && i < ARGUMENTS_MAX; i++)
		argv[i + 1] = strdup(arguments[i]);
	raise(SIGSTOP);
	execv(path, argv);
	perror(path);
	_exit(127);
}

void subject_start_fed(struct subject *subject, const char *program, const char *const *arguments, int in,
		       int to)
{
	char path[PATH_MAX];
	int from[2], status;

	find_program(path, sizeof(path), program);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	subject->pid = fork();
	assert_true(subject->pid >= 0);
	if (subject->pid == 0)
		become(path, arguments, in, from[1]);
	close(in);
	close(from[1]);
	subject->to = to;
	subject->from = from[0];
	assert_int_equal(waitpid(subject->pid, &status, WUNTRACED), subject->pid);
	assert_true(WIFSTOPPED(status));
}

void subject_start(struct subject *subject, const char *program, const char *const *arguments)
{
	int to[2];

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	subject_start_fed(subject, program, arguments, to[0], to[1]);
}

void subject_go(const struct subject *subject)
{
	assert_int_equal(kill(subject->pid, SIGCONT), 0);
}

void subject_start_loops(struct subject *subject, const char *call, const char *loops)
{
	const char *arguments[] = {call, loops, NULL};

	subject_start(subject, "tests/subjects/epoll_loop", arguments);
	subject_go(subject);
	subject_do(subject, 0, SUBJECT_SYNC, 0);
}

int subject_stop(struct subject *subject, int signal)
{
	int status = -1;

	if (subject->pid <= 0)
		return -1;
	close(subject->to);
	if (signal)
		kill(subject->pid, signal);
	assert_int_equal(waitpid(subject->pid, &status, 0), subject->pid);
	close(subject->from);
	subject->pid = 0;
	return status;
}

void subject_send(const struct subject *subject, uint32_t loop, enum subject_verb verb, uint64_t arg)
{
	struct subject_command command = {.loop = loop, .verb = verb, .arg = arg};

	assert_int_equal(write(subject->to, &command, sizeof(command)), sizeof(command));
}

struct subject_answer subject_answer(const struct subject *subject)
{
	struct subject_answer answer;

	assert_int_equal(read(subject->from, &answer, sizeof(answer)), sizeof(answer));
	return answer;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct subject_answer subject_do(const struct subject *subject, uint32_t loop, enum subject_verb verb,
				 uint64_t arg)
{
	struct done *noted = &done[done_len++ % DONE_MAX];
	struct subject_answer answer;

	*noted = (struct done){.verb = verb, .sent_ns = now_ns()};
	subject_send(subject, loop, verb, arg);
	answer = subject_answer(subject);
	noted->answered_ns = now_ns();
	noted->tid = answer.tid;
	return answer;
}

/* When the thread can have been at it no more: as it has answered the next, or now. */
static uint64_t last_moment_ns(const struct done *of)
{
	const struct done *next = NULL;

	for (size_t i = 0; i < DONE_MAX; i++)
		if (done[i].tid == of->tid && done[i].sent_ns > of->sent_ns &&
		    (!next || done[i].sent_ns < next->sent_ns))
			next = &done[i];
	return next ? next->answered_ns : now_ns();
}

bool subject_did_nothing_for(int32_t tid, uint64_t start_ns, uint64_t least_ns)
{
	for (size_t i = 0; i < DONE_MAX; i++)
		if (done[i].tid == tid && done[i].sent_ns <= start_ns && start_ns <= done[i].answered_ns)
			return (done[i].verb == SUBJECT_SYNC || done[i].verb == SUBJECT_PIN) &&
			       last_moment_ns(&done[i]) - done[i].sent_ns >= least_ns;
	return false;
}

static char state_of(int tid)
{
	char path[64], text[512], *at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	at = strrchr(text, ')');
	assert_non_null(at);
	return at[2];
}

void subject_until_state(int tid, char wanted)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (state_of(tid) != wanted)
		nanosleep(&pause, NULL);
}
