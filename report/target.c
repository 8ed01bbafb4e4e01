/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probes/probes.h"

#define END_MS 5000 /* what a command gets between SIGTERM and SIGKILL */

/* Reads a small file of /proc whole; returns its length without trailing newlines and NULs, 0 if it has none. */
static size_t read_proc(char *ret, size_t size, uint32_t pid, const char *name)
{
	size_t len = 0;
	char path[64];
	ssize_t taken;
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/%s", pid, name);
	*ret = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (len < size - 1 && (taken = read(fd, ret + len, size - 1 - len)) > 0)
		len += (size_t)taken;
	close(fd);
	while (len && (ret[len - 1] == '\n' || ret[len - 1] == '\0' || ret[len - 1] == ' '))
		len--;
	ret[len] = '\0';
	return len;
}

void target_command(char *ret, size_t size, uint32_t pid)
{
	size_t len = read_proc(ret, size, stint_probes_live_thread(pid), "cmdline");

	for (size_t i = 0; i < len; i++)
		if (ret[i] == '\0')
			ret[i] = ' ';
	if (!len)
		read_proc(ret, size, pid, "comm");
}

void target_name(char *ret, size_t size, uint32_t pid)
{
	if (!read_proc(ret, size, pid, "comm"))
		snprintf(ret, size, "?");
}

/* It keeps its number and its name until its parent has waited for it. */
static bool has_ended(uint32_t pid)
{
	const char *state;
	char stat[512];

	read_proc(stat, sizeof(stat), stint_probes_live_thread(pid), "stat");
	state = strrchr(stat, ')');
	return !state || strncmp(state, ") Z", 3) == 0 || strncmp(state, ") X", 3) == 0;
}

size_t target_children(uint32_t *ret, size_t max, uint32_t pid)
{
	char name[32], pids[4096], *at = pids;
	size_t len = 0;

	snprintf(name, sizeof(name), "task/%" PRIu32 "/children", pid);
	read_proc(pids, sizeof(pids), pid, name);
	while (*at && len < max) {
		uint32_t child = (uint32_t)strtoul(at, &at, 10);

		if (child && child != (uint32_t)getpid() && !has_ended(child))
			ret[len++] = child;
		at += strcspn(at, " ");
		at += strspn(at, " ");
	}
	return len;
}

int target_find(uint32_t **ret, size_t *ret_len, const char *name)
{
	size_t len = 0, capacity = 0;
	uint32_t *pids = NULL;
	struct dirent *entry;
	DIR *proc;

	proc = opendir("/proc");
	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		char comm[32], *end;
		unsigned long pid = strtoul(entry->d_name, &end, 10);

		if (*end || !pid || pid > INT32_MAX ||
		    !read_proc(comm, sizeof(comm), (uint32_t)pid, "comm") || strcmp(comm, name) != 0)
			continue;
		if (len == capacity) {
			uint32_t *larger;

			capacity = capacity ? 2 * capacity : 16;
			larger = realloc(pids, capacity * sizeof(*pids));
			if (!larger)
				goto out_of_memory;
			pids = larger;
		}
		pids[len++] = (uint32_t)pid;
	}
	closedir(proc);
	*ret = pids;
	*ret_len = len;
	return len ? 0 : -ESRCH;

out_of_memory:
	closedir(proc);
	free(pids);
	return -ENOMEM;
}

/* ---- a command to run ---- */

/* In the child, between fork and exec. */
static void run(char *const argv[], int go, int failed)
{
	sigset_t none;
	ssize_t taken;
	char byte;
	int err;

	do {
		taken = read(go, &byte, 1);
	} while (taken < 0 && errno == EINTR);
	if (taken != 1) /* the recorder is gone */
		_exit(125);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	err = errno;
	if (write(failed, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

int target_child_new(struct target_child *ret, char *const argv[])
{
	int go[2], failed[2];
	pid_t pid;
	int err;

	/* No pipe: to write to one that nobody reads any more is a signal. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) != 0)
		return -errno;
	if (pipe2(failed, O_CLOEXEC) != 0) {
		err = -errno;
		close(go[0]);
		close(go[1]);
		return err;
	}
	pid = fork();
	if (pid == 0) {
		close(go[1]); /* else it would wait for itself */
		run(argv, go[0], failed[1]);
	}
	err = pid < 0 ? -errno : 0;
	close(go[0]);
	close(failed[1]);
	if (err) {
		close(go[1]);
		close(failed[0]);
		return err;
	}
	*ret = (struct target_child){.pid = pid, .go = go[1], .failed = failed[0]};
	return 0;
}

int target_child_start(struct target_child *child)
{
	ssize_t taken;
	int err = 0;

	taken = send(child->go, "", 1, MSG_NOSIGNAL);
	if (taken != 1)
		return -errno;
	close(child->go);
	child->go = -1;
	do {
		taken = read(child->failed, &err, sizeof(err));
	} while (taken < 0 && errno == EINTR);
	return taken == sizeof(err) ? -err : 0;
}

/* Whether it has ended, within `timeout_ms`. */
static bool wait_for(pid_t pid, int timeout_ms)
{
	int pidfd = pidfd_open(pid, 0);
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	bool has_ended;

	if (pidfd < 0)
		return errno == ESRCH;
	has_ended = poll(&ended, 1, timeout_ms) > 0;
	close(pidfd);
	return has_ended;
}

bool target_child_has_ended(const struct target_child *child, int *status)
{
	siginfo_t info = {0};

	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
		return false;
	*status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
	return true;
}

void target_child_free(struct target_child *child)
{
	if (child->pid <= 0)
		return;
	if (child->go >= 0)
		close(child->go);
	else if (!wait_for(child->pid, 0))
		kill(child->pid, SIGTERM);
	if (!wait_for(child->pid, END_MS))
		kill(child->pid, SIGKILL);
	close(child->failed);
	waitpid(child->pid, NULL, 0);
	*child = (struct target_child){.go = -1, .failed = -1};
}
