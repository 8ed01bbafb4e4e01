/* SPDX-License-Identifier: MIT */

/*
 * What a program under watch can put before the recorder: its ELF files, damaged, cut while they are read, replaced;
 * names of any length; maps of code made at run time. Each gives a name or none; nothing crashes, hangs, or grows
 * without bound.
 */

#include "hostile_fixture.h"

#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "probes/demangle.h"
#include "probes/kernel_symbols.h"
#include "probes/modules.h"
#include "probes/perf_map.h"
#include "probes/unwind.h"

#define REGISTER_SP 7
#define REGISTER_PC 16
#define ELF         BUILD_DIRECTORY "/tests/subjects/reactor"

static char path[128];
static char *elf;
static size_t elf_len;

/* ---- a process that maps what it is told ---- */

static struct {
	pid_t pid;
	int fd;
} mapper;

static void map_what_is_asked_for(int fd)
{
	char name[128];
	void *mapped = MAP_FAILED;
	size_t bytes = 0;
	ssize_t len;

	while ((len = read(fd, name, sizeof(name) - 1)) > 0) {
		struct stat status;
		uint64_t address;
		int file;

		name[len] = '\0';
		if (mapped != MAP_FAILED)
			munmap(mapped, bytes);
		file = open(name, O_RDONLY | O_CLOEXEC);
		if (file < 0 || fstat(file, &status) < 0)
			_exit(1);
		bytes = (size_t)status.st_size;
		mapped = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
		close(file);
		address = mapped == MAP_FAILED ? 0 : (uint64_t)(uintptr_t)mapped;
		if (write(fd, &address, sizeof(address)) != sizeof(address))
			_exit(1);
	}
	_exit(0);
}

static int start(void **state)
{
	int fds[2];

	if (make_directory(state) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	mapper.pid = fork();
	if (mapper.pid < 0)
		return -1;
	if (mapper.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[1]);
		map_what_is_asked_for(fds[0]);
	}
	close(fds[0]);
	mapper.fd = fds[1];
	snprintf(path, sizeof(path), "%s/elf", directory);
	elf = read_file(ELF, &elf_len);
	return 0;
}

static int end(void **state)
{
	int status;

	close(mapper.fd);
	waitpid(mapper.pid, &status, 0);
	unlink(path);
	free(elf);
	return remove_directory(state);
}

static uint64_t map(const char *name)
{
	uint64_t address = 0;

	assert_int_equal(write(mapper.fd, name, strlen(name)), (ssize_t)strlen(name));
	assert_int_equal(read(mapper.fd, &address, sizeof(address)), sizeof(address));
	return address;
}

/* ---- unwinding in it ---- */

static uint32_t named;

static void check_frame(const struct stint_frame *frame)
{
	assert_non_null(memchr(frame->name, '\0', sizeof(frame->name)));
	assert_non_null(memchr(frame->module, '\0', sizeof(frame->module)));
	assert_non_null(memchr(frame->file, '\0', sizeof(frame->file)));
	named += frame->has_symbol;
}

static uint64_t code_offset, code_bytes; /* in the file, before it was damaged */

static void find_code(void)
{
	const Elf64_Ehdr *header = (const void *)elf;
	const Elf64_Phdr *segments = (const void *)(elf + header->e_phoff);

	for (int i = 0; i < header->e_phnum; i++) {
		if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_X))
			continue;
		code_offset = segments[i].p_offset;
		code_bytes = segments[i].p_filesz;
	}
	assert_true(code_bytes > 0 && code_offset + code_bytes < elf_len);
}

static uint64_t any_address(uint64_t address, size_t bytes)
{
	return address + (one_in(4) ? next_random() % bytes : code_offset + next_random() % code_bytes);
}

