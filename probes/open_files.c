/* SPDX-License-Identifier: MIT */
#include "probes/open_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/live_thread.h"

#define TCP_LISTENING 0x0a /* as /proc/net/tcp has it */

/* ---- descriptors ---- */

static bool read_target(int folder, const char *name, char *ret)
{
	ssize_t len = readlinkat(folder, name, ret, STINT_FD_TARGET_BYTES - 1);

	if (len <= 0)
		return false;
	ret[len] = '\0';
	return true;
}

int stint_fds_read(uint32_t pid, int (*visit)(void *ctx, int32_t fd, const char *target), void *ctx)
{
	char path[64], target[STINT_FD_TARGET_BYTES];
	struct dirent *entry;
	DIR *folder;
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd", stint_live_thread(pid));
	folder = opendir(path);
	if (!folder)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!err && (entry = readdir(folder)))
		if (read_target(dirfd(folder), entry->d_name, target))
			err = visit(ctx, (int32_t)strtol(entry->d_name, NULL, 10), target);
	closedir(folder);
	return err;
}

bool stint_fd_target(uint32_t pid, int32_t fd, char *ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd/%" PRId32, stint_live_thread(pid), fd);
	return read_target(AT_FDCWD, path, ret);
}

/* Its file system is not asked: the program may have mounted it, and not answer. */
static bool read_status(uint32_t pid, int32_t fd, struct statx *ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd/%" PRId32, stint_live_thread(pid), fd);
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, ret) == 0;
}

bool stint_fd_is_file(uint32_t pid, int32_t fd)
{
	struct statx is;

	return read_status(pid, fd, &is) && (S_ISREG(is.stx_mode) || S_ISDIR(is.stx_mode));
}

bool stint_fd_is_inode(uint32_t pid, int32_t fd, uint64_t inode, uint32_t device)
{
	struct statx is;

	return read_status(pid, fd, &is) && is.stx_ino == inode && is.stx_dev_major == device >> 20 &&
	       is.stx_dev_minor == (device & 0xfffff);
}

bool stint_is_socket(const char *target, uint64_t *inode)
{
	return sscanf(target, "socket:[%" SCNu64 "]", inode) == 1;
}

/* ---- sockets ---- */

/* As the kernel prints them: words of 32 bits in the machine's order, in hexadecimal. */
static void parse_address(const char *text, uint8_t *ret)
{
	for (size_t i = 0; i < 4 && strlen(text) >= 8 * (i + 1); i++) {
		char word[9] = "";
		uint32_t value;

		memcpy(word, text + 8 * i, 8);
		value = (uint32_t)strtoul(word, NULL, 16);
		memcpy(ret + 4 * i, &value, sizeof(value));
	}
}

static bool parse_socket(const char *line, struct stint_tcp_socket *ret)
{
	char local[33], remote[33];
	unsigned local_port, remote_port, state;

	if (sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*s %*s %*s %*u %*u %" SCNu64, local,
		   &local_port, remote, &remote_port, &state, &ret->inode) != 6 ||
	    local_port > UINT16_MAX || remote_port > UINT16_MAX)
		return false;
	parse_address(local, ret->local);
	parse_address(remote, ret->remote);
	ret->local_port = (uint16_t)local_port;
	ret->remote_port = (uint16_t)remote_port;
	ret->listens = state == TCP_LISTENING;
	return true;
}

static int read_table(uint32_t pid, const char *table, uint16_t family,
		      int (*visit)(void *ctx, const struct stint_tcp_socket *socket), void *ctx)
{
	char path[64], line[512];
	FILE *file;
	int ended = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/net/%s", stint_live_thread(pid), table);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (!ended && fgets(line, sizeof(line), file)) {
		struct stint_tcp_socket socket = {.family = family};

		if (parse_socket(line, &socket))
			ended = visit(ctx, &socket);
	}
	fclose(file);
	return ended;
}

struct listeners {
	int (*visit)(void *ctx, const struct stint_tcp_socket *socket);
	void *ctx;
	bool is_ended; /* by `visit` */
};

static int take_listener(void *ctx, const struct stint_tcp_socket *socket)
{
	struct listeners *listeners = ctx;

	if (!socket->listens)
		return 1;
	listeners->is_ended = listeners->visit(listeners->ctx, socket) != 0;
	return listeners->is_ended;
}

void stint_tcp_listeners_read(uint32_t pid, int (*visit)(void *ctx, const struct stint_tcp_socket *socket),
			      void *ctx)
{
	struct listeners listeners = {.visit = visit, .ctx = ctx};

	(void)read_table(pid, "tcp", AF_INET, take_listener, &listeners);
	if (!listeners.is_ended)
		(void)read_table(pid, "tcp6", AF_INET6, take_listener, &listeners);
}

void stint_tcp_sockets_read(uint32_t pid, int (*visit)(void *ctx, const struct stint_tcp_socket *socket),
			    void *ctx)
{
	if (read_table(pid, "tcp", AF_INET, visit, ctx) == 0)
		(void)read_table(pid, "tcp6", AF_INET6, visit, ctx);
}
