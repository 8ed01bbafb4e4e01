/* SPDX-License-Identifier: MIT */
#include "meter_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stint/meter_file.h>

bool meter_sweep_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* The command in field 2 may hold anything, blanks and brackets included. */
uint64_t meter_sweep_start_ticks(uint32_t pid)
{
	char path[32] = "/proc/self/stat", text[1024], *cursor;
	ssize_t length;
	int fd;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	cursor = strrchr(text, ')');
	for (int field = 2; cursor && field < 22; field++)
		cursor = strchr(cursor + 1, ' ');
	return cursor ? strtoull(cursor + 1, NULL, 10) : 0;
}

/* Of doubt, it does. */
static bool runs_here(const struct stint_meter_file_header *header)
{
	uint64_t ticks;

	if (header->pid == 0 || header->pid > INT32_MAX)
		return true;
	if (kill((pid_t)header->pid, 0) < 0 && errno == ESRCH)
		return false;
	ticks = meter_sweep_start_ticks(header->pid);
	return !ticks || !header->process_start_ticks || ticks == header->process_start_ticks;
}

/* Whether it is the file of a meter, by the name that this has, which holds a lock while it is in use. */
static bool is_meter(int fd, const char *name, struct stat *status)
{
	struct stint_meter_file_header header;
	char expected[48];

	if (fstat(fd, status) < 0 || !S_ISREG(status->st_mode) || status->st_uid != geteuid() ||
	    status->st_nlink != 1 || pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return false;
	snprintf(expected, sizeof(expected), "%u" STINT_METER_FILE_SUFFIX, header.pid);
	return header.magic == STINT_METER_MAGIC && header.version == STINT_METER_VERSION &&
	       header.ready == 1 && header.locked == 1 && strcmp(name, expected) == 0 && !runs_here(&header);
}

/*
 * A new process of that pid may put its own file under the name at any moment. So the name is moved away first; if what
 * came along is not what was looked at, it goes back, unless there is another by now.
 */
static void remove_file(int directory, const char *name, const struct stat *status)
{
	struct stat moved;
	char aside[64];

	snprintf(aside, sizeof(aside), ".%s.%d.dead", name, (int)getpid());
	if (renameat(directory, name, directory, aside) < 0)
		return;
	if (fstatat(directory, aside, &moved, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (moved.st_ino != status->st_ino || moved.st_dev != status->st_dev)
		(void)renameat2(directory, aside, directory, name, RENAME_NOREPLACE);
	else
		(void)unlinkat(directory, aside, 0);
}

static void sweep_file(int directory, const char *name)
{
	/* Without O_NONBLOCK, a fifo in the file's place would hold us up. */
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return;
	if (is_meter(fd, name, &status) && meter_sweep_lock(fd))
		remove_file(directory, name, &status);
	close(fd);
}

static bool is_meter_name(const char *name)
{
	size_t length = strlen(name), suffix = strlen(STINT_METER_FILE_SUFFIX);

	return *name != '.' && length > suffix && length < 32 &&
	       strcmp(name + length - suffix, STINT_METER_FILE_SUFFIX) == 0;
}

void meter_sweep(int directory, const char *self)
{
	int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!entries) {
		if (copy >= 0)
			close(copy);
		return;
	}
	for (int seen = 0; seen < METER_SWEEP_LIMIT && (entry = readdir(entries)) != NULL; seen++)
		if (is_meter_name(entry->d_name) && strcmp(entry->d_name, self) != 0)
			sweep_file(directory, entry->d_name);
	closedir(entries);
}
