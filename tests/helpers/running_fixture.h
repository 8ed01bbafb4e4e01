/* SPDX-License-Identifier: MIT */
#ifndef RUNNING_FIXTURE_H
#define RUNNING_FIXTURE_H

/* What the tests share that are of iterations which go on: programs that compute, or are blocked, for ever. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "thread_call.h"
#include "watching_fixture.h"

#define MS      UINT64_C(1000000)
#define FOREVER (UINT64_C(3600) * 1000 * MS)
#define TRIES   6000 /* looks, 10 ms apart */

static uint64_t ended_ns;

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void start_unwatched(void)
{
	watching_or_skip();
	subject_start(&subject, "tests/subjects/late", NULL);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
}

static inline void start(void)
{
	start_unwatched();
	watching_add(&watching, subject.pid);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
}

static inline void read_proc(const char *file, char *ret, size_t bytes)
{
	char path[64];
	FILE *from;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)subject.pid, file);
	from = fopen(path, "re");
	assert_non_null(from);
	len = fread(ret, 1, bytes - 1, from);
	ret[len] = '\0';
	fclose(from);
}

static inline uint64_t cpu_ns(void)
{
	char text[128];

	read_proc("schedstat", text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static inline bool has_computed(uint64_t before_ns)
{
	return cpu_ns() - before_ns >= 20 * MS;
}

static uint64_t since_ns; /* it has been seen in that call; 0: not yet */

static inline bool is_in_call(uint64_t number)
{
	if (thread_call(subject.pid) != (long)number)
		since_ns = 0;
	else if (!since_ns)
		since_ns = now_ns();
	return since_ns && now_ns() - since_ns >= 20 * MS;
}

/*
 * And for longer than all that came before, since what it does was asked for: its thread "holder" is waited for in another
 * read, which takes as long as that waits for a CPU.
 */
static inline bool is_in_read_for_most(uint64_t asked_ns)
{
	static char before[256];
	char text[256] = "";

	read_proc("syscall", text, sizeof(text));
	if (strcmp(text, before) != 0)
		since_ns = 0;
	memcpy(before, text, sizeof(before));
	return is_in_call(SYS_read) && now_ns() - since_ns > since_ns - asked_ns;
}

static inline void wait_until(bool (*is_so)(uint64_t arg), uint64_t arg)
{
	struct timespec moment = {.tv_nsec = 10 * (long)MS};

	since_ns = 0;
	for (int i = 0; i < TRIES && !is_so(arg); i++)
		nanosleep(&moment, NULL);
	assert_true(is_so(arg));
}

static inline void stop(void)
{
	assert_int_equal(stint_probes_stop(watching.probes, &ended_ns), 0);
	watching_take(&watching);
	assert_overruns_consistent(&watching);
}

static inline bool is_running(const struct watched_overrun *overrun)
{
	return overrun->is.running;
}

static inline bool has_begun_before(const struct watched_overrun *overrun)
{
	return overrun->is.began_before;
}

/* NULL: there is none; two fail the test. */
static inline const struct watched_overrun *only_one(bool (*is_it)(const struct watched_overrun *overrun))
{
	const struct watched_overrun *found = NULL;

	for (size_t i = 0; i < watching.overruns_len; i++) {
		if (!is_it(&watching.overruns[i]))
			continue;
		assert_null(found);
		found = &watching.overruns[i];
	}
	return found;
}

static inline const struct watched_overrun *assert_running(void)
{
	const struct watched_overrun *overrun = only_one(is_running);

	assert_non_null(overrun);
	assert_int_equal(overrun->is.tid, subject.pid);
	assert_int_equal(overrun->is.start_ns + overrun->is.duration_ns, ended_ns);
	assert_true(overrun->is.duration_ns >= 20 * MS);
	return overrun;
}

/* A child of this process that does what `first` says once it is told to go on, and then reads for ever. */
static inline void fork_idle(void (*first)(void))
{
	int to[2], from[2];
	char byte;

	assert_return_code(pipe(to), errno);
	assert_return_code(pipe(from), errno);
	subject = (struct subject){.pid = fork(), .to = to[1], .from = from[0]};
	assert_return_code(subject.pid, errno);
	if (subject.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		if (dup2(to[0], STDIN_FILENO) == STDIN_FILENO && read(STDIN_FILENO, &byte, 1) == 1) {
			first();
			while (read(STDIN_FILENO, &byte, 1) == 1)
				;
		}
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
}

static inline void go_on(void)
{
	assert_int_equal(write(subject.to, "x", 1), 1);
}

static inline void *wait_on(void *epfd)
{
	struct epoll_event ready;

	for (;;)
		epoll_wait(*(const int *)epfd, &ready, 1, -1);
	return NULL;
}

#define CLOSED(name) cmocka_unit_test_setup_teardown(name, watching_set_up, watching_tear_down)
#define OPENED(name) cmocka_unit_test_setup_teardown(name, watching_set_up_opened, watching_tear_down)

#endif
