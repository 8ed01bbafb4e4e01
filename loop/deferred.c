/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>

/* Deferred callbacks: a ring that embeds in whoever wants to be called in step 6 of the iteration. */

struct stint_deferred {
	struct object object; /* first: it is what is freed */
	struct deferral deferral;
	stint_deferred_callback callback;
	void *ctx;
	bool freed;
};

void deferral_init(struct deferral *deferral, uint32_t handler, void (*run)(struct deferral *))
{
	*deferral = (struct deferral){.run = run, .handler = (uint16_t)handler};
}

void deferral_schedule(struct stint_loop *loop, struct deferral *deferral)
{
	if (deferral->queued)
		return;
	deferral->next = &loop->deferrals;
	deferral->previous = loop->deferrals.previous;
	deferral->previous->next = deferral;
	loop->deferrals.previous = deferral;
	deferral->queued = true;
	loop->deferred_count++;
	loop->urgent++;
}

void deferral_cancel(struct stint_loop *loop, struct deferral *deferral)
{
	if (!deferral->queued)
		return;
	deferral->next->previous = deferral->previous;
	deferral->previous->next = deferral->next;
	deferral->queued = false;
	loop->deferred_count--;
	loop->urgent--;
}

/*
 * Those that were scheduled before this step, in order. The ring is cut off into one of this step's own, so
 * that what is scheduled from now on, even a deferral that has just run, waits for the next iteration.
 */
void deferral_dispatch(struct stint_loop *loop)
{
	struct deferral now = loop->deferrals;

	now.next->previous = &now;
	now.previous->next = &now;
	loop->deferrals.next = loop->deferrals.previous = &loop->deferrals;
	while (now.next != &now) {
		struct deferral *deferral = now.next;
		struct dispatch dispatch;

		deferral_cancel(loop, deferral);
		if (deferral->plain) {
			deferral->run(deferral);
			continue;
		}
		if (loop->account)
			loop->account->behind = 0;
		dispatch = dispatch_open(loop, deferral->handler, 0);
		deferral->run(deferral);
		dispatch_close(loop, &dispatch);
	}
}

static void run(struct deferral *deferral)
{
	struct stint_deferred *deferred =
		(struct stint_deferred *)((char *)deferral - offsetof(struct stint_deferred, deferral));

	deferred->callback(deferred, deferred->ctx);
}

static void destroy(struct object *object)
{
	struct stint_deferred *deferred = (struct stint_deferred *)object;

	deferral_cancel(object->loop, &deferred->deferral);
	deferred->freed = true;
	loop_bury(object);
}

int stint_deferred_new(struct stint_deferred **ret, struct stint_loop *loop, uint32_t handler,
		       stint_deferred_callback callback, void *ctx)
{
	struct stint_deferred *deferred;

	if (!ret || !loop || loop->dead || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	deferred = calloc(1, sizeof(*deferred));
	if (!deferred)
		return -ENOMEM;
	deferral_init(&deferred->deferral, handler, run);
	deferred->callback = callback;
	deferred->ctx = ctx;
	loop_add_object(loop, &deferred->object, destroy);
	*ret = deferred;
	return 0;
}

struct stint_deferred *stint_deferred_free(struct stint_deferred *deferred)
{
	if (deferred && !deferred->freed)
		destroy(&deferred->object);
	return NULL;
}

int stint_deferred_schedule(struct stint_deferred *deferred)
{
	if (!deferred || deferred->freed)
		return -EINVAL;
	deferral_schedule(deferred->object.loop, &deferred->deferral);
	return 0;
}

int stint_deferred_cancel(struct stint_deferred *deferred)
{
	if (!deferred || deferred->freed)
		return -EINVAL;
	deferral_cancel(deferred->object.loop, &deferred->deferral);
	return 0;
}
