/* SPDX-License-Identifier: MIT */

/* What `make install` puts in place is enough to build programs with, in C and C++, and shows nothing else. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"

static char directory[64];
static char output[65536];

/* Runs a shell command with $D the installed tree; fails with its output if it fails. */
static void shell(const char *script)
{
	int status = command_run((const char *const[]){"sh", "-c", script, NULL}, output, sizeof(output));

	if (status != 0)
		fail_msg("%s: exit status %d: %s", script, status, output);
}

static int install(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("D", directory, 1) != 0 || setenv("B", BUILD_DIRECTORY, 1) != 0)
		return -1;
	shell("make -s BUILD=$B PREFIX=/usr DESTDIR=$D install");
	return 0;
}

static int uninstall(void **state)
{
	(void)state;
	shell("rm -rf \"$D\"");
	return 0;
}

static void a_c_program_builds_by_pkg_config(void **state)
{
	(void)state;
	shell("export PKG_CONFIG_SYSROOT_DIR=$D PKG_CONFIG_LIBDIR=$D/usr/lib/pkgconfig; "
	      "gcc -Wall -Werror -o $D/hello examples/hello_loop.c $(pkg-config --cflags --libs libstint)");
}

/* Where it was built: not with CARES=0. */
static void a_program_with_the_resolver_of_c_ares_builds_by_pkg_config(void **state)
{
	(void)state;
	shell("export PKG_CONFIG_SYSROOT_DIR=$D PKG_CONFIG_LIBDIR=$D/usr/lib/pkgconfig:$(pkg-config --variable pc_path pkg-config); "
	      "test -e $D/usr/lib/pkgconfig/libstint-ares.pc || exit 0; printf '%s\\n' '#include <stint/ares.h>' "
	      "'int main(void) { return stint_ares_resolver_new(0, 0, 0, 0) != -22; }' >$D/ares.c; "
	      "gcc -Wall -Werror -o $D/resolve $D/ares.c $(pkg-config --cflags --libs libstint-ares) "
	      "&& LD_LIBRARY_PATH=$D/usr/lib $D/resolve");
}

static void a_cpp_program_builds_with_every_header(void **state)
{
	(void)state;
	shell("cd $D; for h in usr/include/stint/*.h; do echo \"#include <stint/${h##*/}>\"; done >all.cc; "
	      "echo 'int main() { struct stint_loop *l; return stint_loop_new(&l, nullptr); }' >>all.cc; "
	      "g++ -Wall -Wextra -Wpedantic -Werror -std=c++17 -Iusr/include -o all all.cc usr/lib/libstint.a");
}

static void each_header_stands_alone(void **state)
{
	(void)state;
	shell("cd $D; for h in usr/include/stint/*.h; do echo \"#include <stint/${h##*/}> int x;\" | sed 's/> int/>\\nint/' | "
	      "gcc -std=gnu11 -Wall -Wextra -Wpedantic -Werror -Iusr/include -fsyntax-only -x c - || exit 1; done");
}

static void the_shared_library_shows_only_what_is_public(void **state)
{
	(void)state;
	shell("nm -D --defined-only $D/usr/lib/libstint.so | awk '$3 !~ /^stint_/ { print; bad = 1 } END { exit bad }'");
}

/*
 * What is not public is no name for a program to run into. _.stapsdt.base is in every object with USDT probes, once a
 * program.
 */
static void the_archive_shows_only_what_is_public(void **state)
{
	(void)state;
	shell("nm -g --defined-only $D/usr/lib/libstint.a | awk 'NF == 3 && $3 !~ /^stint_/ && $3 != \"_.stapsdt.base\" "
	      "{ print; bad = 1 } END { exit bad }'");
}

static void a_program_has_names_of_its_own(void **state)
{
	(void)state;
	shell("cd $D; printf '%s\n' '#include <stint/stint.h>' 'int clock_init = 1;' 'void job_submit(void) {}' "
	      "'int main(void) { struct stint_loop *l; return stint_loop_new(&l, 0) || stint_loop_free(l); }' >names.c; "
	      "gcc -Wall -Werror -Iusr/include -o names names.c usr/lib/libstint.a && STINT_DIR=$D ./names");
}

static void the_version_is_the_same_everywhere(void **state)
{
	(void)state;
	shell("export PKG_CONFIG_LIBDIR=$D/usr/lib/pkgconfig; cd $D; "
	      "printf '%s\\n' '#include <stint/stint.h>' '#include <stdio.h>' 'int main(void) { printf(\"%s %s %d.%d.%d\", "
	      "stint_version(), STINT_VERSION, STINT_VERSION_MAJOR, STINT_VERSION_MINOR, STINT_VERSION_PATCH); }' >version.c; "
	      "gcc -Iusr/include -o version version.c usr/lib/libstint.a; v=$(pkg-config --modversion libstint); "
	      "test \"$(./version)\" = \"$v $v $v\" && test \"$(usr/bin/stint --version)\" = \"stint $v\"");
}

static void c89_programs_and_shadow_warnings_are_no_hindrance(void **state)
{
	(void)state;
	shell("cd $D; gcc -std=gnu89 -Wall -Wextra -Wpedantic -Wno-long-long -Werror -Iusr/include -fsyntax-only -x c "
	      "usr/include/stint/stint.h; echo '#include <stint/stint.h>' | "
	      "g++ -Wall -Wextra -Wshadow -Werror -Iusr/include -fsyntax-only -x c++ -");
}

static void the_library_needs_only_libc(void **state)
{
	(void)state;
	shell("objdump -p $D/usr/lib/libstint.so | awk '$1 == \"NEEDED\" && $2 !~ /^libc\\.so/ { print; bad = 1 }"
	      " END { exit bad }'");
}

static void its_soname_is_there(void **state)
{
	(void)state;
	shell("test -e $D/usr/lib/$(objdump -p $D/usr/lib/libstint.so | awk '$1 == \"SONAME\" { print $2 }')");
}

static void the_manual_page_has_no_faults(void **state)
{
	(void)state;
	shell("! command -v groff >/dev/null || test -z \"$(groff -man -ww -z $D/usr/share/man/man1/stint.1 2>&1)\"");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_c_program_builds_by_pkg_config),
		cmocka_unit_test(a_program_with_the_resolver_of_c_ares_builds_by_pkg_config),
		cmocka_unit_test(a_cpp_program_builds_with_every_header),
		cmocka_unit_test(each_header_stands_alone),
		cmocka_unit_test(the_shared_library_shows_only_what_is_public),
		cmocka_unit_test(the_archive_shows_only_what_is_public),
		cmocka_unit_test(a_program_has_names_of_its_own),
		cmocka_unit_test(the_version_is_the_same_everywhere),
		cmocka_unit_test(c89_programs_and_shadow_warnings_are_no_hindrance),
		cmocka_unit_test(the_library_needs_only_libc),
		cmocka_unit_test(its_soname_is_there),
		cmocka_unit_test(the_manual_page_has_no_faults),
	};

	return cmocka_run_group_tests_name("install", tests, install, uninstall);
}
