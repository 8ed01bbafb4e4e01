/* SPDX-License-Identifier: MIT */
#include "probes/hygiene.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "probes/roles.h"

#define ENTRIES_MAX 1024

_Static_assert(STINT_PROBES_FINDING_NO_DESCRIPTOR == (int)FINDING_NO_DESCRIPTOR &&
		       FINDING_NO_DESCRIPTOR + 1 == (int)FINDING_KINDS,
	       "the kinds are the same on both sides");

struct entry {
	struct finding_key key;
	struct finding_counters is;
};

struct entries {
	struct entry *items;
	uint32_t len;
};

static int read_entries(struct entries *ret, int map)
{
	struct finding_key key, *last = NULL;

	ret->len = 0;
	ret->items = calloc(ENTRIES_MAX, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	while (ret->len < ENTRIES_MAX && bpf_map_get_next_key(map, last, &key) == 0) {
		struct entry *entry = &ret->items[ret->len];

		entry->key = key;
		last = &entry->key;
		if (bpf_map_lookup_elem(map, &key, &entry->is) == 0)
			ret->len++;
		else
			break; /* only who reads them deletes any */
	}
	return 0;
}

/* ---- of a descriptor ---- */

static bool is_of(const struct entry *entry, const struct loop_counters *loop, enum finding_kind kind)
{
	return entry->key.kind == kind && entry->key.pid == loop->pid && entry->key.tid == loop->tid &&
	       entry->key.epfd == loop->epfd;
}

static uint64_t sum_of(const struct entries *entries, const struct loop_counters *loop,
		       enum finding_kind kind)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < entries->len; i++)
		if (is_of(&entries->items[i], loop, kind))
			sum += entries->items[i].is.count;
	return sum;
}

static const struct entry *most_of(const struct entries *entries, const struct loop_counters *loop,
				   enum finding_kind kind)
{
	const struct entry *most = NULL;

	for (uint32_t i = 0; i < entries->len; i++)
		if (is_of(&entries->items[i], loop, kind) &&
		    (!most || entries->items[i].is.count > most->is.count))
			most = &entries->items[i];
	return most;
}

static void fill(struct stint_probes_finding *ret, const struct loop_counters *loop, enum finding_kind kind,
		 const struct entry *entry)
{
	*ret = (struct stint_probes_finding){
		.kind = (enum stint_probes_finding_kind)kind,
		.pid = loop->pid,
		.tid = loop->tid,
		.epfd = loop->epfd,
		.loop = loop->number,
		.fd = entry ? entry->key.fd : -1,
		.count = entry ? entry->is.count : 0,
		.cost_ns = entry ? entry->is.cost_ns : 0,
		.longest_ns = entry ? entry->is.longest_ns : 0,
	};
	if (entry)
		stint_role_name(ret->role, sizeof(ret->role), &entry->is.role);
}

static uint64_t open_for_ns(const struct finding_counters *is, uint64_t now_ns)
{
	return is->open_ns && now_ns > is->open_ns ? now_ns - is->open_ns : 0;
}

static void add_cost(struct stint_probes_finding *finding, uint64_t cost_ns)
{
	finding->cost_ns += cost_ns;
	if (cost_ns > finding->longest_ns)
		finding->longest_ns = cost_ns;
}

/* Data that lies there counts once more, for as long as it does. */
static bool is_not_drained(struct stint_probes_finding *finding, const struct finding_counters *is,
			   uint64_t now_ns)
{
	uint64_t lying_ns = open_for_ns(is, now_ns);

	if (lying_ns >= FINDING_LYING_NS) {
		finding->count++;
		add_cost(finding, lying_ns);
	}
	/* Also if it was read at last, for whatever reason. */
	if (finding->longest_ns >= FINDING_LYING_NS)
		return is->excused <= is->count;
	return is->count >= HYGIENE_NOT_DRAINED_MIN && is->count >= is->excused * HYGIENE_NOT_DRAINED_RATIO;
}

/* The iterations with nothing else cost what they took: shared out by how often each descriptor was it. */
static void share_idle(struct stint_probes_finding *finding, const struct entries *entries,
		       const struct loop_counters *loop, const struct loop_habits *habits)
{
	uint64_t sum = sum_of(entries, loop, FINDING_IDLE_EPOLLOUT);
	double share = sum ? (double)finding->count / (double)sum : 0;

	finding->cost_ns = (uint64_t)((double)habits->idle_outs_ns * share);
	finding->idle_iterations = (uint64_t)((double)habits->idle_outs * share);
	finding->of = habits->waits;
}

