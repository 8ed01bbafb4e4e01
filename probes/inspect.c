/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "probes/capabilities.h"
#include "probes/probes.h"

/* The kernel's own check (ptrace(2), PTRACE_MODE_READ), which it makes as that file is opened. */
static int open_maps(uint32_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	close(fd);
	return 0;
}

/*
 * Where the program's file lends CAP_SYS_PTRACE, it is not used to decide who may be watched: whoever may run stint
 * would otherwise see into every process. Nor is CAP_PERFMON, by which newer kernels (6.18 was seen to) let that file
 * be read too. A pidfd tells that the process asked about was the same all the time.
 */
int stint_probes_may_inspect(uint32_t pid)
{
	const uint64_t lent = STINT_CAP_BIT(STINT_CAP_SYS_PTRACE) | STINT_CAP_BIT(STINT_CAP_DAC_OVERRIDE) |
			      STINT_CAP_BIT(STINT_CAP_DAC_READ_SEARCH) | STINT_CAP_BIT(STINT_CAP_SYS_ADMIN) |
			      STINT_CAP_BIT(STINT_CAP_PERFMON);
	struct pollfd ended = {.fd = pidfd_open((pid_t)pid, 0), .events = POLLIN};
	bool is_own = stint_owns_capability(STINT_CAP_SYS_PTRACE);
	uint64_t before = 0;
	int err;

	if (ended.fd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* the number of a thread */
	if (!is_own)
		before = stint_mask_capabilities(~lent);
	err = open_maps(pid);
	if (!is_own)
		stint_restore_capabilities(before);
	if (!err && poll(&ended, 1, 0) > 0)
		err = -ESRCH;
	close(ended.fd);
	return err;
}

/*
 * What stays, where it was there:
 *   CAP_BPF         to read and change maps, which kernels before 5.19 allow nobody else;
 *   CAP_PERFMON     to open sampling clocks for threads, and uprobes in processes, that come later;
 *   CAP_SYS_PTRACE  to read which modules and descriptors such processes have;
 *   CAP_DAC_READ_SEARCH  to find their binaries in directories of other users.
 */
int stint_probes_drop_privileges(uint64_t also)
{
	return stint_drop_capabilities(STINT_CAP_BIT(STINT_CAP_BPF) | STINT_CAP_BIT(STINT_CAP_PERFMON) |
				       STINT_CAP_BIT(STINT_CAP_SYS_PTRACE) |
				       STINT_CAP_BIT(STINT_CAP_DAC_READ_SEARCH) | also);
}