/* Stacks full of addresses in the mapping, as any of them may be returned to. */
static void unwind_at_random(struct stint_unwinder *unwinder, uint64_t address, size_t bytes, uint32_t times)
{
	static struct stint_frame frames[64];
	uint64_t stack[512];
	bool complete;

	while (times-- > 0) {
		struct stint_unwind_regs regs = {.absent = 0};
		int len;

		for (size_t i = 0; i < 512; i++)
			stack[i] = one_in(8) ? next_random() : any_address(address, bytes);
		for (int i = 0; i < STINT_UNWIND_REGISTERS; i++)
			regs.reg[i] = one_in(2) ? next_random() : any_address(address, bytes);
		regs.reg[REGISTER_SP] = UINT64_C(0x7ffe00000000);
		regs.reg[REGISTER_PC] = any_address(address, bytes);
		len = stint_unwinder_run(unwinder, &regs, stack, sizeof(stack), frames, 64, &complete);
		for (int i = 0; i < len; i++)
			check_frame(&frames[i]);
	}
}

static void look_at(const char *name, size_t bytes)
{
	uint64_t address = map(name);
	struct stint_unwinder *unwinder;
	char variable[128];
	int err = stint_unwinder_new(&unwinder, NULL, (uint32_t)mapper.pid);

	if (err < 0)
		fail_msg("%s: %s", deed, strerror(-err));
	if (address && bytes) {
		unwind_at_random(unwinder, address, bytes, 12);
		stint_unwinder_name(unwinder, address + next_random() % bytes, "", variable,
				    sizeof(variable));
	}
	stint_unwinder_free(unwinder);
}

static void a_whole_file_names_its_functions(void **state)
{
	(void)state;
	find_code();
	begin_case("none");
	named = 0;
	write_file(path, elf, elf_len);
	look_at(path, elf_len);
	assert_true(named > 0);
}

/* The headers, the table of sections behind everything, or anywhere. */
static void damage(unsigned char *bytes)
{
	switch (below(4)) {
	case 0:
		flip_bytes(bytes, 16, 64);
		break;
	case 1:
		flip_bytes(bytes, 64, 1024);
		break;
	case 2:
		flip_bytes(bytes, elf_len - 3000, elf_len);
		break;
	default:
		for (int i = 0; i < 20; i++)
			flip_bytes(bytes, 1024, elf_len);
	}
}

static void damaged_files_name_what_they_can(void **state)
{
	unsigned char *bytes = malloc(elf_len);

	(void)state;
	assert_non_null(bytes);
	named = 0;
	for (uint32_t i = 0; i < 400; i++) {
		begin_case("case %u, state %llu", i, (unsigned long long)chance_state);
		memcpy(bytes, elf, elf_len);
		damage(bytes);
		write_file(path, bytes, elf_len);
		look_at(path, elf_len);
	}
	free(bytes);
	print_message("%u frames were named\n", named);
}

static void cut_files_name_what_they_can(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 60; i++) {
		size_t len = i < 20 ? 1 + below(600) : 1 + next_random() % elf_len;

		begin_case("cut at %zu", len);
		write_file(path, elf, len);
		look_at(path, len);
	}
}

/* What was under way is forgotten, not freed. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* libelf has it mapped: what is gone then is no memory any more. */
static void a_file_cut_while_it_is_read_is_survived(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		struct stint_unwinder *unwinder;
		uint64_t address;

		begin_case("cut while it is read, %u", i);
		write_file(path, elf, elf_len);
		address = map(path);
		if (__lsan_disable)
			__lsan_disable();
		assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)mapper.pid), 0);
		unwind_at_random(unwinder, address, elf_len, i % 3);
		assert_int_equal(truncate(path, i % 2 ? 0 : 4096), 0);
		unwind_at_random(unwinder, address, elf_len, 5);
		assert_null(stint_unwinder_free(unwinder));
		if (__lsan_enable)
			__lsan_enable();
	}
}

