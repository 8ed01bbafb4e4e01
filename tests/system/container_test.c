/* SPDX-License-Identifier: MIT */

/*
 * A redis-server in pid, mount and network namespaces of its own, as a container is: its number is 1 there, its file lies
 * at a path where the host has another program, and its addresses are of a network that the recorder is not in.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "watching.h"

#define SERVER  "/usr/bin/redis-server"
#define INSIDE  "/usr/bin/env" /* which the host has, too, as another file */
#define PORT    6379
#define CLIENTS 3
#define TIMES   3
#define MS      1000000

static struct {
	char directory[64];       /* the container's root is mounted on it */
	pid_t holder;             /* made the namespaces, and waits */
	pid_t server;             /* its number here */
	int clients[CLIENTS + 1]; /* the last comes later */
} container;

static char recording[96];

/* ---- inside ---- */

static void make(const char *path)
{
	if (mkdir(path, 0755) != 0)
		_exit(10);
}

static void show(const char *from, const char *to)
{
	make(to);
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0)
		_exit(11);
}

static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC),
	    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	char buffer[65536];
	ssize_t len;

	if (in < 0 || out < 0)
		_exit(12);
	while ((len = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, (size_t)len) != len)
			_exit(12);
	close(in);
	close(out);
}

/* A root with nothing in it but libraries, the server under another's name, and /proc. */
static void enter_root(const char *root)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", root, "tmpfs", 0, NULL) != 0 || chdir(root) != 0)
		_exit(13);
	make("usr");
	make("usr/bin");
	copy_file(SERVER, INSIDE + 1);
	show("/usr/lib", "usr/lib");
	if (access("/usr/lib64", F_OK) == 0)
		show("/usr/lib64", "usr/lib64");
	if (symlink("usr/lib", "lib") != 0 || symlink("usr/lib64", "lib64") != 0)
		_exit(14);
	make("proc");
	make("tmp");
	if (mount("proc", "proc", "proc", 0, NULL) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
	    umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		_exit(15);
}

static void start_network(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
		_exit(16);
	close(fd);
}

static _Noreturn void serve(void)
{
	int null_fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	start_network();
	enter_root(container.directory);
	null_fd = open("/tmp/out", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	execl(INSIDE, INSIDE, "--port", "6379", "--bind", "127.0.0.1", "--dir", "/tmp", "--save", "",
	      "--appendonly", "no", "--enable-debug-command", "yes", (char *)NULL);
	_exit(17);
}

/* Tells by `told` the server's number, which is this namespace's still. */
static _Noreturn void hold(int told)
{
	pid_t server;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID) != 0)
		_exit(18);
	server = fork();
	if (server == 0)
		serve();
	if (server < 0 || write(told, &server, sizeof(server)) != sizeof(server))
		_exit(19);
	waitpid(server, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 20);
}

/* ---- outside ---- */

/* A socket stays in the network that it was made in. */
static int socket_inside(void)
{
	char path[64];
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), theirs, fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)container.server);
	theirs = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(own >= 0 && theirs >= 0);
	assert_int_equal(setns(theirs, CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	close(own);
	close(theirs);
	assert_true(fd >= 0);
	return fd;
}

static int connect_inside(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	const struct timespec pause = {.tv_nsec = 10 * MS};
	int status;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (;;) {
		int fd = socket_inside();

		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		close(fd);
		if (waitpid(container.holder, &status, WNOHANG) == container.holder) {
			container.holder = 0;
			fail_msg("the container ended: status %d", WEXITSTATUS(status));
		}
		nanosleep(&pause, NULL);
	}
}

static int start_container(void **state)
{
	int told[2];

	(void)state;
	memset(&container, 0, sizeof(container));
	snprintf(container.directory, sizeof(container.directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(container.directory))
		return -1;
	snprintf(recording, sizeof(recording), "%s.stint", container.directory);
	if (geteuid() != 0 || access(SERVER, X_OK) != 0)
		return 0;
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	container.holder = fork();
	assert_true(container.holder >= 0);
	if (container.holder == 0)
		hold(told[1]);
	close(told[1]);
	assert_int_equal(read(told[0], &container.server, sizeof(container.server)),
			 sizeof(container.server));
	close(told[0]);
	for (int i = 0; i < CLIENTS; i++)
		container.clients[i] = connect_inside();
	return 0;
}

static int end_container(void **state)
{
	(void)state;
	for (int i = 0; i < CLIENTS + 1; i++)
		if (container.clients[i] > 0)
			close(container.clients[i]);
	if (container.server > 0)
		kill(container.server, SIGKILL);
	if (container.holder > 0)
		waitpid(container.holder, NULL, 0);
	unlink(recording);
	return rmdir(container.directory);
}

static void need_container(void)
{
	watching_or_skip();
	if (container.holder > 0)
		return;
	printf("skipped: this needs root, and %s\n", SERVER);
	skip();
}

static void ask(int client, const char *text)
{
	assert_int_equal(write(container.clients[client], text, strlen(text)), strlen(text));
}

/* Each of the answers here is one short line. */
static void expect_line(int client)
{
	char byte = 0;

	while (byte != '\n')
		assert_int_equal(read(container.clients[client], &byte, 1), 1);
}

static unsigned port_of(int client)
{
	struct sockaddr_in address;
	socklen_t bytes = sizeof(address);

	assert_int_equal(getsockname(container.clients[client], (struct sockaddr *)&address, &bytes), 0);
	return ntohs(address.sin_port);
}

/* It may be asleep in its wait as it is told to stop. */
static void until_stopped(void)
{
	char path[64], text[512], state = '?';

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)container.server);
	while (state != 'T') {
		FILE *file = fopen(path, "re");
		size_t len;

		assert_non_null(file);
		len = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
		text[len] = '\0';
		assert_non_null(strrchr(text, ')'));
		state = strrchr(text, ')')[2];
	}
}

