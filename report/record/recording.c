/* SPDX-License-Identifier: MIT */
#include "report/record/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/record/schema.h"
#include "stint/histogram.h"

enum statement {
	META,
	LOSS,
	PROCESS,
	PROCESS_APPEARED,
	PROCESS_INSIDE,
	PROCESS_EXITED,
	HANDLER,
	HANDLER_COUNTS,
	HANDLER_COUNT,
	LOOP,
	LOOP_COUNTS,
	HISTOGRAM,
	TOTAL_DELETE,
	TOTAL,
	OVERRUN,
	SYSCALL,
	FRAME,
	SEGMENT,
	VERDICT,
	RIVAL,
	VICTIM,
	STALL,
	ACKS,
	ALARM,
	SOCKET,
	BUCKET,
	ROLE,
	ROLE_HISTOGRAM,
	ROLE_TOTAL,
	FINDING,
	STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
	[META] = "INSERT OR REPLACE INTO meta VALUES (?,?)",
	[LOSS] = "INSERT OR REPLACE INTO loss VALUES (?,?,?)",
	[PROCESS] = "INSERT INTO process (pid, command) VALUES (?,?)",
	[PROCESS_APPEARED] = "UPDATE process SET appeared_ns = ? WHERE id = ?",
	[PROCESS_INSIDE] = "UPDATE process SET inside_pid = ?, inside_netns = ? WHERE id = ?",
	[PROCESS_EXITED] = "UPDATE process SET exited_ns = ? WHERE id = ?",
	[HANDLER] = "INSERT INTO handler (process, name, source, budget_ns) VALUES (?,?,?,?)",
	[HANDLER_COUNTS] =
		"UPDATE handler SET overruns = ?, over_ns = ?, blame_ns = ?, victims = ? WHERE id = ?",
	[HANDLER_COUNT] = "INSERT INTO handler_count VALUES (?,?,?)"
			  " ON CONFLICT DO UPDATE SET count = count + excluded.count",
	[LOOP] = "INSERT INTO loop (process, tid, epfd, name, source) VALUES (?,?,?,?,?)",
	[LOOP_COUNTS] = "UPDATE loop SET iterations = ?, busy_ns = ?, poll_ns = ? WHERE id = ?",
	[HISTOGRAM] = "INSERT INTO histogram VALUES (?,?,?,?,?,?)",
	[TOTAL_DELETE] = "DELETE FROM total WHERE handler IS ? AND loop IS ? AND metric = ?",
	[TOTAL] = "INSERT INTO total VALUES (?,?,?,?,?,?,?,?,?)",
	[OVERRUN] =
		"INSERT INTO overrun (process, handler, source, running, tid, fd, start_ns, duration_ns, iteration_ns,"
		" on_cpu_ns, runnable_ns, blocked_ns, cpu_min_ns, cpu_max_ns, victims, blame_ns, ready_events,"
		" syscall_count, stack_kind) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[SYSCALL] = "INSERT INTO overrun_syscall VALUES (?,?,?,?,?,?)",
	[FRAME] = "INSERT INTO overrun_frame VALUES (?,?,?,?,?,?,?)",
	[SEGMENT] = "INSERT INTO overrun_segment VALUES (?,?,?,?)",
	[VERDICT] = "INSERT INTO overrun_verdict VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[RIVAL] = "INSERT INTO overrun_rival VALUES (?,?,?,?,?)",
	[VICTIM] = "INSERT INTO overrun_victim VALUES (?,?,?,?,?)",
	[STALL] =
		"INSERT INTO write_stall (process, tid, fd, socket, local, remote, start_ns, duration_ns, ack_ns,"
		" kernel_ns, scheduler_ns, loop_ns, queue_ns, queued_bytes, sndbuf_bytes, threshold_bytes, acks,"
		" acked_bytes, cause_ns, raise_inferred, snd_wnd_min_bytes, retransmits, receive_window_ns,"
		" congestion_window_ns, retransmission_ns, silent_ns, network_ns, host_ns, cause, unsent_bytes,"
		" lowat_bytes, by_lowat, alarm)"
		" VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[ACKS] = "INSERT OR REPLACE INTO write_ack VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[ALARM] = "INSERT INTO write_alarm VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[SOCKET] = "INSERT INTO socket_event VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[BUCKET] = "INSERT INTO bucket VALUES (?,?,?,?)",
	[ROLE] = "INSERT INTO role (process, name, kind) VALUES (?,?,?)",
	[ROLE_HISTOGRAM] = "INSERT INTO role_histogram VALUES (?,?,?,?,?)",
	[ROLE_TOTAL] = "INSERT OR REPLACE INTO role_total VALUES (?,?,?,?,?,?,?)",
	[FINDING] = "INSERT OR REPLACE INTO finding VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
};

