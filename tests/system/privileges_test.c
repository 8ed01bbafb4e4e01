/* SPDX-License-Identifier: MIT */

/*
 * With which privileges `stint record` works, whom it refuses, what it keeps, and what is left of it when it ends. The
 * recorder is a user without any, but for the capabilities that each test gives: ambient ones, or those of a copy of the
 * program.
 */

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "watching.h"

#define NOBODY 65534
#define TIMES  5
#define MS     1000000

#define BIT(capability) (UINT64_C(1) << (capability))
#define THE_THREE       (BIT(CAP_BPF) | BIT(CAP_PERFMON) | BIT(CAP_SYS_PTRACE))

static char directory[64]; /* of the recorder's user */
static char program[96];   /* a copy of stint, for whoever cannot come to where it was built */
static char recording[96];
static struct command recorder;

/* The process to record: it sleeps for 5 ms for each byte that it is sent, and then answers. */
static struct {
	pid_t pid;
	int to, from;
} target;

/* ---- set up ---- */

static void copy_file(const char *from_path, const char *to_path)
{
	char buffer[65536];
	int from = open(from_path, O_RDONLY | O_CLOEXEC);
	int to = open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t len;

	assert_true(from >= 0 && to >= 0);
	while ((len = read(from, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(to, buffer, (size_t)len), len);
	assert_int_equal(len, 0);
	close(from);
	close(to);
}

static int make_directory(void **state)
{
	const struct rlimit none = {0, 0};

	(void)state;
	setrlimit(RLIMIT_CORE, &none); /* one of them is made to crash */
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("STINT_DIR", directory, 1) != 0)
		return -1;
	snprintf(program, sizeof(program), "%s/stint", directory);
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	copy_file(BUILD_DIRECTORY "/stint", program);
	return geteuid() == 0 ? chown(directory, NOBODY, NOBODY) : 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(program);
	return rmdir(directory);
}

static void end_target(void)
{
	if (target.pid <= 0)
		return;
	close(target.to);
	close(target.from);
	kill(target.pid, SIGKILL);
	waitpid(target.pid, NULL, 0);
	target.pid = 0;
}

static int clean_up(void **state)
{
	char journal[128];

	(void)state;
	if (recorder.pid > 0)
		command_end(&recorder, SIGKILL, NULL, 0);
	recorder.pid = 0;
	end_target();
	snprintf(journal, sizeof(journal), "%s-journal", recording);
	unlink(journal);
	unlink(recording);
	removexattr(program, "security.capability");
	return 0;
}

static void need_root_and_probes(void)
{
	if (geteuid() != 0) {
		printf("skipped: only root can become another user\n");
		skip();
	}
	watching_or_skip();
}

static _Noreturn void serve(int to, int from)
{
	const struct timespec pause = {.tv_nsec = 5 * MS};
	struct epoll_event event = {.events = EPOLLIN};
	int set = epoll_create1(EPOLL_CLOEXEC);
	char byte;

	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, to, &event) != 0 || write(from, "", 1) != 1)
		_exit(1);
	while (epoll_wait(set, &event, 1, -1) == 1) {
		if (read(to, &byte, 1) != 1)
			break;
		nanosleep(&pause, NULL);
		if (write(from, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* Having been another user makes a process not to be inspected, until it says otherwise. */
static void become(uid_t user)
{
	if (!user)
		return;
	if (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0 ||
	    prctl(PR_SET_DUMPABLE, 1) != 0)
		_exit(1);
}

static void start_target(uid_t user)
{
	int to[2], from[2];
	char ready;

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	target.pid = fork();
	assert_true(target.pid >= 0);
	if (target.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		become(user);
		serve(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	target.to = to[1];
	target.from = from[0];
	assert_int_equal(read(from[0], &ready, 1), 1); /* it is that user by now */
}

/* One more than asked for: once that is answered, the others are over. */
static void stall_target(void)
{
	char byte = 0;

	for (int i = 0; i < TIMES + 1; i++) {
		assert_int_equal(write(target.to, &byte, 1), 1);
		assert_int_equal(read(target.from, &byte, 1), 1);
	}
}

/* What the file lends to whoever runs it, in force at once: as `setcap ...=ep` writes it. */
static void lend(uint64_t capabilities)
{
	struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE};
	struct statvfs file_system;

	assert_int_equal(statvfs(program, &file_system), 0);
	data.data[0].permitted = (uint32_t)capabilities;
	data.data[1].permitted = (uint32_t)(capabilities >> 32);
	if (!(file_system.f_flag & ST_NOSUID) &&
	    setxattr(program, "security.capability", &data, sizeof(data), 0) == 0)
		return;
	printf("skipped: files in /tmp can have no capabilities here\n");
	skip();
}

/* ---- the recorder ---- */

/* As the user without privileges, with these ambient capabilities ("+bpf,+perfmon"; NULL: none). */
static void start(const char *ambient, const char *const *arguments)
{
	static char inheritable[128], ambient_option[128];
	const char *argv[24] = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
	size_t len = 4;

	if (ambient) {
		snprintf(inheritable, sizeof(inheritable), "--inh-caps=-all,%s", ambient);
		snprintf(ambient_option, sizeof(ambient_option), "--ambient-caps=-all,%s", ambient);
		argv[len++] = inheritable;
		argv[len++] = ambient_option;
	}
	argv[len++] = program;
	while (*arguments)
		argv[len++] = *arguments++;
	command_start(&recorder, argv);
}

static void start_recording(const char *ambient)
{
	char pid[16];
	const char *const arguments[] = {"record", "-o", recording, "-p", pid, NULL};

	snprintf(pid, sizeof(pid), "%d", (int)target.pid);
	start(ambient, arguments);
}

static void until_it_records(void)
{
	char line[512];

	command_line(&recorder, "recording into", line, sizeof(line));
}

static int end(int signal, char *output, size_t size)
{
	int status = command_end(&recorder, signal, output, size);

	recorder.pid = 0;
	return status;
}

static void assert_keeps(uint64_t capabilities)
{
	assert_int_equal(command_status(&recorder, "CapEff:", 16), capabilities);
	assert_int_equal(command_status(&recorder, "CapPrm:", 16), capabilities);
	assert_int_equal(command_status(&recorder, "CapInh:", 16), 0);
	assert_int_equal(command_status(&recorder, "CapAmb:", 16), 0);
	assert_int_equal(command_status(&recorder, "NoNewPrivs:", 10), 1);
}

/* Every stall of the target is told by the kernel's side, with what it was. */
static void assert_records(void)
{
	until_it_records();
	stall_target();
	assert_int_equal(end(SIGINT, NULL, 0), 0);
	assert_true(query_number(recording,
				 "SELECT count(DISTINCT o.id) FROM overrun o JOIN overrun_syscall s"
				 " ON s.overrun = o.id WHERE o.duration_ns >= 5000000 AND"
				 " s.name = 'clock_nanosleep' AND s.duration_ns >= 5000000") >= TIMES);
	/* Of the stack, what anybody may read. */
	assert_true(query_number(recording,
				 "SELECT count(DISTINCT overrun) FROM overrun_frame WHERE module LIKE 'libc%'"
				 " AND name LIKE '%nanosleep'") >= TIMES);
}

static void assert_refused(const char *why)
{
	char output[4096];

	assert_int_equal(end(0, output, sizeof(output)), 1);
	if (!strstr(output, why))
		fail_msg("no '%s' in: %s", why, output);
	assert_int_not_equal(access(recording, F_OK), 0);
}

/* ---- who may record whom ---- */

static void three_ambient_capabilities_record_a_process_of_another_user(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(0);
	start_recording("+bpf,+perfmon,+sys_ptrace");
	assert_records();
}

static void two_record_a_process_of_ones_own(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	start_recording("+bpf,+perfmon");
	assert_records();
}

static void capabilities_of_the_file_record_a_process_of_ones_own(void **state)
{
	(void)state;
	need_root_and_probes();
	lend(THE_THREE);
	start_target(NOBODY);
	start_recording(NULL);
	assert_records();
}

/* It waits once, as a loop does that is looked for. */
static const char waits[] =
	"import select, time; e = select.epoll(); e.poll(0.01); time.sleep(0.005); e.poll(0.01);"
	" e.poll(0.01)";

static void assert_records_a_command(const char *ambient)
{
	const char *const arguments[] = {"record",           "-o", recording, "--",
					 "/usr/bin/python3", "-c", waits,     NULL};
	char output[4096];

	start(ambient, arguments);
	if (end(0, output, sizeof(output)) != 0)
		fail_msg("%s", output);
	assert_true(query_number(recording,
				 "SELECT count(*) FROM overrun_syscall WHERE name = 'clock_nanosleep'") >= 1);
}

static void two_ambient_capabilities_record_a_command(void **state)
{
	(void)state;
	need_root_and_probes();
	assert_records_a_command("+bpf,+perfmon");
}

static void capabilities_of_the_file_record_a_command(void **state)
{
	(void)state;
	need_root_and_probes();
	lend(THE_THREE);
	assert_records_a_command(NULL);
}

/* A program that was a child before its parent became stint, and has more rights than the user. */
static void a_child_that_is_not_the_command_is_no_exception(void **state)
{
	static char script[512];
	const char *const argv[] = {
		"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script, NULL};
	char strange[128], output[4096];
	int child;
	struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE};

	(void)state;
	need_root_and_probes();
	lend(THE_THREE);
	snprintf(strange, sizeof(strange), "%s/sleep", directory);
	copy_file("/usr/bin/sleep", strange);
	data.data[0].permitted = (uint32_t)BIT(CAP_NET_RAW);
	assert_int_equal(setxattr(strange, "security.capability", &data, sizeof(data), 0), 0);
	/* Once it is the other program, the user may not look at it any more. */
	snprintf(script, sizeof(script),
		 "%s 60 >/dev/null 2>&1 & echo child $!; while readlink /proc/$!/exe >/dev/null; do :; done; "
		 "exec %s record -d 1 -o %s -p $!",
		 strange, program, recording);
	command_run(argv, output, sizeof(output));
	unlink(strange);
	child = strncmp(output, "child ", 6) == 0 ? atoi(output + 6) : 0;
	assert_true(child > 0);
	kill(child, SIGKILL);
	assert_non_null(strstr(output, "may not be inspected"));
}

static void capabilities_of_the_file_are_not_for_processes_of_others(void **state)
{
	(void)state;
	need_root_and_probes();
	lend(THE_THREE);
	start_target(0);
	start_recording(NULL);
	assert_refused(
		"may not be inspected, and is not recorded: Permission denied: it takes root, or CAP_SYS_PTRACE");
}

static void without_cap_sys_ptrace_a_process_of_another_user_is_refused(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(0);
	start_recording("+bpf,+perfmon");
	assert_refused(
		"may not be inspected, and is not recorded: Permission denied: it takes root, or CAP_SYS_PTRACE");
}

static void without_cap_bpf_it_says_so(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	start_recording("+perfmon,+sys_ptrace");
	assert_refused("no probes: missing CAP_BPF: run as root, or: ");
}

static void without_cap_perfmon_it_says_so(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	start_recording("+bpf,+sys_ptrace");
	assert_refused("no probes: missing CAP_PERFMON: run as root, or: ");
}

/* ---- what it keeps ---- */

static void of_more_capabilities_it_keeps_the_three(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	start_recording("+bpf,+perfmon,+sys_ptrace,+syslog,+net_admin,+setuid");
	until_it_records();
	assert_keeps(THE_THREE);
}

/* `function`: one to time; NULL: none. */
static void roots_recorder_keeps(const char *path, const char *function, uint64_t capabilities)
{
	char pid[16];
	const char *const argv[] = {program,  "record", "-o", path, "-p", pid, function ? "--function" : NULL,
				    function, NULL};

	snprintf(pid, sizeof(pid), "%d", (int)target.pid);
	command_start(&recorder, argv);
	until_it_records();
	assert_keeps(capabilities);
	assert_int_equal(end(SIGTERM, NULL, 0), 1); /* nothing was to be seen */
}

static void it_gives_way_to_what_it_watches(void **state)
{
	int own = getpriority(PRIO_PROCESS, 0);

	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	start_recording("+bpf,+perfmon");
	until_it_records();
	assert_int_equal(sched_getscheduler(recorder.pid), SCHED_BATCH);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)recorder.pid), own > 10 ? own : 10);
}

static void root_keeps_the_three_and_reading_of_files(void **state)
{
	char own[96], path[128];

	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	snprintf(own, sizeof(own), "%s-root", directory);
	snprintf(path, sizeof(path), "%s/r.stint", own);
	assert_int_equal(mkdir(own, 0755), 0);
	roots_recorder_keeps(path, NULL, THE_THREE | BIT(CAP_DAC_READ_SEARCH));
	assert_int_equal(rmdir(own), 0);
}

static void in_the_directory_of_somebody_else_root_keeps_writing_too(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	roots_recorder_keeps(recording, NULL, THE_THREE | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_DAC_OVERRIDE));
}

