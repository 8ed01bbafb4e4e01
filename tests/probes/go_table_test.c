/* SPDX-License-Identifier: MIT */

/* The table of functions that a Go program carries: here in this test's own file, which has room for one. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <gelf.h>

#include "probes/go_table.h"

#define TEXT 0x401000u

/* As Go lays it out, with two functions: main.first of 32 bytes, and main.second of 16. */
struct function_data {
	uint32_t entry, name, args, deferreturn, pcsp, pcfile, pcln, npcdata, unit;
};

struct table {
	uint32_t magic;
	uint8_t zero[2], quantum, word_bytes;
	uint64_t count, file_count, text, names_at, units_at, files_at, values_at, functions_at;
	char names[32];
	uint32_t units[4];
	char files[32];
	uint8_t values[16];
	struct {
		uint32_t start, data_at;
	} pairs[2];
	uint32_t end;
	struct function_data data[2];
};

struct function_data_1_16 {
	uint64_t entry;
	uint32_t name, args, deferreturn, pcsp, pcfile, pcln, npcdata, unit;
};

struct table_1_16 {
	uint32_t magic;
	uint8_t zero[2], quantum, word_bytes;
	uint64_t count, file_count, names_at, units_at, files_at, values_at, functions_at;
	char names[32];
	uint32_t units[4];
	char files[32];
	uint8_t values[16];
	struct {
		uint64_t start, data_at;
	} pairs[2];
	uint64_t end;
	struct function_data_1_16 data[2];
};

#define OF_FUNCTIONS(type, field) (offsetof(type, field) - offsetof(type, pairs))

/* The parts that all layouts have alike. Lines: 10 for 8 bytes, 12 for 24 bytes; file 1; line 20 for 16 bytes. */
#define NAMES "\0main.first\0main.second"
#define FILES "/srv/app/a.go\0/srv/app/b.go"
#define VALUES                                                    \
	{                                                         \
		0, 22, 8, 4, 24, 0, 4, 32, 0, 42, 16, 0, 2, 16, 0 \
	}
#define UNITS               \
	{                   \
		0, 0, 14, 0 \
	} /* the second unit begins at its second entry */

static const struct table table = {
	.magic = 0xfffffff1u,
	.quantum = 1,
	.word_bytes = 8,
	.count = 2,
	.file_count = 2,
	.text = TEXT,
	.names_at = offsetof(struct table, names),
	.units_at = offsetof(struct table, units),
	.files_at = offsetof(struct table, files),
	.values_at = offsetof(struct table, values),
	.functions_at = offsetof(struct table, pairs),
	.names = NAMES,
	.units = UNITS,
	.files = FILES,
	.values = VALUES,
	.pairs = {{0, OF_FUNCTIONS(struct table, data[0])}, {32, OF_FUNCTIONS(struct table, data[1])}},
	.end = 48,
	.data = {{.entry = 0, .name = 1, .pcfile = 6, .pcln = 1, .unit = 1},
		 {.entry = 32, .name = 12, .pcfile = 12, .pcln = 9, .unit = 1}},
};

static const struct table_1_16 table_1_16 = {
	.magic = 0xfffffffau,
	.quantum = 1,
	.word_bytes = 8,
	.count = 2,
	.file_count = 2,
	.names_at = offsetof(struct table_1_16, names),
	.units_at = offsetof(struct table_1_16, units),
	.files_at = offsetof(struct table_1_16, files),
	.values_at = offsetof(struct table_1_16, values),
	.functions_at = offsetof(struct table_1_16, pairs),
	.names = NAMES,
	.units = UNITS,
	.files = FILES,
	.values = VALUES,
	.pairs = {{TEXT, OF_FUNCTIONS(struct table_1_16, data[0])},
		  {TEXT + 32, OF_FUNCTIONS(struct table_1_16, data[1])}},
	.end = TEXT + 48,
	.data = {{.entry = TEXT, .name = 1, .pcfile = 6, .pcln = 1, .unit = 1},
		 {.entry = TEXT + 32, .name = 12, .pcfile = 12, .pcln = 9, .unit = 1}},
};

#define CHANGES (1 << 18) /* more than any function has */
#define ROOM    (2 * CHANGES + 4096)
_Static_assert(sizeof(struct table) <= ROOM && sizeof(struct table_1_16) <= ROOM, "there is room");

__attribute__((section(".gopclntab"), used)) static const unsigned char room[ROOM] = {1};

/* ---- this test's file, with a table in it ---- */

static char *file;
static size_t file_bytes;
static unsigned char *in_file;
static Elf *elf;

static void open_elf(void)
{
	elf_end(elf);
	elf = elf_memory(file, file_bytes);
	assert_non_null(elf);
}

static void find_room(void)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	size_t names;

	assert_int_equal(elf_getshdrstrndx(elf, &names), 0);
	while ((section = elf_nextscn(elf, section))) {
		assert_non_null(gelf_getshdr(section, &header));
		if (strcmp(elf_strptr(elf, names, header.sh_name), ".gopclntab") == 0)
			in_file = (unsigned char *)file + header.sh_offset;
	}
	assert_non_null(in_file);
	assert_memory_equal(in_file, room, ROOM);
}

static int read_file(void **state)
{
	struct stat status;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t taken = -1;

	(void)state;
	if (fd >= 0 && fstat(fd, &status) == 0)
		file = malloc((size_t)status.st_size);
	if (file)
		taken = read(fd, file, (size_t)status.st_size);
	close(fd);
	if (taken <= 0 || taken != status.st_size || elf_version(EV_CURRENT) == EV_NONE)
		return -1;
	file_bytes = (size_t)taken;
	open_elf();
	find_room();
	return 0;
}

