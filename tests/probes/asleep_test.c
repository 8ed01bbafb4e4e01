/* SPDX-License-Identifier: MIT */

/* The stack of a thread that sleeps is read off its process, however long that takes. */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/asleep.h"

#define CANNOT  200
#define LIMIT_S 60

static pid_t sleeper;
static struct record_stack stack;

/* Once it sleeps, the file ends with its stack pointer and program counter. */
static bool read_registers(void)
{
	char path[64], line[256] = "";
	uint64_t sp = 0, pc = 0;
	FILE *file;
	int number = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)sleeper);
	file = fopen(path, "re");
	assert_non_null(file);
	if (!fgets(line, sizeof(line), file))
		*line = '\0';
	fclose(file);
	if (sscanf(line, "%d %*x %*x %*x %*x %*x %*x %lx %lx", &number, &sp, &pc) != 3 || number != SYS_pause)
		return false;
	stack.sp = sp;
	stack.reg[7] = sp;
	stack.reg[16] = pc;
	return true;
}

static int set_up(void **state)
{
	(void)state;
	memset(&stack, 0, sizeof(stack));
	sleeper = fork();
	if (sleeper == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			syscall(SYS_pause);
	}
	if (sleeper < 0)
		return -1;
	stack.pid = (uint32_t)sleeper;
	stack.tid = (uint32_t)sleeper;
	while (!read_registers())
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	kill(sleeper, SIGKILL);
	waitpid(sleeper, NULL, 0);
	return 0;
}

static void one_that_sleeps_on_is_read(void **state)
{
	(void)state;
	assert_int_equal(stint_asleep_read(&stack), 0);
	assert_true(stack.stack_bytes > 0);
	assert_true(stack.stack_bytes <= sizeof(stack.stack));
}

static void one_that_sleeps_elsewhere_by_now_is_not(void **state)
{
	(void)state;
	stack.reg[16]++;
	assert_int_equal(stint_asleep_read(&stack), -ESTALE);
}

static void memory_that_is_not_there_is_not(void **state)
{
	(void)state;
	stack.sp = 4096;
	assert_true(stint_asleep_read(&stack) < 0);
}

/* Reads of another process's memory do not return any more: nobody answers for them. */
static bool hold_up_reads(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) >= 0;
}

static void memory_that_is_locked_is_given_up(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(LIMIT_S);
		if (!hold_up_reads())
			_exit(CANNOT);
		_exit(stint_asleep_read(&stack) == -ETIMEDOUT ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT) {
		print_message("skipped: no seccomp filter can be set here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(one_that_sleeps_on_is_read),
		test(one_that_sleeps_elsewhere_by_now_is_not),
		test(memory_that_is_not_there_is_not),
		test(memory_that_is_locked_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
