/* SPDX-License-Identifier: MIT */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DEPTH_MAX 32

/* The mount point of the unified hierarchy: the fifth field of a line whose type, after " - ", is cgroup2. */
static int find_mount(char *ret, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096], point[4096];
	int err = -ENOTSUP;

	if (!file)
		return -errno;
	while (err && fgets(line, sizeof(line), file)) {
		if (!strstr(line, " - cgroup2 ") || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		err = (size_t)snprintf(ret, size, "%s", point) < size ? 0 : -ENAMETOOLONG;
	}
	fclose(file);
	return err;
}

/* The kernel numbers cgroups as the file system does their directories. */
static int look_at(const char *path, uint64_t *number)
{
	struct statfs type;
	struct stat status;

	if (stat(path, &status) != 0 || statfs(path, &type) != 0)
		return -errno;
	if (!S_ISDIR(status.st_mode) || type.f_type != CGROUP2_SUPER_MAGIC)
		return -ENOTSUP;
	*number = status.st_ino;
	return 0;
}

int cgroup_find(char *path, size_t size, uint64_t *number, const char *name)
{
	char mount[4096];
	int err;

	if ((size_t)snprintf(path, size, "%s", name) >= size)
		return -ENAMETOOLONG;
	err = name[0] == '/' ? look_at(path, number) : -ENOENT;
	if (!err)
		return 0;
	if (err == -ENOTSUP && strncmp(name, "/sys/", 5) == 0)
		return err;
	err = find_mount(mount, sizeof(mount));
	if (err)
		return err;
	if ((size_t)snprintf(path, size, "%s/%s", mount, name[0] == '/' ? name + 1 : name) >= size)
		return -ENAMETOOLONG;
	return look_at(path, number);
}

static int visit_processes(int directory, int (*visit)(void *ctx, uint32_t pid), void *ctx)
{
	int fd = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC), err = 0;
	FILE *file = fd >= 0 ? fdopen(fd, "re") : NULL;
	char line[32];

	if (!file) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (!err && fgets(line, sizeof(line), file)) {
		uint32_t pid = (uint32_t)strtoul(line, NULL, 10);

		if (pid) /* 0: of a pid namespace that is not ours */
			err = visit(ctx, pid);
	}
	fclose(file);
	return err;
}

/* Takes the descriptor of the directory over. A cgroup that goes away meanwhile has nobody in it. */
static int visit_below(int fd, int depth, int (*visit)(void *ctx, uint32_t pid), void *ctx)
{
	DIR *directory = fdopendir(fd);
	struct dirent *entry;
	int err;

	if (!directory) {
		close(fd);
		return -errno;
	}
	err = visit_processes(dirfd(directory), visit, ctx);
	if (err == -ENOENT || err == -ENODEV || err == -EOPNOTSUPP)
		err = 0;
	while (!err && depth < DEPTH_MAX && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			err = visit_below(fd, depth + 1, visit, ctx);
	}
	closedir(directory);
	return err;
}

int cgroup_visit(const char *path, int (*visit)(void *ctx, uint32_t pid), void *ctx)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : visit_below(fd, 0, visit, ctx);
}
