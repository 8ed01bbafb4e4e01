/* SPDX-License-Identifier: MIT */

/* Why an iteration was late: each of the six verdicts in a process that is late for just that reason. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "subject.h"
#include "watching.h"

#define MS         UINT64_C(1000000)
#define CGROUP_OLD "/sys/fs/cgroup/cpu"
#define CGROUP_NEW "/sys/fs/cgroup"

static struct watching watching;
static struct subject subject;
static char directory[] = "/var/tmp/stint-verdicts-XXXXXX";

/* One set of probes for all: to load them takes the kernel seconds, and an emulated machine a minute. */
static int open_probes(void **state)
{
	/* From the beginning, and not only once a look was found to be wanting. */
	struct stint_probes_options options = {.size = sizeof(options), .sample_ns = MS};
	struct stint_probes_support support;

	(void)state;
	if (stint_probes_supported(&support) == 0)
		watching_open(&watching, &options);
	return 0;
}

static int close_probes(void **state)
{
	(void)state;
	watching_close(&watching);
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	memset(&subject, 0, sizeof(subject));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	subject_stop(&subject, SIGKILL);
	return 0;
}

static bool is_emulated(void)
{
	return getenv("STINT_KERNELS") != NULL;
}

/* Long enough to be the greatest part also where each system call takes a millisecond. */
static uint64_t block_ns(void)
{
	return is_emulated() ? 300 * MS : 50 * MS;
}

static void sync_subject(void)
{
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_take(&watching);
}

static void start(void)
{
	const char *arguments[] = {directory, NULL};

	watching_or_skip();
	subject_start(&subject, "tests/subjects/late", arguments);
	subject_go(&subject);
	subject_do(&subject, 0, SUBJECT_SYNC, 0);
	watching_add(&watching, subject.pid);
	sync_subject();
}

/* The iteration in which that was done: the longest since the last call. */
static const struct watched_overrun *do_late(enum subject_verb verb, uint64_t arg,
					     struct subject_answer *answer)
{
	const struct watched_overrun *longest = NULL;
	struct subject_answer given;
	size_t before;

	sync_subject();
	before = watching.overruns_len;
	given = subject_do(&subject, 0, verb, arg);
	if (answer)
		*answer = given;
	sync_subject();
	for (size_t i = before; i < watching.overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching.overruns[i].is;

		if (subject_did_nothing_for((int32_t)overrun->tid, overrun->start_ns, overrun->duration_ns))
			continue;
		if (!longest || overrun->duration_ns > longest->is.duration_ns)
			longest = &watching.overruns[i];
	}
	assert_non_null(longest);
	assert_overruns_consistent(&watching);
	return longest;
}

static void print_parts(const char *what, const struct stint_probes_overrun *overrun)
{
	const struct stint_probes_parts *parts = &overrun->parts;

	printf("%s: user %.3f kernel %.3f runnable %.3f throttled %.3f blocked %.3f stolen %.3f of %.3f ms\n",
	       what, (double)parts->user_ns / 1e6, (double)parts->kernel_ns / 1e6,
	       (double)parts->runnable_ns / 1e6, (double)parts->throttled_ns / 1e6,
	       (double)parts->blocked_ns / 1e6, (double)parts->stolen_ns / 1e6,
	       (double)overrun->duration_ns / 1e6);
}

static void computing_in_user_space_is_told(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	overrun = do_late(SUBJECT_SPIN, 20 * MS, NULL);
	print_parts(__func__, &overrun->is);
	if (is_emulated()) /* where ticks take as long as what they interrupt */
		return;
	assert_true(overrun->is.parts.user_ns + overrun->is.parts.stolen_ns >= 15 * MS);
	assert_true(overrun->is.parts.kernel_ns < overrun->is.parts.user_ns);
	assert_int_equal(overrun->is.iteration == STINT_PROBES_SYSTEM ||
				 overrun->is.iteration == STINT_PROBES_ONE_HANDLER,
			 1);
	assert_true(overrun->is.samples > 0);
}

