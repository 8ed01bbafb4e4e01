/* SPDX-License-Identifier: MIT */
#include "report/record/probe_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/probes.h"
#include "report/record/function_source.h"
#include "stint/histogram.h"

struct process {
	uint32_t pid;
	int64_t id;
};

/*
 * A row of the recording: all loops of a thread in one descriptor, one after the other. A program that makes and closes
 * its set again and again has one row, if the set has the same number each time.
 */
struct loop {
	int64_t process;
	uint32_t tid;
	int32_t epfd;
	enum stint_probes_wait wait;
	int64_t id;
	bool is_over;        /* its thread is */
	uint64_t iterations; /* these three: of all of them */
	uint64_t busy_ns;
	uint64_t poll_ns; /* within the recording */
};

/* One of those loops, as it was last read. */
struct run {
	uint64_t number;
	int64_t process;
	uint64_t iterations;
	uint64_t busy_ns;
	uint64_t poll_ns;
};

#define DRAIN_POLLS 50

/* One row for all threads of a process. */
struct role {
	int64_t process;
	char *name;
	int64_t id;
};

struct probe_source {
	struct session *session;
	struct stint_probes *probes;
	struct process *processes;
	size_t processes_len;
	struct loop *loops;
	size_t loops_len;
	struct run *runs;
	size_t runs_len;
	struct role *roles;
	size_t roles_len;
	struct function_source *functions;
	uint64_t second;
	bool is_behind; /* the ring was not empty when it was last read */
	uint64_t left;  /* 1: nor was it at the end */
	int err;
};

static int64_t find_process(const struct probe_source *source, uint32_t pid)
{
	for (size_t i = source->processes_len; i-- > 0;) /* the last: a number may be given again */
		if (source->processes[i].pid == pid)
			return source->processes[i].id;
	return 0;
}

static int add_process(struct probe_source *source, uint32_t pid, int64_t id)
{
	struct process *larger =
		realloc(source->processes, (source->processes_len + 1) * sizeof(*source->processes));

	if (!larger)
		return -ENOMEM;
	source->processes = larger;
	source->processes[source->processes_len++] = (struct process){pid, id};
	return 0;
}

/* ---- events ---- */

#define HANG_NS UINT64_C(5000000000) /* so long, and users wonder whether anything happens at all */

static void take_appeared(void *ctx, uint32_t pid, uint64_t time_ns)
{
	struct probe_source *source = ctx;
	struct session *session = source->session;
	int64_t id = session->appeared ? session->appeared(session->ctx, pid, time_ns) : 0;
	int err = id ? add_process(source, pid, id) : 0;

	if (err)
		source->err = err;
}

static void take_refused(void *ctx, uint32_t pid, int err)
{
	struct probe_source *source = ctx;

	if (source->session->refused)
		source->session->refused(source->session->ctx, pid, err);
}

static void take_hang(void *ctx, const struct stint_probes_hang *hang)
{
	struct probe_source *source = ctx;

	if (source->session->hangs)
		source->session->hangs(source->session->ctx, hang);
}

static void take_overrun(void *ctx, const struct stint_probes_overrun *overrun)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, overrun->pid);
	int err = process ? join_add_iteration(source->session->join, process, overrun) : 0;

	if (err)
		source->err = err;
}

static void take_stall(void *ctx, const struct stint_probes_stall *stall)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, stall->pid);

	if (process)
		recording_stall(source->session->recording, process, stall);
}

static void take_acks(void *ctx, const struct stint_probes_acks *acks)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, acks->pid);

	if (process)
		recording_acks(source->session->recording, process, acks);
}

static void take_alarm(void *ctx, const struct stint_probes_alarm *alarm)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, alarm->pid);

	if (process)
		recording_alarm(source->session->recording, process, alarm);
}

