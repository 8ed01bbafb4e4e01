/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>

/* Idle callbacks: a ring of those that are started, all called in an iteration that had nothing else to do. */

struct stint_idle {
	struct object object; /* first: it is what is freed */
	struct idle_link link;
	stint_idle_callback callback;
	void *ctx;
	uint32_t handler;
	bool started, freed;
};

static void link_last(struct idle_link *ring, struct idle_link *link)
{
	link->next = ring;
	link->previous = ring->previous;
	link->previous->next = link;
	ring->previous = link;
}

static void unlink_idle(struct idle_link *link)
{
	link->next->previous = link->previous;
	link->previous->next = link->next;
}

static void stop(struct stint_idle *idle)
{
	if (!idle->started)
		return;
	unlink_idle(&idle->link);
	idle->started = false;
	idle->object.loop->idle_count--;
	idle->object.loop->urgent--;
}

/* The ring is cut off, so that one that is started by another waits for the next iteration. */
void idle_dispatch(struct stint_loop *loop)
{
	struct idle_link now = loop->idles;

	now.next->previous = &now;
	now.previous->next = &now;
	loop->idles.next = loop->idles.previous = &loop->idles;
	while (now.next != &now) {
		struct stint_idle *idle =
			(struct stint_idle *)((char *)now.next - offsetof(struct stint_idle, link));
		struct dispatch dispatch;

		unlink_idle(&idle->link);
		link_last(&loop->idles, &idle->link);
		if (loop->account)
			loop->account->behind = 0;
		dispatch = dispatch_open(loop, idle->handler, 0);
		idle->callback(idle, idle->ctx);
		dispatch_close(loop, &dispatch);
	}
}

static void destroy(struct object *object)
{
	struct stint_idle *idle = (struct stint_idle *)object;

	stop(idle);
	idle->freed = true;
	loop_bury(object);
}

int stint_idle_new(struct stint_idle **ret, struct stint_loop *loop, uint32_t handler,
		   stint_idle_callback callback, void *ctx)
{
	struct stint_idle *idle;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	idle = calloc(1, sizeof(*idle));
	if (!idle)
		return -ENOMEM;
	idle->handler = handler;
	idle->callback = callback;
	idle->ctx = ctx;
	loop_add_object(loop, &idle->object, destroy);
	*ret = idle;
	return 0;
}

struct stint_idle *stint_idle_free(struct stint_idle *idle)
{
	if (idle && !idle->freed)
		destroy(&idle->object);
	return NULL;
}

int stint_idle_start(struct stint_idle *idle)
{
	struct stint_loop *loop;

	if (!idle || idle->freed)
		return -EINVAL;
	if (idle->started)
		return 0;
	loop = idle->object.loop;
	link_last(&loop->idles, &idle->link);
	idle->started = true;
	loop->idle_count++;
	loop->urgent++;
	return 0;
}

int stint_idle_stop(struct stint_idle *idle)
{
	if (!idle || idle->freed)
		return -EINVAL;
	stop(idle);
	return 0;
}
