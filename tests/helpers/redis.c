/* SPDX-License-Identifier: MIT */
#include "redis.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define REPLY_BYTES 65536

static char reply[REPLY_BYTES];
static size_t reply_len;

static _Noreturn void become_redis(const struct redis *redis)
{
	char socket_path[128];
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	snprintf(socket_path, sizeof(socket_path), "%s/redis.sock", redis->directory);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path, "--dir",
	       redis->directory, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
	       "--slowlog-log-slower-than", "10000", (char *)NULL);
	_exit(errno == ENOENT ? 127 : 126);
}

static int try_connect(const struct redis *redis)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/redis.sock", redis->directory);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The time limit of tests/run ends the wait if it neither answers nor ends. */
bool redis_start(struct redis *redis)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int status;

	memset(redis, 0, sizeof(*redis));
	snprintf(redis->directory, sizeof(redis->directory), "/tmp/stint-redis-XXXXXX");
	assert_non_null(mkdtemp(redis->directory));
	redis->pid = fork();
	assert_true(redis->pid >= 0);
	if (redis->pid == 0)
		become_redis(redis);
	while ((redis->fd = try_connect(redis)) < 0) {
		if (waitpid(redis->pid, &status, WNOHANG) == redis->pid) {
			redis->pid = 0;
			redis_stop(redis);
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 127)
				fail_msg("redis-server ended: status %d", status);
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return true;
}

void redis_stop(struct redis *redis)
{
	char path[128];

	if (redis->fd > 0)
		close(redis->fd);
	if (redis->pid > 0) {
		kill(redis->pid, SIGKILL);
		waitpid(redis->pid, NULL, 0);
	}
	if (redis->directory[0]) {
		snprintf(path, sizeof(path), "%s/redis.sock", redis->directory);
		unlink(path);
		rmdir(redis->directory);
	}
	memset(redis, 0, sizeof(*redis));
}

static void send_command(const struct redis *redis, int argc, const char *const *argv)
{
	char text[4096];
	size_t len = (size_t)snprintf(text, sizeof(text), "*%d\r\n", argc);

	for (int i = 0; i < argc; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "$%zu\r\n%s\r\n", strlen(argv[i]),
					argv[i]);
		assert_true(len < sizeof(text));
	}
	assert_int_equal(write(redis->fd, text, len), len);
}

static void take_bytes(const struct redis *redis, size_t bytes)
{
	while (bytes > 0) {
		ssize_t got;

		assert_true(reply_len + bytes < sizeof(reply));
		got = read(redis->fd, reply + reply_len, bytes);
		assert_true(got > 0);
		reply_len += (size_t)got;
		bytes -= (size_t)got;
	}
}

/* One line of the protocol, taken off the reply again: its kind and its number. */
static char read_line(const struct redis *redis, long *number)
{
	size_t start = reply_len;
	char kind;

	do
		take_bytes(redis, 1);
	while (reply[reply_len - 1] != '\n');
	reply[reply_len] = '\0';
	kind = reply[start];
	*number = strtol(reply + start + 1, NULL, 10);
	if (kind == '-')
		fail_msg("redis: %s", reply + start);
	if (kind == '$' || kind == '*') {
		reply_len = start;
		return kind;
	}
	reply_len -= 2;
	memmove(reply + start, reply + start + 1, reply_len - start - 1);
	reply[reply_len - 1] = '\n';
	return kind;
}

/* A reply without recursion: arrays only add to what is still to come. */
static void read_reply(const struct redis *redis)
{
	long to_come = 1, number;

	for (; to_come > 0; to_come--) {
		char kind = read_line(redis, &number);

		if (kind == '*' && number > 0)
			to_come += number;
		if (kind != '$' || number < 0)
			continue;
		take_bytes(redis, (size_t)number + 2);
		reply_len--;
		reply[reply_len - 1] = '\n';
	}
	reply[reply_len] = '\0';
}

const char *redis_do(struct redis *redis, int argc, const char *const *argv)
{
	reply_len = 0;
	send_command(redis, argc, argv);
	read_reply(redis);
	return reply;
}
