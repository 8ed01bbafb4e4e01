/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "probes/checks.h"
#include "stint/meter.h"

static const char help[] = "usage: stint doctor\n"
			   "\n"
			   "Says what this machine allows, what is missing, and how to get it.\n"
			   "What can be tried is tried, and gone again when it ends.\n"
			   "Exit status 0: all is there; 1: something is missing.\n";

extern char **environ;

#define REMEDIES_MAX 16

struct findings {
	char remedies[REMEDIES_MAX][384]; /* each once, in the order of what they are for */
	size_t remedies_len;
	bool less;
	bool missing;
};

static void add_remedy(struct findings *findings, const char *remedy)
{
	for (size_t i = 0; i < findings->remedies_len; i++)
		if (strcmp(findings->remedies[i], remedy) == 0)
			return;
	if (*remedy && findings->remedies_len < REMEDIES_MAX)
		snprintf(findings->remedies[findings->remedies_len++], sizeof(findings->remedies[0]), "%s",
			 remedy);
}

static void take_check(void *ctx, const struct stint_probes_check *check)
{
	static const char *const states[] = {"ok", "less", "MISSING"};
	struct findings *findings = ctx;

	printf("%-8s %-20s %s\n", states[check->state], check->what, check->detail);
	findings->less |= check->state == STINT_PROBES_CHECK_LESS;
	findings->missing |= check->state == STINT_PROBES_CHECK_MISSING;
	add_remedy(findings, check->remedy);
}

static void tell(struct findings *findings, bool ok, const char *what, const char *detail, const char *remedy)
{
	struct stint_probes_check check = {
		.what = what,
		.state = ok ? STINT_PROBES_CHECK_OK : STINT_PROBES_CHECK_LESS,
	};

	snprintf(check.detail, sizeof(check.detail), "%s", detail);
	snprintf(check.remedy, sizeof(check.remedy), "%s", ok ? "" : remedy);
	take_check(findings, &check);
}

static bool gnuplot_runs(void)
{
	static char name[] = "gnuplot", option[] = "--version";
	static char *const argv[] = {name, option, NULL};
	posix_spawn_file_actions_t actions;
	int status = 0, err;
	bool ok = false;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return false;
	err = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	if (!err && waitpid(pid, &status, 0) == pid)
		ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	posix_spawn_file_actions_destroy(&actions);
	return ok;
}

static void check_gnuplot(struct findings *findings)
{
	bool ok = gnuplot_runs();

	tell(findings, ok, "gnuplot", ok ? "plots of stint report --html" : "no plots in stint report --html",
	     "sudo apt-get install gnuplot-nox");
}

/* Programs make it, and not what it is in; one that is there has to be theirs, no link, and nobody else's to write to. */
static bool can_be_used(const char *path)
{
	struct stat status;

	if (mkdir(path, 0700) == 0) {
		(void)rmdir(path); /* a program may have come to use it */
		return true;
	}
	return errno == EEXIST && lstat(path, &status) == 0 && S_ISDIR(status.st_mode) &&
	       status.st_uid == geteuid() && !(status.st_mode & 022) && access(path, W_OK | X_OK) == 0;
}

static void check_runtime_dir(struct findings *findings)
{
	char path[512];

	if (stint_runtime_dir(path, sizeof(path)) != 0) {
		tell(findings, false, "runtime directory", "its path is too long", "set STINT_DIR");
		return;
	}
	tell(findings, can_be_used(path), "runtime directory", path,
	     "the runtime directory cannot be used: set STINT_DIR to one of yours that nobody else may write to");
}

static int end(const struct findings *findings)
{
	if (!findings->less && !findings->missing) {
		puts("\nAll is there.");
		return 0;
	}
	puts("");
	if (findings->missing)
		puts("Without what is MISSING there are no probes.");
	if (findings->less)
		puts("What is 'less' is left out of recordings, which say so.");
	if (findings->remedies_len)
		puts("To have it:");
	for (size_t i = 0; i < findings->remedies_len; i++)
		printf("  %s\n", findings->remedies[i]);
	return 1;
}

int cmd_doctor(int argc, char **argv)
{
	struct findings findings = {.remedies_len = 0};

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(help, stdout);
		return 0;
	}
	if (argc > 1) {
		fputs(help, stderr);
		return 2;
	}
	stint_probes_check(take_check, &findings);
	check_runtime_dir(&findings);
	check_gnuplot(&findings);
	return end(&findings);
}
