/* SPDX-License-Identifier: MIT */
#include "report/model/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report/record/recording.h"

/* SQLite's file header: what stands where. */
#define HEADER_BYTES          100
#define HEADER_USER_VERSION   60
#define HEADER_APPLICATION_ID 68

/* How much CPU time reading may take, and after how many of SQLite's steps that is looked at. */
#define READ_MS         3000
#define READ_MS_PER_MIB 1000
#define READ_STEPS      10000

static int refuse(char *error, size_t error_size, int err, const char *why)
{
	snprintf(error, error_size, "%s", why);
	return err;
}

/* What SQLite says may hold names from the file, and they any character. */
static void make_plain(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static uint32_t big_endian(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* `header` holds the first `len` bytes of the file. */
static int check_header(const unsigned char *header, size_t len, char *error, size_t error_size)
{
	uint32_t version;

	if (len == 0)
		return refuse(error, error_size, -EPROTO, "the file is empty");
	if (len < 16 || memcmp(header, "SQLite format 3", 16) != 0)
		return refuse(error, error_size, -EPROTO, "not a stint recording (and no SQLite file)");
	if (len < HEADER_BYTES)
		return refuse(error, error_size, -EPROTO, "the file is cut short: its header is incomplete");
	if (big_endian(header + HEADER_APPLICATION_ID) != RECORDING_APPLICATION_ID)
		return refuse(error, error_size, -EPROTO,
			      "not a stint recording (an SQLite file of another program)");
	version = big_endian(header + HEADER_USER_VERSION);
	if (version == RECORDING_SCHEMA_VERSION)
		return 0;
	snprintf(error, error_size, "the recording has format %u; this stint knows format %d%s", version,
		 RECORDING_SCHEMA_VERSION,
		 version > RECORDING_SCHEMA_VERSION ? ": read it with a newer stint" : "");
	return -EPROTO;
}

static int check_file(const char *path, char *error, size_t error_size)
{
	unsigned char header[HEADER_BYTES];
	struct stat status;
	ssize_t len;
	int fd;

	if (stat(path, &status) != 0)
		return refuse(error, error_size, -errno, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return refuse(error, error_size, -EPROTO, "not a regular file");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return refuse(error, error_size, -errno, strerror(errno));
	len = pread(fd, header, sizeof(header), 0);
	close(fd);
	if (len < 0)
		return refuse(error, error_size, -EIO, "cannot be read");
	return check_header(header, (size_t)len, error, error_size);
}

static int tell_error(sqlite3 *db, char *error, size_t error_size)
{
	int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM;
	const char *text = db ? sqlite3_errmsg(db) : "out of memory";

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return refuse(error, error_size, -ENOMEM, "out of memory");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return refuse(error, error_size, -EBUSY, "the recording is being written: try again");
	case SQLITE_INTERRUPT:
		return refuse(
			error, error_size, -EPROTO,
			"it takes far too long to read for its size: its tables are not as stint made them");
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		snprintf(error, error_size, "the file is damaged or cut short (%s)", text);
		return -EPROTO;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		snprintf(
			error, error_size,
			"cannot be opened (%s); where a recorder was killed while it wrote, FILE-journal is to "
			"be rolled back, which needs write permission for the file and its directory",
			text);
		return -EACCES;
	default:
		snprintf(error, error_size, "cannot be read as a recording (%s)", text);
		return -EPROTO;
	}
}

int model_file_error(sqlite3 *db, char *error, size_t error_size)
{
	int err = tell_error(db, error, error_size);

	make_plain(error);
	return err;
}

static uint64_t cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int is_overdue(void *limit_ms)
{
	return cpu_ms() > (uintptr_t)limit_ms;
}

/*
 * Reading takes time in proportion to the size, some 50 ms for each MiB, with the keys and indexes that stint makes. A
 * hostile file may lack them, or have columns that are computed.
 */
static void limit_time(sqlite3 *db, const char *path)
{
	struct stat status;
	uint64_t mib = stat(path, &status) == 0 ? (uint64_t)status.st_size >> 20 : 0;

	sqlite3_progress_handler(db, READ_STEPS, is_overdue,
				 (void *)(uintptr_t)(cpu_ms() + READ_MS + mib * READ_MS_PER_MIB));
}

/* A hostile file may bring views and triggers, which would run code of its choice while we read. */
static int prepare_connection(sqlite3 *db, const char *path)
{
	limit_time(db, path);
	sqlite3_busy_timeout(db, 5000);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 16 << 20);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	/* The first read takes the lock that finds a hot journal and rolls it back. */
	return sqlite3_exec(db, "PRAGMA cell_size_check = ON; BEGIN; SELECT count(*) FROM sqlite_master",
			    NULL, NULL, NULL);
}

int model_file_open(sqlite3 **ret, const char *path, char *error, size_t error_size)
{
	sqlite3 *db = NULL;
	int err = check_file(path, error, error_size);

	if (err < 0)
		return err;
	/* Where the file may not be written, SQLite opens it for reading by itself. */
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    prepare_connection(db, path) != SQLITE_OK) {
		err = model_file_error(db, error, error_size);
		sqlite3_close(db);
		return err;
	}
	*ret = db;
	return 0;
}
