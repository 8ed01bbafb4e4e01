/* SPDX-License-Identifier: MIT */
#include "report/record/recorder.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/version.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "report/endpoint.h"
#include "report/record/clock_ns.h"
#include "report/record/meter_source.h"
#include "report/record/namespaces.h"
#include "report/record/probe_source.h"
#include "report/record/session.h"

#define SECOND_NS     UINT64_C(1000000000)
#define POLL_MS       100
#define EARLY_POLL_MS 10 /* in the first second, of a recording or of a process in it */
#define PROCESSES_MAX 1024
#define COMMAND_BYTES 200
#define TITLE_NS      (10 * SECOND_NS) /* by then, a process that came later is what it calls itself */

struct process {
	uint32_t pid;
	int64_t id;
	int pidfd;
	bool exited;
	uint64_t exited_ns; /* when that was seen */
	bool is_last;       /* it had exited before the present round */
	struct meter_source *meter;
	bool meter_ended;         /* since the last round: it had one in this one */
	uint32_t meters;          /* that it has had, with this one */
	int meter_err;            /* -ENOENT: look again, it may make one yet */
	uint64_t meter_looked_ns; /* when that was done last */
	uint64_t added_ns;
	bool appeared;
};

struct recorder {
	struct session session;
	struct recorder_options options;
	struct probe_source *probes;
	struct process processes[PROCESSES_MAX];
	uint32_t processes_len;
	uint64_t meter_lost; /* these five: of sources that are closed */
	uint64_t handlers_refused;
	uint64_t loops_refused;
	uint64_t stacks_lost;
	uint64_t stacks_skipped;
	uint64_t meter_broken;
	uint64_t processes_lost;
	bool functions_told; /* that some are missing */
	uint64_t end_ns;
	uint64_t start_cpu_ns; /* of this process, as the recording began */
	char probes_missing[512];
	char error[512];
};

static int fail(struct recorder *recorder, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct recorder *recorder, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(recorder->error, sizeof(recorder->error), format, args);
	va_end(args);
	return err;
}

const char *recorder_error(const struct recorder *recorder)
{
	return recorder ? recorder->error : "out of memory";
}

const char *recorder_probes_missing(const struct recorder *recorder)
{
	return recorder->probes ? NULL : recorder->probes_missing;
}

/* ---- beginning ---- */

/* Which sockets are traced, as a user asks for them. */
static void write_traced(struct recording *recording, const struct recorder_options *options)
{
	struct endpoint endpoint = {.port = options->trace_port};
	char text[ENDPOINT_TEXT] = "stalled";

	if (!options->trace_sockets)
		return;
	memcpy(endpoint.address, options->trace_address, sizeof(endpoint.address));
	if (options->trace_by_fd)
		snprintf(text, sizeof(text), "fd:%" PRId32, options->trace_fd);
	else if (options->trace_port)
		endpoint_print(text, &endpoint);
	recording_meta_text(recording, "trace_socket", text);
}

static void write_facts(struct recorder *recorder, const struct recorder_options *options)
{
	struct recording *recording = recorder->session.recording;
	struct utsname name;

	recording_meta_number(recording, "schema", RECORDING_SCHEMA_VERSION);
	recording_meta_text(recording, "stint_version", stint_version());
	if (uname(&name) == 0) {
		recording_meta_text(recording, "kernel", name.release);
		recording_meta_text(recording, "host", name.nodename);
	}
	recording_meta_number(recording, "recorder_pid", getpid());
	recording_meta_number(recording, "start_ns", (int64_t)recorder->session.start_ns);
	recording_meta_number(recording, "start_realtime_ns", (int64_t)clock_ns(CLOCK_REALTIME));
	recording_meta_number(recording, "budget_ns", (int64_t)options->budget_ns);
	/* sk_stream_is_writeable() in the kernel's include/net/sock.h; Linux 5.15 to 6.18 have it so. */
	recording_meta_text(
		recording, "epollout_rule",
		"EPOLLOUT is raised once sk_wmem_queued <= 2/3 sk_sndbuf (free space at least half of what "
		"is queued) and, where set, unsent bytes < TCP_NOTSENT_LOWAT");
	write_traced(recording, options);
	recording_meta_text(recording, "probes", recorder->probes ? "yes" : recorder->probes_missing);
}

