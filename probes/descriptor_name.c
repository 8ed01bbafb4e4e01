/* SPDX-License-Identifier: MIT */
#include "probes/descriptor_name.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "probes/socket_names.h"

#define SOCKETS_MAX 65536
#define REREAD_NS   1000000000u /* the table of sockets is read at most this often: it costs 1 us a socket */

struct named_socket {
	uint64_t inode;
	uint16_t family;
	uint16_t local_port;
	uint16_t remote_port;
	uint16_t listens;
	uint8_t local[16];
	uint8_t remote[16];
};

struct stint_descriptors {
	uint32_t pid;
	uint64_t read_ns;
	struct named_socket *sockets;
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

static void add_socket(struct stint_descriptors *descriptors, uint16_t family, const char *line)
{
	char local[33], remote[33];
	struct named_socket found = {.family = family};
	unsigned local_port, remote_port, state;

	if (sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*s %*s %*s %*u %*u %" SCNu64, local,
		   &local_port, remote, &remote_port, &state, &found.inode) != 6)
		return;
	if (descriptors->len == descriptors->capacity) {
		uint32_t capacity = descriptors->capacity ? 2 * descriptors->capacity : 256;
		struct named_socket *larger = realloc(descriptors->sockets, capacity * sizeof(*larger));

		if (!larger)
			return;
		descriptors->sockets = larger;
		descriptors->capacity = capacity;
	}
	parse_address(local, found.local);
	parse_address(remote, found.remote);
	found.local_port = (uint16_t)local_port;
	found.remote_port = (uint16_t)remote_port;
	found.listens = state == 10;
	descriptors->sockets[descriptors->len++] = found;
}

/* Those of the process's network namespace. */
static void read_sockets(struct stint_descriptors *descriptors, const char *table, uint16_t family)
{
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/net/%s", descriptors->pid, table);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file) && descriptors->len < SOCKETS_MAX)
		add_socket(descriptors, family, line);
	fclose(file);
}

static const struct named_socket *find_socket(const struct stint_descriptors *descriptors, uint64_t inode)
{
	for (uint32_t i = 0; i < descriptors->len; i++)
		if (descriptors->sockets[i].inode == inode)
			return &descriptors->sockets[i];
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct named_socket *look_up(struct stint_descriptors *descriptors, uint64_t inode)
{
	const struct named_socket *found = find_socket(descriptors, inode);
	uint64_t at_ns = now_ns();

	if (found || at_ns - descriptors->read_ns < REREAD_NS)
		return found;
	descriptors->read_ns = at_ns;
	descriptors->len = 0;
	read_sockets(descriptors, "tcp", AF_INET);
	read_sockets(descriptors, "tcp6", AF_INET6);
	return find_socket(descriptors, inode);
}

static void name_socket(struct stint_descriptors *descriptors, uint64_t inode, char *ret, size_t ret_bytes)
{
	const struct named_socket *found = look_up(descriptors, inode);
	char local[64], remote[64];

	if (!found) {
		snprintf(ret, ret_bytes, "socket");
		return;
	}
	stint_socket_name(local, sizeof(local), found->family, found->local, found->local_port);
	stint_socket_name(remote, sizeof(remote), found->family, found->remote, found->remote_port);
	if (found->listens)
		snprintf(ret, ret_bytes, "tcp %s, listening", local);
	else
		snprintf(ret, ret_bytes, "tcp %s > %s", local, remote);
}

void stint_descriptor_name(struct stint_descriptors *descriptors, int32_t fd, char *ret, size_t ret_bytes)
{
	char path[64], target[256];
	uint64_t inode;
	ssize_t len;

	*ret = '\0';
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd/%" PRId32, descriptors->pid, fd);
	len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return;
	target[len] = '\0';
	if (sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1)
		name_socket(descriptors, inode, ret, ret_bytes);
	else if (strncmp(target, "pipe:", 5) == 0)
		snprintf(ret, ret_bytes, "pipe");
	else if (sscanf(target, "anon_inode:[%63[^]]]", path) == 1)
		snprintf(ret, ret_bytes, "%s", path);
	else
		snprintf(ret, ret_bytes, "%s", target);
}
