/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_ROLE_BPF_H
#define STINT_PROBES_ROLE_BPF_H

/* Roles: their table, and histograms. Each belongs to a thread, which alone writes to it. */

#define ROLES_MAX    1024
#define ROLE_NO_SLOT (~0u)

const volatile __u32 role_limit = 128;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, struct role_counters);
} role_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROLES_MAX);
	__type(key, struct role_key);
	__type(value, u32);
} role_index SEC(".maps");

__u32 roles_used;

static __always_inline struct role_counters *role_at(u32 slot)
{
	return bpf_map_lookup_elem(&role_table, &slot);
}

static __always_inline u32 lost_role(void)
{
	struct loss_counters *counters = loss();

	if (counters)
		counters->roles_full++;
	return ROLE_NO_SLOT;
}

static __noinline u32 new_role(const struct role_key *key)
{
	struct role_counters *role;
	u32 slot;

	if (roles_used >= role_limit)
		return lost_role();
	slot = __sync_fetch_and_add(&roles_used, 1);
	role = role_at(slot);
	if (!role || bpf_map_update_elem(&role_index, key, &slot, BPF_NOEXIST) != 0)
		return lost_role();
	role->key = *key;
	for (u32 i = 0; i < ROLE_METRICS; i++)
		role->total[i].min_ns = ~0ull;
	role->used = 1;
	return slot;
}

/* A role that finds no place is looked for again at each event, so what is lost is a count of events. */
static __always_inline u32 role_slot(const struct role_key *key)
{
	u32 *slot = bpf_map_lookup_elem(&role_index, key);

	return slot ? *slot : new_role(key);
}

static __always_inline void count_role(struct role_counters *role, const u32 metric, u64 ns)
{
	struct role_totals *total = &role->total[metric];
	u32 bucket = histogram_bucket(ns);

	total->sum_ns += ns;
	if (ns < total->min_ns)
		total->min_ns = ns;
	if (ns > total->max_ns)
		total->max_ns = ns;
	if (bucket < RECORD_BUCKETS)
		role->bucket[metric][bucket]++;
	else
		total->overflow++;
}

#endif