static void take_socket(void *ctx, const struct stint_probes_socket_event *event)
{
	static const char *const kinds[] = {
		[STINT_PROBES_SOCKET_SEND] = "send",
		[STINT_PROBES_SOCKET_SEND_SHORT] = "send_short",
		[STINT_PROBES_SOCKET_ACK] = "ack",
		[STINT_PROBES_SOCKET_WRITE_EVENT] = "write_event",
		[STINT_PROBES_SOCKET_WOKEN] = "woken",
		[STINT_PROBES_SOCKET_RETURNED] = "returned",
		[STINT_PROBES_SOCKET_RETRANSMIT] = "retransmit",
		[STINT_PROBES_SOCKET_CONNECTING] = "connecting",
		[STINT_PROBES_SOCKET_ESTABLISHED] = "established",
		[STINT_PROBES_SOCKET_ACCEPTED] = "accepted",
		[STINT_PROBES_SOCKET_WINDOW_CLOSED] = "window_closed",
		[STINT_PROBES_SOCKET_WINDOW_OPENED] = "window_opened",
		[STINT_PROBES_SOCKET_FIN_SENT] = "fin_sent",
		[STINT_PROBES_SOCKET_FIN_RECEIVED] = "fin_received",
		[STINT_PROBES_SOCKET_READ_EVENT] = "read_event",
		[STINT_PROBES_SOCKET_CLOSED] = "closed",
	};
	struct probe_source *source = ctx;
	int64_t process = find_process(source, event->pid);
	bool is_send =
		event->kind == STINT_PROBES_SOCKET_SEND || event->kind == STINT_PROBES_SOCKET_SEND_SHORT;
	bool is_ack = event->kind == STINT_PROBES_SOCKET_ACK;
	bool is_tcp = event->snd_cwnd > 0; /* it never is 0 there */

	if (!process || (size_t)event->kind >= sizeof(kinds) / sizeof(kinds[0]))
		return;
	recording_socket_event(
		source->session->recording,
		&(struct recording_socket_event){
			.process = process,
			.socket = event->socket,
			.tid = event->tid,
			.fd = event->fd,
			.local = event->local,
			.remote = event->remote,
			.time_ns = event->time_ns,
			.kind = kinds[event->kind],
			.requested_bytes = is_send && event->requested_bytes ? event->requested_bytes
									     : RECORDING_UNKNOWN,
			.done_bytes = is_send || is_ack ? event->done_bytes : RECORDING_UNKNOWN,
			.queued_before_bytes = is_ack ? event->queued_before_bytes : RECORDING_UNKNOWN,
			.queued_bytes = event->queued_bytes,
			.sndbuf_bytes = event->sndbuf_bytes,
			.unacked_bytes = is_tcp ? event->unacked_bytes : RECORDING_UNKNOWN,
			.snd_wnd_bytes = is_tcp ? event->snd_wnd_bytes : RECORDING_UNKNOWN,
			.snd_cwnd = is_tcp ? event->snd_cwnd : RECORDING_UNKNOWN,
			.cause = event->cause,
		});
}

/* ---- loops ---- */

/* By what it waits in: "epoll fd 5", "poll". */
static void name_loop(char *ret, size_t size, const struct stint_probes_loop *seen)
{
	static const char *const waits[] = {
		[STINT_PROBES_WAIT_EPOLL] = "epoll",
		[STINT_PROBES_WAIT_POLL] = "poll",
		[STINT_PROBES_WAIT_SELECT] = "select",
		[STINT_PROBES_WAIT_IO_URING] = "io_uring",
	};
	const char *wait = (size_t)seen->wait < sizeof(waits) / sizeof(waits[0]) ? waits[seen->wait] : NULL;

	if (seen->epfd < 0)
		snprintf(ret, size, "%s", wait ? wait : "?");
	else
		snprintf(ret, size, "%s fd %" PRId32, wait ? wait : "?", seen->epfd);
}