/* All are sent while it is stopped, and so are ready at once, in their order: the others wait for the first. */
static void stall(void)
{
	for (int i = 0; i < TIMES; i++) {
		assert_int_equal(kill(container.server, SIGSTOP), 0);
		until_stopped();
		ask(0, "DEBUG SLEEP 0.05\r\n");
		ask(1, "PING\r\n");
		ask(2, "PING\r\n");
		assert_int_equal(kill(container.server, SIGCONT), 0);
		for (int client = 0; client < CLIENTS; client++)
			expect_line(client);
	}
	for (int i = 0; i < TIMES; i++) {
		ask(0, "EVAL \"local n = 0 for i = 1, 10000000 do n = n + i end return 'done'\" 0\r\n");
		expect_line(0); /* "$4" */
		expect_line(0);
	}
	container.clients[CLIENTS] = connect_inside();
	ask(CLIENTS, "PING\r\n"); /* once that is answered, all before it is over */
	expect_line(CLIENTS);
}

static void record_it(void)
{
	char pid[16], line[512];
	const char *const argv[] = {"stint", "record", "-o", recording, "-p", pid, NULL};
	struct command recorder;

	snprintf(pid, sizeof(pid), "%d", (int)container.server);
	command_start(&recorder, argv);
	command_line(&recorder, "recording into", line, sizeof(line));
	stall();
	assert_int_equal(command_end(&recorder, SIGINT, NULL, 0), 0);
}

static void assert_sleeps_found(void)
{
	assert_int_equal(query_number(recording, "SELECT count(*) FROM overrun_syscall WHERE"
						 " name = 'clock_nanosleep' AND duration_ns >= 50000000"),
			 TIMES);
	assert_true(query_number(recording, "SELECT count(*) FROM overrun_syscall s JOIN overrun_frame f ON"
					    " f.overrun = s.overrun WHERE s.name = 'clock_nanosleep' AND"
					    " s.duration_ns >= 50000000 AND f.name = 'debugCommand' AND"
					    " f.module = 'env'") >= 1);
}

static void assert_loop_found(void)
{
	assert_true(query_number(recording,
				 "SELECT count(DISTINCT o.id) FROM overrun o JOIN overrun_frame f ON"
				 " f.overrun = o.id WHERE o.stack_kind = 'computed' AND"
				 " f.name = 'evalGenericCommand' AND f.module = 'env'") >= 1);
}

static void assert_sockets_named(void)
{
	char sql[512];

	assert_int_equal(query_number(recording, "SELECT count(DISTINCT name) FROM role WHERE name IN"
						 " ('listener :6379', 'clients of :6379')"),
			 2);
	snprintf(sql, sizeof(sql),
		 "SELECT count(*) FROM overrun_victim WHERE wait_ns >= 50000000 AND name IN"
		 " ('tcp 127.0.0.1:6379 > 127.0.0.1:%u', 'tcp 127.0.0.1:6379 > 127.0.0.1:%u')",
		 port_of(1), port_of(2));
	assert_int_equal(query_number(recording, sql), 2 * TIMES);
}

static void assert_namespaces_told(void)
{
	char path[64], inside[128], report[65536];
	const char *const argv[] = {"stint", "report", recording, NULL};
	struct stat status;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)container.server);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(query_number(recording, "SELECT inside_pid FROM process"), 1);
	assert_int_equal(query_number(recording, "SELECT inside_netns FROM process"), status.st_ino);
	snprintf(inside, sizeof(inside), "(pid %d, 1 in its own namespace, network namespace %ju)",
		 (int)container.server, (uintmax_t)status.st_ino);
	assert_int_equal(command_run(argv, report, sizeof(report)), 0);
	command_unwrap(report);
	if (!strstr(report, "1 in its own namespace"))
		fail_msg("no '%s' in: %s", inside, report);
}

static void a_server_in_a_container_is_named_by_what_is_in_there(void **state)
{
	(void)state;
	need_container();
	record_it();
	assert_sleeps_found();
	assert_loop_found();
	assert_sockets_named();
	assert_namespaces_told();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_server_in_a_container_is_named_by_what_is_in_there,
						start_container, end_container),
	};

	return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
