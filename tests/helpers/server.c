/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 16
#define TEXT_BYTES    65536

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	nanosleep(&pause, NULL);
}

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int free_port(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, bytes), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	close(fd);
	return ntohs(address.sin_port);
}

void server_prepare(struct server *server)
{
	memset(server, 0, sizeof(*server));
	snprintf(server->directory, sizeof(server->directory), "/tmp/stint-server-XXXXXX");
	assert_non_null(mkdtemp(server->directory));
	assert_int_equal(chmod(server->directory, 0755), 0); /* workers may be another user */
	server->port = free_port();
}

static void expand(const struct server *server, char *ret, size_t bytes, const char *text)
{
	size_t len = 0;

	while (*text) {
		const char *value = NULL;
		char port[16];

		snprintf(port, sizeof(port), "%d", server->port);
		if (strncmp(text, "@PORT@", 6) == 0)
			value = port, text += 6;
		else if (strncmp(text, "@DIR@", 5) == 0)
			value = server->directory, text += 5;
		assert_true(len + sizeof(server->directory) < bytes);
		if (value)
			len += (size_t)snprintf(ret + len, bytes - len, "%s", value);
		else
			ret[len++] = *text++;
	}
	ret[len] = '\0';
}

static void path_in(const struct server *server, char *ret, size_t bytes, const char *name)
{
	assert_true((size_t)snprintf(ret, bytes, "%s/%s", server->directory, name) < bytes);
}

void server_file(const struct server *server, const char *name, const char *text)
{
	char path[256], whole[TEXT_BYTES];
	FILE *file;

	expand(server, whole, sizeof(whole), text);
	path_in(server, path, sizeof(path), name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fputs(whole, file) >= 0, true);
	assert_int_equal(fclose(file), 0);
}

static _Noreturn void become(const struct server *server, char *const *argv)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (chdir(server->directory) != 0)
		_exit(126);
	out = open("out", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	raise(SIGSTOP);
	execv(argv[0], argv);
	_exit(126);
}

void server_start(struct server *server, const char *const *argv)
{
	char expanded[ARGUMENTS_MAX][256], *arguments[ARGUMENTS_MAX + 1] = {0};
	int status;

	if (access(argv[0], X_OK) != 0) {
		printf("skipped: %s is not installed (make deps)\n", argv[0]);
		skip();
	}
	for (int i = 0; argv[i]; i++) {
		assert_true(i < ARGUMENTS_MAX);
		expand(server, expanded[i], sizeof(expanded[i]), argv[i]);
		arguments[i] = expanded[i];
	}
	server->pid = fork();
	assert_true(server->pid >= 0);
	if (server->pid == 0)
		become(server, arguments);
	assert_int_equal(waitpid(server->pid, &status, WUNTRACED), server->pid);
	assert_true(WIFSTOPPED(status));
}

void server_go(const struct server *server)
{
	assert_int_equal(kill(server->pid, SIGCONT), 0);
}

void server_wait(struct server *server)
{
	assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
	server->pid = 0;
}

/* The time limit of tests/run ends the wait if it neither answers nor ends. */
int server_connect(struct server *server)
{
	struct sockaddr_in address = loopback(server->port);

	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status;

		assert_true(fd >= 0);
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		close(fd);
		if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
			server->pid = 0;
			fail_msg("the server ended: status %d: %s", status, server_text(server, "out"));
		}
		pause_a_little();
	}
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t server_ask(int fd, const char *request, size_t bytes, const char *end)
{
	uint64_t start_ns = now_ns();
	size_t end_bytes = strlen(end), len = 0;
	char tail[TEXT_BYTES];

	while (bytes > 0) {
		ssize_t sent = write(fd, request, bytes);

		assert_true(sent > 0);
		request += sent;
		bytes -= (size_t)sent;
	}
	while (len < end_bytes || memcmp(tail + len - end_bytes, end, end_bytes) != 0) {
		ssize_t got;

		if (len > sizeof(tail) / 2) { /* only its end is of interest */
			memmove(tail, tail + len - end_bytes, end_bytes);
			len = end_bytes;
		}
		got = read(fd, tail + len, sizeof(tail) - len);
		assert_true(got > 0);
		len += (size_t)got;
	}
	return now_ns() - start_ns;
}

const char *server_text(const struct server *server, const char *name)
{
	static char text[TEXT_BYTES];
	char path[256];
	FILE *file;
	size_t len;

	path_in(server, path, sizeof(path), name);
	file = fopen(path, "r");
	len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	if (file)
		fclose(file);
	text[len] = '\0';
	return text;
}

pid_t server_child(const struct server *server)
{
	char path[64];
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", server->pid, server->pid);
	while (!pid) {
		FILE *file = fopen(path, "r");

		assert_non_null(file);
		if (fscanf(file, "%d", &pid) != 1)
			pid = 0;
		fclose(file);
		if (!pid)
			pause_a_little();
	}
	return pid;
}

static void remove_directory(const char *directory)
{
	struct dirent *entry;
	DIR *files = opendir(directory);
	char path[512];

	while (files && (entry = readdir(files))) {
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		unlink(path);
		rmdir(path);
	}
	if (files)
		closedir(files);
	rmdir(directory);
}

void server_stop(struct server *server)
{
	if (server->pid > 0) {
		kill(server->pid, SIGTERM);
		waitpid(server->pid, NULL, 0);
	}
	if (*server->directory)
		remove_directory(server->directory);
	memset(server, 0, sizeof(*server));
}
