/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "probes/probes.h"
#include "stint/meter.h"

static const char help[] = "usage: stint doctor\n"
			   "\n"
			   "Says what this machine allows, what is missing, and how to get it.\n"
			   "Exit status 0: all is there; 1: something is missing.\n";

extern char **environ;

/* One line; returns whether it is a fault. */
static bool tell(bool ok, const char *what, const char *detail)
{
	printf("%-8s %-18s %s\n", ok ? "yes" : "MISSING", what, detail);
	return !ok;
}

static bool check_kernel(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	if (uname(&name) != 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2)
		return tell(false, "kernel", "its release cannot be read");
	return tell(major > 5 || (major == 5 && minor >= 15), "kernel",
		    major > 5 || (major == 5 && minor >= 15) ? name.release
							     : "Linux 5.15 or newer is needed");
}

/* Really loads and attaches them: what is allowed is best found out by doing it. */
static bool check_load(void)
{
	static const struct stint_probes_callbacks none;
	struct stint_probes_options options = {.size = sizeof(options)};
	struct stint_probes *probes = NULL;
	int err = stint_probes_new(&probes, &options, &none, NULL);
	bool fault = tell(!err, "eBPF probes",
			  err ? stint_probes_error(probes) : "they load and attach (tracepoints only)");

	stint_probes_free(probes);
	return fault;
}

static bool check_probes(void)
{
	struct stint_probes_support support;
	bool fault = false;

	if (stint_probes_supported(&support) != 0)
		fault |= tell(false, "eBPF probes", support.why);
	fault |= tell(support.btf, "BTF",
		      support.btf ? "/sys/kernel/btf/vmlinux"
				  : "a kernel with CONFIG_DEBUG_INFO_BTF=y is needed");
	fault |= tell(support.privileges, "privileges",
		      support.privileges ? "enough for eBPF"
					 : "sudo, or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
	if (!support.load)
		return fault;
	fault |= tell(support.tcp_probe, "ACKs",
		      support.tcp_probe ? "the tracepoint tcp:tcp_probe"
					: "this kernel has no tracepoint tcp:tcp_probe");
	return fault | check_load();
}

static bool check_gnuplot(void)
{
	static char name[] = "gnuplot", option[] = "--version";
	static char *const argv[] = {name, option, NULL};
	posix_spawn_file_actions_t actions;
	int status = 0, err;
	bool ok = false;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return tell(false, "gnuplot", "out of memory");
	err = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	if (!err && waitpid(pid, &status, 0) == pid)
		ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	posix_spawn_file_actions_destroy(&actions);
	return tell(ok, "gnuplot",
		    ok ? "draws the plots of `stint report --html`" : "apt-get install gnuplot-nox");
}

static bool check_runtime_dir(void)
{
	char path[512], detail[600];
	struct stat status;
	bool ok;

	if (stint_runtime_dir(path, sizeof(path)) != 0)
		return tell(false, "runtime directory", "its path is too long");
	ok = stat(path, &status) == 0 ? access(path, W_OK) == 0 : errno == ENOENT;
	snprintf(detail, sizeof(detail), "%s%s", path,
		 ok ? ", where programs on libstint put their figures" : " cannot be written: set STINT_DIR");
	return tell(ok, "runtime directory", detail);
}

int cmd_doctor(int argc, char **argv)
{
	bool fault = false;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(help, stdout);
		return 0;
	}
	if (argc > 1) {
		fputs(help, stderr);
		return 2;
	}
	fault |= check_kernel();
	fault |= check_probes();
	fault |= check_runtime_dir();
	fault |= check_gnuplot();
	puts(fault ? "\nWhat is missing is left out of recordings, and they say so." : "\nAll is there.");
	return fault;
}
