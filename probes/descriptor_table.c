/* SPDX-License-Identifier: MIT */
#include "probes/descriptor_table.h"

#include <stdbool.h>
#include <stddef.h>

static bool is_descriptor(const struct descriptor *descriptor, uint64_t tag, int32_t epfd)
{
	return __atomic_load_n(&descriptor->tag, __ATOMIC_ACQUIRE) == tag && descriptor->epfd == epfd;
}

/* NULL: there is none, but for `besides`. */
static struct descriptor *find(struct descriptor_set *set, uint64_t tag, int32_t epfd,
			       const struct descriptor *besides)
{
	for (uint32_t i = 0; i < DESCRIPTOR_WAYS; i++) {
		struct descriptor *descriptor = &set->way[DESCRIPTOR_WAY(tag, i)];

		if (descriptor != besides && is_descriptor(descriptor, tag, epfd))
			return descriptor;
	}
	return NULL;
}

static bool take(struct descriptor *descriptor, __u64 before)
{
	return before != DESCRIPTOR_TAKEN &&
	       __atomic_compare_exchange_n(&descriptor->tag, &before, DESCRIPTOR_TAKEN, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* An entry that nobody has; NULL: there is none. */
static struct descriptor *take_free(struct descriptor_set *set, uint64_t tag)
{
	for (uint32_t i = 0; i < DESCRIPTOR_WAYS; i++) {
		struct descriptor *descriptor = &set->way[DESCRIPTOR_WAY(tag, i)];

		if (take(descriptor, 0))
			return descriptor;
	}
	return NULL;
}

/* The one that had no turn for longest; NULL: the programs were faster. */
static struct descriptor *take_oldest(struct descriptor_set *set)
{
	struct descriptor *oldest = &set->way[0];

	for (uint32_t way = 1; way < DESCRIPTOR_WAYS; way++)
		if (set->way[way].used_ns < oldest->used_ns)
			oldest = &set->way[way];
	return take(oldest, __atomic_load_n(&oldest->tag, __ATOMIC_RELAXED)) ? oldest : NULL;
}

/*
 * What the programs find out at its first turn comes first, as they may come to that as soon as it is not settled any more;
 * last, by what they tell that it is its turn.
 */
static void begin(struct descriptor *descriptor, const struct stint_descriptor_told *told)
{
	descriptor->epfd = told->epfd;
	descriptor->events = told->events;
	descriptor->used_ns = told->time_ns;
	descriptor->turn_id = 0;
	descriptor->sock = 0;
	descriptor->role_slot = UINT32_MAX;
	descriptor->left_ns = 0;
	descriptor->inode = 0;
	descriptor->idle_outs = 0;
	descriptor->rearms = 0;
	descriptor->role = (struct role_key){0};
	descriptor->file = 0;
	__atomic_store_n(&descriptor->flags, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&descriptor->data, told->data, __ATOMIC_RELEASE);
}

/* `descriptor` is taken. */
static void fill(struct descriptor_set *set, struct descriptor *descriptor, __u64 tag,
		 const struct stint_descriptor_told *told)
{
	begin(descriptor, told);
	__atomic_store_n(&descriptor->tag, tag, __ATOMIC_SEQ_CST);
	if (find(set, tag, told->epfd, descriptor)) /* epoll_ctl() has told of it meanwhile */
		(void)__atomic_compare_exchange_n(&descriptor->tag, &tag, 0, false, __ATOMIC_SEQ_CST,
						  __ATOMIC_RELAXED);
}

enum stint_descriptor_news stint_descriptor_table_tell(struct descriptor_set *sets,
						       const struct stint_descriptor_told *told)
{
	struct descriptor_set *set = &sets[DESCRIPTOR_SET(told->pid, told->epfd, told->fd)];
	uint64_t tag = DESCRIPTOR_TAG(told->pid, told->fd);
	struct descriptor *descriptor = find(set, tag, told->epfd, NULL);
	enum stint_descriptor_news news = STINT_DESCRIPTOR_NEW;

	if (descriptor && ((descriptor->data == told->data && !(descriptor->flags & DESCRIPTOR_REMOVED)) ||
			   !take(descriptor, tag)))
		return STINT_DESCRIPTOR_KNOWN;
	if (!descriptor)
		descriptor = take_free(set, tag);
	if (!descriptor) {
		news = STINT_DESCRIPTOR_IN_ITS_PLACE;
		descriptor = take_oldest(set);
	}
	if (descriptor)
		fill(set, descriptor, tag, told);
	return news;
}
