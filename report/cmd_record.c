/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "commands.h"
#include "courtesy.h"
#include "privileges.h"
#include "probes/probes.h"
#include "report/endpoint.h"
#include "report/record/recorder.h"
#include "report/show/buffer.h"
#include "report/show/escape.h"
#include "report/show/units.h"
#include "target.h"

#define PIDS_MAX      1024
#define COMM_BYTES    16 /* the kernel's TASK_COMM_LEN */
#define HANGS_TOLD    20
#define CHILDREN_MAX  256 /* of a process, that are looked at */
#define CHILDREN_TOLD 4

static const char help[] =
	"usage: stint record -p PID [-p PID ...] [OPTION...]\n"
	"       stint record --comm NAME [OPTION...]\n"
	"       stint record --cgroup PATH [OPTION...]\n"
	"       stint record [OPTION...] -- COMMAND [ARGUMENT...]\n"
	"\n"
	"Records what event loops do until Ctrl-C, -d, or the end of all processes.\n"
	"\n"
	"  -p, --pid PID       a process that waits in epoll, poll, select or io_uring; may be given again\n"
	"      --comm NAME     every process of that name, also those that are started later; there need be none yet\n"
	"      --cgroup PATH   every process in that cgroup (version 2) or below, also those that come later: a\n"
	"                      container, a service. A path, or one below the mount of the unified hierarchy\n"
	"      --no-children   not those that these processes fork; else they are recorded once they wait\n"
	"  -d, --duration S    for so many seconds, once the probes are loaded\n"
	"  -o, --output FILE   the recording; else stint-PID.stint, and where not just one PID is given stint.stint\n"
	"      --budget US     an iteration is an overrun beyond so many microseconds (1000)\n"
	"      --trace-socket[=[ADDRESS:]PORT|=fd:N]\n"
	"                      record each ACK, send and buffer level of sockets whose buffer fills up; with a\n"
	"                      PORT (127.0.0.1:80, [::1]:80; 0.0.0.0: any), of those with it at either end, from the\n"
	"                      handshake, or the first send of one that was there before, to the close; with fd:N, of\n"
	"                      descriptor N of each process, from its first send on\n"
	"      --function [MODULE:]NAME\n"
	"                      time each call of a function of the program, or of a library that it has loaded, by\n"
	"                      uprobes; up to 8. Each call costs microseconds: what they come to is reported. Not for\n"
	"                      functions that exceptions pass through or that change stacks: they end the program\n"
	"      --no-probes     do without eBPF: only what processes tell of themselves\n"
	"  -h, --help\n"
	"\n"
	"A COMMAND still running at the end gets SIGTERM. `stint report FILE` shows the recording.\n";

struct request {
	uint32_t pids[PIDS_MAX];
	size_t pids_len;
	const char *comm;
	char comm_kept[COMM_BYTES]; /* as much of it as the kernel keeps of a name */
	const char *cgroup;
	char cgroup_path[4096];
	const char *functions[STINT_PROBES_FUNCTIONS];
	char **command; /* NULL: none */
	uint64_t duration_ns;
	char path[4096];
	struct recorder_options options;
};

static volatile bool stop_wanted;

static void on_signal(int signal)
{
	(void)signal;
	stop_wanted = true;
}

static int complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(int status, const char *format, ...)
{
	struct buffer line = {0};
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	escape_terminal(&line, text); /* names of programs under watch may be in it */
	fprintf(stderr, "stint record: %s\n", line.data && !line.err ? line.data : "out of memory");
	buffer_free(&line);
	return status;
}

/* ---- arguments ---- */

static bool parse_number(double *ret, const char *text, double min, double max)
{
	char *end;

	errno = 0;
	*ret = strtod(text, &end);
	return !errno && end != text && !*end && *ret >= min && *ret <= max;
}

static int add_pid(struct request *request, const char *text)
{
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno || end == text || *end || pid <= 0 || pid > INT32_MAX)
		return complain(2, "'%s' is not a process id", text);
	if (request->pids_len == PIDS_MAX)
		return complain(2, "more than %d processes", PIDS_MAX);
	request->pids[request->pids_len++] = (uint32_t)pid;
	return 0;
}

