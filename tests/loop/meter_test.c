/* SPDX-License-Identifier: MIT */
#include "loop_fixture.h"
#include "signal_storm.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct stint_meter *meter;
static struct stint_meter_loop *account;

/* How much CPU a reading of the thread's CPU clock takes, before it is had and again after. */
static uint64_t cpu_reading_ns;

static void use_cpu(clockid_t id)
{
	if (id == CLOCK_THREAD_CPUTIME_ID && cpu_reading_ns > 0)
		fixture_spin(cpu_reading_ns);
}

/* Instead of libc's, for the library too. */
int clock_gettime(clockid_t id, struct timespec *time)
{
	static int (*of_libc)(clockid_t, struct timespec *);
	int result;

	if (!of_libc)
		*(void **)&of_libc = dlsym(RTLD_NEXT, "clock_gettime");
	use_cpu(id);
	result = of_libc(id, time);
	use_cpu(id);
	return result;
}

/* Up to where the file system has room for the file. */
static int64_t room_end = INT64_MAX;

/* Instead of libc's, for the library too. */
int posix_fallocate(int fd, off_t offset, off_t bytes)
{
	static int (*of_libc)(int, off_t, off_t);

	if (!of_libc)
		*(void **)&of_libc = dlsym(RTLD_NEXT, "posix_fallocate");
	return offset + bytes > room_end ? ENOSPC : of_libc(fd, offset, bytes);
}

static int open_meter(void **state)
{
	struct stint_meter_options options = {.size = sizeof(options),
					      .handler_limit = 8,
					      .loop_limit = 2,
					      .overrun_slots = 4};

	(void)state;
	if (stint_meter_new(&meter, &options) < 0)
		return -1;
	return stint_meter_loop_new(&account, meter, "test");
}

static int close_meter(void **state)
{
	(void)state;
	room_end = INT64_MAX;
	account = stint_meter_loop_free(account);
	meter = stint_meter_free(meter);
	return 0;
}

static void the_file_is_private_and_ready_and_goes_with_the_meter(void **state)
{
	struct stint_meter_file_header header;
	char path[128];
	struct stat status;
	int fd;

	(void)state;
	assert_int_equal(stint_meter_file_error(meter), 0);
	snprintf(path, sizeof(path), "%s/%d.meter", fixture_directory, getpid());
	assert_string_equal(stint_meter_path(meter), path);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &header, sizeof(header)), sizeof(header));
	close(fd);
	assert_int_equal(header.magic, STINT_METER_MAGIC);
	assert_int_equal(header.ready, 1);
	assert_int_equal(header.pid, getpid());
	assert_int_equal(header.file_bytes, status.st_size);
	assert_int_equal(header.metric_count, STINT_METER_LOOP_METRICS + STINT_METER_HANDLER_METRICS);
	assert_true(header.process_start_ticks > 0);
	close_meter(NULL);
	assert_int_equal(stat(path, &status), -1);
}

static void a_block_is_backed_when_its_handler_is_first_dispatched(void **state)
{
	int handler = stint_meter_handler(meter, "lazy", 0);
	struct stat before, after;

	(void)state;
	assert_int_equal(stat(stint_meter_path(meter), &before), 0);
	assert_int_equal(stint_meter_begin(account, (uint32_t)handler, -1), 0);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(stat(stint_meter_path(meter), &after), 0);
	assert_true(after.st_blocks > before.st_blocks);
	assert_true((uint64_t)before.st_blocks * 512 < (uint64_t)before.st_size);
	assert_int_equal(fixture_block(meter, (uint32_t)handler)->used, 1);
}

