/* SPDX-License-Identifier: MIT */

/*
 * Recordings that are not what stint wrote: bytes flipped, files cut, and by SQL any value in any column of tables
 * that have lost all their constraints. Each is a report in every format, or a refusal by one line; nothing of what
 * is in the file gets out unescaped, JSON is always JSON, and nothing takes for ever. A sanitizer watches over
 * memory.
 */

#include "hostile_fixture.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "command.h"
#include "report/model/model.h"
#include "report/record/recording.h"
#include "report/show/html.h"
#include "report/show/json.h"
#include "report/show/text.h"

#define TABLES_MAX  64
#define COLUMNS_MAX 40

/* Every text that the tests bring in has "zq" behind each character that means something somewhere. */
#define NASTY_TEXT                                                                                          \
	"'<zq>zq&zq\"zq''zq`zq$zq%zq\\zq{zq'||char(27)||'zq[31mzq'||char(7)||'zq'||char(13)||char(10)||'zq" \
	"'||char(8238)||'zq'||char(155)||'zq'"

static const char *const nasty[] = {NASTY_TEXT,
				    NASTY_TEXT,
				    "NULL",
				    "0",
				    "-1",
				    "1",
				    "255",
				    "2147483648",
				    "4294967296",
				    "9223372036854775807",
				    "-9223372036854775807 - 1",
				    "1e300",
				    "-1e300",
				    "9e999",
				    "-9e999",
				    "0.5",
				    "''",
				    "'17'",
				    "'nan'",
				    "'-inf'",
				    "x'00ff1b0a'",
				    "cast(x'61001b62' AS TEXT)",
				    "cast(x'fffe80c0af' AS TEXT)",
				    "cast(x'eda080' AS TEXT)",
				    "printf('%.*c', 300000, 'x')",
				    "printf('%.*c', 5000, char(27))",
				    "'1000000000000'",
				    "1000000000000"};
#define NASTY (sizeof(nasty) / sizeof(nasty[0]))

struct table {
	char name[64];
	char columns[COLUMNS_MAX][64];
	uint32_t columns_len;
};

static char path[128], page_path[128];
static char *good, *bare; /* bare: the same rows in tables without constraints and indexes */
static size_t good_len, bare_len;
static struct table tables[TABLES_MAX];
static uint32_t tables_len;
static FILE *jq;
static uint32_t documents, refusals;

/* ---- files ---- */

static void execute(const char *sql)
{
	char *error = NULL;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL) !=
		    SQLITE_OK ||
	    sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
		fail_msg("%s: %s", sql, error ? error : "?");
	sqlite3_close(db);
}

static int take_column(void *ctx, int columns, char **values, char **names)
{
	struct table *table = tables_len ? &tables[tables_len - 1] : NULL;

	(void)ctx, (void)columns, (void)names;
	if (!table || strcmp(table->name, values[0]) != 0) {
		assert_in_range(tables_len, 0, TABLES_MAX - 1);
		table = &tables[tables_len++];
		snprintf(table->name, sizeof(table->name), "%s", values[0]);
	}
	assert_in_range(table->columns_len, 0, COLUMNS_MAX - 1);
	snprintf(table->columns[table->columns_len++], sizeof(table->columns[0]), "%s", values[1]);
	return 0;
}

static void find_tables(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			     "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c"
			     " WHERE t.type = 'table' ORDER BY t.name, c.cid",
			     take_column, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	assert_in_range(tables_len, 20, TABLES_MAX);
}

static void strip_tables(void)
{
	char sql[512];

	for (uint32_t i = 0; i < tables_len; i++) {
		const char *name = tables[i].name;

		snprintf(
			sql, sizeof(sql),
			"CREATE TABLE bare AS SELECT * FROM %s; DROP TABLE %s; ALTER TABLE bare RENAME TO %s",
			name, name, name);
		execute(sql);
	}
}