static bool all_exited(struct recorder *recorder);
static int64_t take_appeared(void *ctx, uint32_t pid, uint64_t time_ns);
static void take_refused(void *ctx, uint32_t pid, int err);
static void take_hang(void *ctx, const struct stint_probes_hang *hang);
static void take_lingers(void *ctx, uint32_t uprobes);

static int open_probes(struct recorder *recorder, const struct recorder_options *options)
{
	const struct probe_source_follow follow = {options->follow_children, options->follow_name,
						   options->follow_cgroup};
	int err;

	if (options->no_probes) {
		snprintf(recorder->probes_missing, sizeof(recorder->probes_missing),
			 "left out as --no-probes asks");
		return 0;
	}
	recorder->session.appeared = take_appeared;
	recorder->session.refused = take_refused;
	recorder->session.hangs = take_hang;
	recorder->session.lingers = take_lingers;
	recorder->session.ctx = recorder;
	err = probe_source_new(&recorder->probes, &recorder->session, options->trace_sockets, &follow,
			       recorder->probes_missing, sizeof(recorder->probes_missing));
	return err == -ENOMEM ? fail(recorder, err, "out of memory") : 0;
}

static int open_session(struct recorder *recorder, const struct recorder_options *options)
{
	struct session *session = &recorder->session;
	int err;

	session->budget_ns = options->budget_ns;
	session->trace_port = options->trace_port;
	session->trace_by_fd = options->trace_by_fd;
	session->trace_fd = options->trace_fd;
	memcpy(session->trace_address, options->trace_address, sizeof(session->trace_address));
	session->functions = options->functions;
	session->functions_len = options->functions_len;
	session->loops_expected = options->loops_expected;
	err = recording_new(&session->recording, options->path);
	if (err)
		return fail(recorder, err, "%s: %s", options->path, recording_error(session->recording));
	err = roster_new(&session->roster, session->recording);
	if (!err)
		err = series_new(&session->series, session->recording);
	if (!err)
		err = join_new(&session->join, session->recording, session->roster, session->budget_ns);
	if (!err && meter_births_new(&session->births) == -ENOMEM)
		err = -ENOMEM;
	return err ? fail(recorder, err, "out of memory") : 0;
}

int recorder_new(struct recorder **ret, const struct recorder_options *options)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));
	int err;

	if (!recorder)
		return -ENOMEM;
	*ret = recorder;
	recorder->options = *options;
	err = open_session(recorder, options);
	if (!err)
		err = open_probes(recorder, options);
	if (err)
		return err;
	/* Only now: to load the probes takes a while, in which nothing is recorded. */
	recorder->session.start_ns = clock_ns(CLOCK_MONOTONIC);
	recorder->start_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	write_facts(recorder, options);
	err = recording_commit(recorder->session.recording);
	return err ? fail(recorder, err, "%s: %s", options->path,
			  recording_error(recorder->session.recording))
		   : 0;
}

/* ---- processes ---- */

static uint64_t second_of(const struct recorder *recorder, uint64_t time_ns)
{
	return (time_ns - recorder->session.start_ns) / SECOND_NS;
}

/* What the meter counted of its own losses outlives it. */
static void close_meter(struct recorder *recorder, struct process *process)
{
	if (!process->meter)
		return;
	recorder->meter_lost += meter_source_lost(process->meter);
	recorder->handlers_refused += meter_source_handlers_refused(process->meter);
	recorder->loops_refused += meter_source_loops_refused(process->meter);
	recorder->stacks_lost += meter_source_stacks_lost(process->meter);
	recorder->stacks_skipped += meter_source_stacks_skipped(process->meter);
	process->meter = meter_source_free(process->meter);
}

/*
 * The last of a meter that its process has given up: nobody writes to it any more. A dispatch that another program was
 * executed in has not ended, and never will: until then it kept the loop busy, and is no overrun.
 */
static int end_meter(struct recorder *recorder, struct process *process, uint64_t end_ns)
{
	int err = meter_source_read(process->meter, end_ns, second_of(recorder, clock_ns(CLOCK_MONOTONIC)));

	if (err == -EPROTO)
		recorder->meter_broken++;
	close_meter(recorder, process);
	process->meter_ended = true;
	return err == -EPROTO ? 0 : err;
}

/*
 * The meter's file may come later than the process: -ENOENT is asked again. So it is where the meter is over: the process
 * has freed its last loop, or has executed a program, and may make another. Of one that was left, the last is what was so
 * at the look before, or as the next was made.
 */
