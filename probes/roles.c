/* SPDX-License-Identifier: MIT */
#include "probes/roles.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "probes/socket_names.h"

_Static_assert(STINT_PROBES_ROLE_TIMEOUT == (int)ROLE_TIMEOUT && ROLE_TIMEOUT + 1 == ROLE_KINDS,
	       "the kinds are the same on both sides");
_Static_assert(STINT_PROBES_ROLE_METRICS == (int)ROLE_METRICS && STINT_PROBES_ROLE_QUEUE == (int)ROLE_QUEUE,
	       "the metrics are the same on both sides");

/* The kernel's buckets, widened: the low halves are what it had at the last reading. */
struct wide {
	uint64_t bucket[ROLE_METRICS][RECORD_BUCKETS];
};

struct slot {
	struct wide *wide; /* NULL: not in use */
	bool is_over;      /* and its last figures were read */
};

struct stint_roles {
	int table;
	int free_slots;
	uint32_t *used;
	uint32_t len;
	struct role_counters now; /* of the one that is read; the whole table, mapped, would be 10 MB */
	struct slot slots[];
};

int stint_roles_new(struct stint_roles **ret, const struct stint_bpf_role_maps *maps)
{
	struct stint_roles *roles = calloc(1, sizeof(*roles) + maps->roles * sizeof(roles->slots[0]));

	if (!roles)
		return -ENOMEM;
	roles->table = maps->role_table;
	roles->free_slots = maps->free_roles;
	roles->used = maps->roles_used;
	roles->len = maps->roles;
	*ret = roles;
	return 0;
}

struct stint_roles *stint_roles_free(struct stint_roles *roles)
{
	if (!roles)
		return NULL;
	for (uint32_t i = 0; i < roles->len; i++)
		free(roles->slots[i].wide);
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
		[ROLE_FILE] = "files",
		[ROLE_TIMEOUT] = "timeouts",
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
		/* Its thread may be over meanwhile, and the slot another's. */
		if (bpf_map_lookup_elem(roles->table, &slot, &roles->now) == 0 && roles->now.used &&
		    roles->now.key.pid == record->pid && roles->now.key.tid == record->tid)
			stint_role_name(ret, ret_bytes, &roles->now.key);
		return;
	}
}

static void widen(struct stint_probes_histogram *ret, uint64_t *wide, const uint32_t *bucket,
		  const struct role_totals *total)
{
	ret->count = total->overflow;
	for (uint32_t i = 0; i < RECORD_BUCKETS; i++) {
		uint32_t grown = bucket[i] - (uint32_t)wide[i];

		if (grown) /* most never do, and take no memory as long as nothing is written there */
			wide[i] += grown;
		ret->count += wide[i];
	}
	ret->sum_ns = total->sum_ns;
	ret->min_ns = total->min_ns;
	ret->max_ns = total->max_ns;
	ret->overflow = total->overflow;
	ret->bucket = wide;
}

static int read_role(struct stint_roles *roles, struct slot *slot, stint_probes_role_visit visit, void *ctx)
{
	const struct role_counters *counters = &roles->now;
	struct stint_probes_role role;
	int err;

	role.number = counters->number;
	role.pid = counters->key.pid;
	role.tid = counters->key.tid;
	role.kind = (enum stint_probes_role_kind)counters->key.kind;
	role.is_over = counters->used == ROLE_ENDED;
	if (!slot->wide)
		slot->wide = calloc(1, sizeof(*slot->wide));
	if (!slot->wide)
		return -ENOMEM;
	stint_role_name(role.name, sizeof(role.name), &counters->key);
	for (uint32_t metric = 0; metric < ROLE_METRICS; metric++)
		widen(&role.metric[metric], slot->wide->bucket[metric], counters->bucket[metric],
		      &counters->total[metric]);
	err = visit(ctx, &role);
	if (!err)
		slot->is_over = role.is_over;
	return err;
}

int stint_roles_read(struct stint_roles *roles, stint_probes_role_visit visit, void *ctx)
{
	uint32_t left = __atomic_load_n(roles->used, __ATOMIC_RELAXED);

	/* To read one is to copy it: not more of them than there are. */
	for (uint32_t i = 0; i < roles->len && left > 0; i++) {
		int err;

		if (bpf_map_lookup_elem(roles->table, &i, &roles->now) != 0)
			return -errno;
		if (!roles->now.used)
			continue;
		left--;
		err = read_role(roles, &roles->slots[i], visit, ctx);
		if (err)
			return err;
	}
	return 0;
}

int stint_roles_release(struct stint_roles *roles)
{
	for (uint32_t i = 0; i < roles->len; i++) {
		struct slot *slot = &roles->slots[i];

		if (!slot->is_over)
			continue;
		memset(&roles->now, 0, sizeof(roles->now));
		if (bpf_map_update_elem(roles->table, &i, &roles->now, BPF_EXIST) != 0 ||
		    bpf_map_update_elem(roles->free_slots, NULL, &i, BPF_ANY) != 0)
			return -errno;
		__atomic_fetch_sub(roles->used, 1, __ATOMIC_RELAXED);
		free(slot->wide);
		*slot = (struct slot){0};
	}
	return 0;
}