static void computing_in_the_kernel_is_told(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	do_late(SUBJECT_KERNEL, 20 * MS, NULL); /* its buffer is there then */
	overrun = do_late(SUBJECT_KERNEL, 20 * MS, NULL);
	print_parts(__func__, &overrun->is);
	assert_true(overrun->is.parts.kernel_ns + overrun->is.parts.stolen_ns >= 15 * MS);
	assert_true(overrun->is.parts.user_ns < overrun->is.parts.kernel_ns);
	assert_true(watched_stack_has(overrun, "compute_in_the_kernel"));
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		printf("%s%s", i ? " > " : "", overrun->stack[i]);
	printf("\n");
}

static void print_block(const struct stint_probes_overrun *overrun)
{
	printf("%s on %s, %.3f ms, woken by %s (pid %u) by %s%s\n", overrun->syscalls[0].name,
	       overrun->block.on, (double)overrun->block.duration_ns / 1e6, overrun->block.waker,
	       overrun->block.waker_pid, overrun->block.waker_what,
	       overrun->block.waker_inferred ? " (inferred)" : "");
}

/* Unless others kept it from a CPU for longer. */
static void assert_mostly_blocked(const struct stint_probes_overrun *overrun)
{
	assert_true(overrun->block.in_syscall);
	assert_true(overrun->block.duration_ns <= overrun->blocked_ns);
	assert_true(overrun->verdict == STINT_PROBES_BLOCKED || overrun->verdict == STINT_PROBES_RUNNABLE);
	assert_true(overrun->parts.blocked_ns > overrun->parts.user_ns + overrun->parts.kernel_ns);
}

#define WAKES_TRIED 5

/*
 * The same in a way that is blocked until it is woken. Now and then no program runs for a wake-up, so that nobody can be
 * named (probes/bpf/loop.bpf.h); where it was blocked is known all the same.
 */
static const struct watched_overrun *do_blocked(enum subject_verb verb, struct subject_answer *answer)
{
	const struct watched_overrun *overrun;

	for (int i = 0; i < WAKES_TRIED; i++) {
		overrun = do_late(verb, block_ns(), answer);
		print_parts(__func__, &overrun->is);
		print_block(&overrun->is);
		assert_mostly_blocked(&overrun->is);
		if (*overrun->is.block.waker || *overrun->is.block.waker_what)
			break;
	}
	return overrun;
}

static bool has_call_on(const struct stint_probes_overrun *overrun, int fd)
{
	for (uint32_t i = 0; i < overrun->syscalls_len; i++)
		if (overrun->syscalls[i].fd == fd &&
		    strcmp(overrun->syscalls[i].name, overrun->block.in) == 0)
			return true;
	return false;
}

static void a_sleep_is_blocked_and_woken_by_an_interrupt(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	overrun = do_blocked(SUBJECT_BLOCK, NULL);
	assert_string_equal(overrun->is.block.waker, "");
	assert_string_equal(overrun->is.block.waker_what, "hrtimer_wakeup");
}

static void a_lock_is_named_with_who_held_it(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	overrun = do_blocked(SUBJECT_LOCK, NULL);
	assert_string_equal(overrun->is.block.in, "futex");
	assert_non_null(strstr(overrun->is.block.on, "(known_lock)"));
	assert_string_equal(overrun->is.block.waker, "holder");
	assert_int_equal(overrun->is.block.waker_pid, subject.pid);
	assert_true(watched_stack_has(overrun, "wait_for_the_lock"));
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		printf("%s%s", i ? " > " : "", overrun->stack[i]);
	printf("\n");
}

