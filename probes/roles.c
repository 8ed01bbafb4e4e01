/* SPDX-License-Identifier: MIT */
#include "probes/roles.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "probes/socket_names.h"

_Static_assert(STINT_PROBES_ROLE_TERMINAL == (int)ROLE_TERMINAL && ROLE_TERMINAL + 1 == ROLE_KINDS,
	       "the kinds are the same on both sides");
_Static_assert(STINT_PROBES_ROLE_METRICS == (int)ROLE_METRICS && STINT_PROBES_ROLE_QUEUE == (int)ROLE_QUEUE,
	       "the metrics are the same on both sides");

/* The kernel's buckets, widened: the low halves are what it had at the last reading. */
struct wide {
	uint64_t bucket[ROLE_METRICS][RECORD_BUCKETS];
};

struct stint_roles {
	int table;
	uint32_t len;
	struct role_counters now; /* of the one that is read; the whole table, mapped, would be 10 MB */
	struct wide *wide[];
};

int stint_roles_new(struct stint_roles **ret, const struct stint_bpf_role_maps *maps)
{
	struct stint_roles *roles = calloc(1, sizeof(*roles) + maps->roles * sizeof(roles->wide[0]));

	if (!roles)
		return -ENOMEM;
	roles->table = maps->role_table;
	roles->len = maps->roles;
	*ret = roles;
	return 0;
}

struct stint_roles *stint_roles_free(struct stint_roles *roles)
{
	if (!roles)
		return NULL;
	for (uint32_t i = 0; i < roles->len; i++)
		free(roles->wide[i]);
	free(roles);
	return NULL;
}

void stint_role_name(char *ret, size_t ret_bytes, const struct role_key *key)
{
	static const char *const names[ROLE_KINDS] = {
		[ROLE_OTHER] = "other descriptors",
		[ROLE_UDP] = "UDP sockets",
		[ROLE_UNIX_LISTENER] = "unix listener",
		[ROLE_UNIX] = "unix sockets",
		[ROLE_SOCKET] = "other sockets",
		[ROLE_PIPE] = "pipes",
		[ROLE_TIMERFD] = "timerfd",
		[ROLE_EVENTFD] = "eventfd",
		[ROLE_SIGNALFD] = "signalfd",
		[ROLE_INOTIFY] = "inotify",
		[ROLE_EPOLL] = "epoll",
		[ROLE_TERMINAL] = "terminal",
	};
	char address[64];

	if (key->kind == ROLE_LISTENER) {
		snprintf(ret, ret_bytes, "listener :%u", key->port);
	} else if (key->kind == ROLE_CLIENTS) {
		snprintf(ret, ret_bytes, "clients of :%u", key->port);
	} else if (key->kind == ROLE_UPSTREAM && key->family) {
		stint_socket_name(address, sizeof(address), key->family, key->address, key->port);
		snprintf(ret, ret_bytes, "upstream %s", address);
	} else if (key->kind == ROLE_UPSTREAM) {
		snprintf(ret, ret_bytes, "other upstreams");
	} else {
		snprintf(ret, ret_bytes, "%s", key->kind < ROLE_KINDS ? names[key->kind] : names[ROLE_OTHER]);
	}
}

void stint_roles_name_turn(struct stint_roles *roles, char *ret, size_t ret_bytes,
			   const struct record_overrun *record, int32_t fd)
{
	*ret = '\0';
	for (uint32_t i = 0; fd >= 0 && i < record->turns_len && i < RECORD_READY; i++) {
		uint32_t slot = record->turns[i].role_slot;

		if (record->turns[i].fd != fd || slot >= roles->len)
			continue;
		if (bpf_map_lookup_elem(roles->table, &slot, &roles->now) == 0 && roles->now.used)
			stint_role_name(ret, ret_bytes, &roles->now.key);
		return;
	}
}

static void widen(struct stint_probes_histogram *ret, uint64_t *wide, const uint32_t *bucket,
		  const struct role_totals *total)
{
	ret->count = total->overflow;
	for (uint32_t i = 0; i < RECORD_BUCKETS; i++) {
		wide[i] += (uint32_t)(bucket[i] - (uint32_t)wide[i]);
		ret->count += wide[i];
	}
	ret->sum_ns = total->sum_ns;
	ret->min_ns = total->min_ns;
	ret->max_ns = total->max_ns;
	ret->overflow = total->overflow;
	ret->bucket = wide;
}

int stint_roles_read(struct stint_roles *roles, stint_probes_role_visit visit, void *ctx)
{
	const struct role_counters *counters = &roles->now;

	for (uint32_t i = 0; i < roles->len; i++) {
		struct stint_probes_role role;
		int err;

		if (bpf_map_lookup_elem(roles->table, &i, &roles->now) != 0)
			return -errno;
		if (!counters->used)
			break;
		role.pid = counters->key.pid;
		role.tid = counters->key.tid;
		role.kind = (enum stint_probes_role_kind)counters->key.kind;
		if (!roles->wide[i])
			roles->wide[i] = calloc(1, sizeof(*roles->wide[i]));
		if (!roles->wide[i])
			return -ENOMEM;
		stint_role_name(role.name, sizeof(role.name), &counters->key);
		for (uint32_t metric = 0; metric < ROLE_METRICS; metric++)
			widen(&role.metric[metric], roles->wide[i]->bucket[metric], counters->bucket[metric],
			      &counters->total[metric]);
		err = visit(ctx, &role);
		if (err)
			return err;
	}
	return 0;
}