/* For processes that come later: 6.18 leaves uprobes to it. */
static void where_functions_are_timed_root_keeps_cap_sys_admin(void **state)
{
	(void)state;
	need_root_and_probes();
	start_target(NOBODY);
	roots_recorder_keeps(recording, "main",
			     THE_THREE | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_DAC_OVERRIDE) |
				     BIT(CAP_SYS_ADMIN));
}

static void a_command_runs_with_all_that_its_user_has(void **state)
{
	const char *const argv[] = {
		program, "record",
		"-o",    recording,
		"--",    "sh",
		"-c",    "echo \"$(grep -E '^(CapEff|NoNewPrivs):' /proc/self/status; nice)\"",
		NULL};
	char output[4096], line[64];

	(void)state;
	need_root_and_probes();
	recorder.pid = getpid();
	snprintf(line, sizeof(line), "CapEff:\t%016" PRIx64 "\nNoNewPrivs:\t0\n%d\n",
		 command_status(&recorder, "CapEff:", 16), getpriority(PRIO_PROCESS, 0));
	recorder.pid = 0;
	command_run(argv, output, sizeof(output));
	assert_non_null(strstr(output, line));
}

/* ---- doctor ---- */

static void assert_doctor(const char *ambient, int status, const char *const *lines)
{
	static const char *const arguments[] = {"doctor", NULL};
	char output[8192];

	start(ambient, arguments);
	assert_int_equal(end(0, output, sizeof(output)), status);
	for (; *lines; lines++)
		if (!strstr(output, *lines))
			fail_msg("no '%s' in: %s", *lines, output);
}