static void a_full_table_sends_handlers_to_other(void **state)
{
	char name[16];

	(void)state;
	for (int i = 1; i < 8; i++) {
		snprintf(name, sizeof(name), "handler %d", i);
		assert_int_equal(stint_meter_handler(meter, name, 0), i);
	}
	assert_int_equal(stint_meter_handler(meter, "handler 3", 0), 3);
	assert_int_equal(fixture_header(meter)->handlers_refused, 0);
	assert_int_equal(stint_meter_handler(meter, "one too many", 0), 0);
	assert_int_equal(fixture_header(meter)->handlers_refused, 1);
	assert_int_equal(stint_meter_begin(account, 0, -1), 0);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(fixture_block(meter, 0)->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
}

static void a_loop_beyond_the_limit_works_and_is_counted(void **state)
{
	struct stint_meter_loop *second, *third;

	(void)state;
	assert_int_equal(stint_meter_loop_new(&second, meter, NULL), 0);
	assert_int_equal(stint_meter_loop_new(&third, meter, NULL), 0);
	assert_int_equal(fixture_header(meter)->loop_count, 2);
	assert_int_equal(fixture_header(meter)->loops_refused, 1);
	assert_int_equal(stint_meter_begin(third, 0, -1), 0);
	assert_int_equal(stint_meter_end(third), 0);
	stint_meter_loop_free(third);
	stint_meter_loop_free(second);
	assert_int_equal(fixture_loop(meter, 1)->closed, 1);
	assert_int_equal(fixture_loop(meter, 0)->closed, 0);
}

/* However much of what its figures take there is room for. */
static void a_loop_without_room_in_the_file_system_works_and_is_counted(void **state)
{
	const struct stint_meter_file_header *header = fixture_header(meter);
	struct stint_meter_loop *second;
	uint32_t refused = 0;

	(void)state;
	do {
		assert_int_equal(header->loops_refused, refused);
		room_end = 65536 * (int64_t)refused++;
		assert_int_equal(stint_meter_loop_new(&second, meter, NULL), 0);
		assert_int_equal(stint_meter_begin(second, 0, -1), 0);
		assert_int_equal(stint_meter_end(second), 0);
		stint_meter_loop_free(second);
	} while (header->loop_count == 1);
	assert_int_equal(header->loop_count, 2);
	assert_int_equal(header->loops_refused, refused - 1);
	assert_true(refused > 2);
}

/* Known to lie between two readings within the dispatch and two around it. */
static void a_spin_is_reported_as_long_as_it_was(void **state)
{
	int handler = stint_meter_handler(meter, "spin", MS);
	const struct stint_meter_file_overrun *overrun = fixture_overrun(meter, 0);
	uint64_t inner_ns, outer_ns, cpu_ns;

	(void)state;
	stint_meter_poll_begin(account);
	stint_meter_poll_end(account, 1);
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID);
	outer_ns = fixture_now_ns(CLOCK_MONOTONIC);
	stint_meter_begin(account, (uint32_t)handler, 7);
	inner_ns = fixture_spin(5 * MS);
	stint_meter_end(account);
	outer_ns = fixture_now_ns(CLOCK_MONOTONIC) - outer_ns;
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	assert_int_equal(fixture_loop(meter, 0)->overruns_written, 1);
	/* 0.1 %: the TSC's rate is known so well. */
	assert_in_range(overrun->duration_ns, inner_ns - inner_ns / 1000, outer_ns + outer_ns / 1000);
	assert_int_equal(overrun->fd, 7);
	assert_int_equal(overrun->handler, handler);
	assert_int_equal(overrun->budget_ns, MS);
	/* What the thread used between the two readings is at least what the overrun used. */
	assert_true(overrun->cpu_min_ns <= overrun->cpu_max_ns);
	assert_true(overrun->cpu_min_ns <= cpu_ns);
	assert_true(overrun->cpu_max_ns <= overrun->duration_ns);
	assert_int_equal(fixture_block(meter, (uint32_t)handler)->over_ns, overrun->duration_ns - MS);
}

