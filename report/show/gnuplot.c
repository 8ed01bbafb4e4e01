/* SPDX-License-Identifier: MIT */
#include "report/show/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCRIPT "plots.gp"
#define ERRORS "errors"

extern char **environ;

static int write_file(int directory, const char *name, const char *bytes, size_t len)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	while (len > 0 && err == 0) {
		ssize_t done = write(fd, bytes, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			err = -errno;
			break;
		}
		bytes += done;
		len -= (size_t)done;
	}
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

static int read_file(int directory, const char *name, struct buffer *out)
{
	char bytes[16384];
	ssize_t got;
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	while ((got = read(fd, bytes, sizeof(bytes))) > 0)
		buffer_put(out, bytes, (size_t)got);
	close(fd);
	return got < 0 ? -EIO : out->err;
}

static int spawn(const char *path, pid_t *pid)
{
	char *const argv[] = {(char[]){"gnuplot"}, (char[]){"-d"}, (char[]){SCRIPT}, NULL};
	posix_spawn_file_actions_t actions;
	int err = posix_spawn_file_actions_init(&actions);

	if (err)
		return -err;
	err = posix_spawn_file_actions_addchdir_np(&actions, path);
	if (!err)
		err = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_addopen(&actions, 2, ERRORS, O_WRONLY | O_CREAT, 0600);
	if (!err)
		err = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

static int run(const char *path, char *error, size_t error_size)
{
	int status = 0, err;
	pid_t pid;

	err = spawn(path, &pid);
	if (err == -ENOENT) {
		snprintf(error, error_size, "gnuplot is not installed; it is in the package gnuplot-nox");
		return err;
	}
	if (err < 0) {
		snprintf(error, error_size, "gnuplot cannot be started: %s", strerror(-err));
		return err;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	snprintf(error, error_size, "gnuplot failed");
	return -EIO;
}

/* The first line of what gnuplot said that is none of the script's own. */
static void tell_errors(int directory, char *error, size_t error_size)
{
	struct buffer said = {0};
	const char *text;

	if (read_file(directory, ERRORS, &said) == 0 && (text = strstr(buffer_text(&said), "line ")))
		snprintf(error, error_size, "gnuplot failed: %.*s", (int)strcspn(text, "\n"), text);
	buffer_free(&said);
}

static int take_files(int directory, const char *const *names, struct buffer *files, size_t count,
		      char *error, size_t error_size)
{
	for (size_t i = 0; i < count; i++) {
		int err = read_file(directory, names[i], &files[i]);

		if (err < 0) {
			snprintf(error, error_size, "gnuplot drew no %s: %s", names[i], strerror(-err));
			return err;
		}
	}
	return 0;
}

static void remove_directory(int directory, const char *path, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		unlinkat(directory, names[i], 0);
	unlinkat(directory, SCRIPT, 0);
	unlinkat(directory, ERRORS, 0);
	close(directory);
	rmdir(path);
}

int gnuplot_run(const char *script, size_t script_len, const char *const *names, struct buffer *files,
		size_t count, char *error, size_t error_size)
{
	const char *base = getenv("TMPDIR");
	char path[4096];
	int directory, err;

	snprintf(path, sizeof(path), "%s/stint-plots-XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(path) || (directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		err = -errno;
		snprintf(error, error_size, "no temporary directory: %s", strerror(-err));
		return err;
	}
	err = write_file(directory, SCRIPT, script, script_len);
	if (err < 0)
		snprintf(error, error_size, "cannot write in the temporary directory: %s", strerror(-err));
	else
		err = run(path, error, error_size);
	if (err == -EIO)
		tell_errors(directory, error, error_size);
	if (err == 0)
		err = take_files(directory, names, files, count, error, error_size);
	remove_directory(directory, path, names, count);
	return err;
}
