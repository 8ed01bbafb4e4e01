/* SPDX-License-Identifier: MIT */
#include "probes/listeners.h"

#include <stdlib.h>

#include "probes/open_files.h"

#define LISTENERS_MAX 1024

struct listener {
	uint64_t inode;
	uint16_t port;
	bool own;
};

struct listeners {
	void (*visit)(void *ctx, uint16_t port, bool own);
	void *ctx;
	uint32_t len;
	struct listener of[LISTENERS_MAX];
};

/* Those that find no place are told of at once. */
static int add_listener(void *ctx, const struct stint_tcp_socket *socket)
{
	struct listeners *listeners = ctx;

	if (listeners->len == LISTENERS_MAX) {
		listeners->visit(listeners->ctx, socket->local_port, true);
		return 0;
	}
	listeners->of[listeners->len++] =
		(struct listener){.inode = socket->inode, .port = socket->local_port};
	return 0;
}

static int find_own(void *ctx, int32_t fd, const char *target)
{
	struct listeners *listeners = ctx;
	uint64_t inode;

	(void)fd;
	if (!stint_is_socket(target, &inode))
		return 0;
	for (uint32_t i = 0; i < listeners->len; i++)
		if (listeners->of[i].inode == inode)
			listeners->of[i].own = true;
	return 0;
}

void stint_listeners_read(uint32_t pid, void (*visit)(void *ctx, uint16_t port, bool own), void *ctx)
{
	struct listeners *listeners = calloc(1, sizeof(*listeners));
	bool told;

	if (!listeners)
		return;
	listeners->visit = visit;
	listeners->ctx = ctx;
	stint_tcp_listeners_read(pid, add_listener, listeners);
	told = stint_fds_read(pid, find_own, listeners) == 0;
	for (uint32_t i = 0; i < listeners->len; i++)
		visit(ctx, listeners->of[i].port, !told || listeners->of[i].own);
	free(listeners);
}