/* An ADDRESS:PORT, a PORT, or fd:N. */
static int choose_socket(struct request *request, const char *text)
{
	struct endpoint endpoint;
	double fd;

	if (strncmp(text, "fd:", 3) == 0) {
		if (!parse_number(&fd, text + 3, 0, INT32_MAX) || fd != (int32_t)fd)
			return complain(2, "'%s' is not a descriptor (fd:7)", text);
		request->options.trace_by_fd = true;
		request->options.trace_fd = (int32_t)fd;
		return 0;
	}
	if (!endpoint_parse(&endpoint, text))
		return complain(
			2,
			"'%s' is neither a port, nor an address and a port (127.0.0.1:80, [::1]:80), nor "
			"a descriptor (fd:7)",
			text);
	request->options.trace_port = endpoint.port;
	memcpy(request->options.trace_address, endpoint.address, sizeof(endpoint.address));
	return 0;
}

static int add_function(struct request *request, const char *name)
{
	if (!*name)
		return complain(2, "--function wants the name of a function");
	if (request->options.functions_len == STINT_PROBES_FUNCTIONS)
		return complain(2, "more than %d functions", STINT_PROBES_FUNCTIONS);
	request->functions[request->options.functions_len++] = name;
	request->options.functions = request->functions;
	return 0;
}

static int parse_option(struct request *request, int option)
{
	double number;

	switch (option) {
	case 'p':
		return add_pid(request, optarg);
	case 'c':
		if (!*optarg)
			return complain(2, "--comm wants the name of a process");
		snprintf(request->comm_kept, sizeof(request->comm_kept), "%s", optarg);
		request->comm = request->comm_kept;
		return 0;
	case 'g':
		request->cgroup = optarg;
		return 0;
	case 'f':
		request->options.follow_children = false;
		return 0;
	case 'd':
		if (!parse_number(&number, optarg, 0.001, 1e9))
			return complain(2, "'%s' is not a number of seconds from 0.001 to 1e9", optarg);
		request->duration_ns = (uint64_t)(number * 1e9);
		return 0;
	case 'b':
		if (!parse_number(&number, optarg, 1, 1e9))
			return complain(2, "'%s' is not a number of microseconds from 1 to 1e9", optarg);
		request->options.budget_ns = (uint64_t)(number * 1e3);
		return 0;
	case 'o':
		if (snprintf(request->path, sizeof(request->path), "%s", optarg) >=
		    (int)sizeof(request->path))
			return complain(2, "the output's path is too long");
		return 0;
	case 't':
		request->options.trace_sockets = true;
		return optarg ? choose_socket(request, optarg) : 0;
	case 'u':
		return add_function(request, optarg);
	case 'n':
		request->options.no_probes = true;
		return 0;
	default: /* getopt has said what is wrong */
		return complain(2, "--help lists the options");
	}
}

/* Exactly one kind of them. */
static int check_targets(const struct request *request)
{
	int kinds = (request->pids_len > 0) + (request->comm != NULL) + (request->cgroup != NULL) +
		    (request->command != NULL);

	if (kinds == 1)
		return 0;
	return complain(2, "%s: one of -p PID, --comm NAME, --cgroup PATH, or -- COMMAND (see --help)",
			kinds ? "what to record is said in more than one way" : "what to record");
}