static void doctor_names_the_capability_that_is_missing(void **state)
{
	static const char command[] =
		"  sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog=ep /tmp/stint-test-";

	(void)state;
	need_root_and_probes();
	assert_doctor("+perfmon,+sys_ptrace", 1,
		      (const char *const[]){"MISSING  CAP_BPF ", "ok       CAP_PERFMON ",
					    "ok       CAP_SYS_PTRACE ", "MISSING  eBPF maps ",
					    "MISSING  eBPF tracepoint ", "MISSING  stint's probes ", command,
					    NULL});
	assert_doctor("+bpf,+sys_ptrace", 1,
		      (const char *const[]){"ok       CAP_BPF ", "MISSING  CAP_PERFMON ",
					    "ok       CAP_SYS_PTRACE ", "ok       eBPF maps ",
					    "MISSING  eBPF tracepoint ", "MISSING  stint's probes ", command,
					    NULL});
	assert_doctor("+bpf,+perfmon", 1,
		      (const char *const[]){"ok       CAP_BPF ", "ok       CAP_PERFMON ",
					    "less     CAP_SYS_PTRACE ", "ok       eBPF maps ",
					    "ok       eBPF tracepoint ", "ok       sampling clock ",
					    "ok       stint's probes ", command, NULL});
}

/* A program takes a descriptor as it is loaded; how many the maps before them take is stint's own affair. */
static void doctor_names_the_program_that_the_kernel_refuses(void **state)
{
	char output[8192] = "", limit[32];
	const char *const argv[] = {"prlimit", limit, program, "doctor", NULL};

	(void)state;
	need_root_and_probes();
	for (int files = 44; files < 80 && !strstr(output, "eBPF program on_"); files++) {
		snprintf(limit, sizeof(limit), "--nofile=%d", files);
		command_run(argv, output, sizeof(output));
	}
	assert_non_null(
		strstr(output, "MISSING  stint's probes       the kernel refused stint's eBPF program on_"));
	assert_non_null(strstr(output, ": Too many open files (its log: STINT_LIBBPF_DEBUG=1 stint doctor)"));
}