static void run_shell(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

static void files_of_debug_information_that_are_fifos_hold_nobody_up(void **state)
{
	char command[1024], fifo[160];
	struct stat status;

	(void)state;
	begin_case("a debug link to a fifo");
	write_file(path, elf, elf_len);
	snprintf(fifo, sizeof(fifo), "%s.debug", path);
	snprintf(command, sizeof(command),
		 "objcopy --only-keep-debug %s %s && objcopy --strip-all --remove-section .note.gnu.build-id"
		 " --add-gnu-debuglink=%s %s",
		 path, fifo, fifo, path);
	run_shell(command);
	unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(stat(path, &status), 0);
	look_at(path, (size_t)status.st_size);
	unlink(fifo);
}

/* Of a file without symbols: there, functions are told apart by it. */
static void a_damaged_index_of_functions_is_survived(void **state)
{
	const Elf64_Phdr *segments, *index = NULL;
	char command[256];
	char *bytes;
	size_t len;

	(void)state;
	begin_case("an index of functions");
	write_file(path, elf, elf_len);
	snprintf(command, sizeof(command), "objcopy --strip-all %s", path);
	run_shell(command);
	bytes = read_file(path, &len);
	segments = (const void *)(bytes + ((const Elf64_Ehdr *)(const void *)bytes)->e_phoff);
	for (int i = 0; !index; i++)
		index = segments[i].p_type == PT_GNU_EH_FRAME ? &segments[i] : NULL;
	for (uint32_t i = 0; i < 100; i++) {
		begin_case("an index of functions, case %u, state %llu", i, (unsigned long long)chance_state);
		/* What it begins with, where it says how long it is; and the rest, damaged more with each case. */
		flip_bytes((unsigned char *)bytes, index->p_offset + (i % 2 ? 0 : 12),
			   index->p_offset + (i % 2 ? 12 : index->p_filesz));
		write_file(path, bytes, len);
		look_at(path, len);
	}
	free(bytes);
}

static void a_file_that_was_replaced_holds_nobody_up(void **state)
{
	struct stint_unwinder *unwinder;
	uint64_t address;

	(void)state;
	begin_case("replaced by a fifo");
	write_file(path, elf, elf_len);
	address = map(path);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)mapper.pid), 0);
	unwind_at_random(unwinder, address, elf_len, 5);
	stint_unwinder_free(unwinder);
	unlink(path);
	begin_case("a directory in its place");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)mapper.pid), 0);
	unwind_at_random(unwinder, address, elf_len, 5);
	stint_unwinder_free(unwinder);
	rmdir(path);
}

static void names_of_megabytes_and_escapes_are_cut(void **state)
{
	char names[160], command[512];
	struct stat status;
	FILE *file;

	(void)state;
	begin_case("a symbol of 3 MB");
	write_file(path, elf, elf_len);
	snprintf(names, sizeof(names), "%s.names", path);
	file = fopen(names, "we");
	assert_non_null(file);
	fprintf(file, "main \x1b[31m<zq>");
	for (int i = 0; i < 3000000; i++)
		putc('x', file);
	fprintf(file, "\n");
	fclose(file);
	snprintf(command, sizeof(command), "objcopy --redefine-syms=%s %s", names, path);
	run_shell(command);
	unlink(names);
	assert_int_equal(stat(path, &status), 0);
	assert_true(status.st_size > 3000000);
	look_at(path, (size_t)status.st_size);
}

/* ---- names of C++ ---- */

/* A<b, b> is S1_, A<S1_, S1_> is S2_, and so on: each twice as long as the one before. */
static void make_bomb(char *ret, size_t size, int levels)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = (size_t)snprintf(ret, size, "_Z1f1AI1bS0_E");

	for (int i = 1; i < levels && len + 16 < size; i++)
		len += (size_t)snprintf(ret + len, size - len, i < 36 ? "S_IS%c_S%c_E" : "S_IS1%c_S1%c_E",
					digits[i % 36], digits[i % 36]);
}

static void a_short_name_does_not_become_gigabytes(void **state)
{
	struct rusage before, after;
	char symbol[1024], name[128];

	(void)state;
	getrusage(RUSAGE_SELF, &before);
	for (int levels = 2; levels < 70; levels++) {
		begin_case("a name that doubles %d times", levels);
		make_bomb(symbol, sizeof(symbol), levels);
		stint_demangle(name, sizeof(name), symbol, strlen(symbol));
		assert_string_equal(levels < 8 ? name : "f", "f");
	}
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 300 * 1024);
}

static void any_name_is_demangled_or_left(void **state)
{
	static const char letters[] = "_ZNKSTIJELDptsabcefhilmnoPRO0123456789ABCv";
	char symbol[1200], name[128];

	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		size_t len = 3 + below(one_in(10) ? 1100 : 60);

		memcpy(symbol, "_ZN", 3);
		for (size_t at = one_in(2) ? 2 : 3; at < len; at++)
			symbol[at] = letters[below(sizeof(letters) - 1)];
		symbol[len] = '\0';
		begin_case("%.900s", symbol);
		stint_demangle(name, sizeof(name), symbol, len);
		assert_non_null(memchr(name, '\0', sizeof(name)));
	}
}