static void open_meter(struct recorder *recorder, struct process *process)
{
	uint64_t end_ns = process->meter_looked_ns;
	bool is_left = process->meter && meter_source_is_left(process->meter);
	struct meter_source *source;
	int err;

	process->meter_looked_ns = clock_ns(CLOCK_MONOTONIC);
	if (process->meter ? !is_left && !meter_source_is_over(process->meter)
			   : process->meter_err && process->meter_err != -ENOENT)
		return;
	err = meter_source_new(&source, &recorder->session, process->id, process->pid, process->meters);
	if (!err)
		end_ns = meter_source_created_ns(source);
	if (!process->meter)
		process->meter_err = err;
	else if (!err || is_left)
		process->meter_err = end_meter(recorder, process, end_ns);
	if (err)
		return;
	process->meter = source;
	process->meters++;
	recording_meta_text(recorder->session.recording, "clock", meter_source_clock(source));
}

/* A program may be over sooner than POLL_MS. */
static int look_ms(uint64_t age_ns)
{
	return age_ns < SECOND_NS ? EARLY_POLL_MS : POLL_MS;
}

/* Not at each event there is: each look is at files of /proc, for each process that has no meter. */
static void look_for_meter(struct recorder *recorder, struct process *process, uint64_t now_ns)
{
	if (now_ns - process->meter_looked_ns >= (uint64_t)look_ms(now_ns - process->added_ns) * 1000000)
		open_meter(recorder, process);
}

/* What of the world a process in a container sees is not what this one does: its own number there, its addresses. */
static void write_namespaces(struct recorder *recorder, const struct process *process)
{
	uint32_t pid_inside = namespaces_pid(process->pid);
	uint64_t netns = namespaces_net(process->pid);

	if ((pid_inside && pid_inside != process->pid) ||
	    (netns && netns != namespaces_net((uint32_t)getpid())))
		recording_process_inside(recorder->session.recording, process->id, pid_inside,
					 netns != namespaces_net((uint32_t)getpid()) ? netns : 0);
}

/* Makes the row of a process; it is watched by whoever calls. `appeared_ns` 0: it was there from the start. */
static int add_process(struct recorder *recorder, uint32_t pid, const char *command, uint64_t appeared_ns,
		       struct process **ret)
{
	struct process *process;

	if (recorder->processes_len == PROCESSES_MAX)
		return fail(recorder, -ENOSPC, "more than %d processes are not recorded at once",
			    PROCESSES_MAX);
	process = &recorder->processes[recorder->processes_len];
	*process = (struct process){.pid = pid, .added_ns = clock_ns(CLOCK_MONOTONIC)};
	process->pidfd = pidfd_open((pid_t)pid, 0);
	if (process->pidfd < 0)
		return fail(recorder, -errno, "process %" PRIu32 ": %s", pid, strerror(errno));
	process->id = recording_process(recorder->session.recording, pid, command);
	process->appeared = appeared_ns != 0;
	if (appeared_ns)
		recording_process_appeared(recorder->session.recording, process->id, appeared_ns);
	write_namespaces(recorder, process);
	recorder->processes_len++;
	open_meter(recorder, process);
	*ret = process;
	return 0;
}

static const struct process *find_running(const struct recorder *recorder, uint32_t pid)
{
	for (uint32_t i = 0; i < recorder->processes_len; i++)
		if (recorder->processes[i].pid == pid && !recorder->processes[i].exited)
			return &recorder->processes[i];
	return NULL;
}

int recorder_add(struct recorder *recorder, uint32_t pid, const char *command)
{
	struct process *process;
	int err;

	if (find_running(recorder, pid))
		return 0;
	err = add_process(recorder, pid, command, 0, &process);
	if (err)
		return err;
	err = recorder->probes ? probe_source_watch(recorder->probes, pid, process->id) : 0;
	return err ? fail(recorder, err, "%s", probe_source_error(recorder->probes)) : 0;
}

int recorder_follow(struct recorder *recorder, uint32_t pid)
{
	int err = recorder->probes ? probe_source_add_followed(recorder->probes, pid) : 0;

	return err ? fail(recorder, err, "process %" PRIu32 ": %s", pid, strerror(-err)) : 0;
}