static void a_locked_file_is_named_with_who_held_it(void **state)
{
	const struct watched_overrun *overrun;
	struct subject_answer answer;
	char path[64];

	(void)state;
	start();
	overrun = do_blocked(SUBJECT_FLOCK, &answer);
	snprintf(path, sizeof(path), "%s/lock", directory);
	assert_string_equal(overrun->is.block.in, "flock");
	assert_true(has_call_on(&overrun->is, answer.fd));
	assert_string_equal(overrun->is.block.on, path);
	assert_string_equal(overrun->is.block.waker, "holder");
}

static void a_blocking_pipe_is_named_with_who_wrote_to_it(void **state)
{
	const struct watched_overrun *overrun;
	struct subject_answer answer;

	(void)state;
	start();
	overrun = do_blocked(SUBJECT_PIPE, &answer);
	assert_string_equal(overrun->is.block.in, "read");
	assert_true(has_call_on(&overrun->is, answer.fd));
	assert_string_equal(overrun->is.block.on, "pipe");
	assert_string_equal(overrun->is.block.waker, "holder");
}

/* libc's clone3() has no frame information where it waits for that. */
static void a_process_that_is_started_is_waited_for_in_what_starts_it(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	overrun = do_blocked(SUBJECT_START, NULL);
	printf("%s\n", overrun->handler);
	assert_true(watched_stack_has(overrun, "start_a_process"));
	assert_true(watched_stack_has(overrun, "main"));
	assert_string_equal(overrun->handler, "on_command");
}

static void pages_read_from_a_file_are_counted_as_faults(void **state)
{
	const struct watched_overrun *overrun;
	struct subject_answer answer;

	(void)state;
	start();
	overrun = do_late(SUBJECT_COLD, 0, &answer);
	if (!answer.cpu_ns) {
		printf("skipped: %s is on a file system that is in memory\n", directory);
		skip();
	}
	print_parts(__func__, &overrun->is);
	assert_int_equal(overrun->is.major_faults, answer.cpu_ns);
	assert_true(overrun->is.fault_blocked_ns > 0);
	assert_true(overrun->is.fault_blocked_ns <= overrun->is.blocked_ns);
	printf("%" PRIu64 " major faults, blocked in them for %.3f ms; longest %.3f ms\n",
	       overrun->is.major_faults, (double)overrun->is.fault_blocked_ns / 1e6,
	       (double)overrun->is.block.duration_ns / 1e6);
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		printf("%s%s", i ? " > " : "", overrun->stack[i]);
	printf("\n");
}

/* nginx sends files so: what is slow then is the disk, not the client. */
static void a_file_that_is_sent_from_the_disk_is_what_it_waits_for(void **state)
{
	const struct watched_overrun *overrun;

	(void)state;
	start();
	for (int i = 0; i < WAKES_TRIED; i++) {
		subject_do(&subject, 0, SUBJECT_SEND_COLD, 0);
		sync_subject();
		for (size_t at = 0; (overrun = watching_overrun(&watching, 0, at)); at++) {
			if (strcmp(overrun->is.block.in, "sendfile") != 0)
				continue;
			print_block(&overrun->is);
			if (strcmp(overrun->is.block.waker_what, "wake_page_function") != 0)
				continue;
			assert_string_equal(overrun->is.block.on, "the file that it sends");
			return;
		}
	}
	printf("skipped: no page of %s was waited for in sendfile()\n", directory);
	skip();
}

static double kernel_share(uint64_t user_ns, uint64_t kernel_ns)
{
	return (double)kernel_ns / (double)(user_ns + kernel_ns);
}

/*
 * The kernel's share of it is about all, or less than half where a hypervisor sees to the page tables. The kernel's own
 * figure of it is by ticks, 100 of them or more: 5 % for one standard deviation, as ours is 1.5 % by samples.
 */