static void doctor_sees_that_capabilities_of_a_file_do_not_count(void **state)
{
	const char *const argv[] = {"setpriv",       "--no-new-privs", "--reuid=65534", "--clear-groups",
				    "--regid=65534", program,          "doctor",        NULL};
	char output[8192];

	(void)state;
	need_root_and_probes();
	assert_int_equal(command_run(argv, output, sizeof(output)), 1);
	assert_null(strstr(output, "setcap"));
	assert_non_null(strstr(output, "  sudo stint"));
}

/* ---- in a user namespace ---- */

/* Where its user is root, and has all capabilities. */
static int run_in_user_namespace(const char *const *arguments, char *output, size_t size)
{
	const char *argv[16] = {"setpriv", "--reuid=65534", "--clear-groups",  "--regid=65534",
				"unshare", "--user",        "--map-root-user", program};
	size_t len = 8;

	need_root_and_probes();
	while (*arguments)
		argv[len++] = *arguments++;
	if (system("setpriv --reuid=65534 --clear-groups --regid=65534 unshare --user --map-root-user true") ==
	    0)
		return command_run(argv, output, size);
	printf("skipped: users may make no user namespaces\n");
	skip();
	return -1;
}

static void of_a_user_namespace_record_says_that_its_capabilities_do_not_count(void **state)
{
	const char *const arguments[] = {"record", "-o", recording, "--comm", "nobody", NULL};
	char output[4096];

	(void)state;
	assert_int_equal(run_in_user_namespace(arguments, output, sizeof(output)), 1);
	if (!strstr(output, "no probes: this is a user namespace"))
		fail_msg("it says: %s", output);
}