/* One that cannot be recorded is not the end of the rest: it is counted among what was lost. */
static int64_t take_appeared(void *ctx, uint32_t pid, uint64_t time_ns)
{
	struct recorder *recorder = ctx;
	struct process *process;
	char command[COMMAND_BYTES] = "?";

	all_exited(recorder); /* its number may have been that of another */
	if (recorder->options.command_of)
		recorder->options.command_of(command, sizeof(command), pid);
	if (add_process(recorder, pid, command, time_ns, &process) != 0) {
		recorder->processes_lost++;
		return 0;
	}
	return process->id;
}

static void take_refused(void *ctx, uint32_t pid, int err)
{
	struct recorder *recorder = ctx;

	recorder->processes_lost++;
	if (recorder->options.refused)
		recorder->options.refused(pid, err);
}

static void take_hang(void *ctx, const struct stint_probes_hang *hang)
{
	struct recorder *recorder = ctx;

	if (recorder->options.hangs)
		recorder->options.hangs(hang);
}

static void take_lingers(void *ctx, uint32_t uprobes)
{
	struct recorder *recorder = ctx;

	if (recorder->options.lingers)
		recorder->options.lingers(uprobes);
}

const char *recorder_function_missing(const struct recorder *recorder, uint32_t number)
{
	return recorder->probes ? probe_source_function_missing(recorder->probes, number)
				: recorder->probes_missing;
}

bool recorder_sees(const struct recorder *recorder, uint32_t pid)
{
	for (uint32_t i = 0; i < recorder->processes_len; i++)
		if (recorder->processes[i].pid == pid)
			return recorder->probes || recorder->processes[i].meter;
	return false;
}

static bool all_exited(struct recorder *recorder)
{
	bool all = true;

	for (uint32_t i = 0; i < recorder->processes_len; i++) {
		struct process *process = &recorder->processes[i];
		struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};

		if (!process->exited && poll(&ended, 1, 0) > 0) {
			process->exited = true;
			process->exited_ns = clock_ns(CLOCK_MONOTONIC);
			recording_process_exited(recorder->session.recording, process->id,
						 process->exited_ns);
		}
		all = all && process->exited;
	}
	return all;
}

/* ---- a second ---- */

static int read_meter(struct recorder *recorder, struct process *process, uint64_t second)
{
	int err;

	open_meter(recorder, process);
	if (!process->meter || process->meter_err)
		return process->meter_err == -ENOMEM ? -ENOMEM : 0;
	err = meter_source_read(process->meter, clock_ns(CLOCK_MONOTONIC), second);
	if (err != -EPROTO)
		return err;
	/* The file is broken, or was made to look so: what it said until now is kept, and no more is read. */
	recorder->meter_broken++;
	close_meter(recorder, process);
	process->meter_err = err;
	return 0;
}

/* What the meters of all processes, closed or not, say of one thing. */
static uint64_t sum_of_meters(const struct recorder *recorder, uint64_t closed,
			      uint64_t (*figure)(const struct meter_source *source))
{
	for (uint32_t i = 0; i < recorder->processes_len; i++)
		if (recorder->processes[i].meter)
			closed += figure(recorder->processes[i].meter);
	return closed;
}

static void write_losses(struct recorder *recorder)
{
	struct recording *recording = recorder->session.recording;

	recording_loss(recording, "meter_overwritten",
		       sum_of_meters(recorder, recorder->meter_lost, meter_source_lost),
		       "overruns and socket moments of a meter that were overwritten before they were read");
	recording_loss(
		recording, "watchdog_stacks",
		sum_of_meters(recorder, recorder->stacks_lost, meter_source_stacks_lost),
		"stacks that a program's watchdog could not take, or that could not be unwound to their beginning");
	recording_loss(
		recording, "meter_handlers",
		sum_of_meters(recorder, recorder->handlers_refused, meter_source_handlers_refused),
		"handlers that found no room in their meter since their process began: what they did is told of 'other'");
	recording_loss(
		recording, "meter_loops",
		sum_of_meters(recorder, recorder->loops_refused, meter_source_loops_refused),
		"loops that found no room in their meter since their process began: of those it tells nothing");
	recording_loss(
		recording, "meter_broken", recorder->meter_broken,
		"meter files that became unreadable while they were recorded, or have far too much in them");
	if (recorder->session.births)
		recording_loss(recording, "meters_missed", recorder_meters_missed(recorder),
			       "meters of programs on libstint that were gone before they were looked at");
	recording_loss(recording, "processes", recorder->processes_lost,
		       "processes that were followed and are not recorded: not to be inspected, or too many");
	if (recorder->probes)
		probe_source_write_losses(recorder->probes);
	recording_meta_number(recording, "watchdog_stacks_skipped",
			      (int64_t)sum_of_meters(recorder, recorder->stacks_skipped,
						     meter_source_stacks_skipped));
	recording_meta_number(recording, "recorder_cpu_ns",
			      (int64_t)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - recorder->start_cpu_ns));
}

