/* SPDX-License-Identifier: MIT */

/* What is known of a program's files is known once for all processes that have them at the same addresses. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/image.h"
#include "probes/mapped_files.h"

#define LIBRARY "libBrokenLocale.so.1" /* libc's, and nobody's here */

/* A copy of this process, which does what it is told. */
struct worker {
	pid_t pid;
	int to, from;
};

static pid_t no_thread(Dwfl *dwfl, void *ctx, void **thread_ctx)
{
	(void)dwfl, (void)ctx, (void)thread_ctx;
	return 0;
}

static bool no_registers(Dwfl_Thread *thread, void *ctx)
{
	(void)thread, (void)ctx;
	return false;
}

/* Nothing is unwound here, but libdwfl insists on these. */
static const Dwfl_Thread_Callbacks no_callbacks = {.next_thread = no_thread,
						   .set_initial_registers = no_registers};
static struct stint_images *images;
static struct worker first, second;

static void obey(int from, int to)
{
	char word;

	while (read(from, &word, 1) == 1) {
		if (word == 'e')
			execlp("sleep", "sleep", "1000", NULL);
		int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		bool done = word == 'l' ? dlopen(LIBRARY, RTLD_NOW) != NULL
					: mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED;

		if (!done || write(to, &word, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static void start(struct worker *worker)
{
	int to[2], from[2];

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	worker->pid = fork();
	assert_true(worker->pid >= 0);
	if (worker->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		obey(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	worker->to = to[1];
	worker->from = from[0];
}

static void tell(const struct worker *worker, char word)
{
	assert_int_equal(write(worker->to, &word, 1), 1);
	assert_int_equal(read(worker->from, &word, 1), 1);
}

/* It keeps its number, but is another program. */
static void become_another(struct worker *worker)
{
	char word = 'e';

	assert_int_equal(write(worker->to, &word, 1), 1);
	assert_int_equal(read(worker->from, &word, 1), 0);
}

static void stop(struct worker *worker)
{
	if (worker->pid <= 0)
		return;
	kill(worker->pid, SIGKILL);
	waitpid(worker->pid, NULL, 0);
	close(worker->to);
	close(worker->from);
	worker->pid = 0;
}

static int set_up(void **state)
{
	(void)state;
	first.pid = second.pid = 0;
	if (stint_images_new(&images) != 0)
		return -1;
	start(&first);
	start(&second);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	stop(&first);
	stop(&second);
	images = stint_images_free(images);
	return 0;
}

static struct stint_image *get(const struct worker *worker)
{
	struct stint_image *image;

	assert_int_equal(stint_image_get(&image, images, (uint32_t)worker->pid, &no_callbacks), 0);
	return image;
}

/* The name that an image has for a function of this program, or of its libraries. */
static const char *name_of(const struct stint_image *image, void *function)
{
	Dwfl_Module *module = dwfl_addrmodule(stint_image_dwfl(image), (Dwarf_Addr)(uintptr_t)function);

	return module ? dwfl_module_addrname(module, (Dwarf_Addr)(uintptr_t)function) : NULL;
}

/* A copy of a library, which has a function of that name, in a file that `path` is set to. To be closed by dlclose(). */
static void *load_copy(const char *library, const char *function, char *path)
{
	void *original = dlopen(library, RTLD_NOW), *copy;
	int to = mkstemp(path), from;
	struct stat status;
	Dl_info info;

	assert_non_null(original);
	assert_int_not_equal(dladdr(dlsym(original, function), &info), 0);
	from = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(from, &status), 0);
	assert_int_equal(sendfile(to, from, NULL, (size_t)status.st_size), status.st_size);
	close(from);
	close(to);
	dlclose(original);
	copy = dlopen(path, RTLD_NOW);
	assert_non_null(copy);
	return copy;
}

/* Of which there is no file any more. */
static void *load_deleted(const char *library, const char *function)
{
	char path[] = "/tmp/stint-images-XXXXXX";
	void *copy = load_copy(library, function, path);

	unlink(path);
	return copy;
}

static int find_module(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, void *ctx)
{
	const char **wanted = ctx;

	(void)module, (void)userdata, (void)base;
	if (strstr(name, *wanted))
		*wanted = NULL;
	return *wanted ? DWARF_CB_OK : DWARF_CB_ABORT;
}

static bool has_module(const struct stint_image *image, const char *name)
{
	(void)dwfl_getmodules(stint_image_dwfl(image), find_module, &name, 0);
	return !name;
}

static void workers_of_one_program_have_one_image(void **state)
{
	struct stint_image *of_first = get(&first), *of_second = get(&second);

	(void)state;
	assert_ptr_equal(of_first, of_second);
	stint_image_release(of_first, (uint32_t)first.pid);
	stint_image_release(of_second, (uint32_t)second.pid);
}

static void one_that_has_loaded_a_library_has_another(void **state)
{
	struct stint_image *of_first = get(&first), *of_second;

	(void)state;
	tell(&second, 'l');
	of_second = get(&second);
	assert_ptr_not_equal(of_first, of_second);
	assert_false(has_module(of_first, LIBRARY));
	assert_true(has_module(of_second, LIBRARY));
	stint_image_release(of_first, (uint32_t)first.pid);
	stint_image_release(of_second, (uint32_t)second.pid);
}

static void what_one_loads_later_is_not_known_of_others(void **state)
{
	struct stint_image *of_first = get(&first), *of_second = get(&second);

	(void)state;
	tell(&second, 'l');
	assert_true(stint_image_refresh(&of_second, (uint32_t)second.pid));
	assert_true(has_module(of_second, LIBRARY));
	assert_false(has_module(of_first, LIBRARY));
	stint_image_release(of_first, (uint32_t)first.pid);
	stint_image_release(of_second, (uint32_t)second.pid);
}

static void an_image_that_is_nobody_elses_is_brought_up_to_date(void **state)
{
	struct stint_image *before = get(&first), *image = before;

	(void)state;
	tell(&first, 'l');
	assert_true(stint_image_refresh(&image, (uint32_t)first.pid));
	assert_ptr_equal(image, before);
	assert_true(has_module(image, LIBRARY));
	stint_image_release(image, (uint32_t)first.pid);
}

static void data_that_is_mapped_makes_no_other_image(void **state)
{
	struct stint_image *of_first, *of_second = get(&second);

	(void)state;
	tell(&first, 'm');
	of_first = get(&first);
	assert_ptr_equal(of_first, of_second);
	tell(&second, 'm');
	assert_false(stint_image_refresh(&of_second, (uint32_t)second.pid));
	stint_image_release(of_first, (uint32_t)first.pid);
	stint_image_release(of_second, (uint32_t)second.pid);
}

static void names_are_found_when_the_first_process_is_gone(void **state)
{
	struct stint_image *of_first = get(&first), *of_second = get(&second);

	(void)state;
	stint_image_release(of_first, (uint32_t)first.pid);
	stop(&first);
	stint_image_use(of_second, (uint32_t)second.pid, NULL);
	assert_string_equal(name_of(of_second, (void *)(uintptr_t)obey), "obey");
	assert_non_null(name_of(of_second, dlsym(RTLD_DEFAULT, "mmap")));
	stint_image_release(of_second, (uint32_t)second.pid);
}

/* That has one image with the second, which is used for it as it is no more what it was. */
static void assert_names_are_found_without(void (*end)(struct worker *worker))
{
	void *library = load_deleted("libresolv.so.2", "inet_neta"), *function = dlsym(library, "inet_neta");
	uint32_t pid;
	struct stint_image *image;
	const char *name;

	stop(&first);
	stop(&second);
	start(&first);
	start(&second);
	pid = (uint32_t)first.pid;
	image = get(&first);
	assert_ptr_equal(get(&second), image);
	end(&first);
	stint_image_use(image, pid, NULL);
	name = name_of(image, function);
	assert_non_null(name);
	assert_string_equal(name, "inet_neta");
	stint_image_release(image, pid);
	stint_image_release(image, (uint32_t)second.pid);
	dlclose(library);
}

static void what_is_gone_with_one_process_is_read_of_another(void **state)
{
	(void)state;
	assert_names_are_found_without(stop);
}

static void what_is_another_program_by_now_hides_no_names_of_others(void **state)
{
	(void)state;
	assert_names_are_found_without(become_another);
}

static void a_file_that_is_deleted_is_the_same_as_before(void **state)
{
	char path[] = "/tmp/stint-images-XXXXXX";
	void *library = load_copy("libresolv.so.2", "inet_neta", path);
	struct stint_image *before = get(&first), *after;

	(void)state;
	stop(&second);
	stint_image_release(before, (uint32_t)first.pid);
	start(&second);
	before = get(&second);
	unlink(path);
	assert_false(stint_image_refresh(&before, (uint32_t)second.pid));
	after = get(&second);
	assert_ptr_equal(before, after);
	stint_image_release(before, (uint32_t)second.pid);
	stint_image_release(after, (uint32_t)second.pid);
	dlclose(library);
}

static void a_process_that_is_gone_has_no_image(void **state)
{
	uint32_t pid = (uint32_t)first.pid;
	struct stint_image *image;

	(void)state;
	stop(&first);
	assert_null(stint_mapped_files(pid));
	assert_int_equal(stint_image_get(&image, images, pid, &no_callbacks), -ESRCH);
}

static void what_was_known_of_a_process_stays_so_when_it_is_gone(void **state)
{
	struct stint_image *image = get(&first);
	uint32_t pid = (uint32_t)first.pid;

	(void)state;
	assert_string_equal(name_of(image, (void *)(uintptr_t)obey), "obey");
	stop(&first);
	assert_false(stint_image_refresh(&image, pid));
	assert_string_equal(name_of(image, (void *)(uintptr_t)obey), "obey");
	stint_image_release(image, pid);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(workers_of_one_program_have_one_image),
		test(one_that_has_loaded_a_library_has_another),
		test(what_one_loads_later_is_not_known_of_others),
		test(an_image_that_is_nobody_elses_is_brought_up_to_date),
		test(data_that_is_mapped_makes_no_other_image),
		test(names_are_found_when_the_first_process_is_gone),
		test(what_is_gone_with_one_process_is_read_of_another),
		test(what_is_another_program_by_now_hides_no_names_of_others),
		test(a_file_that_is_deleted_is_the_same_as_before),
		test(a_process_that_is_gone_has_no_image),
		test(what_was_known_of_a_process_stays_so_when_it_is_gone),
	};

	return cmocka_run_group_tests_name("images", tests, NULL, NULL);
}
