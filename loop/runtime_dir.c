/* SPDX-License-Identifier: MIT */
#include "runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stint/meter.h>

static int print_path(char *ret, size_t size, const char *directory, const char *suffix)
{
	int length = snprintf(ret, size, "%s%s", directory, suffix);

	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int stint_runtime_dir(char *ret, size_t size)
{
	const char *given;
	int length;

	if (!ret || size == 0)
		return -EINVAL;
	/* secure_getenv: a set-uid program does not let its caller choose where it writes. */
	given = secure_getenv("STINT_DIR");
	if (given && *given)
		return print_path(ret, size, given, "");
	given = secure_getenv("XDG_RUNTIME_DIR");
	if (given && *given)
		return print_path(ret, size, given, "/stint");
	if (geteuid() == 0)
		return print_path(ret, size, "/run/stint", "");
	length = snprintf(ret, size, "/tmp/stint-%u", (unsigned)geteuid());
	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

int runtime_dir_open(const char *path)
{
	struct stat status;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* In /tmp anybody may have been here first, and would own what we publish. */
	if (fstat(fd, &status) < 0 || status.st_uid != geteuid() || (status.st_mode & 022)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}