struct recording {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	int err;
	char error[256];
};

/* ---- one row ---- */

static void failed(struct recording *recording, int err, const char *what)
{
	if (recording->err)
		return;
	recording->err = err;
	snprintf(recording->error, sizeof(recording->error), "%s", what);
}

static int errno_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CANTOPEN:
		return -ENOENT;
	default:
		return -EIO;
	}
}

/* A statement being filled: parameters are bound in order. NULL once the recording has failed. */
struct row {
	struct recording *recording;
	sqlite3_stmt *statement;
	int next;
};

static struct row row_begin(struct recording *recording, enum statement which)
{
	struct row row = {.recording = recording, .next = 1};

	if (!recording->err)
		row.statement = recording->statements[which];
	return row;
}

/* Counters never come near 2^63; one that does comes from a broken file and is stored as the largest. */
static void put_number(struct row *row, uint64_t value)
{
	if (row->statement)
		sqlite3_bind_int64(row->statement, row->next++,
				   value > INT64_MAX ? INT64_MAX : (sqlite3_int64)value);
}

static void put_signed(struct row *row, int64_t value)
{
	if (row->statement)
		sqlite3_bind_int64(row->statement, row->next++, value);
}

static void put_null(struct row *row)
{
	if (row->statement)
		sqlite3_bind_null(row->statement, row->next++);
}

static void put_known(struct row *row, uint64_t value)
{
	if (value == RECORDING_UNKNOWN)
		put_null(row);
	else
		put_number(row, value);
}

static void put_id(struct row *row, int64_t id)
{
	if (id)
		put_signed(row, id);
	else
		put_null(row);
}

static void put_fd(struct row *row, int fd)
{
	if (fd >= 0)
		put_signed(row, fd);
	else
		put_null(row);
}

static void put_text(struct row *row, const char *text)
{
	if (!text)
		put_null(row);
	else if (row->statement)
		sqlite3_bind_text(row->statement, row->next++, text, -1, SQLITE_TRANSIENT);
}

/* Returns the row's id, or 0. */
static int64_t row_end(struct row *row)
{
	struct recording *recording = row->recording;
	int code;

	if (!row->statement)
		return 0;
	code = sqlite3_step(row->statement);
	sqlite3_reset(row->statement);
	if (code != SQLITE_DONE) {
		failed(recording, errno_of(code), sqlite3_errmsg(recording->db));
		return 0;
	}
	return sqlite3_last_insert_rowid(recording->db);
}

/* ---- the file ---- */

static void execute(struct recording *recording, const char *sql)
{
	int code;

	if (recording->err)
		return;
	code = sqlite3_exec(recording->db, sql, NULL, NULL, NULL);
	if (code != SQLITE_OK)
		failed(recording, errno_of(code), sqlite3_errmsg(recording->db));
}

/* What makes an existing file ours to replace: it is empty, or has our application id in its header. */
static bool may_replace(const char *path)
{
	unsigned char header[72];
	struct stat status;
	size_t taken = 0;
	FILE *file;

	if (stat(path, &status) != 0)
		return errno == ENOENT;
	if (!S_ISREG(status.st_mode))
		return false;
	if (status.st_size == 0)
		return true;
	file = fopen(path, "re");
	if (file) {
		taken = fread(header, 1, sizeof(header), file);
		fclose(file);
	}
	return taken == sizeof(header) && memcmp(header, "SQLite format 3", 16) == 0 &&
	       memcmp(header + 68, "Stnt", 4) == 0;
}

