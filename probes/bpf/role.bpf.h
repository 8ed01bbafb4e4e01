/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_ROLE_BPF_H
#define STINT_PROBES_ROLE_BPF_H

/*
 * Roles: their table, and histograms. Each belongs to a thread, which alone writes to it. When the thread is over, user
 * space reads what was counted at last, and gives the slot back, as of loops.
 */

#define ROLES_MAX        1024
#define THREAD_ROLES_MAX 256 /* of one thread, that are given back */
#define ROLE_NO_SLOT     (~0u)

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

/* The slots that nobody has; user space sets the size, and puts all of them in. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 128);
	__type(value, u32);
} free_roles SEC(".maps");

__u32 roles_used; /* user space takes off what it gives back */
__u64 role_numbers;

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

static __noinline u32 new_role(struct thread *thread, const struct role_key *key)
{
	struct role_counters *role = NULL;
	u32 slot;

	if (thread)
		role = take_slot(&role_table, &role_index, &free_roles, key, &slot);
	if (!role)
		return lost_role();
	__sync_fetch_and_add(&roles_used, 1);
	role->key = *key;
	for (u32 i = 0; i < ROLE_METRICS; i++)
		role->total[i].min_ns = ~0ull;
	role->number = __sync_fetch_and_add(&role_numbers, 1) + 1;
	role->next = thread->roles;
	thread->roles = slot + 1;
	role->used = ROLE_IN_USE;
	return slot;
}

/* A role that finds no place is looked for again at each event, so what is lost is a count of events. */
static __always_inline u32 role_slot(struct thread *thread, const struct role_key *key)
{
	u32 *slot = bpf_map_lookup_elem(&role_index, key);

	return slot ? *slot : new_role(thread, key);
}

/* A thread is over. */
static __noinline int end_roles(struct thread *thread)
{
	u32 slot;

	if (!thread)
		return 0;
	slot = thread->roles;
	thread->roles = 0;
	for (u32 i = 0; i < THREAD_ROLES_MAX && slot; i++) {
		struct role_counters *role = role_at(slot - 1);
		struct role_key key;

		if (!role)
			break;
		slot = role->next;
		key = role->key;
		bpf_map_delete_elem(&role_index, &key);
		*(volatile u32 *)&role->used = ROLE_ENDED;
	}
	return 0;
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