static int read_meters(struct recorder *recorder, uint64_t second)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < recorder->processes_len; i++)
		err = read_meter(recorder, &recorder->processes[i], second);
	return err;
}

/* Everything that both sides know until now. */
static int take_all(struct recorder *recorder)
{
	uint64_t second = second_of(recorder, clock_ns(CLOCK_MONOTONIC));
	int err = recorder->probes ? probe_source_read(recorder->probes, second) : 0;

	return err ? err : read_meters(recorder, second);
}

static int commit(struct recorder *recorder, int (*end)(struct recording *recording))
{
	struct session *session = &recorder->session;
	int err;

	roster_write(session->roster);
	series_write_totals(session->series);
	write_losses(recorder);
	err = end(session->recording);
	return err ? fail(recorder, err, "the recording cannot be written: %s",
			  recording_error(session->recording))
		   : 0;
}

/* Where a program was yet to be started, it is only now that a wrong name shows. */
static void tell_missing_functions(struct recorder *recorder)
{
	const struct recorder_options *options = &recorder->options;
	struct recording_sums sums;

	if (recorder->functions_told || !options->functions_len || !options->function_missing)
		return;
	recorder_sums(recorder, &sums);
	if (!sums.loops)
		return;
	recorder->functions_told = true;
	for (uint32_t i = 0; i < options->functions_len; i++)
		if (recorder_function_missing(recorder, i))
			options->function_missing(options->functions[i],
						  recorder_function_missing(recorder, i));
}

/* The last of a process: all that there is to know of it has been taken. */
static int settle_last(struct recorder *recorder, struct process *process)
{
	int err = 0;

	if (process->meter)
		err = meter_source_end(process->meter,
				       process->exited ? process->exited_ns : recorder->end_ns);
	join_settle_last(recorder->session.join, process->id, process->meter || process->meter_ended);
	return err;
}

/* It makes room for others: a server may fork workers for as long as it is recorded. */
static int forget(struct recorder *recorder, struct process *process)
{
	int err = settle_last(recorder, process);

	if (recorder->probes)
		probe_source_forget(recorder->probes, process->id);
	series_end_process(recorder->session.series, process->id);
	close_meter(recorder, process);
	close(process->pidfd);
	*process = recorder->processes[--recorder->processes_len];
	return err;
}

static int settle(struct recorder *recorder)
{
	bool is_behind = recorder->probes && probe_source_is_behind(recorder->probes);
	int err = 0;

	for (uint32_t i = 0; !err && i < recorder->processes_len;) {
		struct process *process = &recorder->processes[i];

		if (process->is_last && !is_behind) {
			err = forget(recorder, process);
			continue;
		}
		join_settle(recorder->session.join, process->id, process->meter || process->meter_ended);
		process->meter_ended = false;
		i++;
	}
	return err;
}

/* A worker begins as a copy of its master, and may come to a wait before it has a title of its own. */
static void look_for_titles(struct recorder *recorder)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	for (uint32_t i = 0; i < recorder->processes_len; i++) {
		const struct process *process = &recorder->processes[i];
		char command[COMMAND_BYTES] = "";

		if (!process->appeared || process->exited || now_ns - process->added_ns > TITLE_NS)
			continue;
		recorder->options.command_of(command, sizeof(command), process->pid);
		/* Its number is another's only if it has exited meanwhile. */
		if (*command && !all_exited(recorder) && !process->exited)
			recording_process_command(recorder->session.recording, process->id, command);
	}
}

static int tick(struct recorder *recorder)
{
	int err;

	/* Those that have exited before all is taken: nothing more is to come of them. */
	for (uint32_t i = 0; i < recorder->processes_len; i++)
		recorder->processes[i].is_last = recorder->processes[i].exited;
	err = take_all(recorder);
	if (!err)
		err = settle(recorder);
	if (err)
		return fail(recorder, err, "%s", strerror(-err));
	tell_missing_functions(recorder);
	if (recorder->options.command_of)
		look_for_titles(recorder);
	return commit(recorder, recording_commit);
}