static void of_a_user_namespace_doctor_says_that_it_is_missing_the_machines_capabilities(void **state)
{
	const char *const arguments[] = {"doctor", NULL};
	char output[8192];

	(void)state;
	assert_int_equal(run_in_user_namespace(arguments, output, sizeof(output)), 1);
	if (!strstr(output, "MISSING  user namespace ") ||
	    !strstr(output, "  run stint outside of this user namespace"))
		fail_msg("it says: %s", output);
}

/* ---- what is left when it ends ---- */

#define THINGS_MAX 256

/* Programs, maps and links that a process holds, by their numbers, which the kernel does not give again. */
struct things {
	uint32_t programs[THINGS_MAX], maps[THINGS_MAX], links[THINGS_MAX];
	size_t programs_len, maps_len, links_len;
};

static void note(uint32_t *ids, size_t *len, const char *line, const char *key)
{
	size_t key_len = strlen(key);

	if (strncmp(line, key, key_len) != 0)
		return;
	assert_true(*len < THINGS_MAX);
	ids[(*len)++] = (uint32_t)strtoul(line + key_len, NULL, 10);
}

/* A link's own description names its program too. Some are open for a moment only, as SQLite's journal is. */
static void note_descriptor(struct things *things, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];
	size_t links = things->links_len;

	if (!file) {
		assert_int_equal(errno, ENOENT);
		return;
	}
	while (fgets(line, sizeof(line), file)) {
		note(things->links, &things->links_len, line, "link_id:");
		if (things->links_len == links)
			note(things->programs, &things->programs_len, line, "prog_id:");
		note(things->maps, &things->maps_len, line, "map_id:");
	}
	fclose(file);
}