/* ---- code made at run time, and the kernel's ---- */

static char map_path[64];

static const char *find_in_map(uint64_t address)
{
	static char name[256];
	struct stint_perf_map *perf_map;
	const char *found;
	uint64_t start;

	assert_int_equal(stint_perf_map_new(&perf_map, (uint32_t)getpid()), 0);
	found = stint_perf_map_find(perf_map, address, &start);
	if (found)
		snprintf(name, sizeof(name), "%s", found);
	stint_perf_map_free(perf_map);
	return found ? name : NULL;
}

static int begin_map(void **state)
{
	(void)state;
	snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
	return 0;
}

static int end_map(void **state)
{
	(void)state;
	return unlink(map_path);
}

static void a_map_of_somebody_else_is_not_read(void **state)
{
	(void)state;
	begin_case("a map of somebody else");
	write_file(map_path, "1000 100 mine\n", 14);
	assert_string_equal(find_in_map(0x1010), "mine");
	if (chown(map_path, 4242, 4242) < 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	assert_null(find_in_map(0x1010));
}

static void a_line_without_end_takes_no_memory(void **state)
{
	struct rusage before, after;
	int fd;

	(void)state;
	begin_case("a line of a TB");
	write_file(map_path, "1000 100 before\n2000 100 ", 25);
	fd = open(map_path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, INT64_C(1) << 40), 0);
	close(fd);
	getrusage(RUSAGE_SELF, &before);
	assert_string_equal(find_in_map(0x1010), "before");
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
}

static void what_follows_a_long_line_is_read(void **state)
{
	char *text = malloc(100100);
	size_t len;

	(void)state;
	begin_case("a long line");
	assert_non_null(text);
	len = (size_t)sprintf(text, "1000 100 ");
	memset(text + len, 'y', 100000 - len);
	len = 100000 + (size_t)sprintf(text + 100000, "\n2000 100 next\n");
	write_file(map_path, text, len);
	free(text);
	assert_string_equal(find_in_map(0x2010), "next");
	assert_int_equal(strlen(find_in_map(0x1010)), 127);
}

static void any_text_may_be_a_map_or_the_kernels_symbols(void **state)
{
	static const char letters[] = "0123456789abcdef  \t\n\n-x%sTtwW[]\x1b\xff_";
	struct stint_kernel_symbols *symbols;
	char text[4000];

	(void)state;
	for (uint32_t i = 0; i < 200; i++) {
		size_t len = 1 + below(sizeof(text) - 1);

		begin_case("text %u", i);
		for (size_t at = 0; at < len; at++)
			text[at] = letters[below(sizeof(letters))];
		write_file(map_path, text, len);
		find_in_map(next_random());
		assert_int_equal(stint_kernel_symbols_new(&symbols, map_path), 0);
		stint_kernel_symbol(symbols, next_random());
		stint_kernel_symbols_free(symbols);
	}
}

#define MAP_TEST(name) cmocka_unit_test_setup_teardown(name, begin_map, end_map)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_file_names_its_functions),
		cmocka_unit_test(damaged_files_name_what_they_can),
		cmocka_unit_test(cut_files_name_what_they_can),
		cmocka_unit_test(a_file_cut_while_it_is_read_is_survived),
		cmocka_unit_test(files_of_debug_information_that_are_fifos_hold_nobody_up),
		cmocka_unit_test(a_damaged_index_of_functions_is_survived),
		cmocka_unit_test(a_file_that_was_replaced_holds_nobody_up),
		cmocka_unit_test(names_of_megabytes_and_escapes_are_cut),
		cmocka_unit_test(a_short_name_does_not_become_gigabytes),
		cmocka_unit_test(any_name_is_demangled_or_left),
		MAP_TEST(a_map_of_somebody_else_is_not_read),
		MAP_TEST(a_line_without_end_takes_no_memory),
		MAP_TEST(what_follows_a_long_line_is_read),
		MAP_TEST(any_text_may_be_a_map_or_the_kernels_symbols),
	};

	return cmocka_run_group_tests_name("program", tests, start, end);
}