static int make_files(void **state)
{
	struct recording *recording;
	size_t len;
	char *sql;

	if (make_directory(state) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/recording.stint", directory);
	snprintf(page_path, sizeof(page_path), "%s/page.html", directory);
	assert_int_equal(recording_new(&recording, path), 0);
	recording_free(recording);
	sql = read_file("tests/hostile/recording.sql", &len);
	execute(sql);
	free(sql);
	good = read_file(path, &good_len);
	find_tables();
	strip_tables();
	bare = read_file(path, &bare_len);
	return 0;
}

static int remove_files(void **state)
{
	char journal[160];

	snprintf(journal, sizeof(journal), "%s-journal", path);
	unlink(journal);
	unlink(path);
	unlink(page_path);
	free(good);
	free(bare);
	return remove_directory(state);
}

/* ---- what must hold of every answer ---- */

static void check_characters(const char *text, const char *what)
{
	for (const char *at = text; *at; at++)
		if (((unsigned char)*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f)
			fail_msg("%s holds character 0x%02x: %s", what, (unsigned char)*at, deed);
	if (strstr(text, "\xe2\x80\xae") || strstr(text, "\xc2\x9b"))
		fail_msg("%s holds a mark of direction or a control: %s", what, deed);
}

static void check_refusal(const char *why)
{
	refusals++;
	if (!*why || strchr(why, '\n'))
		fail_msg("'%s' is not one line: %s", why, deed);
	check_characters(why, "the refusal");
}

static void check_html(const char *page)
{
	static const char *const open[] = {"<zq", "\"zq", "'zq", "&zq"};

	check_characters(page, "the page");
	assert_non_null(strstr(page, "</html>"));
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		if (strstr(page, open[i]))
			fail_msg("the page holds %s: %s", open[i], deed);
}

/* jq takes NaN for a number, so what stands outside strings is looked at here. */
static void check_json(const char *text)
{
	const char *at = text;

	check_characters(text, "JSON");
	while (*at) {
		size_t plain = strspn(at, "{}[]:,0123456789+-.eE \n");

		at += plain;
		if (*at == '"') {
			for (at++; *at && *at != '"'; at++)
				at += *at == '\\' && at[1];
			at += *at != '\0';
			continue;
		}
		if (strncmp(at, "null", 4) == 0 || strncmp(at, "true", 4) == 0)
			at += 4;
		else if (strncmp(at, "false", 5) == 0)
			at += 5;
		else if (*at)
			fail_msg("JSON holds '%.20s': %s", at, deed);
	}
}

static void show(const struct model *model)
{
	struct buffer out = {0};
	char why[256] = "";

	text_report(&out, model, true, 100);
	assert_non_null(buffer_text(&out));
	buffer_clear(&out);
	text_report(&out, model, false, 100);
	check_characters(buffer_text(&out), "the text");
	buffer_clear(&out);
	html_report(&out, model, why, sizeof(why));
	check_html(buffer_text(&out));
	buffer_clear(&out);
	json_report(&out, model);
	check_json(buffer_text(&out));
	if (jq && fwrite(out.data, 1, out.len, jq) == out.len)
		documents++;
	buffer_free(&out);
}

static void report(void)
{
	struct model *model = NULL;
	char why[512] = "";

	if (model_new(&model, path, why, sizeof(why)) < 0) {
		check_refusal(why);
		return;
	}
	show(model);
	model_free(model);
}

/* Plots are drawn where it matters: gnuplot takes longer than all the rest. */
static char *search_path;

static int begin_reports(void **state)
{
	char command[256];

	(void)state;
	documents = refusals = 0;
	jq = NULL;
	if (system("command -v jq >/dev/null") == 0) {
		snprintf(
			command, sizeof(command),
			"jq -n 'reduce inputs as $d (0; if $d.schema == 1 then . + 1 else error end)' >%s/count",
			directory);
		jq = popen(command, "we");
	}
	search_path = strdup(getenv("PATH"));
	setenv("TMPDIR", directory, 1);
	return setenv("PATH", directory, 1);
}

static int end_reports(void **state)
{
	char count_path[128];
	size_t len;
	char *count;

	(void)state;
	setenv("PATH", search_path, 1);
	free(search_path);
	if (!jq) {
		print_message("skipped: jq is not installed\n");
		return 0;
	}
	assert_int_equal(pclose(jq), 0);
	snprintf(count_path, sizeof(count_path), "%s/count", directory);
	count = read_file(count_path, &len);
	assert_int_equal(strtoul(count, NULL, 10), documents);
	print_message("%u reports, %u refusals\n", documents, refusals);
	free(count);
	return unlink(count_path);
}

/* ---- damage ---- */

static void what_is_good_is_shown(void **state)
{
	(void)state;
	begin_case("none");
	write_file(path, good, good_len);
	report();
	begin_case("no constraints");
	write_file(path, bare, bare_len);
	report();
	assert_int_equal(refusals, 0);
}

static void any_value_may_be_in_any_column(void **state)
{
	char sql[1024];

	(void)state;
	for (uint32_t i = 0; i < tables_len; i++) {
		for (uint32_t j = 0; j < tables[i].columns_len; j++) {
			for (uint32_t k = 0; k < 3; k++) {
				snprintf(sql, sizeof(sql), "UPDATE %.63s SET %.63s = %s", tables[i].name,
					 tables[i].columns[j], k ? nasty[below(NASTY)] : NASTY_TEXT);
				begin_case("%s", sql);
				write_file(path, bare, bare_len);
				execute(sql);
				report();
			}
		}
	}
	assert_int_equal(refusals, 0);
}

/* Single rows, some of them doubled or gone, so that what they refer to is not there. */
static size_t damage_some(char *sql, size_t size)
{
	size_t len = 0;

	for (uint32_t n = 1 + below(12); n > 0 && len + 600 < size; n--) {
		const struct table *table = &tables[below(tables_len)];
		const char *column = table->columns[below(table->columns_len)];

		if (one_in(6))
			len += (size_t)snprintf(sql + len, size - len, "INSERT INTO %s SELECT * FROM %s;",
						table->name, table->name);
		else if (one_in(6))
			len += (size_t)snprintf(sql + len, size - len,
						"DELETE FROM %s WHERE rowid %% 3 = %u;", table->name,
						below(3));
		else
			len += (size_t)snprintf(sql + len, size - len,
						"UPDATE %s SET %s = %s WHERE rowid %% 4 = %u;", table->name,
						column, nasty[below(NASTY)], below(4));
	}
	return len;
}

static void any_rows_may_be_wrong_at_once(void **state)
{
	static char sql[16384];

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		damage_some(sql, sizeof(sql));
		begin_case("%s", sql);
		write_file(path, bare, bare_len);
		execute(sql);
		report();
	}
	assert_int_equal(refusals, 0);
}

static void any_bytes_may_be_wrong(void **state)
{
	unsigned char *bytes = malloc(good_len);

	(void)state;
	assert_non_null(bytes);
	for (uint32_t i = 0; i < 300; i++) {
		uint64_t before = chance_state;

		begin_case("bytes, state %llu", (unsigned long long)before);
		memcpy(bytes, good, good_len);
		/* Often within one page, where its structure is, or in the schema. */
		if (one_in(2)) {
			size_t page = one_in(3) ? 0 : 4096 * (next_random() % (good_len / 4096));

			flip_bytes(bytes, page, page + 256);
		} else {
			flip_bytes(bytes, 0, good_len);
		}
		write_file(path, bytes, good_len);
		report();
	}
	free(bytes);
	assert_true(refusals > 0 && documents > 0);
}

static void a_file_may_end_anywhere(void **state)
{
	(void)state;
	for (size_t len = 0; len < good_len; len += len < 128 ? 7 : 1 + next_random() % 4096) {
		begin_case("cut at %zu", len);
		write_file(path, good, len);
		report();
	}
	/* All of them: SQLite's header says how many pages there are. */
	assert_int_equal(documents, 0);
}

static void any_table_may_be_missing_or_something_else(void **state)
{
	static const char *const instead[] = {
		"CREATE TABLE %s (x)", "CREATE VIEW %s AS SELECT 1 AS id",
		"CREATE VIRTUAL TABLE %s USING fts5(x)",
		"CREATE VIEW %s AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"};
	char sql[512], create[256];

	(void)state;
	for (uint32_t i = 0; i < tables_len; i++) {
		for (size_t j = 0; j <= sizeof(instead) / sizeof(instead[0]); j++) {
			*create = '\0';
			if (j < sizeof(instead) / sizeof(instead[0])) {
				/* The formats are those above. */
				_Pragma("GCC diagnostic push")
					_Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"")
						snprintf(create, sizeof(create), instead[j], tables[i].name);
				_Pragma("GCC diagnostic pop")
			}
			snprintf(sql, sizeof(sql), "DROP TABLE %s; %s", tables[i].name, create);
			begin_case("%s", sql);
			write_file(path, bare, bare_len);
			execute(sql);
			report();
		}
	}
	assert_true(refusals > 0);
}