static void note_all(struct things *things)
{
	char path[64], file[512];
	struct dirent *entry;
	DIR *descriptors;

	memset(things, 0, sizeof(*things));
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)recorder.pid);
	descriptors = opendir(path);
	assert_non_null(descriptors);
	while ((entry = readdir(descriptors))) {
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (*entry->d_name != '.')
			note_descriptor(things, file);
	}
	closedir(descriptors);
}

/* The kernel lets them go a little later than their last holder; the time limit of tests/run ends the wait. */
static void assert_gone(const uint32_t *ids, size_t len, int (*open_by_id)(uint32_t id))
{
	const struct timespec pause = {.tv_nsec = 10 * MS};

	for (size_t i = 0; i < len; i++) {
		int fd;

		while ((fd = open_by_id(ids[i])) >= 0) {
			close(fd);
			nanosleep(&pause, NULL);
		}
		assert_int_equal(errno, ENOENT);
	}
}

/* Beside the recording and what SQLite needs to roll back, and the program, as it was put there. */
static void assert_no_other_file(void)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	assert_non_null(files);
	while ((entry = readdir(files)))
		if (*entry->d_name != '.' && strncmp(entry->d_name, "r.stint", 7) != 0 &&
		    strcmp(entry->d_name, "stint") != 0)
			fail_msg("%s is left", entry->d_name);
	closedir(files);
}

static void leaves_nothing(int signal)
{
	struct things things;

	need_root_and_probes();
	start_target(0);
	start_recording("+bpf,+perfmon,+sys_ptrace");
	until_it_records();
	stall_target();
	note_all(&things);
	assert_true(things.programs_len > 5 && things.maps_len > 5 && things.links_len > 5);
	end(signal, NULL, 0);
	assert_gone(things.links, things.links_len, bpf_link_get_fd_by_id);
	assert_gone(things.programs, things.programs_len, bpf_prog_get_fd_by_id);
	assert_gone(things.maps, things.maps_len, bpf_map_get_fd_by_id);
	assert_no_other_file();
}

static void killed_it_leaves_nothing_in_the_kernel(void **state)
{
	(void)state;
	leaves_nothing(SIGKILL);
}

static void crashed_it_leaves_nothing_in_the_kernel(void **state)
{
	(void)state;
	leaves_nothing(SIGSEGV);
}

static void ended_it_leaves_nothing_in_the_kernel(void **state)
{
	(void)state;
	leaves_nothing(SIGTERM);
}

#define TEST(name) cmocka_unit_test_teardown(name, clean_up)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(three_ambient_capabilities_record_a_process_of_another_user),
		TEST(two_record_a_process_of_ones_own),
		TEST(capabilities_of_the_file_record_a_process_of_ones_own),
		TEST(two_ambient_capabilities_record_a_command),
		TEST(capabilities_of_the_file_record_a_command),
		TEST(a_child_that_is_not_the_command_is_no_exception),
		TEST(capabilities_of_the_file_are_not_for_processes_of_others),
		TEST(without_cap_sys_ptrace_a_process_of_another_user_is_refused),
		TEST(without_cap_bpf_it_says_so),
		TEST(without_cap_perfmon_it_says_so),
		TEST(of_more_capabilities_it_keeps_the_three),
		TEST(it_gives_way_to_what_it_watches),
		TEST(root_keeps_the_three_and_reading_of_files),
		TEST(in_the_directory_of_somebody_else_root_keeps_writing_too),
		TEST(where_functions_are_timed_root_keeps_cap_sys_admin),
		TEST(a_command_runs_with_all_that_its_user_has),
		TEST(doctor_names_the_capability_that_is_missing),
		TEST(doctor_names_the_program_that_the_kernel_refuses),
		TEST(doctor_sees_that_capabilities_of_a_file_do_not_count),
		TEST(of_a_user_namespace_record_says_that_its_capabilities_do_not_count),
		TEST(of_a_user_namespace_doctor_says_that_it_is_missing_the_machines_capabilities),
		TEST(killed_it_leaves_nothing_in_the_kernel),
		TEST(crashed_it_leaves_nothing_in_the_kernel),
		TEST(ended_it_leaves_nothing_in_the_kernel),
	};

	return cmocka_run_group_tests_name("privileges", tests, make_directory, remove_directory);
}