static void a_sleep_is_known_to_have_used_little_cpu(void **state)
{
	int handler = stint_meter_handler(meter, "sleep", MS);
	const struct timespec duration = {.tv_nsec = 5 * (long)MS};

	(void)state;
	stint_meter_poll_begin(account);
	stint_meter_poll_end(account, 1);
	stint_meter_begin(account, (uint32_t)handler, -1);
	nanosleep(&duration, NULL);
	stint_meter_end(account);
	/* All of the sleep is missing, whatever the machine did to us before it and after. */
	assert_true(fixture_overrun(meter, 0)->duration_ns - fixture_overrun(meter, 0)->cpu_max_ns >= 4 * MS);
}

/* Known within the sleep; what the scope's own begin and end take is nothing beside what the readings do here. */
static void reading_the_cpu_clock_is_not_the_handlers_cpu(void **state)
{
	int handler = stint_meter_handler(meter, "sleep", MS);
	const struct timespec duration = {.tv_nsec = 5 * (long)MS};
	uint64_t cpu_ns;

	(void)state;
	cpu_reading_ns = 2 * MS;
	stint_meter_poll_begin(account);
	stint_meter_poll_end(account, 1);
	stint_meter_begin(account, (uint32_t)handler, -1);
	cpu_reading_ns = 0;
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID);
	nanosleep(&duration, NULL);
	cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	cpu_reading_ns = 2 * MS;
	stint_meter_end(account);
	cpu_reading_ns = 0;
	assert_int_equal(fixture_loop(meter, 0)->overruns_written, 1);
	assert_true(fixture_overrun(meter, 0)->cpu_min_ns <= cpu_ns + MS);
}

/* Three events in a batch: the first makes two wait, the second one, the third none. */
static void blame_is_service_once_for_each_event_behind(void **state)
{
	uint32_t handler[3];
	uint64_t service_ns;

	(void)state;
	for (int i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "h%d", i);
		handler[i] = (uint32_t)stint_meter_handler(meter, name, 0);
	}
	stint_meter_poll_begin(account);
	stint_meter_poll_end(account, 3);
	for (int i = 0; i < 3; i++) {
		stint_meter_begin(account, handler[i], -1);
		fixture_spin(MS / 10);
		stint_meter_end(account);
	}
	for (uint64_t i = 0; i < 3; i++) {
		const struct stint_meter_file_block *block = fixture_block(meter, handler[i]);

		service_ns = block->histogram[STINT_METER_HANDLER_SERVICE].sum;
		assert_true(service_ns >= fixture_at_least(MS / 10));
		assert_int_equal(block->victims, 2 - i);
		assert_int_equal(block->blame_ns, service_ns * (2 - i));
	}
	/* The last waited for the two before it. */
	assert_true(fixture_block(meter, handler[2])->histogram[STINT_METER_HANDLER_WAIT].sum >=
		    fixture_at_least(MS / 5));
}

static void a_poll_that_does_not_tell_its_events_is_no_batch(void **state)
{
	uint32_t handler = (uint32_t)stint_meter_handler(meter, "h", 0);
	const struct stint_histogram *metrics =
		(const struct stint_histogram *)((const char *)fixture_header(meter) +
						 fixture_loop(meter, 0)->histograms_offset);

	(void)state;
	stint_meter_poll_begin(account);
	stint_meter_poll_end(account, STINT_METER_EVENTS_UNKNOWN);
	stint_meter_begin(account, handler, -1);
	stint_meter_end(account);
	stint_meter_poll_begin(account);
	assert_int_equal(fixture_loop(meter, 0)->iterations, 1);
	assert_int_equal(metrics[STINT_METER_LOOP_POLL].count, 1);
	assert_int_equal(metrics[STINT_METER_LOOP_BATCH].count, 0);
	assert_int_equal(fixture_block(meter, handler)->victims, 0);
}