static void what_names_itself_badly_is_refused_in_one_line(void **state)
{
	(void)state;
	begin_case("a name in the schema that does not parse");
	write_file(path, good, good_len);
	execute("PRAGMA writable_schema = ON;"
		"UPDATE sqlite_master SET name = 'a' || char(27, 10) || 'b', sql = 'CREATE TABLE ' || char(27, 10) WHERE"
		" name = 'meta'");
	report();
	assert_int_equal(refusals, 1);
}

/* Time and memory are bounded by the file's size, and by what is kept of each table. */
static void millions_of_rows_take_no_longer_than_reading_them(void **state)
{
	(void)state;
	begin_case("100,000 buckets without an index, and 4,000 handlers that look for theirs");
	write_file(path, bare, bare_len);
	execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
		" INSERT INTO histogram SELECT i % 7, NULL, 'service', i / 1000, i % 2000, i FROM n;"
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)"
		" INSERT INTO handler SELECT i, 1, 'h' || i, 'meter', 1, 1, 1, 1, 1 FROM n");
	report();
	assert_int_equal(refusals, 1);
	begin_case("a million buckets with an index");
	write_file(path, good, good_len);
	execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
		" INSERT INTO histogram SELECT 1 + i % 3, NULL, 'service', i / 1000, i % 2000, i FROM n");
	report();
	assert_int_equal(refusals, 1);
}

