/* SPDX-License-Identifier: MIT */
#include "probes/descriptor_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/now.h"
#include "probes/open_files.h"
#include "probes/socket_names.h"

#define SOCKETS_MAX 65536
#define REST_MAX_NS 1000000000u
#define REST_SHARE  100

struct stint_descriptors {
	uint32_t pid;
	uint64_t read_ns; /* when the table of sockets was read */
	uint64_t cost_ns; /* and how long that took */
	struct stint_tcp_socket *sockets;
	uint32_t len;
	uint32_t capacity;
};

int stint_descriptors_new(struct stint_descriptors **ret, uint32_t pid)
{
	struct stint_descriptors *descriptors = calloc(1, sizeof(*descriptors));

	if (!descriptors)
		return -ENOMEM;
	descriptors->pid = pid;
	*ret = descriptors;
	return 0;
}

struct stint_descriptors *stint_descriptors_free(struct stint_descriptors *descriptors)
{
	if (!descriptors)
		return NULL;
	free(descriptors->sockets);
	free(descriptors);
	return NULL;
}

static int add_socket(void *ctx, const struct stint_tcp_socket *found)
{
	struct stint_descriptors *descriptors = ctx;

	if (descriptors->len == descriptors->capacity) {
		uint32_t capacity = descriptors->capacity ? 2 * descriptors->capacity : 256;
		struct stint_tcp_socket *larger = realloc(descriptors->sockets, capacity * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		descriptors->sockets = larger;
		descriptors->capacity = capacity;
	}
	descriptors->sockets[descriptors->len++] = *found;
	return descriptors->len == SOCKETS_MAX;
}

static const struct stint_tcp_socket *find_socket(const struct stint_descriptors *descriptors, uint64_t inode)
{
	for (uint32_t i = 0; i < descriptors->len; i++)
		if (descriptors->sockets[i].inode == inode)
			return &descriptors->sockets[i];
	return NULL;
}

uint64_t stint_descriptors_rest_ns(uint64_t cost_ns)
{
	return cost_ns < REST_MAX_NS / REST_SHARE ? cost_ns * REST_SHARE : REST_MAX_NS;
}

static const struct stint_tcp_socket *look_up(struct stint_descriptors *descriptors, uint64_t inode)
{
	const struct stint_tcp_socket *found = find_socket(descriptors, inode);
	uint64_t at_ns = stint_now_ns();

	if (found || at_ns - descriptors->read_ns < stint_descriptors_rest_ns(descriptors->cost_ns))
		return found;
	descriptors->len = 0;
	stint_tcp_sockets_read(descriptors->pid, add_socket, descriptors);
	descriptors->read_ns = stint_now_ns();
	descriptors->cost_ns = descriptors->read_ns - at_ns;
	return find_socket(descriptors, inode);
}

static void name_socket(struct stint_descriptors *descriptors, uint64_t inode, char *ret, size_t ret_bytes)
{
	const struct stint_tcp_socket *found = look_up(descriptors, inode);

	if (found)
		stint_tcp_name(ret, ret_bytes, found->family, found->local, found->local_port, found->remote,
			       found->remote_port, found->listens);
	else
		snprintf(ret, ret_bytes, "socket");
}

void stint_descriptor_name(struct stint_descriptors *descriptors, int32_t fd, char *ret, size_t ret_bytes)
{
	char kind[64], target[STINT_FD_TARGET_BYTES];
	uint64_t inode;

	*ret = '\0';
	if (!stint_fd_target(descriptors->pid, fd, target))
		return;
	if (stint_is_socket(target, &inode))
		name_socket(descriptors, inode, ret, ret_bytes);
	else if (strncmp(target, "pipe:", 5) == 0)
		snprintf(ret, ret_bytes, "pipe");
	else if (sscanf(target, "anon_inode:[%63[^]]]", kind) == 1)
		snprintf(ret, ret_bytes, "%s", kind);
	else
		snprintf(ret, ret_bytes, "%s", target);
}