static struct loop *get_loop(struct probe_source *source, const struct stint_probes_loop *seen,
			     int64_t process)
{
	struct loop *larger;
	char name[32];

	for (size_t i = 0; i < source->loops_len; i++) {
		struct loop *loop = &source->loops[i];

		if (loop->process == process && loop->tid == seen->tid && loop->epfd == seen->epfd &&
		    loop->wait == seen->wait)
			return loop;
	}
	larger = realloc(source->loops, (source->loops_len + 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	source->loops = larger;
	larger[source->loops_len] =
		(struct loop){.process = process, .tid = seen->tid, .epfd = seen->epfd, .wait = seen->wait};
	name_loop(name, sizeof(name), seen);
	larger[source->loops_len].id =
		recording_loop(source->session->recording, process, seen->tid, seen->epfd, name, false);
	return &larger[source->loops_len++];
}

static struct run *get_run(struct probe_source *source, uint64_t number, int64_t process)
{
	struct run *larger;

	for (size_t i = 0; i < source->runs_len; i++)
		if (source->runs[i].number == number)
			return &source->runs[i];
	larger = realloc(source->runs, (source->runs_len + 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	source->runs = larger;
	larger[source->runs_len] = (struct run){.number = number, .process = process};
	return &larger[source->runs_len++];
}

/* Of the waits that were under way as the recording began, and are now, what is within. */
static uint64_t poll_within_ns(const struct probe_source *source, const struct stint_probes_loop *seen)
{
	uint64_t start_ns = source->session->start_ns;
	uint64_t poll_ns = seen->poll_sum_ns;

	if (seen->first_return_ns > start_ns)
		poll_ns += seen->first_return_ns - start_ns;
	return poll_ns + seen->waiting_ns;
}

static void count_loop(struct probe_source *source, struct loop *loop, struct run *run,
		       const struct stint_probes_loop *seen)
{
	uint64_t busy_ns = seen->busy_sum_ns + seen->running_ns, poll_ns = poll_within_ns(source, seen);

	loop->iterations += seen->iterations - run->iterations;
	loop->busy_ns += busy_ns - run->busy_ns;
	loop->poll_ns += poll_ns - run->poll_ns;
	run->iterations = seen->iterations;
	run->busy_ns = busy_ns;
	run->poll_ns = poll_ns;
	recording_loop_counts(source->session->recording, loop->id, loop->iterations, loop->busy_ns,
			      loop->poll_ns);
}

/* The kernel's side counts how often, how long and the extremes; sums of counters that it has as buckets. */
static uint64_t bucket_count(const uint64_t *bucket)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < STINT_PROBES_BUCKETS; i++)
		count += bucket[i];
	return count;
}

/* Of counts, of which the kernel keeps no least. The buckets of small ones hold one value each. */
static uint64_t least_of(const uint64_t *bucket)
{
	uint32_t i = 0;

	while (i + 1 < STINT_PROBES_BUCKETS && !bucket[i])
		i++;
	return stint_histogram_bucket_low(i);
}

#define LOOP_METRICS 3

static const char *const loop_metrics[LOOP_METRICS] = {"busy", "poll", "batch"};

static struct series_source loop_source(int64_t process, const struct stint_probes_loop *seen,
					uint32_t metric)
{
	return (struct series_source){-process, (int64_t)seen->number, -1, metric};
}

static int grow_loop(struct probe_source *source, int64_t process, const struct stint_probes_loop *seen,
		     struct recording_owner owner)
{
	const struct series_sample samples[LOOP_METRICS] = {
		{seen->iterations, seen->busy_sum_ns, seen->busy_min_ns, seen->busy_max_ns, seen->overflow,
		 seen->busy},
		{bucket_count(seen->poll), seen->poll_sum_ns, seen->poll_min_ns, seen->poll_max_ns, 0,
		 seen->poll},
		{bucket_count(seen->batch), seen->events, least_of(seen->batch), seen->batch_max, 0,
		 seen->batch}};
	int err = 0;

	for (uint32_t i = 0; !err && i < LOOP_METRICS; i++)
		err = series_grow(source->session->series, loop_source(process, seen, i), &samples[i], owner,
				  loop_metrics[i], i < 2 ? "ns" : "count", source->second);
	return err;
}

static void end_loop(struct probe_source *source, int64_t process, struct loop *loop, struct run *run,
		     const struct stint_probes_loop *seen)
{
	struct series_set *series = source->session->series;

	*run = source->runs[--source->runs_len];
	for (uint32_t i = 0; i < LOOP_METRICS; i++)
		series_end_source(series, loop_source(process, seen, i));
	loop->is_over = seen->thread_is_over;
}

/* After all loops have been read: the thread may have had another before, in the same row. */
static void close_rows(struct probe_source *source)
{
	for (size_t i = 0; i < source->loops_len;) {
		struct recording_owner owner = {.loop = source->loops[i].id};

		if (!source->loops[i].is_over) {
			i++;
			continue;
		}
		for (uint32_t metric = 0; metric < LOOP_METRICS; metric++)
			series_end_figure(source->session->series, owner, loop_metrics[metric]);
		source->loops[i] = source->loops[--source->loops_len];
	}
}

static int take_loop(void *ctx, const struct stint_probes_loop *seen)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, seen->pid);
	struct loop *loop = process ? get_loop(source, seen, process) : NULL;
	struct run *run = loop ? get_run(source, seen->number, process) : NULL;
	int err;

	if (!run)
		return process ? -ENOMEM : 0;
	count_loop(source, loop, run, seen);
	recording_forget_findings(source->session->recording, process, seen->number); /* they are read anew */
	err = grow_loop(source, process, seen, (struct recording_owner){.loop = loop->id});
	if (!err && seen->is_over)
		end_loop(source, process, loop, run, seen);
	return err;
}