static int free_file(void **state)
{
	(void)state;
	elf_end(elf);
	free(file);
	return 0;
}

static void put(const void *bytes, size_t len)
{
	memset(in_file, 0, ROOM);
	memcpy(in_file, bytes, len);
	open_elf();
}

/* ---- what is in it ---- */

static void assert_function(uint64_t at, uint64_t start, const char *name, const char *path, uint32_t line)
{
	struct stint_go_function function;

	assert_true(stint_go_function(elf, at, &function));
	assert_int_equal(function.start, start);
	assert_string_equal(function.name, name);
	assert_string_equal(function.file, path);
	assert_int_equal(function.line, line);
}

static void assert_none(uint64_t at)
{
	struct stint_go_function function;

	assert_false(stint_go_function(elf, at, &function));
}

static void assert_both_functions(void)
{
	assert_none(TEXT - 1);
	assert_function(TEXT, TEXT, "main.first", "/srv/app/b.go", 10);
	assert_function(TEXT + 7, TEXT, "main.first", "/srv/app/b.go", 10);
	assert_function(TEXT + 8, TEXT, "main.first", "/srv/app/b.go", 12);
	assert_function(TEXT + 31, TEXT, "main.first", "/srv/app/b.go", 12);
	assert_function(TEXT + 32, TEXT + 32, "main.second", "/srv/app/a.go", 20);
	assert_function(TEXT + 47, TEXT + 32, "main.second", "/srv/app/a.go", 20);
	assert_none(TEXT + 48);
	assert_none(UINT64_MAX);
}

static void functions_have_their_names_and_lines(void **state)
{
	struct table older = table;

	(void)state;
	put(&table, sizeof(table));
	assert_both_functions();
	older.magic = 0xfffffff0u; /* of 1.18 and 1.19 */
	put(&older, sizeof(older));
	assert_both_functions();
}

static void so_have_those_of_a_program_of_1_16(void **state)
{
	(void)state;
	put(&table_1_16, sizeof(table_1_16));
	assert_both_functions();
}

/* Each frame that is named would take as long as the file has bytes. */
static void a_value_that_changes_on_and_on_is_not_known(void **state)
{
	struct table longer = table;
	struct stint_go_function function;

	(void)state;
	longer.values_at = sizeof(longer);
	longer.data[0].pcfile = 2 * CHANGES + 3;
	put(&longer, sizeof(longer));
	for (size_t i = 0; i < CHANGES; i++)
		in_file[sizeof(longer) + 1 + 2 * i] = 2; /* by 1, for no byte of code */
	/* Then line and file, for all of the code. */
	memcpy(in_file + sizeof(longer) + 1 + 2 * CHANGES, (const uint8_t[]){2, 32, 4, 32}, 4);
	assert_true(stint_go_function(elf, TEXT, &function));
	assert_string_equal(function.name, "main.first");
	assert_null(function.file);
}

static void a_table_of_another_kind_is_none(void **state)
{
	struct table other = table;

	(void)state;
	other.magic = 0xfffffffbu; /* of 1.2 */
	put(&other, sizeof(other));
	assert_none(TEXT);
	other = table;
	other.quantum = 4; /* of another processor */
	put(&other, sizeof(other));
	assert_none(TEXT);
	other = table;
	other.word_bytes = 4;
	put(&other, sizeof(other));
	assert_none(TEXT);
}

static void a_file_without_one_has_no_functions(void **state)
{
	struct stint_go_function function;

	(void)state;
	assert_false(stint_go_function(NULL, TEXT, &function));
	assert_null(function.name);
}

/* Whatever it says: a string that is given has its end in the file, and all of it is there to be read. */
static void assert_sane(void)
{
	struct stint_go_function function;

	for (uint64_t at = TEXT - 1; at <= TEXT + 49; at++) {
		if (!stint_go_function(elf, at, &function))
			continue;
		assert_true(strlen(function.name) > 0);
		assert_true(function.name > file &&
			    function.name + strlen(function.name) < file + file_bytes);
		if (function.file)
			assert_true(function.file > file &&
				    function.file + strlen(function.file) < file + file_bytes);
		else
			assert_int_equal(function.line, 0);
	}
}

static void a_broken_table_gives_nothing_that_is_not_there(void **state)
{
	static const unsigned char values[] = {0x00, 0x7f, 0x80, 0xff};
	const void *const tables[] = {&table, &table_1_16};
	const size_t lens[] = {sizeof(table), sizeof(table_1_16)};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		put(tables[i], lens[i]);
		for (size_t at = 8; at < lens[i]; at++) {
			unsigned char was = in_file[at];

			for (size_t value = 0; value < sizeof(values); value++) {
				in_file[at] = values[value];
				assert_sane();
			}
			in_file[at] = was;
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions_have_their_names_and_lines),
		cmocka_unit_test(so_have_those_of_a_program_of_1_16),
		cmocka_unit_test(a_value_that_changes_on_and_on_is_not_known),
		cmocka_unit_test(a_table_of_another_kind_is_none),
		cmocka_unit_test(a_file_without_one_has_no_functions),
		cmocka_unit_test(a_broken_table_gives_nothing_that_is_not_there),
	};

	return cmocka_run_group_tests_name("go_table", tests, read_file, free_file);
}
