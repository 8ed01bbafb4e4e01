/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdlib.h>

/* The addresses of a name, for those who do more with them than connect. */

struct stint_resolve {
	struct object object;
	struct deferral deferral; /* answers with an address in figures */
	stint_resolve_callback callback;
	void *ctx;
	struct stint_lookup *lookup[NAMES_FAMILIES]; /* NULL: not running */
	struct stint_timer *deadline;
	uint64_t start_ns;
	uint16_t port;
	bool freed;
	int error; /* of the lookups */
	struct candidates found;
};

static void destroy(struct object *object)
{
	struct stint_resolve *resolve = (struct stint_resolve *)object;

	for (int i = 0; i < NAMES_FAMILIES; i++)
		resolve->lookup[i] = lookup_free(resolve->lookup[i]);
	stint_timer_free(resolve->deadline);
	deferral_cancel(object->loop, &resolve->deferral);
	resolve->freed = true;
	loop_bury(object);
}

struct stint_resolve *stint_resolve_free(struct stint_resolve *resolve)
{
	if (resolve && !resolve->freed)
		destroy(&resolve->object);
	return NULL;
}

/* Everything is taken down first: the callback may free the loop. */
static void finish(struct stint_resolve *resolve)
{
	union stint_address addresses[NAMES_FAMILIES * ADDRESSES_MAX];
	struct stint_resolve_result result = {.error = resolve->found.count ? 0 : resolve->error,
					      .count = resolve->found.count,
					      .addresses = addresses};
	stint_resolve_callback callback = resolve->callback;
	void *ctx = resolve->ctx;

	for (uint32_t i = 0; i < result.count; i++)
		addresses[i] = resolve->found.at[i].address;
	result.took_ns = stint_loop_now_ns(resolve->object.loop) - resolve->start_ns;
	destroy(&resolve->object);
	callback(&result, ctx);
}

static void on_lookup(struct stint_lookup *lookup, void *ctx)
{
	struct stint_resolve *resolve = ctx;

	if (lookup->error < 0)
		resolve->error = names_worse_error(resolve->error, lookup->error);
	for (uint32_t i = 0; i < lookup->count; i++)
		candidates_add(&resolve->found, &lookup->address[i], resolve->port);
	resolve->lookup[lookup->family == AF_INET] = NULL;
	lookup_free(lookup);
	if (!resolve->lookup[0] && !resolve->lookup[1])
		finish(resolve);
}

static void on_deadline(struct stint_timer *timer, void *ctx)
{
	struct stint_resolve *resolve = ctx;

	(void)timer;
	resolve->error = -ETIMEDOUT;
	finish(resolve);
}

static void on_deferral(struct deferral *deferral)
{
	finish((struct stint_resolve *)((char *)deferral - offsetof(struct stint_resolve, deferral)));
}

static int begin(struct stint_resolve *resolve, const char *text, const struct stint_resolve_options *options,
		 uint32_t handler)
{
	struct stint_loop *loop = resolve->object.loop;
	union stint_address address;
	int error;

	if (names_parse(text, &address)) {
		if (options->family && options->family != address.any.sa_family)
			resolve->error = -ENODATA;
		else
			candidates_add(&resolve->found, &address, resolve->port);
		deferral_schedule(loop, &resolve->deferral);
		return 0;
	}
	error = stint_timer_new(&resolve->deadline, loop, handler, on_deadline, resolve);
	if (error == 0)
		error = stint_timer_start(resolve->deadline,
					  options->timeout_ns ? options->timeout_ns : NAMES_TIMEOUT_NS, 0);
	if (error == 0)
		error = names_look_up(resolve->lookup, loop, options->resolver, text, options->family,
				      handler, on_lookup, resolve);
	return error;
}

int stint_resolve_new(struct stint_resolve **ret, struct stint_loop *loop, const char *name, uint16_t port,
		      const struct stint_resolve_options *given, uint32_t handler,
		      stint_resolve_callback callback, void *ctx)
{
	struct stint_resolve_options options;
	struct stint_resolve *resolve;
	int error;

	if (!ret || !loop || loop->dead || !names_valid(name) || !callback ||
	    !loop_handler_valid(loop, handler) || options_take(&options, sizeof(options), given) < 0 ||
	    names_check(options.family, options.resolver, loop) < 0)
		return -EINVAL;
	resolve = calloc(1, sizeof(*resolve));
	if (!resolve)
		return -ENOMEM;
	resolve->callback = callback;
	resolve->ctx = ctx;
	resolve->port = port;
	resolve->start_ns = stint_loop_now_ns(loop);
	deferral_init(&resolve->deferral, handler, on_deferral);
	loop_add_object(loop, &resolve->object, destroy);
	error = begin(resolve, name, &options, handler);
	if (error < 0) {
		destroy(&resolve->object);
		return error;
	}
	*ret = resolve;
	return 0;
}