/* What is said of the end is so as of one moment. To deal with what has come until then may take longer. */
static int take_last(struct recorder *recorder)
{
	uint64_t second;
	int err = 0;

	recorder->end_ns = clock_ns(CLOCK_MONOTONIC);
	if (recorder->probes)
		err = probe_source_stop(recorder->probes, &recorder->end_ns);
	second = second_of(recorder, recorder->end_ns);
	if (!err)
		err = read_meters(recorder, second);
	if (err || !recorder->probes)
		return err;
	err = probe_source_drain(recorder->probes);
	return err ? err : probe_source_read(recorder->probes, second);
}

static int finish(struct recorder *recorder)
{
	int err = take_last(recorder);

	for (uint32_t i = 0; i < recorder->processes_len; i++) {
		int failed = settle_last(recorder, &recorder->processes[i]);

		err = err ? err : failed;
	}
	recording_meta_number(recorder->session.recording, "end_ns", (int64_t)recorder->end_ns);
	return err ? fail(recorder, err, "%s", strerror(-err)) : commit(recorder, recording_finish);
}

static int wait_for_events(struct recorder *recorder, uint64_t end_ns)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	int timeout_ms = look_ms(now_ns - recorder->session.start_ns);
	int err;

	if (now_ns >= end_ns)
		return 0;
	if (end_ns - now_ns < (uint64_t)timeout_ms * 1000000)
		timeout_ms = (int)((end_ns - now_ns + 999999) / 1000000);
	if (recorder->probes)
		err = probe_source_poll(recorder->probes, timeout_ms);
	else
		err = poll(NULL, 0, timeout_ms) < 0 && errno != EINTR ? -errno : 0;
	now_ns = clock_ns(CLOCK_MONOTONIC);
	for (uint32_t i = 0; !err && i < recorder->processes_len; i++)
		look_for_meter(recorder, &recorder->processes[i], now_ns);
	return err;
}

/* A name or a cgroup may have more processes at any time. */
static bool is_over(struct recorder *recorder)
{
	if (!all_exited(recorder))
		return false;
	if (!recorder->probes)
		return true;
	return !recorder->options.follow_name && !recorder->options.follow_cgroup &&
	       !probe_source_is_watching(recorder->probes);
}

int recorder_run(struct recorder *recorder, uint64_t duration_ns, const volatile bool *stop)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	uint64_t end_ns = duration_ns ? recorder->session.start_ns + duration_ns : UINT64_MAX;
	uint64_t next_ns = now_ns + SECOND_NS;
	int err = 0;

	if (recorder->probes)
		probe_source_end_at(recorder->probes, end_ns);
	while (!err && !*stop && now_ns < end_ns && !is_over(recorder)) {
		err = wait_for_events(recorder, end_ns);
		if (err)
			return fail(recorder, err, "the probes cannot be read: %s", strerror(-err));
		now_ns = clock_ns(CLOCK_MONOTONIC);
		if (now_ns < next_ns || now_ns >= end_ns)
			continue;
		err = tick(recorder);
		next_ns = clock_ns(CLOCK_MONOTONIC) + SECOND_NS;
	}
	return err ? err : finish(recorder);
}

/* ---- end ---- */

uint64_t recorder_duration_ns(const struct recorder *recorder)
{
	return recorder->end_ns > recorder->session.start_ns ? recorder->end_ns - recorder->session.start_ns
							     : 0;
}

uint64_t recorder_meters_missed(const struct recorder *recorder)
{
	return meter_births_missed(recorder->session.births);
}

void recorder_sums(const struct recorder *recorder, struct recording_sums *ret)
{
	recording_sums(recorder->session.recording, ret);
}

struct recorder *recorder_free(struct recorder *recorder)
{
	if (!recorder)
		return NULL;
	probe_source_free(recorder->probes);
	for (uint32_t i = 0; i < recorder->processes_len; i++) {
		meter_source_free(recorder->processes[i].meter);
		close(recorder->processes[i].pidfd);
	}
	meter_births_free(recorder->session.births);
	join_free(recorder->session.join);
	series_free(recorder->session.series);
	roster_free(recorder->session.roster);
	recording_free(recorder->session.recording);
	free(recorder);
	return NULL;
}
