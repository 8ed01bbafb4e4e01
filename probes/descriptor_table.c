/* SPDX-License-Identifier: MIT */
#include "probes/descriptor_table.h"

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

/* An entry that nobody has, or else the one that had no turn for longest; NULL: the programs were faster. */
static struct descriptor *take_one(struct descriptor_set *set, uint64_t tag)
{
	struct descriptor *oldest = &set->way[0];

	for (uint32_t i = 0; i < DESCRIPTOR_WAYS; i++) {
		struct descriptor *descriptor = &set->way[DESCRIPTOR_WAY(tag, i)];

		if (take(descriptor, 0))
			return descriptor;
		if (descriptor->used_ns < oldest->used_ns)
			oldest = descriptor;
	}
	return take(oldest, __atomic_load_n(&oldest->tag, __ATOMIC_RELAXED)) ? oldest : NULL;
}

/*
 * What the programs find out at its first turn comes first, as they may come to that as soon as it is not settled any more;
 * last, by what they tell that it is its turn.
 */
static void begin(struct descriptor *descriptor, int32_t epfd, uint32_t events, uint64_t data,
		  uint64_t now_ns)
{
	descriptor->epfd = epfd;
	descriptor->events = events;
	descriptor->used_ns = now_ns;
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
	__atomic_store_n(&descriptor->data, data, __ATOMIC_RELEASE);
}

bool stint_descriptor_table_tell(struct descriptor_set *sets, uint32_t pid, int32_t epfd, int32_t fd,
				 uint32_t events, uint64_t data, uint64_t now_ns)
{
	struct descriptor_set *set = &sets[DESCRIPTOR_SET(pid, epfd, fd)];
	__u64 tag = DESCRIPTOR_TAG(pid, fd);
	struct descriptor *descriptor = find(set, tag, epfd, NULL);

	if (descriptor && descriptor->data == data && !(descriptor->flags & DESCRIPTOR_REMOVED))
		return false;
	if (descriptor) {
		begin(descriptor, epfd, events, data, now_ns);
		return true;
	}
	descriptor = take_one(set, tag);
	if (!descriptor)
		return true;
	begin(descriptor, epfd, events, data, now_ns);
	__atomic_store_n(&descriptor->tag, tag, __ATOMIC_SEQ_CST);
	if (find(set, tag, epfd, descriptor)) /* epoll_ctl() has told of it meanwhile */
		(void)__atomic_compare_exchange_n(&descriptor->tag, &tag, 0, false, __ATOMIC_SEQ_CST,
						  __ATOMIC_RELAXED);
	return true;
}