static void pages_that_are_made_are_counted_and_timed(void **state)
{
	const struct watched_overrun *overrun;
	struct subject_answer answer;
	double told, truth;

	(void)state;
	start();
	overrun = do_late(SUBJECT_PAGES, 1000 * MS, &answer);
	print_parts(__func__, &overrun->is);
	assert_in_range(overrun->is.minor_faults, answer.cpu_ns, answer.cpu_ns + 100);
	told = kernel_share(overrun->is.parts.user_ns, overrun->is.parts.kernel_ns);
	truth = kernel_share(answer.user_ns, answer.kernel_ns);
	printf("%u samples, %u in the kernel outside of system calls; %.3f of the CPU time, by getrusage() %.3f\n",
	       overrun->is.samples, overrun->is.kernel_samples, told, truth);
	assert_true(told > truth - 0.25 && told < truth + 0.25);
}

#define PAGES_TIMES 40

/* CPU time as it is told, without what only samples say of it, and as getrusage() has it. */
struct cpu_sums {
	uint64_t user_ns, kernel_ns, true_user_ns, true_kernel_ns;
};

/* Of an overrun whose faults were timed. */
static void add_timed(struct cpu_sums *sums, const struct stint_probes_parts *parts,
		      const struct subject_answer *answer)
{
	assert_true(parts->faulted_ns > 0);
	sums->user_ns += parts->user_ns + parts->kernel_sampled_ns;
	sums->kernel_ns += parts->kernel_ns - parts->kernel_sampled_ns;
	sums->true_user_ns += answer->user_ns;
	sums->true_kernel_ns += answer->kernel_ns;
}

static void assert_told_as_getrusage_has_it(const struct cpu_sums *sums)
{
	double told = kernel_share(sums->user_ns, sums->kernel_ns);
	double truth = kernel_share(sums->true_user_ns, sums->true_kernel_ns);

	printf("without samples, %.3f of the CPU time in the kernel, by getrusage() %.3f\n", told, truth);
	assert_true(told > truth - 0.25 && told < truth + 0.25);
}

/*
 * From the second overrun on page faults are timed, so that the kernel's share is known also of one that is too short for
 * samples to tell.
 */
static void many_page_faults_are_timed_the_next_time(void **state)
{
	struct cpu_sums sums = {0};

	(void)state;
	start();
	do_late(SUBJECT_PAGES, 10 * MS, NULL);
	for (int i = 0; i < PAGES_TIMES; i++) {
		struct subject_answer answer;
		const struct stint_probes_parts *parts = &do_late(SUBJECT_PAGES, 10 * MS, &answer)->is.parts;

		assert_true(parts->faulted_ns + parts->kernel_sampled_ns <= parts->kernel_ns);
		add_timed(&sums, parts, &answer);
	}
	assert_told_as_getrusage_has_it(&sums);
}

#define HUGE_TIMES 120
#define HUGE_TRIES 20
#define HUGE_NS    (2 * MS)
#define HUGE_MANY  100 /* page faults, of those that take so long: they are not of huge pages */

static bool huge_pages_are_made(void)
{
	struct subject_answer answer = subject_do(&subject, 0, SUBJECT_HUGE_PAGES, HUGE_NS);

	return answer.cpu_ns && answer.cpu_ns < HUGE_MANY;
}

/*
 * Each is 50 us and more: in an overrun this short there are too few of them to be told by their number, or by many
 * samples.
 */
static void few_page_faults_that_take_long_are_timed_too(void **state)
{
	struct cpu_sums sums = {0};
	struct subject_answer answer;
	int tries = 0;

	(void)state;
	start();
	if (!huge_pages_are_made()) {
		printf("skipped: no huge pages are made here (/sys/kernel/mm/transparent_hugepage/enabled)\n");
		skip();
	}
	while (do_late(SUBJECT_HUGE_PAGES, HUGE_NS, &answer)->is.parts.faulted_ns == 0)
		assert_true(++tries < HUGE_TRIES);
	printf("timed after %d overruns\n", tries);
	for (int i = 0; i < HUGE_TIMES; i++) {
		const struct stint_probes_parts *parts =
			&do_late(SUBJECT_HUGE_PAGES, HUGE_NS, &answer)->is.parts;

		add_timed(&sums, parts, &answer);
	}
	printf("%" PRIu64 " faults in the last\n", answer.cpu_ns);
	assert_told_as_getrusage_has_it(&sums);
}

