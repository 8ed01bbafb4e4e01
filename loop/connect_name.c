/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Connecting by name (RFC 8305). Addresses that were found wait in `untried`, best first; `begin_next` takes
 * one of the other family than the last, if there is one, and is called when
 *  - the first addresses have come: IPv6 at once, IPv4 after a delay in which IPv6 may still come,
 *  - an attempt has failed,
 *  - an attempt has been running for the attempt delay.
 * All is over with the first success, with the deadline, or when nothing is running and nothing left.
 */

#define ATTEMPT_DELAY_NS    250000000u
#define RESOLUTION_DELAY_NS 50000000u

struct attempt {
	struct stint_connect_name *owner;
	struct stint_connect *connect; /* NULL: it has ended */
	union stint_address address;
};

struct stint_connect_name {
	struct object object;
	struct deferral deferral; /* begins with an address in figures */
	struct stint_connect_name_options options;
	stint_connect_name_callback callback;
	void *ctx;
	struct stint_lookup *lookup[NAMES_FAMILIES]; /* NULL: not running */
	struct stint_timer *deadline, *step;
	uint64_t start_ns, attempt_at_ns;
	uint32_t handler;
	uint16_t port;
	sa_family_t last_family; /* of the last attempt; 0: none yet */
	bool waited;             /* for IPv6, long enough */
	bool freed;
	int name_error, last_error; /* of the lookups; of the last attempt that failed */
	uint32_t running;
	struct candidates untried;
	struct attempt attempt[NAMES_FAMILIES * ADDRESSES_MAX];
	struct stint_connect_name_result result;
};

static void destroy(struct object *object)
{
	struct stint_connect_name *name = (struct stint_connect_name *)object;

	for (int i = 0; i < NAMES_FAMILIES; i++)
		name->lookup[i] = lookup_free(name->lookup[i]);
	/* A loop that is freed frees attempts as it comes to them, before or after this. */
	for (uint32_t i = 0; i < name->result.attempts && !object->loop->dead; i++)
		name->attempt[i].connect = stint_connect_free(name->attempt[i].connect);
	stint_timer_free(name->deadline);
	stint_timer_free(name->step);
	deferral_cancel(object->loop, &name->deferral);
	name->freed = true;
	loop_bury(object);
}

struct stint_connect_name *stint_connect_name_free(struct stint_connect_name *name)
{
	if (name && !name->freed)
		destroy(&name->object);
	return NULL;
}

/* Everything is taken down first: the callback may free the loop. */
static void finish(struct stint_connect_name *name, int error, int fd)
{
	struct stint_connect_name_result result = name->result;
	stint_connect_name_callback callback = name->callback;
	void *ctx = name->ctx;

	result.error = error;
	result.fd = fd;
	result.took_ns = stint_loop_now_ns(name->object.loop) - name->start_ns;
	destroy(&name->object);
	callback(&result, ctx);
}

static bool looking_up(const struct stint_connect_name *name)
{
	return name->lookup[0] || name->lookup[1];
}

/* ---- attempts ---- */

/* The best of the other family than the last, or the best. */
static void take_next(struct stint_connect_name *name, union stint_address *ret)
{
	struct candidates *untried = &name->untried;
	uint32_t chosen = 0;

	for (uint32_t i = 0; name->last_family && i < untried->count; i++) {
		if (untried->at[i].address.any.sa_family != name->last_family) {
			chosen = i;
			break;
		}
	}
	*ret = untried->at[chosen].address;
	untried->count--;
	memmove(&untried->at[chosen], &untried->at[chosen + 1],
		(untried->count - chosen) * sizeof(untried->at[0]));
}

static void on_attempt(int error, int fd, void *ctx);

static int begin_attempt(struct stint_connect_name *name)
{
	struct attempt *attempt = &name->attempt[name->result.attempts++];
	struct stint_loop *loop = name->object.loop;
	int error;

	attempt->owner = name;
	take_next(name, &attempt->address);
	name->last_family = attempt->address.any.sa_family;
	name->attempt_at_ns = stint_loop_now_ns(loop);
	error = stint_connect_new(&attempt->connect, loop, &attempt->address.any,
				  address_bytes(&attempt->address), 0, name->handler, on_attempt, attempt);
	if (error < 0) {
		name->last_error = error;
		name->result.address = attempt->address;
		return error;
	}
	name->running++;
	return 0;
}

/* Nobody is called from here but by finish(), which is the last thing to happen. */
static void begin_next(struct stint_connect_name *name)
{
	while (name->untried.count) {
		if (begin_attempt(name) == 0) {
			stint_timer_start(name->step, name->options.attempt_delay_ns, 0);
			return;
		}
	}
	if (name->running == 0 && !looking_up(name))
		finish(name, name->last_error ? name->last_error : name->name_error, -1);
}