static void fill_buckets(struct recording *recording)
{
	for (uint32_t bucket = 0; bucket < STINT_HISTOGRAM_BUCKETS; bucket++) {
		uint64_t low = stint_histogram_bucket_low(bucket);
		uint64_t high = stint_histogram_bucket_low(bucket + 1);
		struct row row = row_begin(recording, BUCKET);

		put_number(&row, bucket);
		put_number(&row, low);
		put_number(&row, high);
		put_number(&row, low + (high - low) / 2);
		row_end(&row);
	}
}

static void prepare(struct recording *recording)
{
	for (int i = 0; i < STATEMENTS && !recording->err; i++) {
		int code = sqlite3_prepare_v2(recording->db, statement_sql[i], -1, &recording->statements[i],
					      NULL);

		if (code != SQLITE_OK)
			failed(recording, errno_of(code), sqlite3_errmsg(recording->db));
	}
}

static void open_database(struct recording *recording, const char *path)
{
	int code;

	if (!may_replace(path)) {
		failed(recording, -EEXIST, "the file is there and is not a stint recording: not replaced");
		return;
	}
	if (unlink(path) != 0 && errno != ENOENT) {
		failed(recording, -errno, strerror(errno));
		return;
	}
	code = sqlite3_open_v2(path, &recording->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (code != SQLITE_OK)
		failed(recording, errno_of(code),
		       recording->db ? strerror(sqlite3_system_errno(recording->db)) : "out of memory");
}

int recording_new(struct recording **ret, const char *path)
{
	struct recording *recording = calloc(1, sizeof(*recording));

	if (!recording)
		return -ENOMEM;
	*ret = recording;
	open_database(recording, path);
	execute(recording, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = NORMAL;");
	execute(recording, report_schema_sql);
	prepare(recording);
	execute(recording, "BEGIN");
	fill_buckets(recording);
	recording_commit(recording);
	return recording->err;
}

struct recording *recording_free(struct recording *recording)
{
	if (!recording)
		return NULL;
	execute(recording, "COMMIT");
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(recording->statements[i]);
	sqlite3_close(recording->db);
	free(recording);
	return NULL;
}

const char *recording_error(const struct recording *recording)
{
	return recording ? recording->error : "out of memory";
}

int recording_commit(struct recording *recording)
{
	execute(recording, "COMMIT; BEGIN");
	return recording->err;
}

/* ---- rows ---- */

void recording_meta_text(struct recording *recording, const char *key, const char *value)
{
	struct row row = row_begin(recording, META);

	put_text(&row, key);
	put_text(&row, value);
	row_end(&row);
}

void recording_meta_number(struct recording *recording, const char *key, int64_t value)
{
	struct row row = row_begin(recording, META);

	put_text(&row, key);
	put_signed(&row, value);
	row_end(&row);
}

void recording_loss(struct recording *recording, const char *name, uint64_t count, const char *meaning)
{
	struct row row = row_begin(recording, LOSS);

	put_text(&row, name);
	put_number(&row, count);
	put_text(&row, meaning);
	row_end(&row);
}

int64_t recording_process(struct recording *recording, uint32_t pid, const char *command)
{
	struct row row = row_begin(recording, PROCESS);

	put_number(&row, pid);
	put_text(&row, command);
	return row_end(&row);
}

void recording_process_appeared(struct recording *recording, int64_t process, uint64_t time_ns)
{
	struct row row = row_begin(recording, PROCESS_APPEARED);

	put_number(&row, time_ns);
	put_id(&row, process);
	row_end(&row);
}

void recording_process_inside(struct recording *recording, int64_t process, uint32_t pid, uint64_t netns)
{
	struct row row = row_begin(recording, PROCESS_INSIDE);

	put_known(&row, pid ? pid : RECORDING_UNKNOWN);
	put_known(&row, netns ? netns : RECORDING_UNKNOWN);
	put_id(&row, process);
	row_end(&row);
}

void recording_process_exited(struct recording *recording, int64_t process, uint64_t time_ns)
{
	struct row row = row_begin(recording, PROCESS_EXITED);

	put_number(&row, time_ns);
	put_id(&row, process);
	row_end(&row);
}

static const char *source_name(bool from_meter)
{
	return from_meter ? "meter" : "probes";
}

int64_t recording_handler(struct recording *recording, int64_t process, const char *name, bool from_meter,
			  uint64_t budget_ns)
{
	struct row row = row_begin(recording, HANDLER);

	put_id(&row, process);
	put_text(&row, name);
	put_text(&row, source_name(from_meter));
	put_number(&row, budget_ns);
	return row_end(&row);
}

int64_t recording_loop(struct recording *recording, int64_t process, uint32_t tid, int epfd, const char *name,
		       bool from_meter)
{
	struct row row = row_begin(recording, LOOP);

	put_id(&row, process);
	put_number(&row, tid);
	put_fd(&row, epfd);
	put_text(&row, name);
	put_text(&row, source_name(from_meter));
	return row_end(&row);
}

void recording_handler_counts(struct recording *recording, int64_t handler,
			      const struct recording_handler_counts *counts)
{
	struct row row = row_begin(recording, HANDLER_COUNTS);

	put_number(&row, counts->overruns);
	put_number(&row, counts->over_ns);
	put_number(&row, counts->blame_ns);
	put_number(&row, counts->victims);
	put_id(&row, handler);
	row_end(&row);
}

void recording_handler_count(struct recording *recording, int64_t handler, const char *name, uint64_t count)
{
	struct row row = row_begin(recording, HANDLER_COUNT);

	put_id(&row, handler);
	put_text(&row, name);
	put_number(&row, count);
	row_end(&row);
}

void recording_loop_counts(struct recording *recording, int64_t loop, uint64_t iterations, uint64_t busy_ns,
			   uint64_t poll_ns)
{
	struct row row = row_begin(recording, LOOP_COUNTS);

	put_number(&row, iterations);
	put_number(&row, busy_ns);
	put_number(&row, poll_ns);
	put_id(&row, loop);
	row_end(&row);
}

void recording_bucket(struct recording *recording, struct recording_owner owner, const char *metric,
		      uint64_t second, uint32_t bucket, uint64_t count)
{
	struct row row = row_begin(recording, owner.role ? ROLE_HISTOGRAM : HISTOGRAM);

	if (owner.role) {
		put_id(&row, owner.role);
	} else {
		put_id(&row, owner.handler);
		put_id(&row, owner.loop);
	}
	put_text(&row, metric);
	put_number(&row, second);
	put_number(&row, bucket);
	put_number(&row, count);
	row_end(&row);
}

static void put_total(struct row *row, const struct recording_total *total)
{
	bool has_extremes = total->count > total->overflow;

	put_number(row, total->count);
	put_number(row, total->sum);
	put_known(row, has_extremes ? total->min : RECORDING_UNKNOWN);
	put_known(row, has_extremes ? total->max : RECORDING_UNKNOWN);
	put_number(row, total->overflow);
	row_end(row);
}

void recording_total(struct recording *recording, struct recording_owner owner, const char *metric,
		     const char *unit, const struct recording_total *total)
{
	struct row row;

	if (owner.role) {
		row = row_begin(recording, ROLE_TOTAL);
		put_id(&row, owner.role);
		put_text(&row, metric);
		put_total(&row, total);
		return;
	}
	row = row_begin(recording, TOTAL_DELETE);
	put_id(&row, owner.handler);
	put_id(&row, owner.loop);
	put_text(&row, metric);
	row_end(&row);
	row = row_begin(recording, TOTAL);
	put_id(&row, owner.handler);
	put_id(&row, owner.loop);
	put_text(&row, metric);
	put_text(&row, unit);
	put_total(&row, total);
}

int64_t recording_role(struct recording *recording, int64_t process, const char *name, const char *kind)
{
	struct row row = row_begin(recording, ROLE);

	put_id(&row, process);
	put_text(&row, name);
	put_text(&row, kind);
	return row_end(&row);
}

void recording_finding(struct recording *recording, int64_t process,
		       const struct stint_probes_finding *finding)
{
	static const char *const kinds[] = {"idle_epollout", "not_drained",  "maxevents_full",
					    "ctl_storm",     "zero_timeout", "blocking"};
	struct row row = row_begin(recording, FINDING);

	put_id(&row, process);
	put_number(&row, finding->tid);
	put_signed(&row, finding->epfd);
	put_signed(&row, finding->fd);
	put_text(&row, kinds[finding->kind]);
	put_text(&row, *finding->role ? finding->role : NULL);
	put_number(&row, finding->count);
	put_number(&row, finding->of);
	put_number(&row, finding->cost_ns);
	put_number(&row, finding->longest_ns);
	put_number(&row, finding->same);
	put_number(&row, finding->idle_iterations);
	row_end(&row);
}

static void put_some_text(struct row *row, const char *text)
{
	put_text(row, text && *text ? text : NULL);
}

static void put_frame(struct recording *recording, int64_t id, uint32_t depth, const char *name,
		      const struct stint_probes_frame *place)
{
	struct row row = row_begin(recording, FRAME);

	put_id(&row, id);
	put_number(&row, depth);
	put_text(&row, place ? place->name : name);
	put_some_text(&row, place ? place->module : NULL);
	put_some_text(&row, place ? place->file : NULL);
	put_known(&row, place && place->line ? place->line : RECORDING_UNKNOWN);
	put_number(&row, place && place->kernel);
	row_end(&row);
}

static void put_block(struct row *row, const struct stint_probes_block *block)
{
	bool known = block->duration_ns > 0;

	put_known(row, known ? block->duration_ns : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->on : NULL);
	put_some_text(row, known ? block->waker : NULL);
	put_known(row, known && *block->waker ? block->waker_pid : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->waker_what : NULL);
	put_known(row, known ? block->waker_inferred : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->in : NULL);
}

static void put_verdict(struct recording *recording, int64_t id, const struct stint_probes_overrun *probed)
{
	static const char *const verdicts[] = {NULL,        "user",    "kernel", "runnable",
					       "throttled", "blocked", "stolen"};
	static const char *const iterations[] = {NULL, "one handler", "many handlers", "system"};
	const struct stint_probes_parts *parts = &probed->parts;
	struct row row = row_begin(recording, VERDICT);

	put_id(&row, id);
	put_text(&row, verdicts[probed->verdict]);
	put_text(&row, iterations[probed->iteration]);
	put_number(&row, parts->user_ns);
	put_number(&row, parts->kernel_ns);
	put_number(&row, parts->runnable_ns);
	put_known(&row, parts->throttled_known ? parts->throttled_ns : RECORDING_UNKNOWN);
	put_number(&row, parts->blocked_ns);
	put_known(&row, parts->stolen_known ? parts->stolen_ns : RECORDING_UNKNOWN);
	put_number(&row, parts->kernel_sampled_ns);
	put_number(&row, probed->fault_blocked_ns);
	put_number(&row, probed->minor_faults);
	put_number(&row, probed->major_faults);
	put_number(&row, probed->samples);
	put_number(&row, probed->kernel_samples);
	put_number(&row, probed->user_samples);
	put_block(&row, &probed->block);
	row_end(&row);
}

static void put_others(struct recording *recording, int64_t id, const struct stint_probes_overrun *probed)
{
	for (uint32_t i = 0; i < probed->rivals_len && i < STINT_PROBES_RIVALS; i++) {
		struct row row = row_begin(recording, RIVAL);

		put_id(&row, id);
		put_number(&row, i);
		put_number(&row, probed->rivals[i].pid);
		put_text(&row, probed->rivals[i].comm);
		put_number(&row, probed->rivals[i].duration_ns);
		row_end(&row);
	}
	for (uint32_t i = 0; i < probed->victims_len && i < STINT_PROBES_VICTIMS; i++) {
		const struct stint_probes_victim *victim = &probed->victims_list[i];
		struct row row = row_begin(recording, VICTIM);

		put_id(&row, id);
		put_number(&row, i);
		put_signed(&row, victim->fd);
		put_some_text(&row, victim->name);
		put_number(&row, victim->wait_ns);
		row_end(&row);
	}
}

static void put_details(struct recording *recording, int64_t id, const struct recording_overrun *overrun)
{
	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &overrun->syscalls[i];
		struct row row = row_begin(recording, SYSCALL);

		put_id(&row, id);
		put_number(&row, i);
		put_text(&row, call->name);
		put_fd(&row, call->fd);
		put_number(&row, call->start_ns);
		put_number(&row, call->duration_ns);
		row_end(&row);
	}
	for (uint32_t i = 0; i < overrun->frames_len; i++)
		put_frame(recording, id, i, overrun->frames[i], overrun->places ? &overrun->places[i] : NULL);
	if (overrun->probed && overrun->probed->verdict != STINT_PROBES_VERDICT_UNKNOWN) {
		put_verdict(recording, id, overrun->probed);
		put_others(recording, id, overrun->probed);
	}
	for (uint32_t i = 0; i < overrun->segments_len; i++) {
		struct row row = row_begin(recording, SEGMENT);

		put_id(&row, id);
		put_number(&row, overrun->segments[i].off_ns);
		put_number(&row, overrun->segments[i].runnable_ns);
		put_number(&row, overrun->segments[i].on_ns);
		row_end(&row);
	}
}

void recording_overrun(struct recording *recording, const struct recording_overrun *overrun)
{
	static const char *const sources[] = {"meter", "probes", "both"};
	static const char *const kinds[] = {NULL, "computed", "blocked"};
	struct row row = row_begin(recording, OVERRUN);
	int64_t id;

	put_id(&row, overrun->process);
	put_id(&row, overrun->handler);
	put_text(&row, sources[overrun->source]);
	put_number(&row, overrun->running);
	put_number(&row, overrun->tid);
	put_fd(&row, overrun->fd);
	put_number(&row, overrun->start_ns);
	put_number(&row, overrun->duration_ns);
	put_known(&row, overrun->iteration_ns);
	put_known(&row, overrun->on_cpu_ns);
	put_known(&row, overrun->runnable_ns);
	put_known(&row, overrun->blocked_ns);
	put_known(&row, overrun->cpu_min_ns);
	put_known(&row, overrun->cpu_max_ns);
	put_number(&row, overrun->victims);
	put_number(&row, overrun->blame_ns);
	put_known(&row, overrun->ready_events);
	put_known(&row, overrun->syscall_count);
	put_text(&row, kinds[overrun->stack_kind]);
	id = row_end(&row);
	put_details(recording, id, overrun);
}

static const char *const cause_names[STINT_PROBES_STALL_UNKNOWN + 1] = {
	[STINT_PROBES_LIMIT_RECEIVE_WINDOW] = "receive_window",
	[STINT_PROBES_LIMIT_CONGESTION_WINDOW] = "congestion_window",
	[STINT_PROBES_LIMIT_RETRANSMISSION] = "retransmission",
	[STINT_PROBES_LIMIT_SILENT] = "silent",
	[STINT_PROBES_LIMIT_NETWORK] = "network",
	[STINT_PROBES_LIMIT_HOST] = "host",
	[STINT_PROBES_STALL_OWN_LOOP] = "own_loop",
	[STINT_PROBES_STALL_UNKNOWN] = "unknown",
};

static const char *const no_event_names[STINT_PROBES_NO_EVENTS] = {
	[STINT_PROBES_NO_EVENT_ABOVE] = "above",         [STINT_PROBES_NO_EVENT_UNSENT] = "unsent",
	[STINT_PROBES_NO_EVENT_NOT_ARMED] = "not_armed", [STINT_PROBES_NO_EVENT_EDGE] = "edge",
	[STINT_PROBES_NO_EVENT_REPLACED] = "replaced",   [STINT_PROBES_NO_EVENT_LOOP_BUSY] = "loop_busy",
	[STINT_PROBES_NO_EVENT_TOLD] = "already_told",   [STINT_PROBES_NO_EVENT_OTHER] = "other",
};

void recording_stall(struct recording *recording, int64_t process, const struct stint_probes_stall *stall)
{
	struct row row = row_begin(recording, STALL);

	put_id(&row, process);
	put_number(&row, stall->tid);
	put_signed(&row, stall->fd);
	put_number(&row, stall->socket);
	put_text(&row, stall->local);
	put_text(&row, stall->remote);
	put_number(&row, stall->start_ns);
	put_number(&row, stall->duration_ns);
	put_number(&row, stall->ack_ns);
	put_number(&row, stall->kernel_ns);
	put_number(&row, stall->scheduler_ns);
	put_number(&row, stall->loop_ns);
	put_number(&row, stall->queue_ns);
	put_number(&row, stall->queued_bytes);
	put_number(&row, stall->sndbuf_bytes);
	put_number(&row, stall->threshold_bytes);
	put_number(&row, stall->acks);
	put_number(&row, stall->acked_bytes);
	put_known(&row, stall->cause_time_ns ? stall->cause_time_ns : RECORDING_UNKNOWN);
	put_number(&row, stall->raise_inferred);
	put_number(&row, stall->snd_wnd_min_bytes);
	put_number(&row, stall->retransmits);
	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++)
		put_number(&row, stall->limit_ns[limit]);
	put_text(&row, cause_names[stall->cause]);
	put_number(&row, stall->unsent_bytes);
	put_known(&row, stall->lowat_bytes ? stall->lowat_bytes : RECORDING_UNKNOWN);
	put_number(&row, stall->by_lowat);
	put_text(&row, stall->alarm < 0 ? NULL : no_event_names[stall->alarm]);
	row_end(&row);
}