/* ---- a stop ---- */

static bool is_stopped(pid_t pid)
{
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		*line = '\0';
	fclose(file);
	state = strrchr(line, ')');
	return state && state[1] && state[2] == 'T';
}

/* Somebody who continues it, some time after it has stopped, that many times. */
static pid_t start_continuer(pid_t stopped, uint64_t ns, unsigned times)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
	struct timespec moment = {.tv_nsec = 1000000};
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < times; i++) {
		while (!is_stopped(stopped))
			nanosleep(&moment, NULL);
		nanosleep(&ts, NULL);
		kill(stopped, SIGCONT);
	}
	_exit(0);
}

static void a_stop_by_a_signal_is_no_page_fault(void **state)
{
	const struct watched_overrun *overrun;
	pid_t continuer;

	(void)state;
	start();
	continuer = start_continuer(subject.pid, block_ns(), 1);
	overrun = do_late(SUBJECT_STOP, 0, NULL);
	waitpid(continuer, NULL, 0);
	print_parts(__func__, &overrun->is);
	assert_true(overrun->is.parts.blocked_ns >= block_ns());
	assert_false(overrun->is.block.in_syscall);
	assert_true(overrun->is.block.duration_ns >= block_ns());
	assert_string_equal(overrun->is.block.in, "a stop by a signal");
	assert_int_equal(overrun->is.block.waker_pid, continuer);
	assert_true(overrun->is.fault_blocked_ns < overrun->is.block.duration_ns / 2);
	assert_true(overrun->is.stopped_ns >= block_ns());
	assert_int_equal(overrun->is.stack_kind, STINT_PROBES_STACK_BLOCKED);
}

static void assert_mostly_stopped(const struct watched_overrun *overrun, uint64_t least_ns)
{
	printf("stopped %.3f ms, page faults %.3f ms\n", (double)overrun->is.stopped_ns / 1e6,
	       (double)overrun->is.fault_blocked_ns / 1e6);
	assert_int_equal(overrun->is.verdict, STINT_PROBES_BLOCKED);
	assert_true(overrun->is.stopped_ns >= least_ns);
	assert_true(overrun->is.stopped_ns + overrun->is.fault_blocked_ns <= overrun->is.blocked_ns);
	assert_true(overrun->is.fault_blocked_ns < overrun->is.stopped_ns / 10);
}

static void many_short_stops_by_a_signal_are_no_page_faults(void **state)
{
	const struct watched_overrun *overrun;
	pid_t continuer;

	(void)state;
	start();
	continuer = start_continuer(subject.pid, block_ns() / 10, 20);
	overrun = do_late(SUBJECT_STOP, 20, NULL);
	waitpid(continuer, NULL, 0);
	print_parts(__func__, &overrun->is);
	assert_mostly_stopped(overrun, 2 * block_ns());
}

/* Does what strace does, and takes its time: stops it at both ends of each system call. Writes a byte once it is there. */
static pid_t start_tracer(pid_t traced, uint64_t ns, int ready)
{
	struct timespec ts = {.tv_nsec = (long)ns};
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_SEIZE, traced, NULL, (void *)PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_INTERRUPT, traced, NULL, NULL) < 0)
		_exit(1);
	while (waitpid(traced, &status, 0) == traced && WIFSTOPPED(status)) {
		if (ready >= 0 && write(ready, "x", 1) != 1)
			_exit(1);
		ready = -1;
		nanosleep(&ts, NULL);
		ptrace(PTRACE_SYSCALL, traced, NULL, NULL);
	}
	_exit(0);
}