static void an_inner_dispatch_is_not_the_outer_ones_time(void **state)
{
	uint32_t outer = (uint32_t)stint_meter_handler(meter, "outer", S);
	uint32_t inner = (uint32_t)stint_meter_handler(meter, "inner", S);
	uint64_t start_ns, all_ns, inner_ns, outer_ns;

	(void)state;
	start_ns = stint_meter_now_ns(account);
	stint_meter_begin(account, outer, -1);
	stint_meter_begin(account, inner, -1);
	fixture_spin(2 * MS);
	stint_meter_end(account);
	stint_meter_end(account);
	all_ns = stint_meter_now_ns(account) - start_ns;
	inner_ns = fixture_block(meter, inner)->histogram[STINT_METER_HANDLER_SERVICE].sum;
	outer_ns = fixture_block(meter, outer)->histogram[STINT_METER_HANDLER_SERVICE].sum;
	assert_true(inner_ns >= 2 * MS - MS / 100);
	assert_true(inner_ns + outer_ns <= all_ns);
}

static void the_ring_keeps_the_last_and_counts_all(void **state)
{
	uint32_t handler = (uint32_t)stint_meter_handler(meter, "over", 1);

	(void)state;
	for (int i = 0; i < 7; i++) {
		stint_meter_begin(account, handler, i);
		fixture_spin(1000);
		stint_meter_end(account);
	}
	assert_int_equal(fixture_loop(meter, 0)->overruns_written, 7);
	assert_int_equal(fixture_block(meter, handler)->overruns, 7);
	for (uint64_t i = 3; i < 7; i++)
		assert_int_equal(fixture_overrun(meter, i)->fd, i);
}

static void misuse_is_an_error_code(void **state)
{
	struct stint_meter_options options = {.size = sizeof(options), .handler_limit = 70000};
	struct {
		struct stint_meter_options known;
		uint64_t unknown;
	} newer = {.known = {.size = sizeof(newer)}};
	struct stint_meter *other;

	(void)state;
	assert_int_equal(stint_meter_end(account), -EINVAL);
	assert_int_equal(stint_meter_begin(account, 99, -1), -EINVAL);
	assert_int_equal(stint_meter_handler(meter, "", 0), -EINVAL);
	assert_int_equal(stint_meter_handler(meter, NULL, 0), -EINVAL);
	for (int i = 0; i < STINT_METER_DEPTH; i++)
		assert_int_equal(stint_meter_begin(account, 0, -1), 0);
	assert_int_equal(stint_meter_begin(account, 0, -1), -EOVERFLOW);
	for (int i = 0; i < STINT_METER_DEPTH; i++)
		assert_int_equal(stint_meter_end(account), 0);
	close_meter(NULL);
	assert_int_equal(stint_meter_new(&other, &options), -EINVAL);
	assert_int_equal(stint_meter_new(&other, &newer.known), 0);
	stint_meter_free(other);
	newer.unknown = 1;
	assert_int_equal(stint_meter_new(&other, &newer.known), -EINVAL);
}