/* ---- roles and findings ---- */

static const struct role *get_role(struct probe_source *source, int64_t process,
				   const struct stint_probes_role *seen)
{
	const char *kind = seen->kind == STINT_PROBES_ROLE_LISTENER   ? "listener"
			   : seen->kind == STINT_PROBES_ROLE_CLIENTS  ? "clients"
			   : seen->kind == STINT_PROBES_ROLE_UPSTREAM ? "upstream"
								      : "other";
	struct role *larger, *role;

	for (size_t i = 0; i < source->roles_len; i++)
		if (source->roles[i].process == process && strcmp(source->roles[i].name, seen->name) == 0)
			return &source->roles[i];
	larger = realloc(source->roles, (source->roles_len + 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	source->roles = larger;
	role = &larger[source->roles_len];
	role->process = process;
	role->name = strdup(seen->name);
	if (!role->name)
		return NULL;
	role->id = recording_role(source->session->recording, process, seen->name, kind);
	source->roles_len++;
	return role;
}

static int take_role(void *ctx, const struct stint_probes_role *seen)
{
	static const char *const metrics[STINT_PROBES_ROLE_METRICS] = {"wait",      "service", "age",
								       "left",      "busy",    "kernel",
								       "scheduler", "return",  "queue"};
	struct probe_source *source = ctx;
	int64_t process = find_process(source, seen->pid);
	const struct role *role = process ? get_role(source, process, seen) : NULL;
	int err = 0;

	if (!role)
		return process ? -ENOMEM : 0;
	for (uint32_t i = 0; !err && i < STINT_PROBES_ROLE_METRICS; i++) {
		const struct stint_probes_histogram *from = &seen->metric[i];
		struct series_source key = {-process, -(int64_t)seen->number, role->id, i};

		if (from->count == 0)
			continue;
		err = series_grow(source->session->series, key,
				  &(struct series_sample){from->count, from->sum_ns, from->min_ns,
							  from->max_ns, from->overflow, from->bucket},
				  (struct recording_owner){.role = role->id}, metrics[i], "ns",
				  source->second);
		if (seen->is_over)
			series_end_source(source->session->series, key);
	}
	return err;
}

static int take_finding(void *ctx, const struct stint_probes_finding *finding)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, finding->pid);

	if (process)
		recording_finding(source->session->recording, process, finding);
	return 0;
}

static int read_roles(struct probe_source *source)
{
	struct recording *recording = source->session->recording;
	struct stint_probes_attribution attribution;
	int err = stint_probes_read_roles(source->probes, take_role, source);

	if (!err)
		err = stint_probes_read_findings(source->probes, take_finding, source);
	stint_probes_attribution(source->probes, &attribution);
	recording_meta_number(recording, "events", (int64_t)attribution.events);
	recording_meta_number(recording, "events_not_attributed", (int64_t)attribution.not_attributed);
	return err;
}

