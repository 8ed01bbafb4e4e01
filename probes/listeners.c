/* SPDX-License-Identifier: MIT */
#include "probes/listeners.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTENERS_MAX 1024
#define TCP_LISTENING 0x0a /* as /proc/net/tcp has it */

struct listener {
	uint64_t inode;
	uint16_t port;
	bool own;
};

struct listeners {
	uint32_t len;
	struct listener of[LISTENERS_MAX];
};

/* Those that find no place are told of at once. */
static void read_table(struct listeners *listeners, uint32_t pid, const char *table,
		       void (*visit)(void *ctx, uint16_t port, bool own), void *ctx)
{
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/net/%s", pid, table);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		struct listener read = {0};
		unsigned port, state;

		if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %" SCNu64,
			   &port, &state, &read.inode) != 3 ||
		    state != TCP_LISTENING || port > UINT16_MAX)
			continue;
		read.port = (uint16_t)port;
		if (listeners->len < LISTENERS_MAX)
			listeners->of[listeners->len++] = read;
		else
			visit(ctx, read.port, true);
	}
	fclose(file);
}

static void own_descriptor(struct listeners *listeners, int folder, const char *name)
{
	char target[64];
	ssize_t len = readlinkat(folder, name, target, sizeof(target) - 1);
	uint64_t inode;

	if (len <= 0)
		return;
	target[len] = '\0';
	if (sscanf(target, "socket:[%" SCNu64 "]", &inode) != 1)
		return;
	for (uint32_t i = 0; i < listeners->len; i++)
		if (listeners->of[i].inode == inode)
			listeners->of[i].own = true;
}

/* Which of them are the process' own; false if it does not tell. */
static bool find_own(struct listeners *listeners, uint32_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd", pid);
	folder = opendir(path);
	if (!folder)
		return false;
	while ((entry = readdir(folder)))
		own_descriptor(listeners, dirfd(folder), entry->d_name);
	closedir(folder);
	return true;
}

void stint_listeners_read(uint32_t pid, void (*visit)(void *ctx, uint16_t port, bool own), void *ctx)
{
	struct listeners *listeners = calloc(1, sizeof(*listeners));
	bool told;

	if (!listeners)
		return;
	read_table(listeners, pid, "tcp", visit, ctx);
	read_table(listeners, pid, "tcp6", visit, ctx);
	told = find_own(listeners, pid);
	for (uint32_t i = 0; i < listeners->len; i++)
		visit(ctx, listeners->of[i].port, !told || listeners->of[i].own);
	free(listeners);
}
