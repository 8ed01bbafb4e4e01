/* SPDX-License-Identifier: MIT */

/*
 * Runs another subject in a child, with its own standard input and output, and waits for its end.
 *
 *	spawn exec | fork [CGROUP]
 *
 * exec: epoll_loop, by an exec in the child. fork: a loop in the child itself, which is a copy of this program; with
 * CGROUP, that moves itself there (the path of its cgroup.procs) once it has a loop, and after its first command.
 */

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"

static void move_to(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		exit(3);
	close(fd);
}

static _Noreturn void loop_here(const char *cgroup)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct subject_command command;

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
		exit(1);
	while (epoll_wait(epfd, &event, 1, -1) == 1 &&
	       read(STDIN_FILENO, &command, sizeof(command)) == sizeof(command)) {
		struct subject_answer answer = {.tid = gettid(), .epfd = epfd};
		struct timespec ts = {.tv_nsec = (long)command.arg};

		if (command.verb == SUBJECT_BLOCK)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		if (cgroup)
			move_to(cgroup);
		cgroup = NULL;
		if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	exit(0);
}

static _Noreturn void exec_loop(void)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof("epoll_loop"));
	char *slash;

	if (len < 0)
		exit(1);
	path[len] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash + 1, "epoll_loop");
	execl(path, path, "wait", "1", (char *)NULL);
	exit(127);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (strcmp(how, "exec") == 0)
			exec_loop();
		loop_here(argc > 2 ? argv[2] : NULL);
	}
	waitpid(pid, NULL, 0);
	return 0;
}