static int take_function(void *ctx, const struct stint_probes_function *function)
{
	struct probe_source *source = ctx;
	int64_t process = find_process(source, function->pid);

	return function_source_take(source->functions, process, function, source->second);
}

static void take_lingers(void *ctx, uint32_t uprobes)
{
	struct probe_source *source = ctx;

	if (source->session->lingers)
		source->session->lingers(source->session->ctx, uprobes);
}

/* ---- the source ---- */

/* Half as many again, as some end while others begin; and for each two roles, as of a listener and its clients. */
static void make_room(struct stint_probes_options *options, uint32_t loops)
{
	const uint32_t least = 64, most = 1024;

	loops = loops < most ? loops + loops / 2 : most;
	options->loop_limit = loops < least ? least : loops > most ? most : loops;
	options->role_limit = options->loop_limit < most / 2 ? 2 * options->loop_limit : most;
}

int probe_source_new(struct probe_source **ret, struct session *session, bool trace_sockets,
		     const struct probe_source_follow *follow, char *why, size_t why_size)
{
	static const struct stint_probes_callbacks callbacks = {.overrun = take_overrun,
								.stall = take_stall,
								.socket = take_socket,
								.acks = take_acks,
								.alarm = take_alarm,
								.hang = take_hang,
								.appeared = take_appeared,
								.refused = take_refused,
								.lingers = take_lingers};
	struct stint_probes_options options = {.size = sizeof(options),
					       .budget_ns = session->budget_ns,
					       .trace_sockets = trace_sockets,
					       .trace_port = session->trace_port,
					       .trace_by_fd = session->trace_by_fd,
					       .trace_fd = session->trace_fd,
					       .hang_ns = HANG_NS,
					       .follow_children = follow->children,
					       .follow_name = follow->name,
					       .follow_cgroup = follow->cgroup,
					       .functions = session->functions,
					       .functions_len = session->functions_len};
	struct probe_source *source = calloc(1, sizeof(*source));
	int err;

	*ret = NULL;
	snprintf(why, why_size, "out of memory");
	if (!source)
		return -ENOMEM;
	source->session = session;
	memcpy(options.trace_address, session->trace_address, sizeof(options.trace_address));
	make_room(&options, session->loops_expected);
	err = function_source_new(&source->functions, session);
	if (err) {
		probe_source_free(source);
		return err;
	}
	err = stint_probes_new(&source->probes, &options, &callbacks, source);
	if (err) {
		snprintf(why, why_size, "%s", stint_probes_error(source->probes));
		probe_source_free(source);
		return err;
	}
	*ret = source;
	return 0;
}

struct probe_source *probe_source_free(struct probe_source *source)
{
	if (!source)
		return NULL;
	stint_probes_free(source->probes);
	free(source->processes);
	free(source->loops);
	free(source->runs);
	for (size_t i = 0; i < source->roles_len; i++)
		free(source->roles[i].name);
	free(source->roles);
	function_source_free(source->functions);
	free(source);
	return NULL;
}

const char *probe_source_error(const struct probe_source *source)
{
	return stint_probes_error(source->probes);
}

int probe_source_watch(struct probe_source *source, uint32_t pid, int64_t process)
{
	int err = add_process(source, pid, process);

	return err ? err : stint_probes_watch(source->probes, pid);
}

int probe_source_add_followed(struct probe_source *source, uint32_t pid)
{
	return stint_probes_follow(source->probes, pid);
}

bool probe_source_is_behind(const struct probe_source *source)
{
	return source->is_behind;
}