static void without_a_file_it_works_and_says_why(void **state)
{
	struct stint_meter_options options = {.size = sizeof(options), .directory = "/proc/nowhere"};

	(void)state;
	close_meter(NULL);
	assert_int_equal(stint_meter_new(&meter, &options), 0);
	assert_int_equal(stint_meter_file_error(meter), -ENOENT);
	assert_null(stint_meter_path(meter));
	assert_int_equal(stint_meter_loop_new(&account, meter, NULL), 0);
	assert_int_equal(stint_meter_begin(account, 0, -1), 0);
	assert_int_equal(stint_meter_end(account), 0);
	assert_int_equal(fixture_block(meter, 0)->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
}

static void a_directory_that_others_may_write_to_is_refused(void **state)
{
	struct stint_meter_options options = {.size = sizeof(options)};
	char path[128], link_path[128];

	(void)state;
	close_meter(NULL);
	snprintf(path, sizeof(path), "%s/open", fixture_directory);
	snprintf(link_path, sizeof(link_path), "%s/link", fixture_directory);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(symlink(path, link_path), 0);
	options.directory = link_path;
	assert_int_equal(stint_meter_new(&meter, &options), 0);
	assert_true(stint_meter_file_error(meter) < 0);
	stint_meter_free(meter);
	assert_int_equal(chmod(path, 0777), 0);
	options.directory = path;
	assert_int_equal(stint_meter_new(&meter, &options), 0);
	assert_int_equal(stint_meter_file_error(meter), -EPERM);
	unlink(link_path);
	rmdir(path);
}

static void a_forked_child_leaves_the_parents_figures_alone(void **state)
{
	uint32_t handler = (uint32_t)stint_meter_handler(meter, "shared", 0);
	int status;
	pid_t child;

	(void)state;
	stint_meter_begin(account, handler, -1);
	stint_meter_end(account);
	child = fork();
	if (child == 0) {
		stint_meter_begin(account, handler, -1);
		stint_meter_end(account);
		close_meter(NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_SERVICE].count, 1);
	assert_int_equal(access(stint_meter_path(meter), F_OK), 0);
}

/* The bound is wide for a noisy machine: between the two readings this thread may lose the CPU. */
/* In memory, where older kernels let signals interrupt the reserving of blocks. */
static void a_storm_of_signals_costs_no_meter_its_file(void **state)
{
	char shared[] = "/dev/shm/stint-test-XXXXXX", handler[16];
	const struct stint_meter_options options = {.size = sizeof(options), .directory = shared};
	struct stint_meter_loop *loop;
	struct stint_meter *own;

	(void)state;
	if (!mkdtemp(shared)) {
		print_message("skipped: there is no /dev/shm to write to\n");
		skip();
	}
	storm_begin();
	for (int i = 0; i < 300; i++) {
		assert_int_equal(stint_meter_new(&own, &options), 0);
		assert_int_equal(stint_meter_file_error(own), 0);
		assert_int_equal(stint_meter_loop_new(&loop, own, "stormy"), 0);
		for (int j = 0; j < 20; j++) {
			snprintf(handler, sizeof(handler), "%d", j);
			assert_int_equal(stint_meter_begin(loop,
							   (uint32_t)stint_meter_handler(own, handler, 0),
							   -1),
					 0);
			assert_int_equal(stint_meter_end(loop), 0);
		}
		assert_int_equal(fixture_header(own)->handlers_refused, 0);
		stint_meter_loop_free(loop);
		stint_meter_free(own);
	}
	storm_end();
	assert_int_equal(rmdir(shared), 0);
}

/* ---- files that processes left ---- */

/* A process with a meter, which has told by `ready` that it has, and ends without giving it back once `go` is closed. */
struct owner {
	pid_t pid;
	int go;
};

static void own_meter(int ready, int go)
{
	struct stint_meter *own;
	char byte = 0;

	if (stint_meter_new(&own, NULL) < 0 || stint_meter_file_error(own) != 0)
		_exit(1);
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 0)
		_exit(1);
	_exit(0);
}