static void on_attempt(int error, int fd, void *ctx)
{
	struct attempt *attempt = ctx;
	struct stint_connect_name *name = attempt->owner;

	attempt->connect = NULL;
	name->running--;
	name->result.address = attempt->address;
	if (error == 0) {
		finish(name, 0, fd);
		return;
	}
	name->last_error = error;
	begin_next(name);
}

static void on_step(struct stint_timer *timer, void *ctx)
{
	struct stint_connect_name *name = ctx;

	(void)timer;
	name->waited = true;
	begin_next(name);
}

static void on_deadline(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	finish(ctx, -ETIMEDOUT, -1);
}

/* ---- addresses ---- */

static void add_candidate(struct stint_connect_name *name, const union stint_address *address)
{
	candidates_add(&name->untried, address, name->port);
	name->result.addresses++;
}

/* New addresses, or the news that there are none. */
static void advance(struct stint_connect_name *name)
{
	if (name->running) { /* the next attempt keeps its distance to the last */
		if (name->untried.count && !stint_timer_due_ns(name->step))
			stint_timer_start_at(name->step, name->attempt_at_ns + name->options.attempt_delay_ns,
					     0);
		return;
	}
	if (name->untried.count && name->lookup[0] && !name->waited && name->result.attempts == 0) {
		stint_timer_start(name->step, name->options.resolution_delay_ns, 0);
		return;
	}
	begin_next(name);
}

static void on_lookup(struct stint_lookup *lookup, void *ctx)
{
	struct stint_connect_name *name = ctx;

	if (lookup->error < 0)
		name->name_error = names_worse_error(name->name_error, lookup->error);
	for (uint32_t i = 0; i < lookup->count; i++)
		add_candidate(name, &lookup->address[i]);
	if (lookup->count && !name->result.resolved_ns)
		name->result.resolved_ns = stint_loop_now_ns(name->object.loop) - name->start_ns;
	name->lookup[lookup->family == AF_INET] = NULL;
	lookup_free(lookup);
	advance(name);
}

static void on_deferral(struct deferral *deferral)
{
	begin_next((struct stint_connect_name *)((char *)deferral -
						 offsetof(struct stint_connect_name, deferral)));
}

/* ---- life ---- */

static int begin_lookups(struct stint_connect_name *name, const char *text)
{
	return names_look_up(name->lookup, name->object.loop, name->options.resolver, text,
			     name->options.family, name->handler, on_lookup, name);
}

static int begin(struct stint_connect_name *name, const char *text)
{
	struct stint_loop *loop = name->object.loop;
	union stint_address address;
	int error = stint_timer_new(&name->step, loop, name->handler, on_step, name);

	if (error == 0)
		error = stint_timer_new(&name->deadline, loop, name->handler, on_deadline, name);
	if (error == 0)
		error = stint_timer_start(name->deadline, name->options.timeout_ns, 0);
	if (error < 0 || !names_parse(text, &address))
		return error < 0 ? error : begin_lookups(name, text);
	if (name->options.family && name->options.family != address.any.sa_family)
		name->name_error = -ENODATA;
	else
		add_candidate(name, &address);
	deferral_schedule(loop, &name->deferral);
	return 0;
}

static int take_options(struct stint_connect_name_options *ret,
			const struct stint_connect_name_options *given, const struct stint_loop *loop)
{
	int error = options_take(ret, sizeof(*ret), given);

	if (error < 0)
		return error;
	if (!ret->timeout_ns)
		ret->timeout_ns = NAMES_TIMEOUT_NS;
	if (!ret->attempt_delay_ns)
		ret->attempt_delay_ns = ATTEMPT_DELAY_NS;
	if (!ret->resolution_delay_ns)
		ret->resolution_delay_ns = RESOLUTION_DELAY_NS;
	return names_check(ret->family, ret->resolver, loop);
}

int stint_connect_name_new(struct stint_connect_name **ret, struct stint_loop *loop, const char *text,
			   uint16_t port, const struct stint_connect_name_options *given, uint32_t handler,
			   stint_connect_name_callback callback, void *ctx)
{
	struct stint_connect_name_options options;
	struct stint_connect_name *name;
	int error;

	if (!ret || !loop || loop->dead || !names_valid(text) || port == 0 || !callback ||
	    !loop_handler_valid(loop, handler) || take_options(&options, given, loop) < 0)
		return -EINVAL;
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	name->options = options;
	name->handler = handler;
	name->port = port;
	name->callback = callback;
	name->ctx = ctx;
	name->start_ns = stint_loop_now_ns(loop);
	deferral_init(&name->deferral, handler, on_deferral);
	loop_add_object(loop, &name->object, destroy);
	error = begin(name, text);
	if (error < 0) {
		destroy(&name->object);
		return error;
	}
	*ret = name;
	return 0;
}

const char *stint_connect_name_error(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such host name";
	case -ENODATA:
		return "the host name has no address";
	case -EREMOTEIO:
		return "no answer from a name server";
	default:
		return strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error";
	}
}