void probe_source_forget(struct probe_source *source, int64_t process)
{
	for (size_t i = 0; i < source->processes_len;)
		if (source->processes[i].id == process)
			memmove(&source->processes[i], &source->processes[i + 1],
				(--source->processes_len - i) * sizeof(source->processes[0]));
		else
			i++;
	for (size_t i = 0; i < source->loops_len;)
		if (source->loops[i].process == process)
			source->loops[i] = source->loops[--source->loops_len];
		else
			i++;
	for (size_t i = 0; i < source->runs_len;)
		if (source->runs[i].process == process)
			source->runs[i] = source->runs[--source->runs_len];
		else
			i++;
	for (size_t i = 0; i < source->roles_len;) {
		if (source->roles[i].process == process) {
			free(source->roles[i].name);
			source->roles[i] = source->roles[--source->roles_len];
		} else {
			i++;
		}
	}
}

bool probe_source_is_watching(const struct probe_source *source)
{
	return stint_probes_is_watching(source->probes);
}

const char *probe_source_function_missing(const struct probe_source *source, uint32_t number)
{
	return stint_probes_function_missing(source->probes, number);
}

int probe_source_poll(struct probe_source *source, int timeout_ms)
{
	int err = stint_probes_poll(source->probes, timeout_ms);

	source->is_behind = err == 1;
	return err < 0 ? err : source->err;
}

void probe_source_end_at(struct probe_source *source, uint64_t time_ns)
{
	stint_probes_end_at(source->probes, time_ns);
}

int probe_source_stop(struct probe_source *source, uint64_t *end_ns)
{
	int err = stint_probes_tell_open(source->probes);
	int failed = stint_probes_stop(source->probes, end_ns);

	return err ? err : failed;
}

int probe_source_drain(struct probe_source *source)
{
	int more = 1;

	for (int i = 0; i < DRAIN_POLLS && more > 0; i++)
		more = stint_probes_poll(source->probes, 0);
	if (more > 0)
		source->left = 1;
	return more < 0 ? more : source->err;
}

int probe_source_read(struct probe_source *source, uint64_t second)
{
	int err = probe_source_poll(source, 0);

	source->second = second;
	if (!err)
		err = stint_probes_read_loops(source->probes, take_loop, source);
	close_rows(source);
	if (!err)
		err = stint_probes_read_functions(source->probes, take_function, source);
	if (!err)
		err = read_roles(source);
	return err ? err : stint_probes_release(source->probes);
}

void probe_source_write_losses(struct probe_source *source)
{
	struct recording *recording = source->session->recording;
	struct stint_probes_losses losses;
	uint64_t cost_ns = stint_probes_cost_ns(source->probes);

	stint_probes_losses(source->probes, &losses);
	recording_loss(recording, "ring_full", losses.ring_full,
		       "overruns, stalls, stacks and socket moments that found the ring buffer full");
	recording_loss(recording, "no_draft", losses.no_draft,
		       "overruns and stacks that found no memory to be put together in: others had it all");
	recording_loss(recording, "records_refused", losses.refused,
		       "records of the probes that were refused, as there are none of that kind or length");
	recording_loss(recording, "ring_left", source->left,
		       "recordings that ended before all had been taken from the ring buffer");
	recording_loss(recording, "table_full", losses.table_full,
		       "threads, loops or sockets that found a table of the probes full");
	recording_loss(recording, "roles_full", losses.roles_full,
		       "events of descriptors by role, of which there were more than the probes tell apart");
	recording_loss(recording, "stacks_cut", losses.stacks_cut,
		       "stacks that could not be copied, or not unwound to their beginning");
	recording_loss(recording, "not_sampled", losses.not_sampled,
		       "threads whose stacks could not be sampled: too many, or no descriptors left");
	recording_loss(recording, "functions", losses.functions,
		       "calls of timed functions that were not timed, and functions that got no probes");
	recording_loss(
		recording, "functions_late", losses.functions_late,
		"functions that found room to be timed only after a while: calls until then are in no figure");
	recording_loss(
		recording, "acks_unseen", losses.acks_unseen,
		"gaps in the ACKs of sockets that stalled: the kernel ran none of stint's programs for them");
	recording_loss(recording, "arrivals_unseen", losses.arrivals_unseen,
		       "reads of data that none of stint's programs saw arrive, so that they have no age");
	if (cost_ns)
		recording_meta_number(recording, "bpf_ns", (int64_t)cost_ns);
}
