/* SPDX-License-Identifier: MIT */
#include "report/record/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/record/recording_row.h"
#include "report/record/schema.h"
#include "stint/histogram.h"

#define READER_MS 10000 /* for which the last commit waits */

static void execute(struct recording *recording, const char *sql)
{
	int code;

	if (recording->err)
		return;
	code = sqlite3_exec(recording->db, sql, NULL, NULL, NULL);
	if (code != SQLITE_OK)
		recording_failed_by(recording, code);
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

static void failed_to_open(struct recording *recording)
{
	int err = recording->db ? sqlite3_system_errno(recording->db) : ENOMEM;

	if (!err)
		err = EIO;
	recording_failed(recording, -err, strerror(err));
}

static bool is_file(int fd, const char *path)
{
	struct stat opened, there;

	return fstat(fd, &opened) == 0 && lstat(path, &there) == 0 && opened.st_dev == there.st_dev &&
	       opened.st_ino == there.st_ino;
}

/* Whoever records into a file holds flock() on it: then it is not replaced. 0, or a negative errno. */
static int remove_old(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), err = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) /* a link is no file that anybody records into */
		return errno == ELOOP && unlink(path) == 0 ? 0 : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		err = -errno;
	else if (!is_file(fd, path))
		err = -EWOULDBLOCK;
	else if (unlink(path) != 0)
		err = -errno;
	close(fd);
	return err;
}

/* SQLite tries again to read only, and then says of that why it failed. */
static int create_file(struct recording *recording, const char *path)
{
	int err = remove_old(path);

	if (err)
		return err;
	recording->lock_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (recording->lock_fd < 0)
		return -errno;
	return flock(recording->lock_fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

static void open_database(struct recording *recording, const char *path)
{
	int code, err;

	if (strcmp(path, ":memory:") == 0) {
		recording_failed(recording, -EINVAL, "to SQLite that name is no file's: try ./:memory:");
		return;
	}
	if (!may_replace(path)) {
		recording_failed(recording, -EEXIST,
				 "the file is there and is not a stint recording: not replaced");
		return;
	}
	err = create_file(recording, path);
	if (err) {
		recording_failed(recording, err,
				 err == -EWOULDBLOCK ? "another recorder records into it" : strerror(-err));
		return;
	}
	code = sqlite3_open_v2(path, &recording->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (code != SQLITE_OK)
		failed_to_open(recording);
}

int recording_new(struct recording **ret, const char *path)
{
	struct recording *recording = calloc(1, sizeof(*recording));

	if (!recording)
		return -ENOMEM;
	*ret = recording;
	recording->lock_fd = -1;
	open_database(recording, path);
	execute(recording, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;");
	execute(recording, report_schema_sql);
	recording_prepare(recording);
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
	/* Not before: the close of any descriptor of the file gives up SQLite's own locks on it. */
	if (recording->lock_fd >= 0)
		close(recording->lock_fd);
	free(recording);
	return NULL;
}

const char *recording_error(const struct recording *recording)
{
	return recording ? recording->error : "out of memory";
}

int recording_commit(struct recording *recording)
{
	int code;

	if (recording->err)
		return recording->err;
	code = sqlite3_exec(recording->db, "COMMIT", NULL, NULL, NULL);
	if (code == SQLITE_BUSY)
		return 0;
	if (code != SQLITE_OK)
		recording_failed_by(recording, code);
	execute(recording, "BEGIN");
	return recording->err;
}

int recording_finish(struct recording *recording)
{
	if (recording->err)
		return recording->err;
	sqlite3_busy_timeout(recording->db, READER_MS);
	execute(recording, "COMMIT; BEGIN");
	return recording->err;
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
	/* A loop with a meter is also seen by the kernel, by its thread: two rows. */
	static const char per_thread[] =
		" FROM (SELECT sum(source = 'meter') AS own, sum(source = 'probes') AS kernel FROM loop"
		" GROUP BY process, tid)";
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT total(max(own, kernel))%s", per_thread);
	ret->loops = query_number(recording, sql);
	snprintf(sql, sizeof(sql), "SELECT total(min(own, kernel))%s", per_thread);
	ret->loops_twice = query_number(recording, sql);
	ret->overruns = query_number(recording, "SELECT count(*) FROM overrun");
	ret->stalls = query_number(recording, "SELECT count(*) FROM write_stall");
	ret->lost = query_number(recording, "SELECT total(count) FROM loss WHERE name NOT IN"
					    " (" RECORDING_STACKS_INCOMPLETE ")");
	ret->stacks_cut = query_number(recording, "SELECT total(count) FROM loss WHERE name IN"
						  " (" RECORDING_STACKS_INCOMPLETE ")");
}