static void stops_by_a_tracer_are_no_page_faults(void **state)
{
	const struct watched_overrun *overrun = NULL;
	bool is_traced;
	int ready[2];
	pid_t tracer;
	char byte;

	(void)state;
	start();
	assert_int_equal(pipe(ready), 0);
	tracer = start_tracer(subject.pid, block_ns() / 50, ready[1]);
	close(ready[1]);
	is_traced = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	if (is_traced)
		overrun = do_late(SUBJECT_CALLS, 25, NULL);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	if (!is_traced) {
		printf("skipped: this machine allows no tracers\n");
		skip();
	}
	print_parts(__func__, &overrun->is);
	assert_mostly_stopped(overrun, block_ns());
}

/* ---- a rival for the CPU ---- */

static pid_t start_rival(int cpu)
{
	pid_t pid = fork();
	cpu_set_t set;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "rival");
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (volatile unsigned counter = 0;; counter = counter + 1)
		;
}

static void waiting_for_a_cpu_is_told_with_who_had_it(void **state)
{
	const struct watched_overrun *overrun;
	uint64_t rivals_ns = 0, of_rival_ns = 0;
	pid_t rival;

	(void)state;
	start();
	subject_do(&subject, 0, SUBJECT_PIN, 0);
	rival = start_rival(0);
	overrun = do_late(SUBJECT_SPIN, 60 * MS, NULL);
	kill(rival, SIGKILL);
	waitpid(rival, NULL, 0);
	print_parts(__func__, &overrun->is);
	assert_true(overrun->is.parts.runnable_ns > 10 * MS);
	for (uint32_t i = 0; i < overrun->is.rivals_len; i++) {
		printf("  behind %s (pid %u) %.3f ms\n", overrun->is.rivals[i].comm,
		       overrun->is.rivals[i].pid, (double)overrun->is.rivals[i].duration_ns / 1e6);
		rivals_ns += overrun->is.rivals[i].duration_ns;
		if (overrun->is.rivals[i].pid == (uint32_t)rival)
			of_rival_ns = overrun->is.rivals[i].duration_ns;
	}
	rivals_ns += overrun->is.rivals_other_ns;
	/* Others may want that CPU too, but the rival does all the time. */
	assert_true(of_rival_ns > 3 * MS);
	assert_true(rivals_ns <= overrun->is.runnable_ns + MS);
	assert_true(rivals_ns >= overrun->is.runnable_ns - overrun->is.runnable_ns / 4);
}

/* ---- a cgroup that is throttled ---- */

static bool write_file(const char *folder, const char *name, const char *text)
{
	char path[256];
	bool written;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

/* Of cpu.stat, in ns; 0 if it is not there. The new kind counts us, the old one ns. */
static uint64_t throttled_ns(const char *group)
{
	char path[256], key[64];
	uint64_t value, found_ns = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/cpu.stat", group);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fscanf(file, "%63s %" SCNu64, key, &value) == 2) {
		if (strcmp(key, "throttled_usec") == 0)
			found_ns = value * 1000;
		if (strcmp(key, "throttled_time") == 0)
			found_ns = value;
	}
	fclose(file);
	return found_ns;
}

/* A group of which each thread may run for 10 ms in 100. False if this machine has none to give. */
static bool make_group(char *group, size_t bytes)
{
	snprintf(group, bytes, CGROUP_OLD "/stint-verdicts-%d", getpid());
	if (mkdir(group, 0700) == 0)
		return write_file(group, "cpu.cfs_period_us", "100000") &&
		       write_file(group, "cpu.cfs_quota_us", "10000");
	if (!write_file(CGROUP_NEW, "cgroup.subtree_control", "+cpu"))
		return false;
	snprintf(group, bytes, CGROUP_NEW "/stint-verdicts-%d", getpid());
	return mkdir(group, 0700) == 0 && write_file(group, "cpu.max", "10000 100000");
}