/* In a pid namespace of its own, the owner is a child of this one's child. */
static void start_owner(struct owner *owner, bool elsewhere)
{
	int ready[2], go[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	owner->pid = fork();
	assert_true(owner->pid >= 0);
	if (owner->pid == 0) {
		close(go[1]);
		if (elsewhere && unshare(CLONE_NEWPID) < 0)
			_exit(1);
		if (elsewhere && fork() != 0)
			_exit(wait(NULL) < 0);
		own_meter(ready[1], go[0]);
	}
	close(go[0]);
	close(ready[1]);
	owner->go = go[1];
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void end_owner(struct owner *owner)
{
	int status;

	close(owner->go);
	assert_int_equal(waitpid(owner->pid, &status, 0), owner->pid);
	assert_int_equal(status, 0);
}

static bool has_file(uint32_t pid)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%u.meter", fixture_directory, pid);
	return access(path, F_OK) == 0;
}

static void start_a_meter_and_end_it(void)
{
	assert_int_equal(open_meter(NULL), 0);
	close_meter(NULL);
}

static void a_file_that_a_dead_process_left_goes_with_the_next_meter(void **state)
{
	struct owner owner;

	(void)state;
	start_owner(&owner, false);
	end_owner(&owner);
	assert_true(has_file((uint32_t)owner.pid));
	start_a_meter_and_end_it();
	assert_false(has_file((uint32_t)owner.pid));
}

static void the_file_of_a_process_that_runs_stays(void **state)
{
	struct owner owner;

	(void)state;
	start_owner(&owner, false);
	start_a_meter_and_end_it();
	assert_true(has_file((uint32_t)owner.pid));
	end_owner(&owner);
	start_a_meter_and_end_it();
}

static void the_file_of_a_process_in_another_pid_namespace_stays(void **state)
{
	struct owner owner;

	(void)state;
	if (geteuid() != 0) {
		printf("skipped: only root can make a pid namespace\n");
		skip();
	}
	start_owner(&owner, true);
	assert_true(has_file(1)); /* its pid, there */
	start_a_meter_and_end_it();
	assert_true(has_file(1));
	end_owner(&owner);
	start_a_meter_and_end_it();
	assert_false(has_file(1));
}

static void what_is_no_dead_meter_stays(void **state)
{
	struct stint_meter_file_header old = {.magic = STINT_METER_MAGIC,
					      .version = STINT_METER_VERSION,
					      .ready = 1,
					      .pid = INT32_MAX};
	char file[128], fifo[128], link[128], unlocked[128];
	int fd;

	(void)state;
	snprintf(file, sizeof(file), "%s/1.meter", fixture_directory);
	snprintf(fifo, sizeof(fifo), "%s/2.meter", fixture_directory);
	snprintf(link, sizeof(link), "%s/3.meter", fixture_directory);
	snprintf(unlocked, sizeof(unlocked), "%s/%d.meter", fixture_directory, INT32_MAX);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "not ours\n", 9), 9);
	close(fd);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(symlink(unlocked, link), 0);
	/* As of a program whose libstint held no lock. */
	fd = open(unlocked, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, &old, sizeof(old)), sizeof(old));
	close(fd);
	start_a_meter_and_end_it();
	assert_int_equal(unlink(file), 0);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(unlink(unlocked), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_file_is_private_and_ready_and_goes_with_the_meter,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_block_is_backed_when_its_handler_is_first_dispatched,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_full_table_sends_handlers_to_other, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_loop_beyond_the_limit_works_and_is_counted, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_loop_without_room_in_the_file_system_works_and_is_counted,
						open_meter, close_meter),
		cmocka_unit_test_setup_teardown(a_spin_is_reported_as_long_as_it_was, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(reading_the_cpu_clock_is_not_the_handlers_cpu, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_sleep_is_known_to_have_used_little_cpu, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(blame_is_service_once_for_each_event_behind, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_poll_that_does_not_tell_its_events_is_no_batch, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(an_inner_dispatch_is_not_the_outer_ones_time, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(the_ring_keeps_the_last_and_counts_all, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(misuse_is_an_error_code, open_meter, close_meter),
		cmocka_unit_test_setup_teardown(without_a_file_it_works_and_says_why, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_directory_that_others_may_write_to_is_refused, open_meter,
						close_meter),
		cmocka_unit_test_setup_teardown(a_forked_child_leaves_the_parents_figures_alone, open_meter,
						close_meter),
		cmocka_unit_test(a_storm_of_signals_costs_no_meter_its_file),
		cmocka_unit_test(a_file_that_a_dead_process_left_goes_with_the_next_meter),
		cmocka_unit_test(the_file_of_a_process_that_runs_stays),
		cmocka_unit_test(the_file_of_a_process_in_another_pid_namespace_stays),
		cmocka_unit_test(what_is_no_dead_meter_stays),
	};

	return cmocka_run_group_tests_name("meter", tests, fixture_make_directory, fixture_remove_directory);
}
