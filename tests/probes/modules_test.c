/* SPDX-License-Identifier: MIT */

/*
 * The files behind what a process has mapped, where another one has come to their path meanwhile, of this very process; and
 * of a child that has the same mappings, where another is by that path in its root, or where it has ended.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/capabilities.h"
#include "probes/modules.h"
#include "probes/unwind.h"

#define FUNCTION "_assert_int_equal" /* of cmocka's library */
#define PC       16

static char folder[64], path[80], other[80];
static void *library;
static uint64_t start, function, capabilities;
static pid_t child;

/* Of the library that this program has that function from. */
static void copy_library(const void *in_it, const char *to)
{
	Dl_info info;
	struct stat status;
	int in, out;

	assert_true(dladdr(in_it, &info) != 0);
	in = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	assert_true(in >= 0 && out >= 0);
	assert_int_equal(fstat(in, &status), 0);
	for (ssize_t left = status.st_size, sent; left > 0; left -= sent) {
		sent = sendfile(out, in, NULL, (size_t)left);
		assert_true(sent > 0);
	}
	close(in);
	close(out);
}

/* As stint is once it records: what is mapped can be opened by its path only. */
static int set_up(void **state)
{
	Dl_info info;

	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/stint-modules-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/library.so", folder);
	snprintf(other, sizeof(other), "%s/other.so", folder);
	copy_library((const void *)(uintptr_t)_assert_int_equal, path);
	copy_library((const void *)(uintptr_t)getpid, other);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(library);
	function = (uintptr_t)dlsym(library, FUNCTION);
	assert_true(dladdr((const void *)(uintptr_t)function, &info) != 0);
	start = (uintptr_t)info.dli_fbase;
	capabilities = stint_mask_capabilities(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		child = 0;
	}
	stint_restore_capabilities(capabilities);
	dlclose(library);
	unlink(path);
	unlink(other);
	return rmdir(folder);
}

static void replace(void)
{
	assert_int_equal(rename(other, path), 0);
}

static void a_file_is_opened_that_is_mapped(void **state)
{
	char name[PATH_MAX];
	struct stat opened, wanted;
	int fd = stint_module_open((uint32_t)getpid(), start, path, name, sizeof(name));

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &opened), 0);
	close(fd);
	assert_int_equal(stat(path, &wanted), 0);
	assert_int_equal(opened.st_ino, wanted.st_ino);
}

static void a_file_that_has_taken_its_place_is_not_opened(void **state)
{
	char name[PATH_MAX];

	(void)state;
	replace();
	assert_int_equal(stint_module_open((uint32_t)getpid(), start, path, name, sizeof(name)), -ESTALE);
}

static void assert_function_is_named(struct stint_unwinder *unwinder)
{
	struct stint_unwind_regs regs = {.reg[PC] = function + 1};
	struct stint_frame frames[4];
	bool complete;

	assert_true(stint_unwinder_run(unwinder, &regs, NULL, 0, frames, 4, &complete) > 0);
	assert_string_equal(frames[0].name, FUNCTION);
	assert_string_equal(frames[0].module, "library.so");
	stint_unwinder_free(unwinder);
}

static void a_library_that_was_replaced_before_is_named_by_what_is_mapped(void **state)
{
	struct stint_unwinder *unwinder;

	(void)state;
	replace();
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)getpid()), 0);
	assert_function_is_named(unwinder);
}

/* As of a server that is upgraded while it is recorded, before any of its stacks came by that library. */
static void a_library_that_is_replaced_later_is_named_by_what_is_mapped(void **state)
{
	struct stint_unwinder *unwinder;

	(void)state;
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)getpid()), 0);
	replace();
	assert_function_is_named(unwinder);
}

static void start_child(const char *root)
{
	int ready[2];
	char byte;

	stint_restore_capabilities(capabilities);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (chroot(root) == 0 && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	stint_mask_capabilities(UINT64_C(1) << STINT_CAP_SYS_PTRACE);
}

/* It has the library from before it changed its root, in which another is by that path. */
static void a_file_is_opened_that_was_mapped_before_chroot(void **state)
{
	char name[PATH_MAX], inside[160];
	struct stat opened, wanted;
	int fd;

	(void)state;
	snprintf(inside, sizeof(inside), "%s/tmp", folder);
	assert_int_equal(mkdir(inside, 0700), 0);
	snprintf(inside, sizeof(inside), "%s%s", folder, folder);
	assert_int_equal(mkdir(inside, 0700), 0);
	snprintf(inside, sizeof(inside), "%s%s", folder, path);
	assert_int_equal(rename(other, inside), 0);
	start_child(folder);
	fd = stint_module_open((uint32_t)child, start, path, name, sizeof(name));
	unlink(inside);
	snprintf(inside, sizeof(inside), "%s%s", folder, folder);
	rmdir(inside);
	snprintf(inside, sizeof(inside), "%s/tmp", folder);
	rmdir(inside);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &opened), 0);
	close(fd);
	assert_int_equal(stat(path, &wanted), 0);
	assert_int_equal(opened.st_ino, wanted.st_ino);
}

static void end_child(void)
{
	siginfo_t info;

	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
}

static void the_files_of_a_process_that_has_ended_and_nobody_waited_for_are_found(void **state)
{
	struct stint_unwinder *unwinder;

	(void)state;
	start_child("/");
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)child), 0);
	end_child();
	assert_function_is_named(unwinder);
}

static void the_files_of_a_process_that_is_gone_and_had_changed_its_root_are_found(void **state)
{
	struct stint_unwinder *unwinder;

	(void)state;
	start_child(folder);
	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)child), 0);
	end_child();
	assert_int_equal(waitpid(child, NULL, 0), child);
	child = 0;
	assert_function_is_named(unwinder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_is_opened_that_is_mapped),
		TEST(a_file_that_has_taken_its_place_is_not_opened),
		TEST(a_library_that_was_replaced_before_is_named_by_what_is_mapped),
		TEST(a_library_that_is_replaced_later_is_named_by_what_is_mapped),
		TEST(a_file_is_opened_that_was_mapped_before_chroot),
		TEST(the_files_of_a_process_that_has_ended_and_nobody_waited_for_are_found),
		TEST(the_files_of_a_process_that_is_gone_and_had_changed_its_root_are_found),
	};

	return cmocka_run_group_tests_name("modules", tests, NULL, NULL);
}