/* ---- as users run it ---- */

static int count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* A page whose plots gnuplot could not draw is written all the same, and both are said. */
static void run_command(const char *format, const char *page)
{
	static char output[4 << 20];
	const char *const argv[] = {"stint", "report", path, format, page, NULL};
	int status = command_run(argv, output, sizeof(output));

	if (status != 0 && status != 1)
		fail_msg("exit status %d of %s: %s\n%s", status, format, deed, output);
	if (status == 1 && (count_lines(output) < 1 || count_lines(output) > (page ? 2 : 1)))
		fail_msg("%s is not refused by one line: %s\n%s", format, deed, output);
	check_characters(output, "the output");
}

static void the_command_ends_with_a_report_or_one_line(void **state)
{
	static char sql[16384];
	unsigned char *bytes = malloc(good_len);

	(void)state;
	assert_non_null(bytes);
	for (uint32_t i = 0; i < 8; i++) {
		memcpy(bytes, good, good_len);
		flip_bytes(bytes, 0, good_len);
		damage_some(sql, sizeof(sql));
		begin_case("round %u: %s", i, i % 2 ? sql : "bytes");
		write_file(path, i % 2 ? bare : (char *)bytes,
			   i % 2 ? bare_len
			   : i   ? good_len
				 : good_len / 2);
		if (i % 2)
			execute(sql);
		run_command("--text", NULL);
		run_command("--json", NULL);
		run_command("--html", page_path);
	}
	free(bytes);
}

static void a_name_is_no_command_to_gnuplot_and_no_element_of_the_page(void **state)
{
	char sql[1024], mark[96];
	size_t len;
	char *page;

	(void)state;
	if (system("command -v gnuplot >/dev/null") != 0) {
		print_message("skipped: gnuplot is not installed\n");
		skip();
	}
	snprintf(mark, sizeof(mark), "%s/mark", directory);
	snprintf(
		sql, sizeof(sql),
		"UPDATE process SET command = '<zq>`touch %.63s`''.system(\"touch %.63s\").''' || char(10) ||"
		" '!touch %.63s' || char(10) || '{/:Bold zq}'; UPDATE handler SET name = (SELECT command FROM process)",
		mark, mark, mark);
	begin_case("%s", sql);
	write_file(path, bare, bare_len);
	execute(sql);
	run_command("--html", page_path);
	page = read_file(page_path, &len);
	assert_non_null(strstr(page, "<svg"));
	assert_null(strstr(page, "<zq"));
	free(page);
	assert_int_equal(access(mark, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_reports, end_reports)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_good_is_shown),
		TEST(any_value_may_be_in_any_column),
		TEST(any_rows_may_be_wrong_at_once),
		TEST(any_bytes_may_be_wrong),
		TEST(a_file_may_end_anywhere),
		TEST(any_table_may_be_missing_or_something_else),
		TEST(what_names_itself_badly_is_refused_in_one_line),
		TEST(millions_of_rows_take_no_longer_than_reading_them),
		cmocka_unit_test(the_command_ends_with_a_report_or_one_line),
		cmocka_unit_test(a_name_is_no_command_to_gnuplot_and_no_element_of_the_page),
	};

	return cmocka_run_group_tests_name("recording", tests, make_files, remove_files);
}
