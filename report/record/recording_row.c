/* SPDX-License-Identifier: MIT */
#include "report/record/recording_row.h"

#include <errno.h>
#include <stdio.h>

static const char *const statement_sql[STATEMENTS] = {
	[META] = "INSERT OR REPLACE INTO meta VALUES (?,?)",
	[LOSS] = "INSERT OR REPLACE INTO loss VALUES (?,?,?)",
	[PROCESS] = "INSERT INTO process (pid, command) VALUES (?,?)",
	[PROCESS_COMMAND] = "UPDATE process SET command = ? WHERE id = ?",
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
		"INSERT INTO overrun (process, handler, source, running, began_before, tid, fd, role, start_ns, duration_ns, iteration_ns,"
		" on_cpu_ns, runnable_ns, blocked_ns, cpu_min_ns, cpu_max_ns, victims, blame_ns, ready_events,"
		" syscall_count, stack_kind) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[SYSCALL] = "INSERT INTO overrun_syscall VALUES (?,?,?,?,?,?)",
	[FRAME] = "INSERT INTO overrun_frame VALUES (?,?,?,?,?,?,?)",
	[SEGMENT] = "INSERT INTO overrun_segment VALUES (?,?,?,?)",
	[VERDICT] =
		"INSERT INTO overrun_verdict VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[RIVAL] = "INSERT INTO overrun_rival VALUES (?,?,?,?,?)",
	[VICTIM] = "INSERT INTO overrun_victim VALUES (?,?,?,?,?,?)",
	[STALL] =
		"INSERT INTO write_stall (process, tid, fd, socket, local, remote, start_ns, duration_ns, ack_ns,"
		" kernel_ns, scheduler_ns, loop_ns, queue_ns, queued_bytes, sndbuf_bytes, threshold_bytes, acks,"
		" acked_bytes, cause_ns, raise_inferred, snd_wnd_min_bytes, retransmits, receive_window_ns,"
		" congestion_window_ns, retransmission_ns, silent_ns, network_ns, host_ns, peer_reads_ns, cause,"
		" unsent_bytes, lowat_bytes, by_lowat, alarm, by_queue, ending, runnable_later_ns)"
		" VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[ACKS] = "INSERT OR REPLACE INTO write_ack VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[ALARM] = "INSERT INTO write_alarm VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[SOCKET] = "INSERT INTO socket_event VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[BUCKET] = "INSERT INTO bucket VALUES (?,?,?,?)",
	[ROLE] = "INSERT INTO role (process, name, kind) VALUES (?,?,?)",
	[ROLE_HISTOGRAM] = "INSERT INTO role_histogram VALUES (?,?,?,?,?)",
	[ROLE_TOTAL] = "INSERT OR REPLACE INTO role_total VALUES (?,?,?,?,?,?,?)",
	[FINDING] = "INSERT OR REPLACE INTO finding VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[FINDING_DELETE] = "DELETE FROM finding WHERE process = ? AND loop_number = ?",
	[FUNCTION] = "INSERT INTO function (process, asked, name, module, address, cost_ns, within_ns)"
		     " VALUES (?,?,?,?,?,?,?)",
	[FUNCTION_COUNTS] =
		"UPDATE function SET begun = ?, nested = ?, left_behind = ?, unmatched = ?, not_kept = ?"
		" WHERE id = ?",
	[FUNCTION_HISTOGRAM] = "INSERT INTO function_histogram VALUES (?,?,?,?,?)",
	[FUNCTION_TOTAL] = "INSERT OR REPLACE INTO function_total VALUES (?,?,?,?,?,?,?)",
	[OVERRUN_FUNCTION] = "INSERT INTO overrun_function VALUES (?,?,?,?,?)",
};

void recording_failed(struct recording *recording, int err, const char *what)
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
	case SQLITE_BUSY:
		return -EBUSY;
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

void recording_failed_by(struct recording *recording, int code)
{
	recording_failed(recording, errno_of(code), sqlite3_errmsg(recording->db));
}

struct row row_begin(struct recording *recording, enum statement which)
{
	struct row row = {.recording = recording, .next = 1};

	if (!recording->err)
		row.statement = recording->statements[which];
	return row;
}

void put_number(struct row *row, uint64_t value)
{
	if (row->statement)
		sqlite3_bind_int64(row->statement, row->next++,
				   value > INT64_MAX ? INT64_MAX : (sqlite3_int64)value);
}

void put_signed(struct row *row, int64_t value)
{
	if (row->statement)
		sqlite3_bind_int64(row->statement, row->next++, value);
}

void put_null(struct row *row)
{
	if (row->statement)
		sqlite3_bind_null(row->statement, row->next++);
}

void put_known(struct row *row, uint64_t value)
{
	if (value == RECORDING_UNKNOWN)
		put_null(row);
	else
		put_number(row, value);
}

void put_id(struct row *row, int64_t id)
{
	if (id)
		put_signed(row, id);
	else
		put_null(row);
}

void put_fd(struct row *row, int fd)
{
	if (fd >= 0)
		put_signed(row, fd);
	else
		put_null(row);
}

void put_text(struct row *row, const char *text)
{
	if (!text)
		put_null(row);
	else if (row->statement)
		sqlite3_bind_text(row->statement, row->next++, text, -1, SQLITE_TRANSIENT);
}

void put_some_text(struct row *row, const char *text)
{
	put_text(row, text && *text ? text : NULL);
}

void put_source(struct row *row, bool from_meter)
{
	put_text(row, from_meter ? "meter" : "probes");
}

int64_t row_end(struct row *row)
{
	struct recording *recording = row->recording;
	int code;

	if (!row->statement)
		return 0;
	code = sqlite3_step(row->statement);
	sqlite3_reset(row->statement);
	if (code != SQLITE_DONE) {
		recording_failed_by(recording, code);
		return 0;
	}
	return sqlite3_last_insert_rowid(recording->db);
}

void recording_prepare(struct recording *recording)
{
	for (int i = 0; i < STATEMENTS && !recording->err; i++) {
		int code = sqlite3_prepare_v2(recording->db, statement_sql[i], -1, &recording->statements[i],
					      NULL);

		if (code != SQLITE_OK)
			recording_failed_by(recording, code);
	}
}