/* Returns an exit status, or -1 to go on. */
static int parse(struct request *request, int argc, char **argv)
{
	static const struct option options[] = {
		{"pid", required_argument, NULL, 'p'},      {"comm", required_argument, NULL, 'c'},
		{"cgroup", required_argument, NULL, 'g'},   {"no-children", no_argument, NULL, 'f'},
		{"duration", required_argument, NULL, 'd'}, {"output", required_argument, NULL, 'o'},
		{"budget", required_argument, NULL, 'b'},   {"trace-socket", optional_argument, NULL, 't'},
		{"function", required_argument, NULL, 'u'}, {"no-probes", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
	};
	static char name[] = "stint record";
	const char *value = NULL; /* of the last option */
	int option, status;

	argv[0] = name; /* as getopt's messages have it */
	while ((option = getopt_long(argc, argv, "+p:d:o:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			return 0;
		}
		value = optarg;
		status = parse_option(request, option);
		if (status)
			return status;
	}
	/* Else a word too many would be started, and what follows it be no options. */
	if (optind < argc && (argv[optind - 1] == value || strcmp(argv[optind - 1], "--") != 0))
		return complain(2,
				"'%s' was not expected: each process has a -p of its own, a port follows "
				"--trace-socket=, and a command to start follows --",
				argv[optind]);
	if (optind < argc)
		request->command = argv + optind;
	status = check_targets(request);
	if (status)
		return status;
	if (request->options.functions_len && request->options.no_probes)
		return complain(2, "functions are timed by the probes: --function without --no-probes");
	return -1;
}

/* ---- targets ---- */

static int refuse_target(int err, uint32_t pid)
{
	bool denied = err == -EACCES || err == -EPERM;
	char command[64];

	if (err == -ESRCH)
		return complain(1, "there is no process %" PRIu32, pid);
	target_command(command, sizeof(command), pid);
	for (char *at = command; *at; at++)
		if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f)
			*at = '?';
	return complain(1, "process %" PRIu32 " (%s) may not be inspected, and is not recorded: %s%s%s", pid,
			command, strerror(-err), denied ? ": " : "",
			denied ? stint_probes_inspect_needs() : "");
}

static void refuse_followed(uint32_t pid, int err)
{
	refuse_target(err, pid);
}

static int find_by_name(struct request *request)
{
	uint32_t *found = NULL;
	size_t found_len = 0;
	int err = target_find(&found, &found_len, request->comm);

	if (err == -ESRCH && !request->options.no_probes) {
		request->options.follow_name = request->comm;
		return complain(0, "there is no process named '%s' yet: one that is started will be recorded",
				request->comm);
	}
	if (err)
		return complain(1, "there is no process named '%s'", request->comm);
	for (size_t i = 0; i < found_len && request->pids_len < PIDS_MAX; i++) {
		int check = stint_probes_may_inspect(found[i]);

		if (!check)
			request->pids[request->pids_len++] = found[i];
		else if (check != -ESRCH)
			err = refuse_target(check, found[i]);
	}
	free(found);
	request->options.follow_name = request->comm;
	return request->pids_len ? 0 : err;
}

static int find_cgroup(struct request *request)
{
	int err = cgroup_find(request->cgroup_path, sizeof(request->cgroup_path),
			      &request->options.follow_cgroup, request->cgroup);

	if (err == -ENOTSUP)
		return complain(1, "'%s' is not a cgroup of the unified hierarchy (version 2)",
				request->cgroup);
	return err ? complain(1, "cgroup '%s': %s", request->cgroup, strerror(-err)) : 0;
}

/* By pid, each must be one that may be inspected; by name, those that may. */
static int find_targets(struct request *request)
{
	for (size_t i = 0; i < request->pids_len; i++) {
		int err = stint_probes_may_inspect(request->pids[i]);

		if (err)
			return refuse_target(err, request->pids[i]);
	}
	if (request->comm)
		return find_by_name(request);
	return request->cgroup ? find_cgroup(request) : 0;
}

static int follow(void *ctx, uint32_t pid)
{
	(void)recorder_follow(ctx, pid); /* one that is gone by now is none */
	return 0;
}

/* Who was there before the probes were: those that came later, they see themselves. */
static int follow_present(struct recorder *recorder, const struct request *request)
{
	uint32_t *found = NULL;
	size_t found_len = 0;
	int err;

	if (request->cgroup && recorder_probes_missing(recorder))
		return complain(1, "a cgroup is followed by the probes only, and there are none: %s",
				recorder_probes_missing(recorder));
	if (request->cgroup) {
		err = cgroup_visit(request->cgroup_path, follow, recorder);
		return err ? complain(1, "cgroup '%s': %s", request->cgroup_path, strerror(-err)) : 0;
	}
	if (!request->comm || target_find(&found, &found_len, request->comm) != 0)
		return 0;
	for (size_t i = 0; i < found_len; i++)
		follow(recorder, found[i]);
	free(found);
	return 0;
}

/* Functions that no process has; a program to come may have them yet. */
static int tell_missing_functions(const struct recorder *recorder, const struct request *request)
{
	int status = 0;

	for (uint32_t i = 0; i < request->options.functions_len; i++) {
		const char *why = recorder_function_missing(recorder, i);

		if (why)
			status = complain(1, "function %s: %s", request->functions[i], why);
	}
	return status;
}

static void warn_of_function(const char *name, const char *why)
{
	complain(0, "function %s: %s (so far)", name, why);
}

/* By their names, as the command line is in the process's own memory, which may be locked. */
static void tell_hang(const struct stint_probes_hang *hang)
{
	static const char *const states[] = {
		[STINT_PROBES_HANG_COMPUTING] = "computing",
		[STINT_PROBES_HANG_RUNNABLE] = "waiting for a CPU",
		[STINT_PROBES_HANG_BLOCKED] = "blocked",
		[STINT_PROBES_HANG_STOPPED] = "stopped",
	};
	static uint32_t told;
	char name[32], thread[32] = "", on[256] = "";

	if (told++ >= HANGS_TOLD)
		return;
	target_name(name, sizeof(name), hang->pid);
	if (hang->tid != hang->pid)
		snprintf(thread, sizeof(thread), ", thread %" PRIu32, hang->tid);
	if (hang->fd >= 0)
		snprintf(on, sizeof(on), " on ~%s (fd %" PRId32 ")", *hang->on ? hang->on : "?", hang->fd);
	complain(0, "%s (pid %" PRIu32 "%s) has not come back to its loop for %s%.1f s: %s%s%s%s%s", name,
		 hang->pid, thread, hang->began_before ? "at least " : "", (double)hang->duration_ns / 1e9,
		 states[hang->state], *hang->in || *hang->handler ? " in " : "", *hang->handler ? "~" : "",
		 *hang->handler ? hang->handler : hang->in, on);
	if (told == HANGS_TOLD)
		complain(0, "of others like that only the report tells");
}

static void tell_lingering(uint32_t uprobes)
{
	complain(0, "waiting for the kernel to take away %" PRIu32 " uprobe%s", uprobes,
		 uprobes == 1 ? "" : "s");
}

static int drop_privileges(const struct request *request)
{
	int err =
		privileges_drop(request->path, request->command != NULL, request->options.functions_len > 0);

	return err ? complain(1, "privileges cannot be given up: %s", strerror(-err)) : 0;
}

/* Each function that is timed takes four in each process. A COMMAND must have been forked before: it would inherit this. */
static void take_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/*
 * Of a process that nothing can be known of, the recording holds the name and why. One that was found by its name may have
 * ended by now, as it takes a while to load the probes. *ret: whether anything can be known of it.
 */
static int add_target(struct recorder *recorder, const struct request *request, uint32_t pid, bool *ret)
{
	char command[200];
	int err;

	target_command(command, sizeof(command), pid);
	err = recorder_add(recorder, pid, command);
	*ret = !err && recorder_sees(recorder, pid);
	if (err == -ESRCH && request->comm)
		return 0;
	if (err)
		return complain(1, "%s", recorder_error(recorder));
	if (!*ret)
		complain(0, "process %" PRIu32 " has no meter of libstint: of it, nothing is recorded", pid);
	return 0;
}

static bool is_asked_for(const struct request *request, uint32_t pid)
{
	for (size_t i = 0; i < request->pids_len; i++)
		if (request->pids[i] == pid)
			return true;
	return false;
}

/*
 * A master, as of php-fpm, may have a loop of its own that is never late, and be taken for the whole service: workers that
 * it has are said not to be there.
 */
static void tell_children_of(const struct request *request, uint32_t pid)
{
	uint32_t children[CHILDREN_MAX];
	size_t len = target_children(children, CHILDREN_MAX, pid), others = 0, told = 0;
	char name[32], child_name[32], options[CHILDREN_TOLD * 16] = "";

	target_name(name, sizeof(name), pid);
	for (size_t i = 0; i < len; i++) {
		target_name(child_name, sizeof(child_name), children[i]);
		if (strcmp(child_name, name) != 0 || is_asked_for(request, children[i]))
			continue;
		if (others++ < CHILDREN_TOLD)
			told += (size_t)snprintf(options + told, sizeof(options) - told, " -p %" PRIu32,
						 children[i]);
	}
	if (others)
		complain(0,
			 "%s%zu %s of process %" PRIu32
			 " (%s) had begun before, and %s not recorded; try%s%s or --comm",
			 len == CHILDREN_MAX ? "at least " : "", others, others == 1 ? "child" : "children",
			 pid, name, others == 1 ? "is" : "are", options,
			 others > CHILDREN_TOLD ? " ..." : "");
}

static void tell_children(const struct request *request)
{
	for (size_t i = 0; i < request->pids_len; i++)
		tell_children_of(request, request->pids[i]);
}

static int add_targets(struct recorder *recorder, const struct request *request)
{
	bool may_come = request->cgroup || (request->comm && !recorder_probes_missing(recorder));
	size_t seen = 0;
	int status = 0;

	take_descriptors();
	for (size_t i = 0; !status && i < request->pids_len; i++) {
		bool sees;

		status = add_target(recorder, request, request->pids[i], &sees);
		seen += sees;
	}
	if (!status && !request->cgroup && !request->comm)
		tell_children(request);
	if (!status && !seen && !may_come)
		status = complain(1, "nothing can be recorded: %s", recorder_probes_missing(recorder));
	if (!status)
		status = follow_present(recorder, request);
	if (!status && seen)
		status = tell_missing_functions(recorder, request);
	return status ? status : drop_privileges(request);
}

static int start_command(struct recorder *recorder, const struct request *request, struct target_child *child)
{
	char name[200] = "";
	int status, err;

	for (char **argument = request->command; *argument; argument++) {
		size_t len = strlen(name);

		snprintf(name + len, sizeof(name) - len, "%s%s", len ? " " : "", *argument);
	}
	err = target_child_new(child, request->command);
	if (err)
		return complain(1, "a process cannot be started: %s", strerror(-err));
	take_descriptors();
	if (recorder_add(recorder, (uint32_t)child->pid, name) != 0)
		return complain(1, "%s", recorder_error(recorder));
	status = drop_privileges(request);
	if (status)
		return status;
	err = target_child_start(child);
	return err ? complain(1, "%s: %s", request->command[0], strerror(-err)) : 0;
}

/* ---- the run ---- */

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* A file that says nothing is not left behind. */
static void discard(struct recorder *recorder, const struct request *request)
{
	struct recording_sums sums;

	recorder_sums(recorder, &sums);
	if (!sums.loops && !sums.overruns)
		unlink(request->path);
}

/* 0: it has none that is not recorded too. */
static uint32_t other_child(const struct request *request, uint32_t pid)
{
	uint32_t children[CHILDREN_MAX];
	size_t len = target_children(children, CHILDREN_MAX, pid);

	for (size_t i = 0; i < len; i++)
		if (!is_asked_for(request, children[i]))
			return children[i];
	return 0;
}

/* It may be the master, or the shell, of those that do the work. */
static int tell_none(const struct recorder *recorder, const struct request *request)
{
	static const char none[] = "no event loop was seen";
	uint64_t missed = recorder_meters_missed(recorder);
	char comm[32];

	if (missed)
		return complain(1, "%s: %" PRIu64 " meter%s of libstint were gone before they were looked at",
				none, missed, missed == 1 ? "" : "s");
	if (recorder_probes_missing(recorder))
		return complain(1, "%s: no meter of libstint, and no probes: %s", none,
				recorder_probes_missing(recorder));
	for (size_t i = 0; i < request->pids_len; i++) {
		uint32_t child = other_child(request, request->pids[i]);

		if (!child)
			continue;
		target_name(comm, sizeof(comm), child);
		return complain(1,
				"%s: nothing came back to a wait; of the children of %" PRIu32
				" only later ones are recorded: try -p %" PRIu32 " (%s)",
				none, request->pids[i], child, comm);
	}
	return complain(1, "%s: nothing came back to a wait in epoll, poll, select or io_uring", none);
}

/* What is on standard output is the command's. */
static int tell_result(const struct recorder *recorder, const struct request *request)
{
	struct recording_sums sums;

	recorder_sums(recorder, &sums);
	if (!sums.loops && !sums.overruns)
		return tell_none(recorder, request);
	fprintf(stderr, "recorded %.1f s: %" PRIu64 " loop%s", (double)recorder_duration_ns(recorder) / 1e9,
		sums.loops, sums.loops == 1 ? "" : "s");
	if (sums.loops_twice)
		fprintf(stderr, " (%s%s from both sides, by %s own meter and by the kernel)",
			sums.loops_twice < sums.loops ? units_count(sums.loops_twice).text : "",
			sums.loops_twice < sums.loops ? " of them seen" : "seen",
			sums.loops_twice == 1 ? "its" : "their");
	fprintf(stderr, ", %" PRIu64 " overrun%s, %" PRIu64 " write stall%s, %" PRIu64 " lost", sums.overruns,
		sums.overruns == 1 ? "" : "s", sums.stalls, sums.stalls == 1 ? "" : "s", sums.lost);
	if (sums.stacks_cut)
		fprintf(stderr, ", %" PRIu64 " stack%s incomplete", sums.stacks_cut,
			sums.stacks_cut == 1 ? "" : "s");
	fprintf(stderr, "\n");
	fprintf(stderr, "stint report %s\n", request->path);
	return 0;
}

/* A program that failed may be all there is to the recording. */
static void tell_end(struct target_child *child)
{
	int status;

	/* A Ctrl-C in a terminal is one for both. */
	if (stop_wanted || !target_child_has_ended(child, &status))
		return;
	if (WIFSIGNALED(status))
		complain(0, "the command was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		complain(0, "the command ended with exit status %d", WEXITSTATUS(status));
}

static int run(struct recorder *recorder, const struct request *request, struct target_child *child)
{
	int status;

	if (recorder_probes_missing(recorder) && !request->options.no_probes)
		fprintf(stderr,
			"stint record: no probes: %s\n"
			"stint record: only what processes with libstint tell of themselves is recorded\n",
			recorder_probes_missing(recorder));
	if (request->options.functions_len && recorder_probes_missing(recorder))
		return complain(1, "functions are timed by the probes only, and there are none: %s",
				recorder_probes_missing(recorder));
	status = request->command ? start_command(recorder, request, child) : add_targets(recorder, request);
	if (status)
		return status;
	courtesy_give_way();
	fprintf(stderr, "recording into %s; Ctrl-C ends it\n", request->path);
	if (recorder_run(recorder, request->duration_ns, &stop_wanted) != 0)
		return complain(1, "%s", recorder_error(recorder));
	if (request->command)
		tell_end(child);
	status = tell_result(recorder, request);
	return status ? status : tell_missing_functions(recorder, request);
}

static int count_loops(void *ctx, uint32_t pid)
{
	*(uint32_t *)ctx += stint_probes_expected_loops(pid);
	return 0;
}

/* What is yet to start has as many as there are processors, as servers of several do. */
static uint32_t expect_loops(const struct request *request)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t loops = 0;

	for (size_t i = 0; i < request->pids_len; i++)
		count_loops(&loops, request->pids[i]);
	if (request->cgroup)
		(void)cgroup_visit(request->cgroup_path, count_loops, &loops);
	if (request->pids_len == 0 && processors > 0 && loops < (uint32_t)processors)
		loops = (uint32_t)processors;
	return loops;
}

static void set_default_path(struct request *request)
{
	if (*request->path)
		return;
	if (request->pids_len == 1)
		snprintf(request->path, sizeof(request->path), "stint-%" PRIu32 ".stint", request->pids[0]);
	else
		snprintf(request->path, sizeof(request->path), "stint.stint");
}

int cmd_record(int argc, char **argv)
{
	static struct request request = {.options = {
						 .budget_ns = 1000000,
						 .follow_children = true,
						 .command_of = target_command,
						 .refused = refuse_followed,
						 .hangs = tell_hang,
						 .lingers = tell_lingering,
						 .function_missing = warn_of_function,
					 }};
	struct target_child child = {.go = -1, .failed = -1};
	struct recorder *recorder = NULL;
	int status = parse(&request, argc, argv);

	if (status >= 0)
		return status;
	if (getuid() != geteuid())
		return complain(
			1,
			"it is not to be run set-user-ID: give the program capabilities instead (stint doctor)");
	status = find_targets(&request);
	if (status)
		return status;
	set_default_path(&request);
	request.options.path = request.path;
	request.options.loops_expected = request.options.no_probes ? 0 : expect_loops(&request);
	catch_signals();
	if (!request.options.no_probes && isatty(STDERR_FILENO))
		fprintf(stderr, "loading the probes: for a second or two nothing is recorded yet\n");
	if (recorder_new(&recorder, &request.options) != 0) {
		status = complain(1, "%s", recorder_error(recorder));
		goto out;
	}
	status = run(recorder, &request, &child);
	if (status)
		discard(recorder, &request);
out:
	target_child_free(&child);
	recorder_free(recorder);
	return status;
}