/* A loop that is busy in any case pays nothing for it: it would not have slept. */
static bool is_left_ready(struct stint_probes_finding *finding, const struct finding_counters *is,
			  const struct loop_habits *habits)
{
	finding->idle_iterations = is->vain;
	finding->of = habits->waits;
	return is->vain >= HYGIENE_VAIN_MIN && is->vain * HYGIENE_VAIN_SHARE >= habits->waits;
}

static bool descriptor_finding(struct stint_probes_finding *ret, const struct entries *entries,
			       const struct entry *entry, const struct loop_counters *loop,
			       const struct loop_habits *habits, uint64_t now_ns)
{
	enum finding_kind kind = (enum finding_kind)entry->key.kind;

	if (!is_of(entry, loop, kind))
		return false;
	fill(ret, loop, kind, entry);
	switch (kind) {
	case FINDING_IDLE_EPOLLOUT:
		share_idle(ret, entries, loop, habits);
		return ret->count >= FINDING_IDLE_OUTS_MIN;
	case FINDING_NOT_DRAINED:
		return is_not_drained(ret, &entry->is, now_ns);
	case FINDING_BLOCKING:
		return ret->count > 0;
	case FINDING_LEFT_READY:
		return is_left_ready(ret, &entry->is, habits);
	case FINDING_NO_DESCRIPTOR: /* one is enough: connections waited for it */
		add_cost(ret, open_for_ns(&entry->is, now_ns));
		return ret->count > 0;
	default:
		return false; /* those of a loop */
	}
}

/* ---- of a loop ---- */

static bool full_finding(struct stint_probes_finding *ret, const struct loop_counters *loop,
			 const struct loop_habits *habits)
{
	fill(ret, loop, FINDING_MAXEVENTS_FULL, NULL);
	ret->count = habits->waits_full_again;
	ret->of = habits->waits;
	ret->cost_ns = habits->waits_full_again_ns;
	return ret->count >= HYGIENE_FULL_MIN && ret->count * 2 >= ret->of;
}

static bool ctl_finding(struct stint_probes_finding *ret, const struct entries *entries,
			const struct loop_counters *loop, const struct loop_habits *habits)
{
	fill(ret, loop, FINDING_CTL_STORM, most_of(entries, loop, FINDING_CTL_STORM));
	ret->count = habits->ctl_rearms;
	ret->of = habits->events + habits->not_looked_at;
	ret->cost_ns = habits->ctl_ns;
	ret->same = habits->ctl_same;
	return ret->count >= HYGIENE_REARMS_MIN && ret->count * 2 >= ret->of;
}

static bool spin_finding(struct stint_probes_finding *ret, const struct loop_counters *loop,
			 const struct loop_habits *habits)
{
	fill(ret, loop, FINDING_ZERO_TIMEOUT, NULL);
	ret->count = habits->polls_empty;
	ret->of = habits->waits + habits->waits_empty;
	ret->cost_ns = habits->polls_empty_ns;
	return habits->polls_spun >= HYGIENE_SPINS_MIN && habits->polls_spun * 2 >= ret->of;
}

static int loop_findings(const struct entries *entries, const struct loop_counters *loop,
			 const struct loop_habits *habits, stint_probes_finding_visit visit, void *ctx)
{
	struct stint_probes_finding finding;
	int err = 0;

	if (full_finding(&finding, loop, habits))
		err = visit(ctx, &finding);
	if (!err && ctl_finding(&finding, entries, loop, habits))
		err = visit(ctx, &finding);
	if (!err && spin_finding(&finding, loop, habits))
		err = visit(ctx, &finding);
	return err;
}

int stint_hygiene_read(const struct stint_bpf_role_maps *maps, const struct loop_counters *loops,
		       const struct loop_habits *habits, uint32_t loops_len, uint64_t now_ns,
		       stint_probes_finding_visit visit, void *ctx)
{
	struct stint_probes_finding finding;
	struct entries entries;
	int err = read_entries(&entries, maps->findings);

	for (uint32_t i = 0; !err && i < loops_len; i++) {
		if (!loops[i].wait)
			continue;
		err = loop_findings(&entries, &loops[i], &habits[i], visit, ctx);
		for (uint32_t at = 0; !err && at < entries.len; at++)
			if (descriptor_finding(&finding, &entries, &entries.items[at], &loops[i], &habits[i],
					       now_ns))
				err = visit(ctx, &finding);
	}
	free(entries.items);
	return err;
}

void stint_hygiene_forget(const struct stint_bpf_role_maps *maps, const struct loop_counters *loop)
{
	struct finding_key key, *last = NULL, before;

	while (bpf_map_get_next_key(maps->findings, last, &key) == 0) {
		if (key.pid == loop->pid && key.tid == loop->tid && key.epfd == loop->epfd) {
			(void)bpf_map_delete_elem(maps->findings, &key);
			continue; /* the one after `last` is another now */
		}
		before = key;
		last = &before;
	}
}