void recording_acks(struct recording *recording, int64_t process, const struct stint_probes_acks *acks)
{
	struct row row = row_begin(recording, ACKS);

	put_id(&row, process);
	put_number(&row, acks->socket);
	put_signed(&row, acks->fd);
	put_text(&row, acks->local);
	put_text(&row, acks->remote);
	put_number(&row, acks->acks);
	put_number(&row, acks->told);
	for (int why = 0; why < STINT_PROBES_NO_EVENTS; why++)
		put_number(&row, acks->no_event[why]);
	row_end(&row);
}

void recording_alarm(struct recording *recording, int64_t process, const struct stint_probes_alarm *alarm)
{
	struct row row = row_begin(recording, ALARM);

	put_id(&row, process);
	put_number(&row, alarm->tid);
	put_signed(&row, alarm->fd);
	put_number(&row, alarm->socket);
	put_text(&row, alarm->local);
	put_text(&row, alarm->remote);
	put_number(&row, alarm->time_ns);
	put_number(&row, alarm->start_ns);
	put_number(&row, alarm->opened_ns);
	put_text(&row, no_event_names[alarm->why]);
	put_known(&row, alarm->registered ? alarm->interest : RECORDING_UNKNOWN);
	put_number(&row, alarm->queued_bytes);
	put_number(&row, alarm->sndbuf_bytes);
	put_number(&row, alarm->unsent_bytes);
	row_end(&row);
}