/* Somebody who has it moved from one CPU to another all the time, as the scheduler may. */
static pid_t start_mover(pid_t moved)
{
	struct timespec pause = {.tv_nsec = 7000000};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t pid = fork();
	cpu_set_t set;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int at = 0;; at = (int)((at + 1) % cpus)) {
		CPU_ZERO(&set);
		CPU_SET(at, &set);
		sched_setaffinity(moved, sizeof(set), &set);
		nanosleep(&pause, NULL);
	}
}

static void assert_throttled(bool is_moved)
{
	const struct watched_overrun *overrun;
	uint64_t before_ns, counted_ns;
	char group[128], pid[32];
	pid_t mover = 0;

	watching_or_skip();
	if (!make_group(group, sizeof(group))) {
		rmdir(group);
		printf("skipped: no cgroup with a limit on CPU time can be made here\n");
		skip();
	}
	start();
	snprintf(pid, sizeof(pid), "%d", subject.pid);
	assert_true(write_file(group, "cgroup.procs", pid));
	if (is_moved)
		mover = start_mover(subject.pid);
	before_ns = throttled_ns(group);
	overrun = do_late(SUBJECT_SPIN, 30 * MS, NULL);
	counted_ns = throttled_ns(group) - before_ns;
	if (mover) {
		kill(mover, SIGKILL);
		waitpid(mover, NULL, 0);
	}
	subject_stop(&subject, SIGKILL);
	rmdir(group);
	print_parts(is_moved ? "throttled and moved" : "throttled", &overrun->is);
	printf("cpu.stat: throttled for %.3f ms\n", (double)counted_ns / 1e6);
	assert_true(overrun->is.parts.throttled_known);
	/* Others may keep it from a CPU for longer: then that is the verdict. */
	assert_true(overrun->is.verdict == STINT_PROBES_THROTTLED ||
		    overrun->is.verdict == STINT_PROBES_RUNNABLE);
	assert_int_equal(overrun->is.iteration, STINT_PROBES_SYSTEM);
	assert_true(overrun->is.parts.throttled_ns <= counted_ns + counted_ns / 10);
	/* That has the time of each CPU, and of all CPUs at once of a group whose task went from one to another. */
	if (is_moved)
		counted_ns /= (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	assert_true(overrun->is.parts.throttled_ns >= counted_ns - counted_ns / 4);
}

static void being_throttled_by_its_cgroup_is_told(void **state)
{
	(void)state;
	assert_throttled(false);
}

static void being_throttled_is_told_also_if_it_comes_back_on_another_cpu(void **state)
{
	(void)state;
	assert_throttled(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(computing_in_user_space_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(computing_in_the_kernel_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_sleep_is_blocked_and_woken_by_an_interrupt, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_lock_is_named_with_who_held_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_locked_file_is_named_with_who_held_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_blocking_pipe_is_named_with_who_wrote_to_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_process_that_is_started_is_waited_for_in_what_starts_it,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(pages_read_from_a_file_are_counted_as_faults, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_is_sent_from_the_disk_is_what_it_waits_for,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(pages_that_are_made_are_counted_and_timed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_page_faults_are_timed_the_next_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(few_page_faults_that_take_long_are_timed_too, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_stop_by_a_signal_is_no_page_fault, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_short_stops_by_a_signal_are_no_page_faults, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(stops_by_a_tracer_are_no_page_faults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waiting_for_a_cpu_is_told_with_who_had_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(being_throttled_by_its_cgroup_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(being_throttled_is_told_also_if_it_comes_back_on_another_cpu,
						set_up, tear_down),
	};
	int failed;

	if (!mkdtemp(directory))
		snprintf(directory, sizeof(directory), "/tmp");
	failed = cmocka_run_group_tests(tests, open_probes, close_probes);
	for (const char *const *name = (const char *const[]){"lock", "cold", "fifo", NULL}; *name; name++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%s", directory, *name);
		unlink(path);
	}
	rmdir(directory);
	return failed;
}
