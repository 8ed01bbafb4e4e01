/* SPDX-License-Identifier: MIT */
#ifndef REFUSED_CALL_H
#define REFUSED_CALL_H

/* A forked child to which the kernel refuses one system call, as an old kernel or a sandbox does. */

#include "loop_fixture.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define REFUSED_CALL_CANNOT 200

static int refuse_call(long number, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return REFUSED_CALL_CANNOT;
	/* valgrind answers for calls that it does not know. */
	if (syscall(number, -1, NULL, 0, NULL, NULL, 0) != -1 || errno != error)
		return REFUSED_CALL_CANNOT;
	return 0;
}

/* `run` returns the child's exit status, which must be 0. */
static void check_with_refused_call(long number, int error, int (*run)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int refused = refuse_call(number, error);

		_exit(refused ? refused : run());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == REFUSED_CALL_CANNOT) {
		print_message("skipped: no seccomp filter can be set here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