void recording_socket_event(struct recording *recording, const struct recording_socket_event *event)
{
	struct row row = row_begin(recording, SOCKET);

	put_id(&row, event->process);
	put_text(&row, source_name(event->from_meter));
	put_known(&row, event->socket ? event->socket : RECORDING_UNKNOWN);
	put_number(&row, event->tid);
	put_signed(&row, event->fd);
	put_text(&row, event->local);
	put_text(&row, event->remote);
	put_number(&row, event->time_ns);
	put_text(&row, event->kind);
	put_known(&row, event->requested_bytes);
	put_known(&row, event->done_bytes);
	put_known(&row, event->queued_before_bytes);
	put_known(&row, event->queued_bytes);
	put_known(&row, event->sndbuf_bytes);
	put_known(&row, event->unacked_bytes);
	put_known(&row, event->snd_wnd_bytes);
	put_known(&row, event->snd_cwnd);
	put_number(&row, event->cause);
	row_end(&row);
}

static uint64_t query_number(struct recording *recording, const char *sql)
{
	sqlite3_stmt *statement;
	uint64_t number = 0;

	if (recording->err || sqlite3_prepare_v2(recording->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return 0;
	if (sqlite3_step(statement) == SQLITE_ROW)
		number = (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

void recording_sums(struct recording *recording, struct recording_sums *ret)
{
	ret->loops = query_number(recording, "SELECT count(*) FROM loop");
	ret->overruns = query_number(recording, "SELECT count(*) FROM overrun");
	ret->stalls = query_number(recording, "SELECT count(*) FROM write_stall");
	ret->lost = query_number(recording, "SELECT total(count) FROM loss");
}
