/* SPDX-License-Identifier: MIT */
#include "probes/unix_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 4096 /* as many as the programs know sockets at once */

struct name {
	uint64_t socket; /* 0: none */
	char local[RECORD_PATH_BYTES + 1];
	char peer[RECORD_PATH_BYTES + 1];
};

struct stint_unix_names {
	struct name items[NAMES_MAX];
};

int stint_unix_names_new(struct stint_unix_names **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct stint_unix_names *stint_unix_names_free(struct stint_unix_names *names)
{
	free(names);
	return NULL;
}

/* A path ends with the first NUL; an abstract name begins with one, and may have more. */
static void copy_path(char *ret, const char *path, uint32_t len)
{
	if (len > RECORD_PATH_BYTES)
		len = RECORD_PATH_BYTES;
	if (len > 0 && path[0] != '\0')
		len = (uint32_t)strnlen(path, len);
	for (uint32_t i = 0; i < len; i++)
		ret[i] = path[i] ? path[i] : '@';
	ret[len] = '\0';
}

void stint_unix_names_add(struct stint_unix_names *names, const struct record_unix *record)
{
	struct name *name = &names->items[record->socket % NAMES_MAX];

	name->socket = record->socket;
	copy_path(name->local, record->local, record->local_len);
	copy_path(name->peer, record->peer, record->peer_len);
}

static void put_path(char *ret, size_t bytes, const char *path, const char *rest)
{
	size_t len = strlen(path), room = bytes - strlen(rest) - 1;

	if (len <= room)
		snprintf(ret, bytes, "%s%s", path, rest);
	else
		snprintf(ret, bytes, "...%s%s", path + len - (room - 3), rest);
}

void stint_unix_name(const struct stint_unix_names *names, uint64_t socket, char *local, char *remote,
		     size_t bytes)
{
	const struct name *name = &names->items[socket % NAMES_MAX];
	char reader[32];

	if (!socket || name->socket != socket || bytes <= sizeof(reader) + 3)
		return;
	if (name->local[0])
		put_path(local, bytes, name->local, "");
	if (!name->peer[0])
		return;
	snprintf(reader, sizeof(reader), " (%.24s)", remote);
	put_path(remote, bytes, name->peer, reader);
}
