/* SPDX-License-Identifier: MIT */
#include "probes/own_stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct stint_own_stacks {
	struct stint_own_stack *items[STINT_OWN_STACKS_MAX];
	size_t len;
	size_t frames_len; /* of all */
	uint64_t uses;
};

int stint_own_stacks_new(struct stint_own_stacks **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct stint_own_stacks *stint_own_stacks_free(struct stint_own_stacks *stacks)
{
	for (size_t i = 0; stacks && i < stacks->len; i++)
		free(stacks->items[i]);
	free(stacks);
	return NULL;
}

static size_t index_of(const struct stint_own_stacks *stacks, uint32_t tid, int32_t epfd)
{
	size_t at = 0;

	while (at < stacks->len && (stacks->items[at]->tid != tid || stacks->items[at]->epfd != epfd))
		at++;
	return at;
}

static void drop(struct stint_own_stacks *stacks, size_t at)
{
	stacks->frames_len -= stacks->items[at]->len;
	free(stacks->items[at]);
	stacks->items[at] = stacks->items[--stacks->len];
}

static void drop_oldest(struct stint_own_stacks *stacks)
{
	size_t oldest = 0;

	for (size_t i = 1; i < stacks->len; i++)
		if (stacks->items[i]->used < stacks->items[oldest]->used)
			oldest = i;
	drop(stacks, oldest);
}

int stint_own_stacks_put(struct stint_own_stacks *stacks, uint32_t tid, int32_t epfd,
			 const struct stint_frame *frames, size_t len)
{
	size_t before = index_of(stacks, tid, epfd);
	struct stint_own_stack *stack;

	if (before < stacks->len)
		drop(stacks, before);
	while (stacks->len == STINT_OWN_STACKS_MAX || stacks->frames_len + len > STINT_OWN_STACKS_FRAMES_MAX)
		drop_oldest(stacks);
	stack = malloc(sizeof(*stack) + len * sizeof(*frames));
	if (!stack)
		return -ENOMEM;
	stack->tid = tid;
	stack->epfd = epfd;
	stack->used = ++stacks->uses;
	stack->len = len;
	memcpy(stack->frames, frames, len * sizeof(*frames));
	stacks->items[stacks->len++] = stack;
	stacks->frames_len += len;
	return 0;
}

const struct stint_own_stack *stint_own_stacks_find(struct stint_own_stacks *stacks, uint32_t tid,
						    int32_t epfd)
{
	size_t at = index_of(stacks, tid, epfd);

	if (at == stacks->len)
		return NULL;
	stacks->items[at]->used = ++stacks->uses;
	return stacks->items[at];
}
