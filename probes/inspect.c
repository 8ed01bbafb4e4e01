/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "probes/capabilities.h"
#include "probes/live_thread.h"
#include "probes/modules.h"
#include "probes/probes.h"

static int read_link(uint32_t pid, const char *task)
{
	char path[320], target[8];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%s/cwd", pid, task);
	return readlink(path, target, sizeof(target)) >= 0 ? 0 : -errno;
}

/*
 * The kernel's own check (ptrace(2), PTRACE_MODE_READ), which it makes as that link is read. It makes it for the mappings
 * too, but newer kernels (6.18 was seen to) open those to CAP_PERFMON, whosever they are. A thread that has left
 * has no such link any more, and may be the first one; if all have, the process has ended.
 */
static int check(uint32_t pid)
{
	char path[64];
	struct dirent *entry;
	int err = -ENOENT;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return errno == ENOENT ? -ESRCH : -errno;
	while (err == -ENOENT && (entry = readdir(tasks)))
		if (*entry->d_name != '.')
			err = read_link(pid, entry->d_name);
	closedir(tasks);
	return err == -ENOENT ? -ESRCH : err;
}

/*
 * A COMMAND before its exec: a copy of this process, with what its file lent it. No other program can be in that
 * place, also not one that was there as a child before this process became stint.
 */
static bool is_own_copy(uint32_t pid)
{
	unsigned parent = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", pid);
	file = fopen(path, "re");
	while (file && !parent && fgets(line, sizeof(line), file))
		(void)sscanf(line, "PPid: %u", &parent);
	if (file)
		fclose(file);
	return parent == (unsigned)getpid() && stint_module_is_own(pid);
}

static int check_as_user(uint32_t pid)
{
	const uint64_t lent = STINT_CAP_BIT(STINT_CAP_SYS_PTRACE) | STINT_CAP_BIT(STINT_CAP_DAC_OVERRIDE) |
			      STINT_CAP_BIT(STINT_CAP_DAC_READ_SEARCH) | STINT_CAP_BIT(STINT_CAP_SYS_ADMIN);
	uint64_t before = stint_mask_capabilities(~lent);
	int err = check(pid);

	stint_restore_capabilities(before);
	return err;
}

/*
 * Where the program's file lends CAP_SYS_PTRACE, it is not used to decide who may be watched: whoever may run stint
 * would otherwise see into every process. A pidfd tells that the process asked about was the same all the time.
 */
int stint_probes_may_inspect(uint32_t pid)
{
	struct pollfd ended = {.fd = pidfd_open((pid_t)pid, 0), .events = POLLIN};
	int err;

	if (ended.fd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* the number of a thread */
	err = stint_owns_capability(STINT_CAP_SYS_PTRACE) ? check(pid) : check_as_user(pid);
	if (err && is_own_copy(pid))
		err = 0;
	if (!err && poll(&ended, 1, 0) > 0)
		err = -ESRCH;
	close(ended.fd);
	return err;
}

uint32_t stint_probes_live_thread(uint32_t pid)
{
	return stint_live_thread(pid);
}

const char *stint_probes_inspect_needs(void)
{
	if (stint_owns_capability(STINT_CAP_SYS_PTRACE))
		return "the kernel refuses it although CAP_SYS_PTRACE is there: by a security module, or as the "
		       "process is in a user namespace that is not below this one's";
	if (geteuid() == 0)
		return "this root has no CAP_SYS_PTRACE, as in a container that was not given it";
	return "it takes root, or CAP_SYS_PTRACE of the user's own, not of the program's file";
}

/*
 * What stays, where it was there:
 *   CAP_BPF         to read and change maps, which kernels before 5.19 allow nobody else;
 *   CAP_PERFMON     to open sampling clocks for threads that come later;
 *   CAP_SYS_PTRACE  to read which modules and descriptors such processes have;
 *   CAP_DAC_READ_SEARCH  to find their binaries in directories of other users.
 */
int stint_probes_drop_privileges(uint64_t also)
{
	return stint_drop_capabilities(STINT_CAP_BIT(STINT_CAP_BPF) | STINT_CAP_BIT(STINT_CAP_PERFMON) |
				       STINT_CAP_BIT(STINT_CAP_SYS_PTRACE) |
				       STINT_CAP_BIT(STINT_CAP_DAC_READ_SEARCH) | also);
}
