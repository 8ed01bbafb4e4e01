/* SPDX-License-Identifier: MIT */
#include "resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Resolvers and their lookups. A resolver may answer at any time in the loop's thread, even while a lookup is
 * started or cancelled; the answer goes on by a deferral, so nobody's code runs inside of a resolver's.
 */

struct stint_resolver {
	struct object object;
	struct stint_resolver_backend operations;
	void *backend;
	struct stint_lookup lookups; /* head of a ring */
	bool freed;
};

static void detach(struct stint_lookup *lookup)
{
	lookup->next->previous = lookup->previous;
	lookup->previous->next = lookup->next;
	lookup->resolver = NULL;
}

static void cancel(struct stint_lookup *lookup)
{
	struct stint_resolver *resolver = lookup->resolver;

	detach(lookup);
	resolver->operations.cancel(resolver->backend, lookup->query);
}

/* The user's `cancel` and `free` may free the loop, which must not find it, and is then gone, if no callback runs. */
static void destroy(struct object *object)
{
	struct stint_resolver *resolver = (struct stint_resolver *)object;
	struct stint_loop *loop = object->loop;
	bool dispatching = loop->dispatching;

	resolver->freed = true;
	loop_forget(object);
	if (loop->resolver == resolver)
		loop->resolver = NULL;
	while (resolver->lookups.next != &resolver->lookups) {
		struct stint_lookup *lookup = resolver->lookups.next;

		lookup->error = -ECANCELED;
		deferral_schedule(loop, &lookup->deferral);
		cancel(lookup);
	}
	resolver->operations.free(resolver->backend);
	if (dispatching)
		loop_bury(object);
	else
		free(resolver);
}

int stint_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
		       const struct stint_resolver_backend *operations, void *backend)
{
	struct stint_resolver *resolver;

	if (!ret || !loop || loop->dead || !operations || !operations->start || !operations->cancel ||
	    !operations->free)
		return -EINVAL;
	resolver = calloc(1, sizeof(*resolver));
	if (!resolver)
		return -ENOMEM;
	resolver->operations = *operations;
	resolver->backend = backend;
	resolver->lookups.next = resolver->lookups.previous = &resolver->lookups;
	loop_add_object(loop, &resolver->object, destroy);
	*ret = resolver;
	return 0;
}

struct stint_resolver *stint_resolver_free(struct stint_resolver *resolver)
{
	if (resolver && !resolver->freed)
		destroy(&resolver->object);
	return NULL;
}

bool resolver_serves(const struct stint_resolver *resolver, const struct stint_loop *loop)
{
	return !resolver->freed && resolver->object.loop == loop;
}

/* ---- lookups ---- */

static void on_answer(struct deferral *deferral)
{
	struct stint_lookup *lookup =
		(struct stint_lookup *)((char *)deferral - offsetof(struct stint_lookup, deferral));

	lookup->callback(lookup, lookup->ctx);
}

int lookup_new(struct stint_lookup **ret, struct stint_resolver *resolver, const char *name, int family,
	       uint32_t handler, void (*callback)(struct stint_lookup *, void *), void *ctx)
{
	struct stint_lookup *lookup = calloc(1, sizeof(*lookup));
	int error;

	if (!lookup)
		return -ENOMEM;
	*lookup = (struct stint_lookup){.resolver = resolver,
					.loop = resolver->object.loop,
					.family = family,
					.callback = callback,
					.ctx = ctx};
	deferral_init(&lookup->deferral, handler, on_answer);
	lookup->next = &resolver->lookups;
	lookup->previous = resolver->lookups.previous;
	lookup->previous->next = lookup->next->previous = lookup;
	error = resolver->operations.start(resolver->backend, lookup, name, family, &lookup->query);
	if (error < 0) {
		detach(lookup);
		free(lookup);
		return error;
	}
	*ret = lookup;
	return 0;
}

struct stint_lookup *lookup_free(struct stint_lookup *lookup)
{
	if (!lookup)
		return NULL;
	if (lookup->resolver)
		cancel(lookup);
	deferral_cancel(lookup->loop, &lookup->deferral);
	free(lookup);
	return NULL;
}

void stint_lookup_done(struct stint_lookup *lookup, int error, const union stint_address *addresses,
		       uint32_t count)
{
	if (!lookup || !lookup->resolver)
		return;
	detach(lookup);
	for (uint32_t i = 0; error == 0 && i < count && lookup->count < ADDRESSES_MAX; i++)
		if (addresses[i].any.sa_family == lookup->family)
			lookup->address[lookup->count++] = addresses[i];
	lookup->error = error < 0 || lookup->count ? error : -ENODATA;
	deferral_schedule(lookup->loop, &lookup->deferral);
}
